import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FileDone } from '../../lib/index';
import { DiskTrials } from '../disk-trials';
import type { Experiment, Outcome, Surroundings } from '../experiment';
import { FlipDisk, missingForFlips, segmentSize } from '../flip-disk';
import { withLoans } from '../loans';
import { Pause } from '../pause';
import { brokenFiles, Promised } from '../promised';
import { contentOf, type Contents, isSame, makeTree } from '../trees';
import { type FileSystem, fileSystems } from '../volume';

/** One way to the disk, each with a reading back of its own. */
interface Case {
  readonly wire: 'plain' | 'session';
  readonly shape: 'small' | 'large' | 'group';
  /** How small files are read back: `ReadWay`. */
  readonly way?: 'ring' | 'drop' | 'single';
}

/** What a try is made of. */
interface Setting {
  readonly disk: FlipDisk;
  readonly source: string;
  readonly pause: Pause;
  readonly contents: Contents;
  readonly promised: Promised;
}

const cases: readonly Case[] = [
  { wire: 'session', shape: 'group', way: 'ring' },
  { wire: 'session', shape: 'group', way: 'drop' },
  { wire: 'session', shape: 'group', way: 'single' },
  { wire: 'session', shape: 'large' },
  { wire: 'plain', shape: 'large' },
  { wire: 'plain', shape: 'small' },
];
const rounds = { proof: 1, short: 1, long: 25 };
/** Headers, lists and answers of one file, in bytes. */
const overhead = 4000;
const patience = 30_000; // ms

class BitFlip extends DiskTrials {
  flips = 0;
  repaired = 0;
  refused = 0;

  async attempt(chosen: Case, kind: FileSystem): Promise<void> {
    const { directory, random } = this.surroundings;
    const place = join(directory, `try-${++this.tries}`);
    const disk = new FlipDisk(place, kind, this.loans);
    try {
      const source = join(place, 'source');
      const contents = makeTree(source, this.sizesOf(chosen), random);
      const promised = new Promised();
      promised.offer(contents);
      const broken = await this.flipping(chosen, {
        disk,
        source,
        pause: new Pause(join(place, 'pause')),
        contents,
        promised,
      });
      disk.remount();
      broken.push(...brokenFiles(promised.now(), join(disk.place, 'in')));
      this.broken.push(
        ...broken.map(
          (sentence) =>
            `${sentence} (seed ${random.seed}, try ${this.tries}, ${kind}, ${chosen.wire}, ${chosen.shape})`,
        ),
      );
    } finally {
      this.flips += disk.flips;
      disk.close();
    }
  }

  private async flipping({ wire, shape, way }: Case, setting: Setting): Promise<string[]> {
    const { disk, source, pause, contents, promised } = setting;
    const receiver = await this.commands.receive({
      cwd: disk.place,
      env: { ...pause.env, ...(way && { SENDALL_READ_BACK: way }) },
      heard: promised.heard,
    });
    const { sender, receipts } = this.commands.send(wire, join(source, 'tree'), receiver, {
      cwd: source,
      heard: promised.heard,
    });
    try {
      const staged = await pause.reached(sender.ended);
      if (staged === undefined) return ['Nothing was read back.'];
      const flipped = shape === 'group' ? this.flipSome(staged, setting) : await this.flipOne(staged, setting);
      pause.go();
      const { code, stderr } = await sender.ended;
      if (wire === 'plain') {
        this.refused++;
        const refused = code === 4 && receipts.failures.some((failure) => failure.code === 'mismatch');
        return refused
          ? []
          : [`A flipped bit was not refused as a mismatch: the sender ended with ${code}: ${stderr.slice(-300)}`];
      }
      const receiptOf = (name: string): FileDone | undefined =>
        receipts.files.find(({ file_name: fileName }) => fileName === name);
      const wrong = [...flipped].flatMap(([name, segments]) =>
        this.repairOf(name, segments, contents, receiptOf(name)),
      );
      return code === 0 ? wrong : [...wrong, `The sender ended with ${code}: ${stderr.slice(-300)}`];
    } finally {
      await receiver.end();
    }
  }

