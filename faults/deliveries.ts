import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { SendallProcess } from '../spec/cli/sendall-process';
import type { Random } from './random';
import { contentOf, differences, overlaid, partsOf, type TreeContent } from './tree-content';

const kib = 1024;
/** More than three segments, and not a whole number of sectors. */
const largeSize = 3 * 1024 * kib + 77;

/** One thing that is sent, and by which way. */
export interface Delivery {
  /** `session tree` */
  readonly name: string;
  /** Without a receiver the target is a directory, and the sender writes into it itself. */
  readonly wire: 'plain' | 'session' | 'none';
  /** What of the source it is. */
  readonly what: 'small' | 'large' | 'tree';
  /** Whether an older version of it stands at the receiver, to be replaced. */
  readonly replaces?: boolean;
  /** A snapshot, of which there is an earlier one. */
  readonly backup?: boolean;
}

export const deliveries: readonly Delivery[] = [
  { name: 'plain small', wire: 'plain', what: 'small' },
  { name: 'plain large', wire: 'plain', what: 'large' },
  { name: 'plain replacing large', wire: 'plain', what: 'large', replaces: true },
  { name: 'session small', wire: 'session', what: 'small' },
  { name: 'session replacing small', wire: 'session', what: 'small', replaces: true },
  { name: 'session large', wire: 'session', what: 'large' },
  { name: 'session replacing large', wire: 'session', what: 'large', replaces: true },
  { name: 'session tree', wire: 'session', what: 'tree' },
  { name: 'session replacing tree', wire: 'session', what: 'tree', replaces: true },
  { name: 'backup over a session', wire: 'session', what: 'tree', backup: true },
  { name: 'backup to a directory', wire: 'none', what: 'tree', backup: true },
];

const backupName = 'b';

/**
 * What all deliveries send, in an older and in a newer version, and the receive directories in which they find the
 * older one.
 */
export class Sources {
  private constructor(
    /** Where the newer version is. */
    readonly directory: string,
    private readonly places: string,
    private readonly older: TreeContent,
    private readonly newer: TreeContent,
  ) {}

  /** Makes all of it below `directory`, by the command of `build` where it takes one. @throws Error if that fails. */
  static async make(directory: string, build: string, random: Random): Promise<Sources> {
    const source = join(directory, 'source');
    const places = join(directory, 'places');
    mkdirSync(join(source, 'tree/deep/deeper'), { recursive: true });
    for (const place of ['empty', 'files', 'snapshots']) mkdirSync(join(places, place), { recursive: true });
    const write = (name: string, size: number): void => writeFileSync(join(source, name), random.bytes(size));
    write('small', 5_000);
    write('large', largeSize);
    for (const name of ['a', 'stays', 'deep/b', 'deep/deeper/c', 'deep/deeper/stays', 'goes'])
      write(`tree/${name}`, 3_000 + name.length);
    write('tree/large', 1100 * kib);
    symlinkSync('../a', join(source, 'tree/deep/link'));
    linkSync(join(source, 'tree/deep/b'), join(source, 'tree/same'));
    const older = contentOf(source);
    cpSync(source, join(places, 'files'), { recursive: true, verbatimSymlinks: true });
    const first = new SendallProcess(['backup', 'tree', join(places, 'snapshots'), '--name', backupName], {
      cwd: source,
      build,
    });
    const { code, stderr } = await first.ended;
    if (code !== 0) throw new Error(`The backup before all others failed: ${stderr}`);
    // Over a session nobody but its owner goes on with a backup.
    execFileSync('cp', ['-a', join(places, 'snapshots'), join(places, 'snapshots of the ticket')]);
    const handed = new SendallProcess(
      ['adopt', join(places, 'snapshots of the ticket'), '--name', backupName, '--owner', 'ticket'],
      { cwd: source, build },
    );
    const adopted = await handed.ended;
    if (adopted.code !== 0) throw new Error(`That backup cannot be handed over: ${adopted.stderr}`);
    write('small', 5_001);
    appendFileSync(join(source, 'large'), random.bytes(100_000));
    write('tree/a', 4_000);
    appendFileSync(join(source, 'tree/large'), random.bytes(5_000));
    rmSync(join(source, 'tree/goes'));
    mkdirSync(join(source, 'tree/new/empty'), { recursive: true });
    for (const name of ['new/d', 'new/e', 'deep/f']) write(`tree/${name}`, 2_000);
    return new Sources(source, places, older, contentOf(source));
  }

  /** Makes the receive directory as it is before the delivery. */
  place({ wire, replaces = false, backup = false }: Delivery, at: string): void {
    const snapshots = wire === 'none' ? 'snapshots' : 'snapshots of the ticket';
    // Unlike cpSync it keeps hard links and times.
    execFileSync('cp', ['-a', join(this.places, backup ? snapshots : replaces ? 'files' : 'empty'), at]);
  }

