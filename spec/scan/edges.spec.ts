import { expect } from 'chai';
import * as fs from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { edgesIn, lookAtEdges, lookAtEdgesOfHandle } from '../../lib/scan/edges';

/** What is imported from it is looked up with each call. */
const calls = require('node:fs') as { readSync: typeof fs.readSync; fstatSync: typeof fs.fstatSync };

describe('the edges of a file that is written to', () => {
  const { readSync, fstatSync } = fs;
  let directory: string;
  let place: string;
  let handle: FileHandle;
  beforeEach(async () => {
    directory = fs.mkdtempSync(path.join(tmpdir(), 'sendall-edges-'));
    place = path.join(directory, 'log');
    fs.writeFileSync(place, Buffer.alloc(20_000, 'a line\n'));
    handle = await open(place, 'r');
  });
  afterEach(async () => {
    calls.readSync = readSync;
    calls.fstatSync = fstatSync;
    await handle.close();
    fs.rmSync(directory, { recursive: true });
  });

  type Looked = ReturnType<typeof lookAtEdges>;
  /**
   * A look at the file, where `write` happens right before each reading of some of it, and `change` before each stat.
   */
  type Look = (write: () => void, change?: () => void) => Promise<Looked>;
  const ways: readonly (readonly [string, Look])[] = [
    [
      'by a thread of its own',
      (write, change = () => undefined) => {
        const found = fs.fstatSync(handle.fd, { bigint: true });
        calls.fstatSync = ((...words: Parameters<typeof fstatSync>) => {
          change();
          return fstatSync(...words);
        }) as typeof fstatSync;
        calls.readSync = ((...words: Parameters<typeof readSync>) => {
          write();
          return readSync(...words);
        }) as typeof readSync;
        return Promise.resolve(lookAtEdges(handle.fd, found));
      },
    ],
    [
      'without a thread',
      async (write, change = () => undefined) => {
        const found = await handle.stat({ bigint: true });
        const read = handle.read.bind(handle) as (...words: unknown[]) => unknown;
        const stat = handle.stat.bind(handle) as (...words: unknown[]) => unknown;
        Object.assign(handle, {
          read: (...words: unknown[]) => (write(), read(...words)),
          stat: (...words: unknown[]) => (change(), stat(...words)),
        });
        return lookAtEdgesOfHandle(handle, found);
      },
    ],
  ];
  for (const [how, look] of ways) {
    it(`are those of what was there at one moment where it is only appended to, read ${how}`, async () => {
      const { stats, edges } = await look(() => fs.appendFileSync(place, 'one more line\n'));
      expect(stats.size > 20_000n).to.equal(true);
      expect(edges).to.equal(edgesIn(fs.readFileSync(place).subarray(0, Number(stats.size))));
    });

    it(`are those of all of what was written in its place, read ${how}`, async () => {
      let writes = 0;
      const content = Buffer.alloc(30_000, 'b line\n');
      const { stats, edges } = await look(() => writes++ === 0 && fs.writeFileSync(place, content));
      expect(stats.size).to.equal(30_000n);
      expect(edges).to.equal(edgesIn(content));
    });

    it(`are not those of its beginning where it is written anew with the same ends, read ${how}`, async () => {
      const whole = fs.readFileSync(place);
      const half = whole.subarray(0, 10_000);
      // The second look finds the half, sees that it is written to, and then the ends of the whole again.
      const written = new Map([
        ['read 1', whole],
        ['stat 3', half],
        ['read 4', half],
        ['read 5', whole],
      ]);
      const counts = { read: 0, stat: 0 };
      const write = (before: keyof typeof counts): void => {
        const content = written.get(`${before} ${String(++counts[before])}`);
        if (content) fs.writeFileSync(place, content);
      };
      const { stats: looked, edges } = await look(
        () => write('read'),
        () => write('stat'),
      );
      expect(looked.size).to.equal(20_000n);
      expect(edges).to.equal(edgesIn(whole));
    });

    it(`are not known where it is rewritten all the time, read ${how}`, async () => {
      let writes = 0;
      const { edges } = await look(() => {
        writes++;
        fs.writeFileSync(place, Buffer.alloc(30_000 + writes, `line ${String(writes)}\n`));
      });
      expect(edges).to.equal(undefined);
      expect(writes).to.be.below(20);
    });
  }
});
