import { expect } from 'chai';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { edgesIn } from '../../lib/scan/edges';
import { Changed, FileReading, type SegmentStep } from '../../lib/send/file-reading';
import { pieceSize } from '../../lib/wire/segment';
import { noise } from '../session/pair';

/** What is imported from it is looked up with each call. */
const calls = require('node:fs') as { readSync: typeof fs.readSync };

describe('the reading of a large file that is written to while it is opened', () => {
  const { readSync } = fs;
  const content = noise(200_000, 1);
  let directory: string;
  let place: string;

  beforeEach(() => {
    directory = fs.mkdtempSync(path.join(tmpdir(), 'sendall-file-reading-'));
    place = path.join(directory, 'log');
    fs.writeFileSync(place, content);
  });
  afterEach(() => {
    calls.readSync = readSync;
    fs.rmSync(directory, { recursive: true });
  });

  /** Reads all of it, where `write` happens right after the first `count` readings of some of it. */
  async function read(count: number, write: () => void): Promise<readonly SegmentStep[]> {
    const { mtimeNs: mtime, ctimeNs: ctime, ino: inode } = fs.statSync(place, { bigint: true });
    let left = count;
    calls.readSync = ((...words: Parameters<typeof readSync>) => {
      const done = readSync(...words);
      if (--left === 0) write();
      return done;
    }) as typeof readSync;
    const reading = await FileReading.open({
      path: place,
      size: content.length,
      mtime,
      ctime,
      inode,
      edges: edgesIn(content),
      sparse: false,
      algorithm: 'sha256',
      held: undefined,
      basis: undefined,
      segmentSize: pieceSize,
    });
    expect(left, 'it was written to').to.be.at.most(0);
    try {
      return (await reading?.next(new Uint8Array(pieceSize), () => false)) ?? [];
    } finally {
      reading?.close();
    }
  }
  const changes = (reading: Promise<unknown>): Promise<boolean> =>
    reading.then(
      () => false,
      (error: unknown) => error instanceof Changed,
    );

  for (const [count, when] of [
    [1, 'one of its edges was'],
    [2, 'both of its edges were'],
  ] as const) {
    it(`is changed where it is rewritten as a longer one after ${when} read`, async () => {
      expect(await changes(read(count, () => fs.writeFileSync(place, noise(300_000, 2))))).to.equal(true);
    });

    it(`is what it was where it is appended to after ${when} read`, async () => {
      const steps = await read(count, () => fs.appendFileSync(place, 'one more line'));
      expect(steps.map(({ kind }) => kind)).to.deep.equal(['bytes', 'end']);
      expect(steps.at(-1)).to.include({ size: content.length, grew: true });
    });
  }
});
