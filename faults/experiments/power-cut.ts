import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Commands, isBackup, type Receiver, type Wire } from '../commands';
import { type Cut, CutBench, type CutDisk } from '../cut-disk';
import type { Experiment, Outcome, Surroundings } from '../experiment';
import { type Loans, withLoans } from '../loans';
import { brokenFiles, brokenSnapshots, type Expected, Promised } from '../promised';
import type { Random } from '../random';
import { type Contents, makeTree } from '../trees';
import { type FileSystem, fileSystems, missingForVolumes, syncVolume } from '../volume';

/** What is sent while the power goes. */
interface Case {
  readonly wire: Wire;
  readonly shape: 'file' | 'tree' | 'small files';
  /** Whether other versions follow: of every file where they replace, of every third file in a backup. */
  readonly again: boolean;
}

/** What is left, what must be in it, and when it was cut. */
interface Remains {
  readonly cut: Cut;
  readonly expected: Expected;
  readonly when: string;
}

/** What is sent once more, and what may stand then. */
interface GoingOn {
  readonly source: string;
  readonly versions: readonly Contents[];
}

/** One version on its way. */
interface Sending {
  readonly source: string;
  readonly receiver: Receiver | undefined;
  readonly round: number;
}

interface Looking {
  readonly chosen: Case;
  /** Which try it was, in words. */
  readonly what: string;
  readonly goOn: GoingOn | undefined;
}

const cases: readonly Case[] = [
  { wire: 'plain', shape: 'small files', again: false },
  { wire: 'session', shape: 'small files', again: false },
  { wire: 'local backup', shape: 'tree', again: true },
  { wire: 'session', shape: 'tree', again: true },
  { wire: 'plain', shape: 'tree', again: true },
  { wire: 'backup', shape: 'tree', again: true },
  { wire: 'session', shape: 'file', again: false },
  { wire: 'plain', shape: 'file', again: true },
];
const cutsInLongDose = 120;
/** Cuts while one version is sent; one more comes when it has all its receipts. */
const cutsOnTheWay = 3;
const longestWait = 500; // ms
const receiptsAwaited = 40;
const limit = '12M';
const mostSentences = 3;
/** What is staged, and nobody needs any more. */
const leftover = /^\.sendall\/(snapshots\/[^/]+\/)?(tree|stage|partial)\//;

class PowerCut {
  readonly broken: string[] = [];
  readonly levels = { device: 0, cache: 0 };
  tries = 0;
  resumed = 0;
  private readonly bench: CutBench;
  private readonly commands: Commands;
  private number = 0;

  constructor(
    private readonly surroundings: Surroundings,
    loans: Loans,
  ) {
    loans.take(() => rmSync(surroundings.directory, { recursive: true, force: true }));
    this.bench = new CutBench(surroundings.directory, loans);
    this.commands = new Commands(surroundings, loans);
  }

  /** One disk, on which all versions arrive one after another, and what is left of it after each cut. */
  async attempt(chosen: Case, kind: FileSystem, goOn: boolean): Promise<void> {
    const { random } = this.surroundings;
    const number = ++this.number;
    const source = join(this.surroundings.directory, `source-${number}`);
    const disk = this.bench.disk(kind);
    const promised = new Promised();
    try {
      mkdirSync(join(disk.place, 'in'));
      syncVolume(disk.place);
      const remains = await this.receiving(chosen, disk, promised, source);
      const again = goOn ? random.oneOf(remains) : undefined;
      const { versions } = promised.now();
      for (const each of remains) {
        const what = `attempt ${number}, ${kind}, ${describe(chosen)}`;
        await this.lookAt(each, { chosen, what, goOn: each === again ? { source, versions } : undefined });
      }
      this.levels.device += promised.levels.device;
      this.levels.cache += promised.levels.cache;
    } finally {
      disk.close();
      rmSync(source, { recursive: true });
    }
  }

  private async receiving(chosen: Case, disk: CutDisk, promised: Promised, source: string): Promise<Remains[]> {
    const { random } = this.surroundings;
    const receiver = await this.receiver(chosen, disk, promised);
    const remains: Remains[] = [];
    const sizes = sizesOf(chosen, random);
    let version: Contents = new Map();
    try {
      for (let round = 0; round < (chosen.again ? 2 : 1); round++) {
        const names = Object.keys(sizes).filter((_, at) => round === 0 || !isBackup(chosen.wire) || at % 3 === 0);
        version = new Map([
          ...version,
          ...makeTree(source, Object.fromEntries(names.map((name) => [name, sizes[name] ?? 0])), random),
        ]);
        promised.offer(version);
        remains.push(...(await this.sendAndCut(chosen, disk, promised, { source, receiver, round })));
      }
    } finally {
      await receiver?.end();
    }
    return remains;
  }

  private async sendAndCut(
    chosen: Case,
    disk: CutDisk,
    promised: Promised,
    { source, receiver, round }: Sending,
  ): Promise<Remains[]> {
    const { random } = this.surroundings;
    const started = { cwd: disk.place, words: ['--limit', limit], heard: promised.heard };
    const { sender, receipts } = this.commands.send(chosen.wire, sourceOf(chosen, source), receiver, started);
    const remains: Remains[] = [];
    // What was heard until here was said before the copy begins.
    const cut = (when: string): number =>
      remains.push({ expected: promised.now(), cut: disk.cut(), when: `version ${round}, ${when}` });
    let over = false;
    const ended = sender.ended.finally(() => (over = true));
    for (let at = 0; at < cutsOnTheWay; at++) {
      if (random.next() < 0.5) {
        const enough = receipts.count + random.between(1, receiptsAwaited);
        while (!over && receipts.count < enough) await receipts.next();
      } else await Promise.race([ended, sleep(random.between(1, longestWait))]);
      if (over) break;
      cut(`after ${receipts.count} receipts`);
    }
    const { code, stderr } = await ended;
    cut('after the last receipt');
    if (code !== 0) this.broken.push(`${describe(chosen)}: the sender ended with ${code}: ${stderr.slice(-300)}`);
    return remains;
  }

