import { execFileSync } from 'node:child_process';
import { appendFile, truncate, writeFile } from 'node:fs/promises';
import { expect } from 'chai';
import { parseEntryName } from '../../lib/name';
import { OpenSource, type SourceFile } from '../../lib/send/open-source';
import { bytes, SourceTree } from './source-tree';

describe('an open source', () => {
  let tree: SourceTree;
  let file: SourceFile;
  beforeEach(async () => {
    tree = await SourceTree.make({ file: bytes(100_000) });
    file = { path: tree.at('file'), name: parseEntryName('file') };
  });
  afterEach(() => tree.remove());

  it('reads at any place, and says where it ends before', async () => {
    const source = await OpenSource.open(file);
    const memory = new Uint8Array(60_000);
    expect(await source.fill(memory, 10)).to.equal(true);
    expect(Buffer.from(memory).equals(bytes(100_000).subarray(10, 60_010))).to.equal(true);
    expect(await source.fill(memory, 90_000)).to.equal(false);
    await source.check();
    await source.close();
  });

  it('notices every change: source-changed', async () => {
    const source = await OpenSource.open(file);
    await truncate(file.path, 99_999);
    const error: unknown = await source.check().catch((thrown: unknown) => thrown);
    expect(error).to.include({ code: 'source-changed', fileName: 'file' });
    await source.close();
  });

  it('may grow, which it says', async () => {
    const source = await OpenSource.open(file);
    await appendFile(file.path, 'more');
    await source.check();
    expect(source.grew).to.equal(true);
    await source.close();
  });

  for (const size of [100, 100_000]) {
    it(`of ${String(size)} bytes may not be written again as a longer one: source-changed, and not its beginning`, async () => {
      await writeFile(file.path, bytes(size, 1));
      const source = await OpenSource.open(file);
      await writeFile(file.path, bytes(size + 50_000, 2));
      for (let time = 0; time < 2; time++) {
        const error: unknown = await source.check().catch((thrown: unknown) => thrown);
        expect(error).to.include({ code: 'source-changed', fileName: 'file' });
      }
      await source.close();
    });
  }

  it('may grow from nothing', async () => {
    await truncate(file.path);
    const source = await OpenSource.open(file);
    await appendFile(file.path, 'more');
    await source.check();
    expect(source).to.include({ grew: true, size: 0 });
    await source.close();
  });

  it('is never a FIFO, and nobody waits for a writer', async () => {
    execFileSync('mkfifo', [tree.at('fifo')]);
    const error: unknown = await OpenSource.open({ ...file, path: tree.at('fifo') }).catch((thrown: unknown) => thrown);
    expect(error).to.include({ code: 'source-unreadable' });
  });
});