  /**
   * A sentence for each name in a receive directory under which something stands that is not whole, or not what it
   * should be.
   */
  broken(delivery: Delivery, at: string): string[] {
    const older = this.ofDelivery(delivery, this.older);
    const newer = this.ofDelivery(delivery, this.newer);
    if (delivery.backup !== true)
      return partsOf(contentOf(at), delivery.replaces === true ? this.older : new Map(), newer);
    const ids = snapshotsIn(at);
    const wrong = ids.flatMap((id, number) => {
      const snapshot = snapshotAt(at, id);
      const told = missingIn(snapshot);
      const content = filesOf(snapshot);
      // A directory whose time could not be set is told of as missing too, and stands there; one that could not be
      // read is missing with all that is below it.
      const isExcused = (name: string): boolean =>
        !content.has(name) && [name, ...parentsOf(name)].some((each) => told.has(each) && !content.has(each));
      const wanted = number === 0 ? older : new Map([...newer].filter(([name]) => !isExcused(name)));
      return [...differences(content, wanted), ...checkSums(snapshot)].map((each) => `${backupName}/${id}: ${each}`);
    });
    const latest = contentOf(join(at, backupName)).get('latest');
    return ids.some((id) => latest === `-> ${id}`) ? wrong : [...wrong, `latest is ${String(latest)}.`];
  }

  /** The same, and for what was not delivered at all. */
  undelivered(delivery: Delivery, at: string): string[] {
    const newer = this.ofDelivery(delivery, this.newer);
    if (delivery.backup === true) {
      const [, ...fresh] = snapshotsIn(at);
      const last = fresh.at(-1);
      return last === undefined ? ['There is no new snapshot.'] : differences(filesOf(snapshotAt(at, last)), newer);
    }
    return differences(contentOf(at), delivery.replaces === true ? overlaid(this.older, newer) : newer);
  }

  /** Whether what was acknowledged under this path, or as this snapshot, is there as it was sent. */
  keeps(delivery: Delivery, at: string, acknowledged: string): boolean {
    if (delivery.backup === true) return snapshotsIn(at).some((id) => acknowledged === `${backupName}/${id}`);
    const content = this.newer.get(acknowledged);
    return content !== undefined && contentOf(at).get(acknowledged) === content;
  }

  private ofDelivery({ what }: Delivery, content: TreeContent): TreeContent {
    return new Map([...content].filter(([name]) => name === what || name.startsWith(`${what}/`)));
  }
}

/** The words of the sender's command. */
export function wordsOfSender({ what, backup = false }: Delivery, target: string): string[] {
  const words = ['--json', '--retry-for', '0s', '--connections', '2'];
  return backup ? ['backup', what, target, '--name', backupName, ...words] : ['send', what, target, ...words];
}

export function wordsOfReceiver({ replaces = false }: Delivery, at: string): string[] {
  return ['receive', at, '--listen', '127.0.0.1:0', '--json', ...(replaces ? ['--if-exists', 'replace'] : [])];
}

/** The ids of the snapshots under final names, the oldest first. */
function snapshotsIn(at: string): string[] {
  return readdirSync(join(at, backupName))
    .filter((id) => id !== 'latest')
    .sort();
}

const snapshotAt = (at: string, id: string): string => join(at, backupName, id);

/** The directories that a relative name lies in, the nearest first. */
function parentsOf(name: string): string[] {
  const parts = name.split('/').slice(0, -1);
  return parts.map((_, index) => parts.slice(0, parts.length - index).join('/'));
}

/** What was backed up, without the lists of it. */
function filesOf(snapshot: string): TreeContent {
  return new Map([...contentOf(snapshot)].filter(([name]) => name !== 'MANIFEST' && name !== 'SHA256SUMS'));
}

/** The names of which the manifest tells that they are missing. */
function missingIn(snapshot: string): ReadonlySet<string> {
  const lines = readFileSync(join(snapshot, 'MANIFEST'), 'utf8').trimEnd().split('\n');
  const entries = lines.map((line) => JSON.parse(line) as { readonly type?: string; readonly name: string });
  return new Set(entries.filter(({ type }) => type === 'missing').map(({ name }) => name));
}

function checkSums(snapshot: string): string[] {
  try {
    execFileSync('sha256sum', ['--strict', '--quiet', '-c', 'SHA256SUMS'], { cwd: snapshot, stdio: 'pipe' });
    return [];
  } catch (error) {
    return [`sha256sum -c: ${error instanceof Error ? error.message : String(error)}`];
  }
}
