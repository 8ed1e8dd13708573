import { realpath } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import type { Digests, Listener, Summary } from '../../progress';
import type { SnapshotDone } from '../../wire/snapshot-done';
import { Allowance } from '../../store/limited';
import { sendWithin } from '../in-process';
import { type LeavingOut, leavingOut } from '../../scan/leaving-out';
import { patternsFor } from '../../scan/own-patterns';
import type { LinkDeadlines } from '../../session/link';
import { DialingConnector } from '../../send/connector';
import { refuseAbsentSources } from '../../send/absent-sources';
import { type SendOptions, usualInputName } from '../../send/send-options';
import { newSession } from '../../session/opening';
import type { StageRequest } from '../../receive/snapshot-stage';
import { ObjectStore, type ObjectStoreOptions } from '../../store/object/object-store';
import { SessionTransfer } from '../../send/transfer';
import { BegunFinding, directContent } from '../object/direct-files';
import { Tally } from '../../session/summary';
import { parseTicket } from '../../net/ticket';
import { BackupStage } from './backup-stage';
import { backupNameOf } from '../manifest/catalog';
import { parseSnapshotId, timeOf } from '../manifest/snapshot-id';
import { ignored } from '../../trace';

export interface BackupOptions extends LeavingOut {
  /** Files and directories; `-` is `input`; a named pipe is read, too. */
  readonly paths: readonly string[];
  /** What `-` reads; default standard input. */
  readonly input?: Readable;
  /** What that is called in the snapshot; default `stdin`. */
  readonly inputName?: string;
  /** What the backup is called: one component of a name. */
  readonly name: string;
  /** The ticket of a receiver. Either this or `directory`. */
  readonly target?: string;
  /** A receive directory on this machine. */
  readonly directory?: string;
  /** An object store; instead of both. */
  readonly objects?: ObjectStoreOptions | undefined;
  /** What every file gets, and `SHA256SUMS` and the like are made of; default `sha256`. */
  readonly digest?: keyof Digests;
  /** Reads every file, changed or not, and tells of those that are other than they should be. */
  readonly checksum?: boolean;
  /**
   * Sources may be empty, or have lost most of their entries, since the snapshot before. Else that is told, and the
   * result is `some-failed`.
   */
  readonly allowShrink?: boolean;
  readonly connections?: number | 'auto';
  /** See `SendOptions`; over the network only. */
  readonly compress?: NonNullable<SendOptions['compress']>;
  /** Bytes per second, over all connections. */
  readonly limit?: number;
  /** How long a session that was lost tries to go on, in ms; default five minutes. */
  readonly retryFor?: number;
  readonly on?: Listener;
  readonly signal?: AbortSignal;
  /** @internal Shorter ones of a session's connections, for tests. */
  readonly deadlines?: LinkDeadlines;
}

/** A complete snapshot. */
export interface BackupResult extends Omit<SnapshotDone, 'id' | 'shrunk'> {
  /** `NAME/ID` */
  readonly snapshot: string;
  readonly summary: Summary;
}

/** How sending ended, over the network or in this process. */
interface Sent {
  readonly failures: readonly TransferError[];
  /** How many of them are about files that the snapshot has, and that are other than they were. */
  readonly alarms: number;
  readonly summary: Summary;
  readonly snapshot: SnapshotDone | undefined;
}

const usualDigest = 'sha256';

/**
 * Makes one snapshot. Resolves when it is complete under its final name, with nothing missing; rejects with
 * `some-failed` where it is complete but for what was told as `failed`, with `mismatch` where files are other than they
 * should be (it has them as they are now), and with whatever kept it from being made: then what is there is kept for
 * the next run.
 */
export async function backup(options: BackupOptions): Promise<BackupResult> {
  const name = checkUsage(options);
  await refuseAbsentSources(options.paths, options.on);
  const { on = () => undefined } = options;
  const sent = await (options.objects
    ? toObjects(options, name, options.objects)
    : options.directory === undefined
      ? toReceiver(options, name)
      : toDirectory(options, name, options.directory));
  const { failures, alarms, summary, snapshot } = sent;
  if (!snapshot)
    throw (
      failures.find(({ fileName }) => fileName === undefined) ??
      failures[0] ??
      new TransferError('unexpected', 'The receiver made no snapshot.')
    );
  const { id, shrunk = [], ...counts } = snapshot;
  const { entries, bytes, new_bytes, missing } = counts;
  on({
    event: 'snapshot',
    snapshot: `${name}/${id}`,
    time: timeOf(parseSnapshotId(id)).toISOString(),
    entries,
    bytes,
    new_bytes,
    missing,
    verified_at: null,
  });
  on({ event: 'summary', ...summary });
  for (const each of shrunk) on({ event: 'shrunk', snapshot: `${name}/${id}`, ...each });
  const failure =
    failureOf(failures, alarms, `${name}/${id}`) ?? (shrunk.length > 0 ? shrunkFailure(`${name}/${id}`) : undefined);
  if (failure) throw failure;
  return { snapshot: `${name}/${id}`, ...counts, summary };
}

