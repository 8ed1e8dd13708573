import { rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type Ended, eventsOf } from '../../spec/cli/sendall-process';
import type { Receiver } from '../commands';
import { DiskTrials } from '../disk-trials';
import type { Experiment, Outcome, Surroundings } from '../experiment';
import { FlipDisk, missingForFlips, segmentSize } from '../flip-disk';
import { withLoans } from '../loans';
import type { Receipts } from '../receipts';
import { type Contents, isSame, makeTree, readTree } from '../trees';
import { type FileSystem, fileSystems } from '../volume';

/** How rot is found: in snapshots by verifying them, in received files by sending them again. */
type Way = 'snapshots' | 'session' | 'plain';

const ways: readonly Way[] = ['snapshots', 'session', 'plain'];
const rounds = { proof: 1, short: 1, long: 25 };
const smallFiles = 20;
const largeFiles = 3;
/** Headers, lists and answers of one file, in bytes. */
const overhead = 4000;

interface Setting {
  readonly disk: FlipDisk;
  readonly source: string;
  /** Small and large files, in the order of their numbers. */
  readonly sizes: Readonly<Record<string, number>>;
  readonly contents: Contents;
}

interface Sent {
  readonly ended: Ended;
  readonly receipts: Receipts;
}

class BitRot extends DiskTrials {
  flips = 0;
  damaged = 0;
  found = 0;

  async attempt(way: Way, kind: FileSystem): Promise<void> {
    const { directory, random } = this.surroundings;
    const place = join(directory, `try-${++this.tries}`);
    const disk = new FlipDisk(place, kind, this.loans);
    try {
      const source = join(place, 'source');
      const sizes = this.sizes();
      const setting = { disk, source, sizes, contents: makeTree(source, sizes, random) };
      const broken = await (way === 'snapshots' ? this.snapshots(setting) : this.received(way, setting));
      this.broken.push(
        ...broken.map((sentence) => `${sentence} (seed ${random.seed}, try ${this.tries}, ${kind}, ${way})`),
      );
    } finally {
      this.flips += disk.flips;
      disk.close();
    }
  }

  /**
   * Two snapshots that share files; what rots must be named in each that has it, and comes back where it was removed.
   */
  private async snapshots(setting: Setting): Promise<string[]> {
    const { disk, source, sizes, contents } = setting;
    const first = await this.backup(setting);
    const changed = Object.entries(sizes).filter((_, at) => at % 3 === 0);
    const newest = new Map([...contents, ...makeTree(source, Object.fromEntries(changed), this.surroundings.random)]);
    const second = await this.backup(setting);
    const at = (id: string, name: string): string => join(disk.place, 'in', id, name);
    const damaged = this.damage(setting, (name) => at(second.id, name));
    const having = (name: string): string[] =>
      [first.id, second.id].filter((id) => statSync(at(id, name)).ino === statSync(at(second.id, name)).ino);
    const expected = [...damaged.keys()].flatMap((name) => having(name).map((id) => `${id}/${name}`));
    const broken = await this.verify(setting, expected);
    for (const name of damaged.keys()) rmSync(at(second.id, name));
    const { id, sent } = await this.backup(setting);
    disk.remount();
    const standing = readTree(join(disk.place, 'in', id));
    for (const [name, content] of newest)
      if (!isSame(standing.get(name), content))
        broken.push(`After the next backup ${name} is still not as it should be.`);
    const most = [...damaged.keys()].reduce((sum, name) => sum + (sizes[name] ?? 0) + overhead, 0);
    if (sent > most)
      broken.push(
        `${sent} bytes were sent again for ${damaged.size} files of ${most - damaged.size * overhead} bytes.`,
      );
    return broken;
  }

  private async backup({ disk, source }: Setting): Promise<{ readonly id: string; readonly sent: number }> {
    const { sender, receipts } = this.commands.send('local backup', join(source, 'tree'), undefined, {
      cwd: disk.place,
    });
    const { code, stderr } = await sender.ended;
    const made = receipts.snapshots.at(-1);
    if (code !== 0 || !made) throw new Error(`A backup ended with ${code}: ${stderr}`);
    return { id: made.snapshot, sent: receipts.files.reduce((sum, file) => sum + file.bytes_on_wire, 0) };
  }

  private async verify({ disk }: Setting, expected: readonly string[]): Promise<string[]> {
    const events = eventsOf(await this.commands.start(['verify', 'in', '--json'], { cwd: disk.place }).ended);
    const broken: string[] = [];
    const told = events.flatMap((event) => (event.event === 'damaged' ? [`${event.snapshot}/${event.path}`] : []));
    const [summary] = events.flatMap((event) => (event.event === 'summary' ? [event] : []));
    if (summary?.verified !== 'device') broken.push(`The level of the verification was ${summary?.verified}.`);
    for (const path of expected)
      if (!told.includes(path))
        broken.push(`${path} is damaged by a bit, and sendall verify named ${told.join(', ') || 'nothing'}.`);
    for (const path of told)
      if (!expected.includes(path)) broken.push(`${path} is well, and sendall verify calls it damaged.`);
    this.damaged += expected.length;
    this.found += expected.filter((path) => told.includes(path)).length;
    return broken;
  }

