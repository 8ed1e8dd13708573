import { randomInt } from 'node:crypto';
import { type FileHandle, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createDigest } from '../../digest/digest';
import { asTransferError, TransferError } from '../../errors';
import { makePath } from '../../make-path';
import { printable } from '../../name';
import type { DrillReport, Listener, TransferEvent } from '../../progress';
import { Destinations } from '../../receive/destinations';
import { failureEvent } from '../../session/summary';
import { Catalog } from '../manifest/catalog';
import type { SnapshotCatalog } from '../manifest/snapshot-catalog';
import type { ManifestEntry, ManifestHead } from '../manifest/manifest';
import { openLocated } from '../../threads/walker';
import { removeTree } from '../prune/removal';
import { type ContentOf, restoreEntries } from './restore';

export interface DrillOptions {
  /** A receive directory on this machine. */
  readonly directory: string;
  /** `NAME/ID` or `NAME/latest`. */
  readonly snapshot: string;
  /** Of the files, above 0 and up to 1; at least one file. Default 0.01. */
  readonly share?: number;
  /**
   * A directory in which one of our own is made for the files, and removed. Default: the system's for temporary files.
   */
  readonly scratch?: string;
  /** Told how far it is, each failure, and last of all the report. */
  readonly on?: Listener;
  readonly signal?: AbortSignal;
}

type FileOfSnapshot = ManifestEntry & { readonly type: 'file' };

/**
 * Restores a random sample of a snapshot's files to a scratch directory, compares each with the manifest (content,
 * mode, modification time), and removes the scratch directory, whatever happened. Resolves also where files failed:
 * that is in the report. Rejects with what kept the drill from being held at all: `usage`, `mismatch` for a damaged
 * manifest, `directory`, `space`, `interrupted`, ….
 */
export function drill({ directory, ...options }: DrillOptions): Promise<DrillReport> {
  return drillOf(new Catalog(directory), options);
}

/** The same from any catalog; `contentOf` reads what is not on this machine. */
export async function drillOf(
  catalog: SnapshotCatalog,
  options: Omit<DrillOptions, 'directory'>,
  contentOf?: ContentOf,
): Promise<DrillReport> {
  const { share = 0.01, scratch = tmpdir(), on = () => undefined, signal } = options;
  if (!(share > 0 && share <= 1))
    throw new TransferError('usage', 'The share of a drill is above 0 % and at most 100 %.');
  const began = performance.now();
  const snapshot = await catalog.find(options.snapshot);
  const { head, entries } = await catalog.manifest(snapshot);
  const chosen = sample(
    entries.filter((entry) => entry.type === 'file'),
    share,
  );
  const destination = await makeScratch(scratch);
  try {
    const failed = new Map<string, TransferError>();
    const tell = (event: TransferEvent): void =>
      void ((event.event === 'failed' || event.event === 'progress') && on(event));
    const destinations = await Destinations.open(destination, {});
    try {
      const { failures } = await restoreEntries({
        snapshot,
        head,
        chosen,
        destination: destinations.own,
        ifExists: 'refuse',
        on: tell,
        signal,
        content: contentOf?.(head, chosen),
      });
      for (const failure of failures) failed.set(failure.fileName ?? '', failure);
    } finally {
      await destinations.close();
    }
    for (const file of chosen) {
      if (signal?.aborted) throw new TransferError('interrupted', 'Interrupted.');
      const difference = failed.has(file.name) ? undefined : await compare(destination, file, head.digest);
      if (!difference) continue;
      failed.set(file.name, difference);
      on(failureEvent(difference));
    }
    const report: DrillReport = {
      snapshot: `${snapshot.name}/${snapshot.id}`,
      files: chosen.length,
      bytes: chosen.reduce((sum, { size }) => sum + size, 0),
      failures: [...failed].map(([name, { code, message }]) => ({ file_name: name, code, message })),
      seconds: (performance.now() - began) / 1000,
    };
    on({ event: 'drill', ...report });
    return report;
  } finally {
    await removeTree(destination);
  }
}

/** Any of them with the same probability, in their order. */
function sample(files: readonly FileOfSnapshot[], share: number): FileOfSnapshot[] {
  let wanted = Math.min(files.length, Math.ceil(files.length * share));
  return files.filter((_, at) => {
    const taken = wanted > 0 && randomInt(files.length - at) < wanted;
    if (taken) wanted--;
    return taken;
  });
}

async function makeScratch(scratch: string): Promise<string> {
  try {
    await makePath(scratch);
    return await mkdtemp(path.join(scratch, 'sendall-drill-'));
  } catch (error) {
    throw asTransferError(error, 'directory', `${printable(scratch)} cannot be used`);
  }
}

/** What is different about a file that was restored; undefined where nothing is. */
async function compare(
  destination: string,
  { name, size, mode, mtime, digests }: FileOfSnapshot,
  algorithm: ManifestHead['digest'],
): Promise<TransferError | undefined> {
  const differs = (what: string): TransferError =>
    new TransferError('mismatch', `${printable(name)} came back with ${what}.`, { fileName: name });
  let file: FileHandle | undefined;
  try {
    file = await openLocated({ path: destination, below: name });
    const stats = await file.stat({ bigint: true });
    if (!stats.isFile() || Number(stats.size) !== size) return differs('another size');
    const digest = await createDigest(algorithm);
    for await (const bytes of file.createReadStream({
      highWaterMark: 1024 * 1024,
      autoClose: false,
    }) as AsyncIterable<Buffer>)
      digest.update(bytes);
    if (digest.digest() !== digests[algorithm]) return differs('other content');
    if (Number(stats.mode & 0o777n) !== mode) return differs('another mode');
    return stats.mtimeNs === mtime ? undefined : differs('another modification time');
  } catch (error) {
    return asTransferError(error, 'disk', `${printable(name)} could not be compared`).about(name);
  } finally {
    await file?.close();
  }
}
