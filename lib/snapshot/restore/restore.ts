import { constants } from 'node:fs';
import { lstat, open, readdir, realpath, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { asTransferError, TransferError } from '../../errors';
import { makePath } from '../../make-path';
import { printable } from '../../name';
import type { FileDone, Listener, Summary } from '../../progress';
import type { MetadataUse } from '../../store/store';
import type { IfExists } from '../../store/store';
import { setFileTime } from '../../threads/system-calls';
import { removeEmpty, stagingName } from '../../store/local/receive-directory';
import { type Destination, Destinations } from '../../receive/destinations';
import { sendWithin, type SentWithin } from '../in-process';
import type { SessionRules } from '../../receive/rules';
import { failureEvent, failureOf } from '../../session/summary';
import type { ContentSource } from '../../send/transfer';
import { Catalog, type Snapshot } from '../manifest/catalog';
import type { SnapshotCatalog } from '../manifest/snapshot-catalog';
import type { ManifestEntry, ManifestHead } from '../manifest/manifest';
import { AskedNames } from './asked-names';
import { chooseEntries } from './selection';
import { snapshotSource, whyMissing } from './snapshot-source';
import { ignored } from '../../trace';

export interface LocalRestoreOptions {
  /** A receive directory on this machine. */
  readonly directory: string;
  /** `NAME/ID` or `NAME/latest`. */
  readonly snapshot: string;
  /** Where to; made where it is missing. It must be ours, and not writable by others. */
  readonly destination: string;
  /** What of it; see `chooseEntries`. Default: everything. */
  readonly paths?: readonly string[];
  /** Default `refuse`. Identical content is success under every rule. */
  readonly ifExists?: IfExists;
  /** Whose files become: by name where this machine has such a one, else by number. Default `name` for root. */
  readonly owner?: MetadataUse['owner'] | undefined;
  /** Whether extended attributes are given back, POSIX ACLs and capabilities among them. Default true. */
  readonly xattrs?: boolean | undefined;
  readonly on?: Listener;
  readonly signal?: AbortSignal;
}

export interface Restored {
  /** `NAME/ID` */
  readonly snapshot: string;
  /** What was restored, where that is not more than 10,000 files. */
  readonly files: readonly FileDone[];
  readonly summary: Summary;
}

/** A file of this name says that our own directory in the destination is there for a restore only, and goes with it. */
const markName = 'restore';
/** Whose unfinished files a restore goes on with: those of an earlier one. */
const peer = 'restore';

/**
 * Brings a snapshot, or what is chosen of it, back below `destination`, under the names that it has there: content,
 * modes, times, hard links, symbolic links and holes. Every file was read back from the disk of the destination, and
 * has the digest that stands in the manifest. Resolves only if all of them are there; otherwise rejects with the
 * TransferError of the only failure, or `some-failed`, as `send` does: `mismatch` for what is damaged in the snapshot,
 * whatever else failed, and for a manifest that is, `exists`, `space`, …, `usage` for what makes no sense, `directory`
 * for a destination that cannot be used; `some-failed` too where the snapshot never had some of it. Each failure was
 * reported as an event before, and the summary comes last. What an interrupted restore has brought is kept there, and
 * the next one goes on with it.
 */
export function restore({ directory, ...options }: LocalRestoreOptions): Promise<Restored> {
  return restoreOf(new Catalog(directory), options);
}

/** The same from any catalog; `contentOf` reads what is not on this machine. */
export async function restoreOf(
  catalog: SnapshotCatalog,
  options: Omit<LocalRestoreOptions, 'directory'>,
  contentOf?: ContentOf,
): Promise<Restored> {
  const { destination, paths = [], ifExists = 'refuse', on: listener = () => undefined, signal } = options;
  const { metadata, demanded, on, unmet } = metadataOf(options, listener, true);
  const snapshot = await catalog.find(options.snapshot);
  const { head, entries } = await catalog.manifest(snapshot);
  const chosen = await chooseEntries(entries, paths);
  const asked = new AskedNames(paths);
  const reached = await reachDestination(destination);
  if (!contentOf) await refuseAmongSnapshots(reached, snapshot);
  const ended = await within(reached, (destinations) =>
    restoreEntries({
      snapshot,
      head,
      chosen,
      asked,
      destination: destinations.own,
      ifExists,
      metadata,
      on,
      signal,
      content: contentOf?.(head, chosen),
    }),
  );
  const { files, failures, summary } = ended;
  for (const { type, name } of chosen) if (type !== 'missing') asked.chosen(name);
  const missed = asked.unanswered().map(nothingCame);
  for (const miss of missed) on(failureEvent(miss));
  on({ event: 'summary', ...summary });
  const failure = failureOfRestore(summary.files, [...failures, ...missed]);
  if (failure) throw failure;
  if (demanded) unmet();
  refuseAbsent(chosen.filter(({ type }) => type === 'missing').length);
  return { snapshot: `${snapshot.name}/${snapshot.id}`, files, summary };
}

/**
 * The one error that stands for all failures of a restore, as `failureOf` has it, but `mismatch` as soon as one of many
 * is: what is damaged is worse than what could not be stored.
 */
export function failureOfRestore(
  succeeded: number,
  failures: readonly TransferError[],
  more = 0,
): TransferError | undefined {
  const failure = failureOf(succeeded, failures, more);
  const damaged = failures.filter(({ code }) => code === 'mismatch').length;
  if (failure?.code !== 'some-failed' || damaged === 0) return failure;
  const failed = failures.filter(({ fileName }) => fileName !== undefined).length + more;
  const of = `${String(damaged)} of ${String(succeeded + failed)} files ${damaged === 1 ? 'is' : 'are'} not what was stored`;
  const besides = failed > damaged ? `, and ${String(failed - damaged)} failed for other reasons.` : '.';
  return new TransferError('mismatch', `${of}${besides}`, {
    cause: failure.cause,
    hint: 'Nothing damaged was restored. sendall verify names all that is; other snapshots may have it whole: sendall find.',
  });
}

/** Throws `some-failed` where `entries` of what was asked for were never in the snapshot; they were told as skipped. */
export function refuseAbsent(entries: number): void {
  if (entries === 0) return;
  const those = entries === 1 ? '1 entry that is' : `${String(entries)} entries that are`;
  throw new TransferError('some-failed', `Everything that the snapshot has is restored, without ${those} not in it.`, {
    hint: 'They could not be backed up then. Other snapshots may have them: sendall find.',
  });
}

/** What a restore gives back beside content, modes and times, and what it heard of that. */
export interface MetadataOfRestore {
  readonly metadata: MetadataUse;
  /** Whether somebody counts on it: whoever says whose files are to be, and root. */
  readonly demanded: boolean;
  readonly on: Listener;
  /** Throws `some-failed` where something of it could not be given back. */
  readonly unmet: () => void;
}

/**
 * `trusted`: the snapshot is on this machine. What another one sends may let no program do more than who starts it,
 * unless somebody says whose files are to be.
 */
export function metadataOf(
  { owner, xattrs = true }: Pick<LocalRestoreOptions, 'owner' | 'xattrs'>,
  listener: Listener,
  trusted: boolean,
): MetadataOfRestore {
  const root = process.getuid?.() === 0;
  const by = owner ?? (root ? 'name' : 'none');
  const setIds = owner === undefined ? trusted : owner !== 'none' || (trusted && !root);
  const lost: string[] = [];
  return {
    metadata: { owner: by, xattrs, setIds },
    demanded: by !== 'none' && (trusted || owner !== undefined),
    on: (event) => {
      if (event.event === 'lost' && ['owner', 'xattrs', 'special'].includes(event.what)) lost.push(event.message);
      listener(event);
    },
    unmet: () => {
      if (lost.length > 0)
        throw new TransferError('some-failed', `Everything is restored, but ${lost.join(' ')}`, {
          hint: 'The manifest has what is missing.',
        });
    },
  };
}

/** A path of a restore chose nothing that came. */
export function nothingCame(path: string): TransferError {
  return new TransferError('some-failed', `Nothing came of ${printable(path)}, which was asked for.`, {
    fileName: path,
    hint: 'Other snapshots may have it: sendall snapshots lists them.',
  });
}

/** A directory that is restored into. */
export interface ReachedDestination {
  readonly destination: string;
  /** When it was modified before, in ns since 1970; undefined for one that was made for this. */
  readonly mtime: bigint | undefined;
  /** The first of the directories that were made for this, itself or one above it. */
  readonly made: string | undefined;
}

/** Makes the destination where it is missing. Rejects with `directory`. */
export async function reachDestination(destination: string): Promise<ReachedDestination> {
  try {
    const made = await makePath(destination);
    return {
      destination,
      made,
      mtime: made === undefined ? (await stat(destination, { bigint: true })).mtimeNs : undefined,
    };
  } catch (error) {
    throw asTransferError(error, 'directory', `${printable(destination)} cannot be used`);
  }
}

/**
 * Restores into a destination by `work`. What we keep in there for a restore that is broken off goes with a restore
 * that comes to its end, or to nothing; what a receiver keeps there stays. A destination that was there keeps its time.
 * Rejects with `directory`, and like `work`.
 */
export async function within<Result>(
  reached: ReachedDestination,
  work: (destinations: Destinations) => Promise<Result>,
): Promise<Result> {
  try {
    return await restoreWithin(reached, work);
  } finally {
    await putTimeBack(reached).catch(ignored('whoever cannot set it sees the time of the restore'));
  }
}

async function restoreWithin<Result>(
  { destination, made }: ReachedDestination,
  work: (destinations: Destinations) => Promise<Result>,
): Promise<Result> {
  const own = path.join(destination, stagingName);
  const mark = path.join(own, markName);
  const ours = !(await exists(own)) || (await exists(mark));
  const destinations = await Destinations.open(destination, {});
  let result: Result;
  try {
    if (ours) await writeFile(mark, '');
    result = await work(destinations);
  } catch (error) {
    // The first failure is reported.
    await destinations.close().catch(ignored('what ended the restore is told'));
    if (ours) await removeVain(destination, made).catch(ignored('what ended the restore is told'));
    throw error;
  }
  await destinations.close();
  if (ours) await rm(own, { recursive: true, force: true });
  return result;
}

async function putTimeBack({ destination, mtime }: ReachedDestination): Promise<void> {
  if (mtime === undefined) return;
  const directory = await open(destination, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    setFileTime(directory.fd, mtime);
  } finally {
    await directory.close();
  }
}

/**
 * Where nothing came, nothing is left: neither our directory in the destination nor, from the first on that was `made`
 * for this, the directories above it and the destination.
 */
async function removeVain(destination: string, made: string | undefined): Promise<void> {
  const own = path.join(destination, stagingName);
  if ((await readdir(own)).every((name) => name === markName)) await rm(own, { recursive: true });
  if (made !== undefined) await removeMade(destination, made);
}

/** Removes a destination and those above it, up to the first that was made, as far as nothing is in them. */
async function removeMade(destination: string, made: string): Promise<void> {
  for (let at = path.resolve(destination); ; at = path.dirname(at)) {
    await removeEmpty(at);
    if (at === path.resolve(made) || at === path.dirname(at)) return;
  }
}

/** How the entries of a snapshot are read that is not on this machine. */
export type ContentOf = (head: ManifestHead, entries: readonly ManifestEntry[]) => ContentSource;

export interface EntriesToRestore {
  readonly snapshot: Snapshot;
  readonly head: ManifestHead;
  readonly chosen: readonly ManifestEntry[];
  /** By what they were chosen; absent where the destination holds nothing. */
  readonly asked?: AskedNames;
  readonly destination: Destination;
  readonly ifExists: IfExists;
  readonly metadata?: MetadataUse;
  readonly on: Listener;
  readonly signal: AbortSignal | undefined;
  /** Reads them, where they are not on this machine. */
  readonly content?: ContentSource | undefined;
}

export type RestoredEntries = Pick<SentWithin, 'files' | 'failures' | 'summary'>;

/**
 * The session of a restore. Resolves when everything was restored or is among the failures; rejects like `sendWithin`.
 */
export function restoreEntries({
  snapshot,
  head,
  chosen,
  asked,
  destination,
  ifExists,
  metadata,
  on,
  signal,
  content,
}: EntriesToRestore): Promise<RestoredEntries> {
  // The sender tells why something failed, the receiver everything else: both would tell twice.
  const rules: SessionRules = {
    peer,
    ifExists,
    metadata,
    asked,
    mayCompare: true,
    on: (event) => event.event !== 'failed' && on(event),
    ...(destination.backups ? { backups: destination.backups } : {}),
  };
  for (const entry of chosen)
    if (entry.type === 'missing') on({ event: 'skipped', file_name: entry.name, reason: whyMissing(entry.reason) });
  return sendWithin({
    source: content ? [] : snapshotSource(snapshot, head, chosen),
    content,
    receiver: { destination, rules },
    algorithm: head.digest,
    on: (event) => event.event === 'failed' && on(event),
    signal,
  });
}

/** Rejects with `usage` for a destination among the snapshots, with `directory`; then nothing is made. */
async function refuseAmongSnapshots(
  { destination, made }: ReachedDestination,
  { name, pathname }: Snapshot,
): Promise<void> {
  try {
    const [real, root] = [await realpath(destination), await realpath(path.dirname(path.dirname(pathname)))];
    if (real !== root && real !== path.join(root, name) && !real.startsWith(path.join(root, name, path.sep))) return;
  } catch (error) {
    throw asTransferError(error, 'directory', `${printable(destination)} cannot be used`);
  }
  if (made !== undefined) await removeMade(destination, made);
  throw new TransferError('usage', `${printable(destination)} is where the snapshots are.`, {
    hint: 'Restore into another directory.',
  });
}

function exists(pathname: string): Promise<boolean> {
  return lstat(pathname).then(
    () => true,
    () => false,
  );
}