  /** What is wrong with the receipt of a file of which so many segments were damaged. */
  private repairOf(name: string, segments: number, contents: Contents, receipt: FileDone | undefined): string[] {
    if (!receipt) return [`${name}, of which bits were flipped, has no receipt.`];
    const { repaired = 0, bytes_on_wire: sent } = receipt;
    const { size = 0 } = contents.get(name) ?? {};
    const most = size + Math.min(size, segments * segmentSize) + overhead;
    this.repaired += repaired;
    if (repaired !== segments) return [`${segments} segments of ${name} were damaged, and ${repaired} repaired.`];
    return sent <= most
      ? []
      : [`${sent} bytes were sent for ${name} of ${size} bytes, ${segments} segments of which were damaged.`];
  }

  /** Damages the file at `staged`, once all of it is there. @returns how many segments of which files. */
  private async flipOne(staged: string, { disk, contents }: Setting): Promise<ReadonlyMap<string, number>> {
    const [[name, content] = []] = contents;
    if (name === undefined || content === undefined) throw new Error('There is nothing to flip.');
    await eventually(() => isSame(contentOf(readFileSync(staged).subarray(0, content.size)), content));
    return new Map([[name, disk.flip(staged, content.size, this.surroundings.random)]]);
  }

  /** Damages some files of a group, of which `staged` is about to be read back first. */
  private flipSome(staged: string, { disk, contents }: Setting): ReadonlyMap<string, number> {
    const { random } = this.surroundings;
    const tree = staged.slice(0, staged.indexOf('/tree/') + '/tree/'.length);
    const there = [...contents].filter(([name]) => existsSync(join(tree, name)));
    const chosen = new Map(Array.from({ length: random.between(1, 5) }, () => random.oneOf(there)));
    return new Map([...chosen].map(([name, { size }]) => [name, disk.flip(join(tree, name), size, random)]));
  }

  private sizesOf({ shape }: Case): Record<string, number> {
    const { random } = this.surroundings;
    switch (shape) {
      case 'small':
        return { 'tree/f': random.between(1, 65_536) };
      case 'large':
        return { 'tree/f': random.between(65_537, 12 * segmentSize) };
      case 'group':
        return Object.fromEntries(
          Array.from({ length: 30 }, (_, at) => [`tree/${at % 4}/f${at}`, random.between(1, 30_000)]),
        );
    }
  }
}

async function eventually(look: () => boolean): Promise<void> {
  for (const began = Date.now(); Date.now() - began < patience; await sleep(10)) if (look()) return;
  throw new Error('What was sent did not get to the staged file.');
}

async function run(surroundings: Surroundings): Promise<Outcome> {
  const { dose, random, say } = surroundings;
  return withLoans(async (loans) => {
    const experiment = new BitFlip(surroundings, loans);
    for (let round = 0; round < rounds[dose]; round++) {
      for (const chosen of cases) {
        const kinds = dose === 'long' ? fileSystems : [random.oneOf(fileSystems)];
        for (const kind of kinds)
          if (dose !== 'proof' || experiment.broken.length === 0) await experiment.attempt(chosen, kind);
      }
      if (dose === 'long') say(`${experiment.flips} bits flipped`);
    }
    const { tries, broken, flips, repaired, refused } = experiment;
    return { tries, broken, figures: { flips, repaired_segments: repaired, refused_files: refused } };
  });
}

export const bitFlip: Experiment = {
  name: 'bit-flip',
  promise:
    'A bit that flips on the device between writing and reading back gets no receipt; in a session only its segment is sent again.',
  missing: missingForFlips,
  run,
  sabotages: [
    {
      name: 'batches of small files are read back through the page cache, by a ring or one by one',
      edits: [
        {
          file: 'lib/store/local/staged-batch.js',
          from: 'if (fd >= 0 && (!reader.direct || calls.readPastCache(fd)))',
          to: 'if (fd >= 0)',
        },
      ],
    },
    {
      name: 'batches of small files are read ahead, and were not dropped from the page cache before',
      edits: [
        { file: 'lib/store/local/many-reader.js', from: 'linux.dropFromCache(fd);', to: 'dropped[at] = 1; continue;' },
      ],
    },
    {
      name: 'what is read back of a large file is not compared',
      edits: [{ file: 'lib/store/local/partial-bytes.js', from: 'if (different !== undefined)', to: 'if (false)' }],
    },
  ],
};
