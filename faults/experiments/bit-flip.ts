import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Commands } from '../commands';
import type { Experiment, Outcome, Surroundings } from '../experiment';
import { flipBelow, missingForFlips } from '../flips';
import { type Loans, withLoans } from '../loans';
import { Pause } from '../pause';
import { brokenFiles, Promised } from '../promised';
import { contentOf, type Contents, isSame, makeTree } from '../trees';
import { type FileSystem, fileSystems, makeVolume, missingForVolumes, mountVolume, smallestXfs } from '../volume';

/** One way to the disk, each with a reading back of its own. */
interface Case {
  readonly wire: 'plain' | 'session';
  readonly shape: 'small' | 'large' | 'group';
}

const cases: readonly Case[] = [
  { wire: 'session', shape: 'group' },
  { wire: 'session', shape: 'large' },
  { wire: 'plain', shape: 'large' },
  { wire: 'plain', shape: 'small' },
];
const rounds = { proof: 1, short: 1, long: 25 };
const piece = 2 ** 20;
/** Headers, lists and answers of one file, in bytes. */
const overhead = 4000;
const patience = 30_000; // ms

interface Flipped {
  /** The names of the files, and how many segments of each. */
  readonly segments: ReadonlyMap<string, number>;
}

class BitFlip {
  readonly broken: string[] = [];
  tries = 0;
  flips = 0;
  repaired = 0;
  refused = 0;
  private readonly commands: Commands;

  constructor(
    private readonly surroundings: Surroundings,
    private readonly loans: Loans,
  ) {
    loans.take(() => rmSync(surroundings.directory, { recursive: true, force: true }));
    this.commands = new Commands(surroundings, loans);
  }

  async attempt(chosen: Case, kind: FileSystem): Promise<void> {
    const { directory, random } = this.surroundings;
    const at = (name: string): string => join(directory, `${name}-${this.tries}`);
    this.tries++;
    const image = at('image');
    makeVolume(image, kind, smallestXfs);
    const place = at('disk');
    const contents = makeTree(at('source'), this.sizesOf(chosen), random);
    const promised = new Promised();
    promised.offer(contents);
    let unmount = mountVolume(image, place, kind, this.loans);
    try {
      mkdirSync(join(place, 'in'));
      const broken = await this.flipping(chosen, { image, place, source: at('source'), pause: at('pause'), contents, promised });
      // What the page cache still knows is not what the device has.
      unmount();
      unmount = mountVolume(image, place, kind, this.loans);
      broken.push(...brokenFiles(promised.now(), join(place, 'in')));
      this.broken.push(...broken.map((sentence) => `${sentence} (seed ${random.seed}, attempt ${this.tries}, ${kind}, ${chosen.wire}, ${chosen.shape})`));
    } finally {
      unmount();
      for (const name of ['image', 'disk', 'source', 'pause']) rmSync(at(name), { recursive: true, force: true });
    }
  }

  private async flipping({ wire, shape }: Case, setting: { readonly image: string; readonly place: string; readonly source: string; readonly pause: string; readonly contents: Contents; readonly promised: Promised }): Promise<string[]> {
    const { image, place, source, contents, promised } = setting;
    const pause = new Pause(setting.pause);
    const receiver = await this.commands.receive({ cwd: place, env: pause.env, heard: promised.heard });
    const { sender, receipts } = this.commands.send(wire, join(source, 'tree'), receiver, { cwd: source, heard: promised.heard });
    try {
      const staged = await pause.reached(sender.ended);
      if (staged === undefined) return ['Nothing was read back.'];
      const flipped = shape === 'group' ? await this.flipGroup(image, staged, contents) : await this.flipOne(image, staged, contents);
      pause.go();
      const { code, stderr } = await sender.ended;
      if (wire === 'plain') {
        this.refused++;
        return code === 4 && receipts.failures.some((failure) => failure.code === 'mismatch') ? [] : [`A flipped bit was not refused as a mismatch: the sender ended with ${code}: ${stderr.slice(-300)}`];
      }
      const found = [...flipped.segments].flatMap(([name, segments]) => this.repairOf(name, segments, contents, receipts.files.find(({ file_name: fileName }) => fileName === name)));
      return code === 0 ? found : [...found, `The sender ended with ${code}: ${stderr.slice(-300)}`];
    } finally {
      await receiver.end();
    }
  }