/** Throws `usage` for what makes no sense, before anything is begun. */
function checkUsage({ paths, inputName, name, target, directory, objects, exclude = [] }: BackupOptions): EntryName {
  const checked = backupNameOf(name);
  if (checked === undefined)
    throw new TransferError('usage', printable(`"${name}" cannot be the name of a backup.`), {
      hint: 'Take one word, for example the name of this machine.',
    });
  if (paths.length === 0) throw new TransferError('usage', 'There is nothing to back up.');
  if (inputName !== undefined && !paths.includes('-'))
    throw new TransferError('usage', 'A name for standard input is given, and that is not backed up.', {
      hint: 'It is called - on the command line.',
    });
  checkNames(paths, inputName);
  for (const pathname of paths) if (pathname !== '-') patternsFor(pathname, exclude);
  if ([target, directory, objects].filter((each) => each !== undefined).length !== 1)
    throw new TransferError('usage', 'Either a ticket, a directory or an object store to back up to is needed.');
  return checked;
}

/** "Two files never take one name": said before anything moves, since no snapshot could have both. */
function checkNames(paths: readonly string[], inputName = usualInputName): void {
  const named = new Map<string, string>();
  for (const pathname of paths) {
    const base = pathname === '-' ? inputName : path.basename(path.resolve(pathname));
    const other = named.get(base);
    if (other !== undefined) {
      throw new TransferError(
        'usage',
        printable(`Both ${other} and ${pathname} would be called "${base}" in the snapshot.`),
        { hint: 'Back up the directory that they are in, or make two backups.' },
      );
    }
    named.set(base, pathname);
  }
}

async function toReceiver(
  {
    name: _,
    target = '',
    digest = usualDigest,
    checksum = false,
    allowShrink = false,
    deadlines,
    ...options
  }: BackupOptions,
  name: EntryName,
): Promise<Sent> {
  const began = performance.now();
  const connector = new DialingConnector(parseTicket(target), {
    algorithm: digest,
    deadlines,
    backup: { name, repairs: false, checksum, allowShrink },
    retryFor: options.retryFor,
  });
  const transfer = new SessionTransfer({ ...options, digest }, connector, { snapshot: true, needsDone: true });
  try {
    await transfer.run();
  } finally {
    await transfer.close();
  }
  const { failures, alarms, tally, bottleneck, snapshot } = transfer;
  return { failures, alarms, snapshot, summary: tally.summary((performance.now() - began) / 1000, bottleneck) };
}

/** Backs up into an object store, within this process. */
async function toObjects(options: BackupOptions, name: EntryName, objects: ObjectStoreOptions): Promise<Sent> {
  const { paths, exclude = [], checksum = false, limit, signal } = options;
  // A session is needed for a rate limit, for alarms and for streams.
  const isDirect = !checksum && limit === undefined && !paths.includes('-');
  // Looking begins before the store has answered.
  const found = isDirect
    ? new BegunFinding({ paths, ...leavingOut(options), ...(signal ? { signal } : {}) })
    : undefined;
  try {
    const store = await ObjectStore.open({ ...objects, signal });
    try {
      const destination = { directory: store.url, store, allowance: new Allowance({}) };
      return await inProcess(options, name, destination, exclude, found);
    } finally {
      await store.close();
    }
  } finally {
    await found?.close();
  }
}

/** Backs up into a receive directory of this machine. */
async function toDirectory(options: BackupOptions, name: EntryName, directory: string): Promise<Sent> {
  const exclude = [...(options.exclude ?? []), ...(await excludeDirectoryItself(options.paths, directory))];
  return inProcess(options, name, { directory, allowance: new Allowance({}) }, exclude);
}

