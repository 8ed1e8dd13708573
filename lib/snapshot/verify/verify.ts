import { asTransferError, TransferError } from '../../errors';
import { printable } from '../../name';
import type { Listener } from '../../progress';
import { backupNameOf, Catalog, type Snapshot, within } from '../manifest/catalog';
import { DeviceReader } from './device-reader';
import { foreignIn, unregisteredHint } from '../manifest/foreign';
import { manifestName } from '../manifest/manifest';
import { type VerifyResult, VerifyRun } from './verify-run';

export interface LocalVerifyOptions {
  /** The path of a receive directory. */
  readonly directory: string;
  /** Only the snapshots of this backup. */
  readonly name?: string;
  /** Only this one: `NAME/ID` or `NAME/latest`. */
  readonly snapshot?: string;
  /**
   * Reads about this share of the files back, above 0 and up to 1, which is the default; everything else is compared in
   * any case.
   */
  readonly sample?: number;
  /** Stops it; the same call goes on where it stopped. */
  readonly signal?: AbortSignal;
  readonly on?: Listener;
}

/**
 * Reads the files of snapshots back from the device and compares everything with the manifests. A file with several
 * names is read once. What is damaged is told in `damaged` events, for each snapshot that has it; then come a
 * `summary`, whose files and bytes are those read by this run, and the end.
 *
 * A share is made of the files whose digests lie in one piece of the circle of all digests, and the next one begins
 * where it ended: a random choice, always of what was read longest ago. On the average, that is the share of the bytes
 * too.
 *
 * An interrupted verification, at most 30 days old, goes on where it stopped: what was read and found good is not read
 * again, what was damaged is. That is kept in `.sendall/snapshots/NAME/ID.verified`; where it cannot be, a `skipped`
 * event says so once.
 *
 * Only snapshots that are registered are read; what else lies among them is told in `foreign` events, and is no damage.
 *
 * Rejects with `mismatch` after everything was looked at, if there was damage; with `usage` where there is no such
 * snapshot, with `directory` where the directory cannot be read, and with `interrupted`. Snapshots that are removed
 * meanwhile are `skipped`.
 */
export async function verify(options: LocalVerifyOptions): Promise<VerifyResult> {
  const { directory, sample = 1, signal = new AbortController().signal, on = () => undefined } = options;
  if (!(sample > 0 && sample <= 1)) throw new TransferError('usage', 'A sample is more than nothing, and at most all.');
  const catalog = new Catalog(directory);
  const chosen = await choose(catalog, options);
  const [first] = chosen;
  if (!first)
    throw new TransferError('usage', `There is no snapshot in ${printable(directory)}.`, {
      hint: (await unregisteredHint(directory)) ?? 'sendall backup makes one.',
    });
  if (options.snapshot === undefined)
    for (const path of await foreignIn(catalog, options.name)) on({ event: 'foreign', path });
  const reader = await DeviceReader.open(directory, within(first, manifestName).below);
  try {
    return await new VerifyRun({
      catalog,
      chosen,
      called: options.snapshot ?? options.name ?? directory,
      reader,
      share: sample,
      signal,
      on,
    }).run();
  } catch (error) {
    if (signal.aborted) throw new TransferError('interrupted', 'Interrupted.', { cause: error });
    throw asTransferError(error, 'unexpected', 'The verification failed');
  } finally {
    await reader.close();
  }
}

async function choose(catalog: Catalog, { name, snapshot }: LocalVerifyOptions): Promise<readonly Snapshot[]> {
  if (snapshot !== undefined) return [await catalog.find(snapshot)];
  if (name === undefined)
    return (await Promise.all((await catalog.names()).map((each) => catalog.snapshots(each)))).flat();
  const backup = backupNameOf(name);
  const snapshots = backup === undefined ? [] : await catalog.snapshots(backup);
  if (snapshots.length === 0)
    throw new TransferError('usage', `There is no backup ${printable(name)}.`, {
      hint: (await unregisteredHint(catalog.directory, name)) ?? 'sendall snapshots lists them.',
    });
  return snapshots;
}
