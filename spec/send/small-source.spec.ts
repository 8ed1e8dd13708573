import { expect } from 'chai';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSmallSource } from '../../lib/send/small-source';

/** What is imported from it is looked up with each call. */
const calls = require('node:fs') as { readSync: typeof fs.readSync };

describe('a small file that is written to while it is read', () => {
  const { readSync } = fs;
  let directory: string;
  let path: string;
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
  async function read(write: () => void): ReturnType<typeof readSmallSource> {
    calls.readSync = ((...words: Parameters<typeof readSync>) => {
      calls.readSync = readSync;
      const count = readSync(...words);
      write();
      return count;
    }) as typeof readSync;
    return readSmallSource({ path });
  }

  it('is what it was where that is only appended to, and changed otherwise', async () => {
    const grown = await read(() => fs.appendFileSync(path, 'line 3\n'));
    expect(grown).to.include({ grew: true, md5: 'c7253b64411b3aa485924efce6494bb5' });
    expect(await read(() => fs.writeFileSync(path, 'line 1\nLINE 2\nline 3\nline 4\n'))).to.equal('changed');
    expect(await read(() => fs.truncateSync(path, 3))).to.equal('changed');
  });
});
