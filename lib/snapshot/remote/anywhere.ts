import { TransferError } from '../../errors';
import type { Difference } from '../manifest/difference';
import { diffSnapshots as diffHere } from '../manifest/difference';
import {
  type LocalEntriesOptions as EntriesHere,
  findEntries as findEntriesHere,
  type LocalFindOptions as FindHere,
  listEntries as listEntriesHere,
} from '../manifest/find';
import { forget as forgetHere, type LocalForgetOptions as ForgetHere, type TakenOut } from '../forget/forget';
import { type Pruned, prune as pruneHere, type LocalPruneOptions as PruneHere } from '../prune/prune';
import {
  type Restored,
  restore as restoreHere,
  type LocalRestoreOptions as RestoreHere,
  restoreOf,
} from '../restore/restore';
import {
  type LocalListOptions as ListHere,
  listSnapshots as listHere,
  type SnapshotDamaged,
  type SnapshotForeign,
  type SnapshotListed,
} from '../manifest/snapshots';
import {
  compareRemote,
  forgetRemote,
  findRemote,
  listRemote,
  pruneRemote,
  restoreFrom,
  type SnapshotTarget,
  verifyRemote,
} from './remote-snapshots';
import type { ObjectStoreOptions } from '../../store/object/object-store';
import { Catalog } from '../manifest/catalog';
import type { ObjectCatalog } from '../object/object-catalog';
import { objectContentOf } from '../object/object-content';
import { listObjects, withObjects } from '../object/object-snapshots';
import { pruneObjects } from '../object/object-prune';
import { verifyObjects } from '../object/object-verify';
import { verify as verifyHere, type LocalVerifyOptions as VerifyHere } from '../verify/verify';
import type { VerifyResult } from '../verify/verify-run';

/**
 * Where snapshots are: in a receive directory on this machine, with the receiver of a ticket, or in an object store.
 * One of them.
 */
export interface Where extends Partial<SnapshotTarget> {
  readonly directory?: string;
  readonly objects?: ObjectStoreOptions | undefined;
}

export interface ListOptions extends Omit<ListHere, 'directory' | 'signal'>, Where {}
export interface EntriesOptions extends Omit<EntriesHere, 'catalog' | 'signal' | 'heard'>, Where {}
export interface FindOptions extends Omit<FindHere, 'catalog' | 'signal' | 'heard'>, Where {}
export interface DiffOptions extends Where {
  /** `NAME/ID` or `NAME/latest`. */
  readonly a: string;
  readonly b: string;
}
export interface PruneOptions extends Omit<PruneHere, 'directory' | 'signal'>, Where {
  /** In an object store: how long garbage is only condemned, in ms; default a day. */
  readonly grace?: number;
}
export interface ForgetOptions extends Omit<ForgetHere, 'directory' | 'signal'>, Where {}
export interface VerifyOptions extends Omit<VerifyHere, 'directory' | 'signal'>, Where {}
export interface RestoreOptions extends Omit<RestoreHere, 'directory' | 'signal'>, Where {
  /** From another machine: how long a session that was lost tries to go on, in ms; default five minutes. */
  readonly retryFor?: number;
}

/** See `lib/snapshot/manifest/snapshots.ts`; of another machine, also rejects like `ask`. */
export function listSnapshots(options: ListOptions): Promise<(SnapshotListed | SnapshotDamaged | SnapshotForeign)[]> {
  return either(
    options,
    (here) => listHere({ ...options, ...here }),
    (remote) => listRemote(remote, options),
    (catalog, signal) => listObjects(catalog, options.name, signal),
  );
}

/** See `lib/snapshot/manifest/find.ts`. */
export function listEntries(options: EntriesOptions): Promise<void> {
  const { snapshot, pattern, on } = options;
  return either(
    options,
    ({ directory, signal }) => listEntriesHere({ ...options, catalog: new Catalog(directory), signal }),
    (remote) => findRemote(remote, { for: 'entries', snapshot, ...(pattern === undefined ? {} : { pattern }) }, on),
    (catalog, signal) => listEntriesHere({ ...options, catalog, signal }),
  );
}

/** See `lib/snapshot/manifest/find.ts`. */
export function findEntries(options: FindOptions): Promise<void> {
  const { pattern, name, on } = options;
  return either(
    options,
    ({ directory, signal }) => findEntriesHere({ ...options, catalog: new Catalog(directory), signal }),
    (remote) => findRemote(remote, { for: 'find', pattern, ...(name === undefined ? {} : { name }) }, on),
    (catalog, signal) => findEntriesHere({ ...options, catalog, signal }),
  );
}

/** See `lib/snapshot/manifest/difference.ts`. */
export function diffSnapshots(options: DiffOptions): Promise<Difference> {
  const { a, b } = options;
  return either(
    options,
    ({ directory }) => diffHere(new Catalog(directory), a, b),
    (remote) => compareRemote(remote, a, b),
    (catalog) => diffHere(catalog, a, b),
  );
}

/** See `lib/snapshot/prune/prune.ts`. Over the network it needs a key with the right `admin`. */
export function prune(options: PruneOptions): Promise<readonly Pruned[]> {
  return either(
    options,
    (here) => pruneHere({ ...options, ...here }),
    (remote) => pruneRemote(remote, options),
    (catalog, signal) => pruneObjects(catalog, { ...options, signal }),
  );
}

/** See `lib/snapshot/forget/forget.ts`. Over the network it needs a key with the right `admin`. */
export function forget(options: ForgetOptions): Promise<readonly TakenOut[]> {
  return either(
    options,
    (here) => forgetHere({ ...options, ...here }),
    (remote) => forgetRemote(remote, options),
    () =>
      Promise.reject(
        new TransferError('usage', 'Nothing is taken out of snapshots in an object store: forget is for a directory.'),
      ),
  );
}

/** See `lib/snapshot/verify/verify.ts`: each machine reads its own disk. */
export function verify(options: VerifyOptions): Promise<VerifyResult> {
  return either(
    options,
    (here) => verifyHere({ ...options, ...here }),
    async (remote) => {
      const { result, failure } = await verifyRemote(remote, options, false);
      if (result) return result;
      throw failure ?? new TransferError('unexpected', 'The verification came to nothing.');
    },
    (catalog, signal) => verifyObjects(catalog, { ...options, signal }),
  );
}

/** See `lib/snapshot/restore/restore.ts`: what is restored is verified on this machine. */
export function restore(options: RestoreOptions): Promise<Restored> {
  return either(
    options,
    (here) => restoreHere({ ...options, ...here }),
    (remote) => restoreFrom(remote, options),
    (catalog, signal) => restoreOf(catalog, { ...options, signal }, objectContentOf(catalog)),
  );
}

/** Rejects with `usage` where it is not clear which machine is meant. */
async function either<Result>(
  { directory, target, objects, signal = new AbortController().signal, deadlines }: Where,
  here: (where: { readonly directory: string; readonly signal: AbortSignal }) => Promise<Result>,
  remote: (where: SnapshotTarget) => Promise<Result>,
  inObjects: (catalog: ObjectCatalog, signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  if (objects !== undefined) return withObjects({ ...objects, signal }, (catalog) => inObjects(catalog, signal));
  if (directory !== undefined && target === undefined) return here({ directory, signal });
  if (target !== undefined && directory === undefined) return remote({ target, signal, deadlines });
  throw new TransferError('usage', 'Either a ticket or a directory with snapshots is needed.');
}
