import { execFileSync } from 'node:child_process';
import { appendFile, link, open, rename, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import type { EntryName } from '../../lib/name';
import type { Outgoing } from '../../lib/send/entries';
import { rereadPiece } from '../../lib/send/reread';
import { SourceTree } from './source-tree';
import { digestOf, noise } from '../session/pair';

describe('a piece that is read again', () => {
  let tree: SourceTree;
  let outgoing: Outgoing;
  const content = noise(300_000);

  beforeEach(async () => {
    tree = await SourceTree.make({ f: content });
    const { size, mtimeNs: mtime, ctimeNs: ctime, ino: inode } = await stat(tree.at('f'), { bigint: true });
    const found = {
      type: 'file',
      path: tree.at('f'),
      name: 'f' as EntryName,
      size: Number(size),
      mtime,
      ctime,
      mode: 0o644,
      sparse: false,
      inode,
    } as const;
    outgoing = { file: 0, found, began: 0, bytesOnWire: 0 };
  });
  afterEach(() => tree.remove());

  const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => undefined,
      (error: unknown) => (error instanceof TransferError ? error.code : error),
    );

  it('is what it was, wherever it stands in the file', async () => {
    for (const [offset, size] of [
      [0, 1],
      [100_000, 100_000],
      [299_999, 1],
      [0, 300_000],
    ] as const) {
      expect(
        Buffer.from(await rereadPiece(outgoing, offset, size)).equals(content.subarray(offset, offset + size)),
      ).to.equal(true);
    }
  });

  it('of a file that was appended to is what it was; of a longer one in its place nothing is given out', async () => {
    await appendFile(tree.at('f'), 'more');
    expect(Buffer.from(await rereadPiece(outgoing, 100, 10)).equals(content.subarray(100, 110))).to.equal(true);
    await writeFile(tree.at('g'), noise(400_000, 3));
    await rename(tree.at('g'), tree.at('f'));
    expect(await codeOf(rereadPiece(outgoing, 100, 10))).to.equal('source-changed');
  });

  it('of a file that has a named pipe in its place is not waited for', async () => {
    await rm(tree.at('f'));
    execFileSync('mkfifo', [tree.at('f')]);
    expect(await codeOf(rereadPiece(outgoing, 100, 10))).to.equal('source-changed');
    const writer = await open(tree.at('f'), 'r+');
    expect(await codeOf(rereadPiece(outgoing, 100, 10))).to.equal('source-changed');
    await writer.write('what a program prints');
    expect(await codeOf(rereadPiece(outgoing, 0, 10))).to.equal('source-changed');
    await writer.close();
  });

  it('of a file that someone vouches for is given out also when it has a hard link more', async () => {
    await link(tree.at('f'), tree.at('g'));
    expect(await codeOf(rereadPiece(outgoing, 100, 10))).to.equal('source-changed');
    const { found } = outgoing;
    if (found.type !== 'file') throw new Error('it is a file');
    outgoing = { ...outgoing, found: { ...found, vouched: { digest: digestOf(content), mtime: found.mtime } } };
    expect(Buffer.from(await rereadPiece(outgoing, 100, 10)).equals(content.subarray(100, 110))).to.equal(true);
    await appendFile(tree.at('f'), 'more');
    expect(await codeOf(rereadPiece(outgoing, 100, 10))).to.equal('source-changed');
  });

  it('of a file that was written to, touched, cut or replaced is not given out', async () => {
    await writeFile(tree.at('f'), 'X', { flag: 'r+' });
    expect(await codeOf(rereadPiece(outgoing, 100, 10))).to.equal('source-changed');
    await utimes(tree.at('f'), 1, 1);
    expect(await codeOf(rereadPiece(outgoing, 100, 10))).to.equal('source-changed');
    await truncate(tree.at('f'), 50);
    expect(await codeOf(rereadPiece(outgoing, 100, 10))).to.equal('source-changed');
    await rm(tree.at('f'));
    expect(await codeOf(rereadPiece(outgoing, 100, 10))).to.equal('source-unreadable');
  });
});