  /** What is wrong with the receipt of a file of which so many segments were damaged. */
  private repairOf(name: string, segments: number, contents: Contents, receipt: { readonly repaired?: number; readonly bytes_on_wire: number } | undefined): string[] {
    if (!receipt) return [`${name}, of which bits were flipped, has no receipt.`];
    const { repaired = 0, bytes_on_wire: sent } = receipt;
    const { size = 0 } = contents.get(name) ?? {};
    const most = size + Math.min(size, segments * piece) + overhead + size / 1000;
    this.repaired += repaired;
    if (repaired !== segments) return [`${segments} segments of ${name} were damaged, and ${repaired} repaired.`];
    return sent <= most ? [] : [`${sent} bytes were sent for ${name} of ${size} bytes, ${segments} segments of which were damaged.`];
  }

  /** Flips a bit in one to three of the segments of the file at `staged`, once all of it is there. */
  private async flipOne(image: string, staged: string, contents: Contents): Promise<Flipped> {
    const { random } = this.surroundings;
    const [[name, content] = []] = contents;
    if (name === undefined || content === undefined) throw new Error('There is nothing to flip.');
    await eventually(() => isSame(contentOf(readFileSync(staged).subarray(0, content.size)), content));
    const count = Math.ceil(content.size / piece);
    const segments = new Set(Array.from({ length: random.between(1, 3) }, () => random.between(0, count - 1)));
    for (const segment of segments) this.flip(image, staged, segment * piece + random.between(0, Math.min(piece, content.size - segment * piece) - 1));
    return { segments: new Map([[name, segments.size]]) };
  }

  /** Flips a bit in some files of a group, of which `staged` is about to be read back first. */
  private async flipGroup(image: string, staged: string, contents: Contents): Promise<Flipped> {
    const { random } = this.surroundings;
    const tree = staged.slice(0, staged.indexOf('/tree/') + '/tree/'.length);
    const there = [...contents].filter(([name, { size }]) => size > 0 && existsSync(join(tree, name)));
    const chosen = new Map(Array.from({ length: random.between(1, 5) }, () => random.oneOf(there)));
    for (const [name, { size }] of chosen) this.flip(image, join(tree, name), random.between(0, size - 1));
    return { segments: new Map([...chosen.keys()].map((name) => [name, 1])) };
  }

  private flip(image: string, file: string, offset: number): void {
    // The page cache has it as it should be, and keeps it.
    readFileSync(file);
    flipBelow(image, file, offset, this.surroundings.random.between(0, 7));
    this.flips++;
  }

  private sizesOf({ shape }: Case): Record<string, number> {
    const { random } = this.surroundings;
    switch (shape) {
      case 'small':
        return { 'tree/f': random.between(1, 65_536) };
      case 'large':
        return { 'tree/f': random.between(65_537, 12 * piece) };
      case 'group':
        return Object.fromEntries(Array.from({ length: 30 }, (_, at) => [`tree/${at % 4}/f${at}`, random.between(1, 30_000)]));
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
        for (const kind of kinds) if (dose !== 'proof' || experiment.broken.length === 0) await experiment.attempt(chosen, kind);
      }
      if (dose === 'long') say(`${experiment.flips} bits flipped`);
    }
    const { tries, broken, flips, repaired, refused } = experiment;
    return { tries, broken, figures: { flips, repaired_segments: repaired, refused_files: refused } };
  });
}

export const bitFlip: Experiment = {
  name: 'bit-flip',
  promise: 'A bit that flips on the device between writing and reading back gets no receipt; in a session only its segment is sent again.',
  missing: () => missingForVolumes() ?? missingForFlips(),
  run,
  sabotages: [
    { name: 'groups of small files are read back through the page cache', edits: [{ file: 'lib/store/group-lane.js', from: 'O_RDONLY | O_NOFOLLOW | (setup.direct ? O_DIRECT : 0)', to: 'O_RDONLY | O_NOFOLLOW' }] },
    { name: 'what is read back of a file in segments is not compared', edits: [{ file: 'lib/store/partial-bytes.js', from: 'if (different !== undefined)', to: 'if (false)' }] },
    { name: 'what is read back of a file on the plain wire is not compared', edits: [{ file: 'lib/store/staged-bytes.js', from: 'if (different !== undefined)', to: 'if (false)' }] },
  ],
};
