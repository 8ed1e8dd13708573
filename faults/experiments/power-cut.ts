import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SendallProcess } from '../../spec/cli/sendall-process';
import { type Cut, CutBench, type CutDisk } from '../cut-disk';
import type { Experiment, Outcome, Surroundings } from '../experiment';
import { type Loans, withLoans } from '../loans';
import { backupName, brokenFiles, brokenSnapshots, type Expected, Promised } from '../promised';
import type { Random } from '../random';
import { Receipts } from '../receipts';
import { type Contents, makeTree } from '../trees';
import { type FileSystem, fileSystems, missingForVolumes, syncVolume } from '../volume';

/** What is sent while the power goes. */
interface Case {
  readonly wire: 'plain' | 'session' | 'backup' | 'local backup';
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

class PowerCut {
  readonly broken: string[] = [];
  readonly levels = { device: 0, cache: 0 };
  tries = 0;
  resumed = 0;
  private readonly bench: CutBench;
  private number = 0;

  constructor(
    private readonly surroundings: Surroundings,
    private readonly loans: Loans,
  ) {
    loans.take(() => rmSync(surroundings.directory, { recursive: true, force: true }));
    this.bench = new CutBench(surroundings.directory, loans);
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
      const again = random.oneOf(remains);
      for (const each of remains) await this.lookAt(each, `attempt ${number}, ${kind}, ${describe(chosen)}`, goOn && each === again ? { chosen, source } : undefined);
      this.levels.device += promised.levels.device;
      this.levels.cache += promised.levels.cache;
    } finally {
      disk.close();
      rmSync(source, { recursive: true });
    }
  }

  private async receiving(chosen: Case, disk: CutDisk, promised: Promised, source: string): Promise<Remains[]> {
    const { random } = this.surroundings;
    const stop = chosen.wire === 'local backup' ? undefined : await this.receiver(disk.place, promised);
    const remains: Remains[] = [];
    const sizes = sizesOf(chosen, random);
    let version: Contents = new Map();
    try {
      for (let round = 0; round < (chosen.again ? 2 : 1); round++) {
        const names = Object.keys(sizes).filter((_, at) => round === 0 || chosen.wire.startsWith('plain') || chosen.wire === 'session' || at % 3 === 0);
        version = new Map([...version, ...makeTree(source, Object.fromEntries(names.map((name) => [name, sizes[name] ?? 0])), random)]);
        promised.offer(version);
        remains.push(...(await this.sendAndCut(chosen, disk, promised, { source, target: stop?.targets[chosen.wire] ?? 'in', round })));
      }
    } finally {
      await stop?.end();
    }
    return remains;
  }