  private async lookAt({ cut, expected, when }: Remains, { chosen, what, goOn }: Looking): Promise<void> {
    this.tries++;
    const note = (sentences: readonly string[]): void => {
      const first = sentences
        .slice(0, mostSentences)
        .map(
          (sentence) =>
            `${sentence} (seed ${this.surroundings.random.seed}, ${what}, ${when}, ${sentences.length} in all)`,
        );
      this.broken.push(...first);
    };
    const disk = this.bench.mounted(cut);
    try {
      note(await this.brokenIn(chosen, disk, expected));
      if (goOn)
        note(
          await this.goOn(chosen, disk, expected, goOn).catch((error: unknown) => [
            `After the cut it does not go on: ${String(error)}`,
          ]),
        );
    } finally {
      disk.close();
    }
  }

  private async brokenIn({ wire }: Case, disk: CutDisk, expected: Expected): Promise<string[]> {
    const place = join(disk.place, 'in');
    return isBackup(wire) ? brokenSnapshots(expected, place, this.surroundings.build) : brokenFiles(expected, place);
  }

  /** With the power back, the same command must come to its end, and leave nothing behind. */
  private async goOn(
    chosen: Case,
    disk: CutDisk,
    { receipts, snapshots }: Expected,
    { source, versions }: GoingOn,
  ): Promise<string[]> {
    this.resumed++;
    const promised = new Promised();
    for (const version of versions) promised.offer(version);
    const receiver = await this.receiver(chosen, disk, promised);
    const { sender } = this.commands.send(chosen.wire, sourceOf(chosen, source), receiver, {
      cwd: disk.place,
      heard: promised.heard,
    });
    const { code, stderr } = await sender.ended;
    await receiver?.end('SIGINT');
    const after = promised.now();
    const all = {
      ...after,
      receipts: new Map([...receipts, ...after.receipts]),
      snapshots: new Map([...snapshots, ...after.snapshots]),
    };
    const broken = await this.brokenIn(chosen, disk, all);
    if (code !== 0) broken.push(`After the cut the same command ends with ${code}: ${stderr.slice(-300)}`);
    const left = readdirSync(join(disk.place, 'in'), { recursive: true }).find((name) => leftover.test(String(name)));
    if (left !== undefined) broken.push(`After the cut and the same command again ${String(left)} is left behind.`);
    return broken;
  }

  private async receiver({ wire }: Case, { place }: CutDisk, promised: Promised): Promise<Receiver | undefined> {
    return wire === 'local backup'
      ? undefined
      : this.commands.receive({ cwd: place, words: ['--if-exists', 'replace'], heard: promised.heard });
  }
}

function describe({ wire, shape, again }: Case): string {
  return `${wire}, ${shape}${again ? ', twice' : ''}`;
}

function sourceOf({ shape }: Case, source: string): string {
  return join(source, shape === 'file' ? 'file' : 'tree');
}

/**
 * Names and sizes: small files take another way to the disk than large ones, and those in new directories another than
 * those in old ones.
 */
function sizesOf({ shape }: Case, random: Random): Record<string, number> {
  if (shape === 'file') return { file: random.oneOf([random.between(1, 65_536), random.between(65_537, 8 * 2 ** 20)]) };
  const sizes: Record<string, number> = {};
  for (let at = 0; at < 40; at++) sizes[`tree/${at % 5}/${at % 3}/f${at}`] = at === 0 ? 0 : random.between(1, 30_000);
  if (shape === 'tree')
    for (let at = 0; at < 4; at++) sizes[`tree/${at % 2}/large-${at}`] = random.between(65_537, 2 * 2 ** 20);
  return sizes;
}

async function run(surroundings: Surroundings): Promise<Outcome> {
  const { dose, only = '', random, say } = surroundings;
  return withLoans(async (loans) => {
    const experiment = new PowerCut(surroundings, loans);
    const all = fileSystems.flatMap((kind) =>
      cases.filter((chosen) => describe(chosen).includes(only)).map((chosen) => ({ kind, chosen })),
    );
    if (dose === 'proof') {
      for (const chosen of cases.slice(0, 3))
        if (experiment.broken.length === 0) await experiment.attempt(chosen, random.oneOf(fileSystems), false);
    } else if (dose === 'short') {
      for (const kind of fileSystems) await experiment.attempt(random.oneOf(cases), kind, true);
    } else {
      for (let at = 0; experiment.tries < cutsInLongDose || at % all.length !== 0; at++) {
        const { kind, chosen } = all[at % all.length] ?? random.oneOf(all);
        await experiment.attempt(chosen, kind, true);
        say(`${experiment.tries} cuts`);
      }
    }
    const { tries, broken, levels, resumed } = experiment;
    return {
      tries,
      broken,
      figures: { receipts_of_level_device: levels.device, receipts_of_level_cache: levels.cache, resumed },
    };
  });
}

export const powerCut: Experiment = {
  name: 'power-cut',
  promise:
    'Whatever had a receipt is there and whole after the power went, and nothing under a final name is less than whole.',
  missing: missingForVolumes,
  run,
  sabotages: [
    {
      name: 'directories are not synced',
      edits: [{ file: 'lib/store/local/directory.js', from: 'await this.handle?.sync();', to: '' }],
    },
    {
      name: 'batches of small files are not synced',
      edits: [{ file: 'lib/store/local/batch.worker.js', from: 'system?.syncFileSystem(order.disk);', to: '' }],
    },
  ],
};