async function inProcess(
  options: BackupOptions,
  name: EntryName,
  destination: StageRequest['destination'],
  exclude: readonly string[],
  found?: BegunFinding,
): Promise<Sent> {
  const {
    paths,
    input,
    inputName,
    digest = usualDigest,
    checksum = false,
    allowShrink = false,
    on,
    signal,
    limit,
  } = options;
  const request = {
    name,
    repairs: false,
    checksum,
    allowShrink,
    algorithm: digest,
    destination,
    peer: 'local',
    mayCompare: true,
    session: newSession(),
  };
  const stage = await BackupStage.open(request, () => undefined);
  const { direct } = stage;
  const leaves = { ...leavingOut(options), exclude };
  try {
    const rules = { peer: 'local', ifExists: 'replace', mayCompare: true, on: () => undefined } as const;
    return await sendWithin({
      source: paths,
      ...(input ? { input } : {}),
      ...(inputName === undefined ? {} : { inputName }),
      receiver: { destination: stage.destination, rules, stage },
      content: direct && found && directContent(direct, found, signal),
      algorithm: digest,
      leaves,
      ...(on ? { on } : {}),
      ...(limit === undefined ? {} : { limit }),
      signal,
    });
  } catch (error) {
    if (!(error instanceof TransferError)) throw error;
    return { failures: [error], alarms: 0, snapshot: undefined, summary: new Tally().summary(0, null) };
  } finally {
    // The first failure of the disk is reported, not that of closing.
    if (!stage.isComplete) await stage.close().catch(ignored('what ended the backup is told'));
  }
}

/** Patterns that keep the backup directory out of its own source. Rejects with `usage` where no pattern can do that. */
async function excludeDirectoryItself(paths: readonly string[], directory: string): Promise<string[]> {
  const real = await realpath(directory).catch(ignored('what is not there yet has no other path'));
  const own = real ?? path.resolve(directory);
  for (const pathname of paths) {
    if (pathname === '-') continue;
    const source = await realpath(pathname).catch(ignored('a source that is not there is refused by who opens it'));
    const below = path.relative(source ?? pathname, own);
    if (below.startsWith('..') || path.isAbsolute(below)) continue;
    if (below !== '' && paths.length === 1)
      // The absolute path as an anchored pattern, which no component inside can match.
      return [
        `/${own
          .slice(1)
          .split(path.sep)
          .map((each) => each.replace(/[*?[\]\\!# ]/g, '\\$&'))
          .join('/')}`,
      ];
    throw new TransferError(
      'usage',
      `${printable(directory)} is inside ${printable(pathname)}, and a backup cannot contain itself.`,
      { hint: 'Back up to a directory outside.' },
    );
  }
  return [];
}

/** The failure to reject with where the snapshot is complete but for some entries; undefined for none. */
function failureOf(failures: readonly TransferError[], alarms: number, snapshot: string): TransferError | undefined {
  if (failures.length === 0) return undefined;
  const cause = new AggregateError(failures);
  if (alarms > 0) {
    return new TransferError(
      'mismatch',
      `${alarms === 1 ? 'A file is' : `${String(alarms)} files are`} other than in the snapshot before, although size and time are the same. ${snapshot} has ${alarms === 1 ? 'it as it is' : 'them as they are'} now.`,
      {
        cause,
        hint: 'Memory or disk of this machine may be failing: compare them with the snapshot before.',
      },
    );
  }
  const damaged = failures.filter(({ code }) => code === 'mismatch').length;
  if (damaged > 0) {
    return new TransferError(
      'mismatch',
      `${damaged === 1 ? 'A file is' : `${String(damaged)} files are`} missing in ${snapshot}: the receiver read back something else than was sent.`,
      { cause, hint: 'Start the same backup again; if it happens again, check its memory and disk.' },
    );
  }
  // Left-out attributes, which were reported as `lost`.
  const incomplete = failures.filter(({ code, fileName }) => code === 'some-failed' && fileName === undefined).length;
  const missing = failures.length - incomplete;
  const noRoom = failures.filter(({ code, fileName }) => ['space', 'quota'].includes(code) && fileName !== undefined);
  const withoutRoom = noRoom.length === 0 ? '' : ` (no room for ${String(noRoom.length)})`;
  return new TransferError(
    'some-failed',
    missing === 0
      ? `${snapshot} is complete, but for extended attributes that were left out.`
      : `${String(missing)} ${missing === 1 ? 'entry is' : 'entries are'} missing in ${snapshot}${withoutRoom}, which is complete otherwise.`,
    { cause, ...(withoutRoom === '' ? {} : { hint: 'Make room where the snapshots are, and start it again.' }) },
  );
}

/** The failure where sources have shrunk; `shrunk` events have reported which. */
function shrunkFailure(snapshot: string): TransferError {
  return new TransferError('some-failed', `${snapshot} is complete, and has much less than the snapshot before.`, {
    hint: 'Is everything mounted, and did each program whose output it is end well? If it is meant to be so, say --allow-shrink.',
  });
}