  private async sendAndCut(chosen: Case, disk: CutDisk, promised: Promised, sending: { readonly source: string; readonly target: string; readonly round: number }): Promise<Remains[]> {
    const { random } = this.surroundings;
    const { round } = sending;
    const sender = this.start(wordsOf(chosen, sending), disk.place);
    const receipts = new Receipts(sender, promised.heard);
    const remains: Remains[] = [];
    // What was heard until here was said before the copy begins.
    const cut = (when: string): number => remains.push({ expected: promised.now(), cut: disk.cut(), when: `version ${round}, ${when}` });
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

  private async lookAt({ cut, expected, when }: Remains, what: string, goOn: { readonly chosen: Case; readonly source: string } | undefined): Promise<void> {
    this.tries++;
    const note = (sentences: readonly string[]): void => void this.broken.push(...sentences.map((sentence) => `${sentence} (seed ${this.surroundings.random.seed}, ${what}, ${when})`));
    const disk = this.bench.mounted(cut);
    try {
      note(await this.brokenIn(disk, expected));
      if (goOn) note(await this.goOn(disk, expected, goOn).catch((error: unknown) => [`After the cut it does not go on: ${String(error)}`]));
    } finally {
      disk.close();
    }
  }

  private async brokenIn(disk: CutDisk, expected: Expected): Promise<string[]> {
    const place = join(disk.place, 'in');
    const backups = readdirSync(place).includes(backupName) || expected.snapshots.size > 0;
    return backups ? brokenSnapshots(expected, place, this.surroundings.build) : brokenFiles(expected, place);
  }

  /** With the power back, the same command must come to its end, and leave nothing behind. */
  private async goOn(disk: CutDisk, { versions, receipts, snapshots }: Expected, { chosen, source }: { readonly chosen: Case; readonly source: string }): Promise<string[]> {
    this.resumed++;
    const promised = new Promised();
    for (const version of versions) promised.offer(version);
    const stop = chosen.wire === 'local backup' ? undefined : await this.receiver(disk.place, promised);
    const sender = this.start(wordsOf(chosen, { source, target: stop?.targets[chosen.wire] ?? 'in' }), disk.place);
    new Receipts(sender, promised.heard);
    const { code, stderr } = await sender.ended;
    await stop?.end('SIGINT');
    const after = promised.now();
    const broken = await this.brokenIn(disk, { ...after, receipts: new Map([...receipts, ...after.receipts]), snapshots: new Map([...snapshots, ...after.snapshots]) });
    if (code !== 0) broken.push(`After the cut the same command ends with ${code}: ${stderr.slice(-300)}`);
    const left = readdirSync(join(disk.place, 'in'), { recursive: true }).map(String).filter((name) => /^\.sendall\/(stage|partial)\/|^\.sendall\/snapshots\/.*\/(tree|stage|partial)\//.test(name));
    if (left.length > 0) broken.push(`After the cut and the same command again ${left[0]} is left behind.`);
    return broken;
  }

  private async receiver(place: string, promised: Promised): Promise<{ readonly targets: Readonly<Record<Case['wire'], string>>; readonly end: (signal?: NodeJS.Signals) => Promise<void> }> {
    const receiver = this.start(['receive', 'in', '--listen', '127.0.0.1:0', '--if-exists', 'replace', '--json'], place);
    new Receipts(receiver, promised.heard);
    const [, port, ticket = ''] = await receiver.says(/"port":(\d+),"ticket":"([^"]+)"/);
    return {
      targets: { plain: `tcp://127.0.0.1:${port}`, session: ticket, backup: ticket, 'local backup': 'in' },
      end: async (signal = 'SIGKILL') => {
        receiver.child.kill(signal);
        await receiver.ended;
      },
    };
  }

  private start(words: readonly string[], cwd: string): SendallProcess {
    const { build, directory } = this.surroundings;
    const started = new SendallProcess(words, { build, cwd, env: { SENDALL_TICKET: '', XDG_CACHE_HOME: join(directory, 'cache') } });
    const kill = this.loans.take(() => started.child.kill('SIGKILL'));
    void started.ended.then(kill);
    return started;
  }
}

function describe({ wire, shape, again }: Case): string {
  return `${wire}, ${shape}${again ? ', twice' : ''}`;
}

/** Names and sizes: small files take another way to the disk than large ones, and those in new directories another than those in old ones. */
function sizesOf({ shape }: Case, random: Random): Record<string, number> {
  if (shape === 'file') return { file: random.oneOf([random.between(1, 65_536), random.between(65_537, 8 * 2 ** 20)]) };
  const sizes: Record<string, number> = {};
  for (let at = 0; at < 40; at++) sizes[`tree/${at % 5}/${at % 3}/f${at}`] = at === 0 ? 0 : random.between(1, 30_000);
  if (shape === 'tree') for (let at = 0; at < 4; at++) sizes[`tree/${at % 2}/large-${at}`] = random.between(65_537, 2 * 2 ** 20);
  return sizes;
}

function wordsOf({ wire, shape }: Case, { source, target }: { readonly source: string; readonly target: string }): string[] {
  const what = [join(source, shape === 'file' ? 'file' : 'tree'), target, '--limit', limit, '--json'];
  switch (wire) {
    case 'plain':
      return ['send', ...what];
    case 'session':
      return ['send', ...what, '--digest', 'sha256'];
    case 'backup':
    case 'local backup':
      return ['backup', ...what, '--name', backupName];
  }
}

async function run(surroundings: Surroundings): Promise<Outcome> {
  const { dose, random, say } = surroundings;
  return withLoans(async (loans) => {
    const experiment = new PowerCut(surroundings, loans);
    const all = fileSystems.flatMap((kind) => cases.map((chosen) => ({ kind, chosen })));
    if (dose === 'proof') {
      for (const chosen of cases.slice(0, 3)) if (experiment.broken.length === 0) await experiment.attempt(chosen, random.oneOf(fileSystems), false);
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
    return { tries, broken, figures: { receipts_of_level_device: levels.device, receipts_of_level_cache: levels.cache, resumed } };
  });
}

export const powerCut: Experiment = {
  name: 'power-cut',
  promise: 'Whatever had a receipt is there and whole after the power went, and nothing under a final name is less than whole.',
  missing: missingForVolumes,
  run,
  sabotages: [
    { name: 'directories are not synced', edits: [{ file: 'lib/store/directory.js', from: 'await this.handle?.sync();', to: '' }] },
    {
      name: 'small files go through the page cache and are not synced',
      edits: [
        { file: 'lib/store/small-file-lane.js', from: 'await step(({ fd }) => (0, node_fs_1.fsyncSync)(fd));', to: '' },
        { file: 'lib/store/small-file-lane.js', from: '(direct ? O_DIRECT : 0)', to: '0' },
      ],
    },
    { name: 'groups of small files are not synced', edits: [{ file: 'lib/store/group-commit-lane.js', from: 'calls.syncFileSystem(setup.staging);', to: '' }] },
  ],
};
