import type { BigIntStats } from 'node:fs';
import { TransferError } from '../../errors';
import { type EntryName, parseEntryName, printable } from '../../name';
import type { Damage, Digests, Listener, Summary, TransferEvent } from '../../progress';
import { Allowance } from '../../store/limited';
import { sendWithin } from '../in-process';
import { DialingConnector } from '../../send/connector';
import { newSession } from '../../session/opening';
import type { SessionSource } from '../../send/finding';
import { SessionTransfer } from '../../send/transfer';
import { unreadable } from '../../scan/source';
import type { FoundFile } from '../../scan/tree-scan';
import { parseTicket } from '../../net/ticket';
import { type Located, openLocated } from '../../threads/walker';
import type { VerifyOptions } from '../remote/anywhere';
import { type DamagedEntry, damagedEntries } from './damaged-entries';
import { Catalog } from '../manifest/catalog';
import { repairObjects } from '../object/object-repair';
import { withObjects } from '../object/object-snapshots';
import { mend } from './mending';
import { RepairStage } from './repair-stage';
import { locateSources } from './source-places';
import { verifyRemote } from '../remote/remote-snapshots';
import { verify } from '../verify/verify';
import { carriedTime } from '../../threads/carried-time';

export interface RepairOptions extends VerifyOptions {
  /** The files and directories of this machine that were backed up. */
  readonly sources: readonly string[];
}

/** What a repair came to. */
export interface Repaired {
  /** How many damaged names were whole again in the end. */
  readonly repaired: number;
  /** Everything that crossed the wire for them, in bytes. */
  readonly bytes_on_wire: number;
}

/** What is damaged, and what of it the manifests know. */
interface FoundDamage {
  readonly damages: readonly Damage[];
  /** Those among them that are none any more. */
  readonly mended: ReadonlySet<Damage>;
  /** Of the others. */
  readonly entries: readonly DamagedEntry[];
}

/**
 * Verifies snapshots as `verify` does, mends what their manifests alone make right again, and brings what else is
 * damaged in them from the source, where that still has it: only the pieces that are damaged. Every snapshot that
 * shares the damage is healed. What is whole again is told as `repaired`. What is foreign stays as it is. Resolves when
 * nothing is damaged or foreign any more; rejects with `mismatch` where something is, with `usage` where content is
 * damaged and there is no source, and like `verify`.
 */
export async function repair(options: RepairOptions): Promise<Repaired> {
  if (options.objects) return repairInObjects(options, options.objects);
  const { on = () => undefined, sources } = options;
  const { damages, mended, entries } = await find(options);
  if (sources.length === 0 && entries.length > 0)
    throw new TransferError('usage', 'Nothing says where on this machine the files are whose content is damaged.', {
      hint: 'Name what was backed up with --source PATH.',
    });
  const wanted = new Map<string, DamagedEntry>();
  for (const entry of entries) if (!wanted.has(keyOf(entry))) wanted.set(keyOf(entry), entry);
  const brought = new Set<string>();
  let bytesOnWire = 0;
  for (const [name, some] of byBackup([...wanted.values()])) {
    const tell = (event: TransferEvent): void => {
      if (event.event === 'sent') brought.add(`${name}/${event.file_name}`);
      else if (event.event !== 'summary') on(event);
    };
    bytesOnWire += (await bring(options, name, some, tell)).bytes_on_wire;
  }
  const files = new Set(
    entries.filter((each) => brought.has(nameInSession(wanted.get(keyOf(each)) ?? each, true))).map(damagedName),
  );
  // With a file the directories above it are put right.
  const above = new Set([...files].flatMap(directoriesAbove));
  const damaged = damages.filter(({ reason }) => reason !== 'foreign');
  const left = damaged.filter((each) => !mended.has(each));
  const whole = left.filter((each) => files.has(damagedName(each)) || above.has(damagedName(each)));
  for (const { snapshot, path: name } of whole) on({ event: 'repaired', snapshot, path: name });
  const [lost, foreign] = [left.length - whole.length, damages.length - damaged.length];
  if (lost > 0) throw notRepaired(lost, damaged.length);
  if (foreign > 0) throw foreignIsLeft(foreign);
  return { repaired: damaged.length, bytes_on_wire: bytesOnWire };
}

