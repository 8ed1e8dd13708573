// What a session has to send, as it is found: words, what can be read only once, and what a scan of the paths sees.
import path from 'node:path';
import { asTransferError, TransferError } from '../errors';
import type { FoundEntry } from '../scan/found';
import { fileType, type FoundBatch, packEntries } from '../scan/found-batch';
import { leavingOut } from '../scan/leaving-out';
import { type LeftOutOf, scanOffers, type Skipped } from '../scan/tree-scan';
import type { FoundTogether } from './entries';
import type { FileDone } from '../progress';
import { splitSources } from './named-pipes';
import { type SendOptions, usualInputName } from './send-options';
import { smallFile } from '../wire/segment';
import { ignored } from '../trace';

/** What a session sends, found bit by bit; a TransferError with its `fileName` in place of what cannot be sent. */
export type SessionSource = AsyncIterable<readonly (FoundEntry | TransferError)[]>;

/** What was found in one go, and what is to be said of it. */
export interface FoundToSend extends FoundTogether {
  /** What does not travel, or not all of it. */
  readonly notices?: readonly (Skipped | LeftOutOf)[];
  /** Streams among it, those that could not be opened, too. */
  readonly streams?: number;
  /** Files that were stored without being asked for: nothing is offered of them. */
  readonly already?: readonly FileDone[];
  /** How many bytes the scan has found so far, and what it looks at. */
  readonly scanned?: { readonly name: string; readonly bytes: number };
}

/**
 * Everything that `options` name, and then `source`. `snapshot`: all of it is a snapshot, or becomes one. `offered`:
 * most of what is found is offered, so that the scan encodes it for that.
 */
export async function* findToSend(
  options: SendOptions,
  source: SessionSource | undefined,
  { snapshot, offered = true }: { readonly snapshot: boolean; readonly offered?: boolean },
): AsyncGenerator<FoundToSend> {
  const { paths, input = process.stdin, name, inputName = name ?? usualInputName, text } = options;
  let numbered = 0;
  if (text !== undefined) {
    numbered++;
    yield { single: { type: 'text', text } };
  }
  const { pathnames, streams } = await splitSources(paths, { input, inputName, single: name });
  for (const { name, open } of streams) {
    try {
      const stream = open();
      stream.once('error', ignored('whoever reads it is told'));
      numbered++;
      yield { single: { type: 'stream', name, input: stream }, streams: 1 };
    } catch (error) {
      yield { failures: [asTransferError(error, 'source-unreadable', 'The input cannot be read')], streams: 1 };
    }
  }
  if (pathnames.length > 0) {
    const taken = streams.map(({ name }) => name);
    yield* scanned(options, pathnames, { taken, numbered: offered ? numbered : undefined, snapshot });
  }
  for await (const found of source ?? [])
    yield {
      entries: packEntries(found.filter((each): each is FoundEntry => !(each instanceof TransferError))),
      failures: found.filter((each) => each instanceof TransferError),
    };
}

/**
 * What is at and below `paths`: without the names that are `taken`, encoded for an offer with numbers from `numbered`
 * on, if that is a number.
 */
export async function* scanned(
  options: SendOptions,
  paths: readonly string[],
  {
    taken,
    numbered,
    snapshot,
  }: { readonly taken: readonly string[]; readonly numbered: number | undefined; readonly snapshot: boolean },
): AsyncGenerator<FoundToSend> {
  const { signal, name, metadata = false } = options;
  const shown = path.basename(path.resolve(paths[0] ?? ''));
  for await (const { found, offer, notices, bytes } of scanOffers(
    { paths, name, ...leavingOut(options), taken, metadata: metadata || snapshot, signal },
    numbered === undefined ? undefined : { first: numbered, inodes: snapshot },
  ))
    yield {
      entries: found,
      offer,
      notices: notices.filter((each): each is Skipped | LeftOutOf => !(each instanceof TransferError)),
      failures: notices.filter((each) => each instanceof TransferError),
      scanned: { name: shown, bytes },
    };
}

/** How many files of either kind are among entries. */
export function countFiles({ length, types, sizes }: FoundBatch): { readonly small: number; readonly large: number } {
  let [small, large] = [0, 0];
  for (let at = 0; at < length; at++) {
    if (types[at] !== fileType) continue;
    if ((sizes[at] ?? 0) > smallFile) large++;
    else small++;
  }
  return { small, large };
}
