import path from 'node:path';
import { asTransferError, TransferError } from '../errors';
import type { Listener } from '../progress';
import { type ScanBatch, scanTree, type TreeScanOptions } from '../scan/tree-scan';
import { leavingOut } from '../scan/leaving-out';
import { splitSources } from './named-pipes';
import type { PlainSource } from './outgoing';
import { type SendOptions, usualInputName } from './send-options';

// The plain wire carries regular files and streams. The one scanner of trees finds them, as it does for sessions and
// backups.

const tellEvery = 250;

/**
 * What the options name: standard input and named pipes last, since they may take long to end. A second name of a file
 * is a file of its own here. What this wire cannot carry is told by `on` as `skipped`: symbolic links, devices,
 * sockets, directories of which nothing is sent.
 */
export async function* plainSources(options: SendOptions, on: Listener): AsyncGenerator<readonly PlainSource[]> {
  const { paths, input = process.stdin, name, inputName = name ?? usualInputName } = options;
  const { pathnames, streams } = await splitSources(paths, { input, inputName, single: name });
  const taken = streams.map(({ name }) => name);
  if (pathnames.length > 0) yield* files({ ...scanOf(options, taken), paths: pathnames }, on);
  for (const { name, open } of streams) {
    try {
      yield [{ input: open(), name }];
    } catch (error) {
      yield [asTransferError(error, 'source-unreadable', 'The input cannot be read')];
    }
  }
}

/**
 * Adds up what is to be sent from the paths of the options, beside the sending, and tells how far it is as `scan`: that
 * is what an estimate of the time left needs. Stops when `signal` aborts.
 */
export async function measureSources(options: SendOptions, on: Listener, signal: AbortSignal): Promise<void> {
  const fileName = path.basename(path.resolve(options.paths[0] ?? ''));
  let reportedAt = performance.now();
  let sum = 0;
  const tell = (): void => on({ event: 'progress', file_name: fileName, phase: 'scan', done: sum, total: sum });
  for await (const { bytes } of scanTree({ ...scanOf(options, []), totalsOnly: true })) {
    if (signal.aborted) return;
    sum = bytes;
    if (performance.now() - reportedAt < tellEvery) continue;
    reportedAt = performance.now();
    tell();
  }
  if (!signal.aborted) tell();
}

function scanOf(options: SendOptions, taken: readonly string[]): TreeScanOptions {
  const { paths, name } = options;
  return {
    paths: paths.filter((pathname) => pathname !== '-'),
    name,
    ...leavingOut(options),
    taken,
    hardLinks: false,
    // A file is sent as far as it goes when it is opened, and its edges are read then.
    edges: false,
  };
}

async function* files(scanned: TreeScanOptions, on: Listener): AsyncGenerator<readonly PlainSource[]> {
  const skip = (name: string, what: string): void =>
    on({ event: 'skipped', file_name: name, reason: `${what}, which the plain wire cannot carry` });
  /** The directory that was found last, until something in it is found. */
  let bare: string | undefined;
  const empty = (next?: ScanBatch['items'][number]): void => {
    const name = next instanceof TransferError ? next.fileName : next?.name;
    if (bare !== undefined && name?.startsWith(`${bare}/`) !== true) skip(bare, 'an empty directory');
    bare = undefined;
  };
  for await (const { items } of scanTree(scanned)) {
    const sources: PlainSource[] = [];
    for (const item of items) {
      empty(item);
      if (item instanceof TransferError) sources.push(item);
      // The plain wire carries no extended attributes, and asks for none.
      else if (item.type === 'left-out') continue;
      else if (item.type === 'file') sources.push(item);
      else if (item.type === 'directory') bare = item.name;
      else skip(item.name, item.type === 'skipped' ? item.reason : 'a symbolic link');
    }
    yield sources;
  }
  empty();
}