  /** Files that were received, and are sent again: what rots is found, and only that is sent. */
  private async received(way: 'session' | 'plain', setting: Setting): Promise<string[]> {
    const { disk, contents } = setting;
    const broken: string[] = [];
    const { ended } = await this.send(way, setting, []);
    if (ended.code !== 0) throw new Error(`A sender ended with ${ended.code}: ${ended.stderr}`);
    const damaged = this.damage(setting, (name) => join(disk.place, 'in', name));
    if (way === 'plain')
      broken.push(...this.refused(damaged, await this.send(way, setting, ['--if-exists', 'refuse'])));
    // Where the page cache has them yet, large files are mended from there: then nothing needs to be sent.
    else disk.remount();
    // A receipt of the same digest for a source that was not touched would do without reading.
    const again = await this.send(
      way,
      setting,
      ['--if-exists', 'replace'],
      way === 'session' ? ['--digest', 'blake3'] : [],
    );
    if (again.ended.code !== 0)
      broken.push(`Sending again ended with ${again.ended.code}: ${again.ended.stderr.slice(-300)}`);
    if (way === 'session') broken.push(...this.repaired(damaged, setting, again.receipts));
    disk.remount();
    const standing = readTree(join(disk.place, 'in'), ['.sendall']);
    for (const [name, content] of contents)
      if (!isSame(standing.get(name), content))
        broken.push(`After it was sent again ${name} is still not as it should be.`);
    return broken;
  }

  private async send(
    way: 'session' | 'plain',
    { disk, source }: Setting,
    receiverWords: readonly string[],
    words: readonly string[] = [],
  ): Promise<Sent> {
    const receiver: Receiver = await this.commands.receive({ cwd: disk.place, words: receiverWords });
    const { sender, receipts } = this.commands.send(way, join(source, 'tree'), receiver, { cwd: source, words });
    const ended = await sender.ended;
    await receiver.end('SIGINT');
    return { ended, receipts };
  }

  /**
   * On the plain wire content that differs from what stands there is refused, where nobody said that it may be
   * replaced.
   */
  private refused(damaged: ReadonlyMap<string, number>, { receipts }: Sent): string[] {
    const told = receipts.failures.filter(({ code }) => code === 'exists').map(({ file_name: name }) => name);
    this.damaged += damaged.size;
    this.found += [...damaged.keys()].filter((name) => told.includes(name)).length;
    return [...damaged.keys()]
      .filter((name) => !told.includes(name))
      .map((name) => `${name} is damaged by a bit, and got a receipt as the same content.`);
  }

  private repaired(damaged: ReadonlyMap<string, number>, { sizes }: Setting, { files }: Receipts): string[] {
    const broken: string[] = [];
    for (const { file_name: name, bytes_on_wire: sent, verified } of files) {
      const segments = damaged.get(name) ?? 0;
      const most = Math.min(sizes[name] ?? 0, segments * segmentSize) + overhead;
      if (segments > 0 && sent === 0) broken.push(`${name} is damaged by a bit, and nothing of it was sent again.`);
      if (sent > most)
        broken.push(`${sent} bytes of ${name} were sent again, of which ${segments} segments were damaged.`);
      if (verified !== 'device') broken.push(`The level of the receipt of ${name} was ${verified}.`);
      if (segments > 0 && sent > 0) this.found++;
    }
    this.damaged += damaged.size;
    return broken;
  }

  /** Flips bits in some of the small and of the large files. @returns how many segments of which. */
  private damage({ disk, sizes, contents }: Setting, at: (name: string) => string): ReadonlyMap<string, number> {
    const { random } = this.surroundings;
    const names = [...contents.keys()];
    const small = (): number => random.between(0, smallFiles - 1);
    const chosen = new Set(
      [small(), small(), smallFiles + random.between(0, largeFiles - 1)].map((number) => names[number] ?? ''),
    );
    return new Map([...chosen].map((name) => [name, disk.flip(at(name), sizes[name] ?? 0, random)]));
  }

  private sizes(): Record<string, number> {
    const { random } = this.surroundings;
    const small = Array.from(
      { length: smallFiles },
      (_, at) => [`tree/${at % 3}/f${at}`, random.between(1, 30_000)] as const,
    );
    const large = Array.from(
      { length: largeFiles },
      (_, at) => [`tree/large-${at}`, random.between(segmentSize + 100_000, 5 * segmentSize)] as const,
    );
    return Object.fromEntries([...small, ...large]);
  }
}

async function run(surroundings: Surroundings): Promise<Outcome> {
  const { dose, random, say } = surroundings;
  return withLoans(async (loans) => {
    const experiment = new BitRot(surroundings, loans);
    for (let round = 0; round < rounds[dose]; round++) {
      for (const way of dose === 'proof' ? ways.filter((each) => each !== 'session') : ways) {
        const kinds = dose === 'long' ? fileSystems : [random.oneOf(fileSystems)];
        for (const kind of kinds)
          if (dose !== 'proof' || experiment.broken.length === 0) await experiment.attempt(way, kind);
      }
      if (dose === 'long') say(`${experiment.flips} bits flipped`);
    }
    const { tries, broken, flips, damaged, found } = experiment;
    return { tries, broken, figures: { flips, damaged_files: damaged, found_files: found } };
  });
}

export const bitRot: Experiment = {
  name: 'bit-rot',
  promise:
    'A bit that flips in what is stored is found, beside the page cache, by verifying or by sending again; only the damaged segments are then sent.',
  missing: missingForFlips,
  run,
  sabotages: [
    {
      name: 'small files are verified through the page cache',
      edits: [{ file: 'lib/snapshot/verify/verify.worker.js', from: '(reader.direct ? O_DIRECT : 0)', to: '0' }],
    },
    {
      name: 'large files are verified through the page cache',
      edits: [{ file: 'lib/snapshot/verify/device-reader.js', from: '(this.direct ? (O_DIRECT ?? 0) : 0)', to: '0' }],
    },
    {
      name: 'what stands there is compared through the page cache',
      edits: [
        {
          file: 'lib/store/local/publish-partial.js',
          from: "this.root.verified === 'device' ? (O_DIRECT ?? 0) : 0",
          to: '0',
        },
      ],
    },
  ],
};
