import { expect } from 'chai';
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

  /** What comes of it where `write` happens right after the first reading. */
  async function read(write: () => void): Promise<SmallFrames> {
    const digestOf = await createDigestOf('md5');
    calls.readSync = ((...words: Parameters<typeof readSync>) => {
      calls.readSync = readSync;
      const count = readSync(...words);
      write();
      return count;
    }) as typeof readSync;
    return walking((walker) =>
      readFrames(orderOf([{ path, name }]), memory, { walker, calls: plainFileCalls, digestOf }),
    );
  }

  it('is what it was where that is only appended to, and changed otherwise', async () => {
    const grown = await read(() => fs.appendFileSync(path, 'line 3\n'));
    expect(grown).to.include({ md5s: 'c7253b64411b3aa485924efce6494bb5' });
    expect(grown.grew).to.deep.equal([0]);
    const rewritten = await read(() => fs.writeFileSync(path, 'line 1\nLINE 2\nline 3\nline 4\n'));
    expect(rewritten.flaws.get(0)).to.equal('changed');
    expect((await read(() => fs.truncateSync(path, 3))).flaws.get(0)).to.equal('changed');
  });
});
