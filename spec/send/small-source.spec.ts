import { expect } from 'chai';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { orderOf, readFrames, type SmallFrames } from '../../lib/send/small-frames';
import { createDigestOf } from '../../lib/digest/digest';
import { parseEntryName } from '../../lib/name';
import { plainFileCalls } from '../../lib/threads/file-calls';
import { walking } from '../../lib/threads/walker';

/** What is imported from it is looked up with each call. */
const calls = require('node:fs') as { readSync: typeof fs.readSync };

describe('a small file that is written to while it is read', () => {
  const { readSync } = fs;
  let directory: string;
  let path: string;
  const name = parseEntryName('log');
  const memory = new Uint8Array(1024);
  beforeEach(() => {
    directory = fs.mkdtempSync(join(tmpdir(), 'sendall-small-source-'));
    path = join(directory, 'log');
    fs.writeFileSync(path, 'line 1\nline 2\n');
  });
  afterEach(() => {
    calls.readSync = readSync;
    fs.rmSync(directory, { recursive: true });
  });

  /** What comes of it where `write` happens right before, or right after, each of the first `times` readings. */
  async function read(write: (at: number) => unknown, when: 'before' | 'after', times = 1): Promise<SmallFrames> {
    const digestOf = await createDigestOf('md5');
    let reads = 0;
    calls.readSync = ((...words: Parameters<typeof readSync>) => {
      const at = reads++;
      if (at < times && when === 'before') write(at);
      const count = readSync(...words);
      if (at < times && when === 'after') write(at);
      return count;
    }) as typeof readSync;
    return walking((walker) =>
      readFrames(orderOf([{ path, name }]), memory, { walker, calls: plainFileCalls, digestOf }),
    );
  }

  const md5 = (content: string): string => createHash('md5').update(content).digest('hex');

  it('is what it is then where that is only appended to, and changed otherwise', async () => {
    const grown = await read(() => fs.appendFileSync(path, 'line 3\n'), 'after');
    expect(grown).to.include({ md5s: md5('line 1\nline 2\nline 3\n') });
    expect(grown.grew).to.deep.equal([]);
    const rewritten = await read(() => fs.writeFileSync(path, 'line 1\nLINE 2\nline 3\nline 4\n'), 'after');
    expect(rewritten.flaws.get(0)).to.equal('changed');
    expect((await read(() => fs.truncateSync(path, 3), 'after')).flaws.get(0)).to.equal('changed');
  });

  it('is never the beginning of a longer one that is written in its place', async () => {
    const content = 'another 1\nanother 2\n';
    const frames = await read(() => fs.writeFileSync(path, content), 'before');
    expect(frames).to.include({ md5s: md5(content) });
    expect(frames.sizes[0]).to.equal(content.length);
    expect(Buffer.from(memory.subarray(0, frames.ends[0])).toString()).to.match(/\}another 1\nanother 2\n$/);
    expect(frames.grew).to.deep.equal([]);
  });

  it('is read as far as it goes at one moment where it is appended to all the time', async () => {
    const frames = await read((at) => fs.appendFileSync(path, `line ${String(at + 3)}\n`), 'before', Infinity);
    const size = frames.sizes[0] ?? 0;
    expect(size >= 'line 1\nline 2\n'.length).to.equal(true);
    expect(frames).to.include({ md5s: md5(fs.readFileSync(path, 'latin1').slice(0, size)) });
    expect(frames.grew).to.deep.equal([0]);
  });

  it('is changed, and not read for ever, where longer ones are written in its place all the time', async () => {
    let writes = 0;
    const frames = await read(
      (at) => fs.writeFileSync(path, `${String(writes++)}${'another line\n'.repeat(at + 2)}`),
      'before',
      Infinity,
    );
    expect(frames.flaws.get(0)).to.equal('changed');
    expect(writes).to.be.below(20);
    writes = 0;
    // Each is read twice with the same content.
    const settled = await read(
      (at) => at % 2 === 0 && fs.writeFileSync(path, `${String(writes++)}${'another line\n'.repeat(at + 9)}`),
      'before',
      Infinity,
    );
    expect(settled.flaws.get(0)).to.equal('changed');
    expect(writes).to.be.below(20);
  });

  it('is a large one where it has become one', async () => {
    const frames = await read(() => fs.appendFileSync(path, Buffer.alloc(70_000)), 'before');
    expect(frames.flaws.get(0)).to.equal('large');
  });

  it('finds no room where it has become too long for what is left of that', async () => {
    const frames = await read(() => fs.appendFileSync(path, Buffer.alloc(2000)), 'before');
    expect(frames).to.include({ count: 0, md5s: '' });
  });
});