async function repairInObjects(
  { name, snapshot, sample, sources, on, signal = new AbortController().signal }: RepairOptions,
  objects: NonNullable<RepairOptions['objects']>,
): Promise<Repaired> {
  const options = { name, snapshot, sample, sources, on, signal };
  const { damages, repaired, bytes } = await withObjects({ ...objects, signal }, (catalog) =>
    repairObjects(catalog, options),
  );
  if (repaired < damages) throw notRepaired(damages - repaired, damages);
  return { repaired, bytes_on_wire: bytes };
}

function notRepaired(lost: number, damaged: number): TransferError {
  return new TransferError('mismatch', `${String(lost)} of ${String(damaged)} damaged things could not be repaired.`, {
    hint: 'Content can be brought only from a source on this machine that still is what it was. Other snapshots may have what you need.',
  });
}

/** The failure where nothing is damaged any more, and foreign files are left, which we do not remove. */
function foreignIsLeft(count: number): TransferError {
  const what = count === 1 ? '1 thing is there that was' : `${String(count)} things are there that were`;
  return new TransferError('mismatch', `Nothing is damaged any more; ${what} not backed up.`, {
    hint: 'Look at it, and move it away: nothing of the snapshot is lost by that. Then repair once more.',
  });
}

async function find({ directory, target, signal, deadlines, ...options }: RepairOptions): Promise<FoundDamage> {
  const stop = signal ? { signal } : {};
  if (target !== undefined) {
    const { damages, mended, entries } = await verifyRemote({ target, deadlines, ...stop }, options, true);
    return { damages, mended: new Set(mended), entries };
  }
  if (directory === undefined)
    throw new TransferError('usage', 'Either a ticket or a directory with snapshots is needed.');
  const damages: Damage[] = [];
  const note: Listener = (event) => {
    if (event.event === 'damaged') damages.push(event);
    options.on?.(event);
  };
  try {
    await verify({ ...options, directory, on: note, ...stop });
  } catch (error) {
    if (!(error instanceof TransferError) || error.code !== 'mismatch') throw error;
  }
  const mended = new Set(await mend(directory, damages, signal));
  for (const { snapshot, path: name } of mended) options.on?.({ event: 'repaired', snapshot, path: name });
  const left = damages.filter((damage) => !mended.has(damage));
  return { damages, mended, entries: await damagedEntries(new Catalog(directory), left) };
}

/** A session for the files of one backup. Rejects with what ended it. */
async function bring(
  { directory, target = '', sources, signal, deadlines }: RepairOptions,
  name: EntryName,
  wanted: readonly DamagedEntry[],
  on: Listener,
): Promise<Pick<Summary, 'bytes_on_wire'>> {
  const algorithm = wanted[0]?.algorithm ?? 'sha256';
  const source = sourceOf(wanted, sources);
  if (directory !== undefined) {
    const request = {
      name,
      repairs: true,
      checksum: false,
      algorithm,
      destination: { directory, allowance: new Allowance({}) },
      peer: 'local',
      mayCompare: true,
      session: newSession(),
    };
    const stage = await RepairStage.open(request);
    const rules = { peer: 'local', ifExists: 'replace', mayCompare: true, on: () => undefined } as const;
    return (
      await sendWithin({ source, receiver: { destination: stage.destination, rules, stage }, algorithm, on, signal })
    ).summary;
  }
  const connector = new DialingConnector(parseTicket(target), {
    algorithm,
    deadlines,
    backup: { name, repairs: true, checksum: false },
  });
  const transfer = new SessionTransfer({ paths: [], digest: algorithm, on, ...(signal ? { signal } : {}) }, connector, {
    source,
    snapshot: true,
    needsDone: true,
  });
  try {
    await transfer.run();
  } finally {
    await transfer.close();
  }
  const ended = transfer.failures.find(({ fileName }) => fileName === undefined);
  if (ended) throw ended;
  return transfer.tally.summary(0, null);
}

/** The files of this machine under the names that they have in a repair, each with what vouches for it. */
async function* sourceOf(wanted: readonly DamagedEntry[], sources: readonly string[]): SessionSource {
  for (const each of wanted) yield [await look(each, sources)];
}

async function look(damaged: DamagedEntry, sources: readonly string[]): Promise<FoundFile | TransferError> {
  const { entry } = damaged;
  const name = parseEntryName(nameInSession(damaged, false), { allowHidden: true, names: 'any' });
  let why = 'it is in none of the sources';
  for (const located of locateSources(entry.name, sources)) {
    // Where several backups had something of that name, it may be in another one.
    const stats = await statOf(located, name);
    if (stats instanceof TransferError) why = stats.message;
    else if (!stats.isFile()) why = 'it is no regular file';
    else if (Number(stats.size) !== entry.size)
      why = `it has ${String(stats.size)} bytes, and had ${String(entry.size)}`;
    else return foundAt(located, name, stats, damaged);
  }
  return new TransferError('source-unreadable', `${printable(entry.name)} is not on this machine as it was: ${why}.`, {
    fileName: name,
  });
}

function foundAt(located: Located, name: EntryName, stats: BigIntStats, { entry, algorithm }: DamagedEntry): FoundFile {
  const digest = entry.digests[algorithm] ?? '';
  return {
    type: 'file',
    ...located,
    name,
    size: entry.size,
    mode: entry.mode,
    mtime: carriedTime(stats.mtimeNs),
    ctime: stats.ctimeNs,
    sparse: Number(stats.blocks) * 512 < entry.size,
    inode: stats.ino,
    vouched: { digest, mtime: entry.mtime },
  };
}

async function statOf(located: Located, name: string): Promise<BigIntStats | TransferError> {
  try {
    const file = await openLocated(located);
    return await file.stat({ bigint: true }).finally(() => file.close());
  } catch (error) {
    return unreadable(name, error);
  }
}

function damagedName({ snapshot, path: damaged }: Pick<Damage, 'snapshot' | 'path'>): string {
  return `${snapshot}/${damaged}`;
}

function directoriesAbove(name: string): string[] {
  const components = name.split('/');
  return components.slice(1).map((_, at) => components.slice(0, at + 1).join('/'));
}

/** What is the same in all snapshots of a backup, and is brought once. */
function keyOf({ snapshot, entry, algorithm }: DamagedEntry): string {
  return [snapshot.split('/')[0], algorithm, entry.digests[algorithm], entry.size, entry.mode, entry.mtime].join(' ');
}

/** `ID/PATH`, and `NAME/ID/PATH` where the backup is to be named too. */
function nameInSession({ snapshot, entry }: DamagedEntry, withBackup: boolean): string {
  return `${withBackup ? snapshot : (snapshot.split('/')[1] ?? '')}/${entry.name}`;
}

/** What belongs to one backup and has digests of one kind goes into one session. */
function byBackup(wanted: readonly DamagedEntry[]): [EntryName, DamagedEntry[]][] {
  const sessions = new Map<string, [EntryName, DamagedEntry[]]>();
  for (const each of wanted) {
    const name = parseEntryName(each.snapshot.split('/')[0] ?? '');
    const key = `${name} ${each.algorithm satisfies keyof Digests}`;
    const session = sessions.get(key) ?? [name, []];
    session[1].push(each);
    sessions.set(key, session);
  }
  return [...sessions.values()];
}
