// One transfer to several receivers: looked for, read and hashed once, with a session for each.
import { setMaxListeners } from 'node:events';
import type { FileHandle } from 'node:fs/promises';
import { asTransferError, TransferError } from '../errors';
import { looksLikeCode } from '../codes/code';
import { isTicket, parseTicket, type Ticket } from '../net/ticket';
import type { FileDone, Listener, Summary } from '../progress';
import type { FoundFile } from '../scan/found';
import { packEntries } from '../scan/found-batch';
import { unreadable } from '../scan/source';
import { failureEvent } from '../session/summary';
import { carriedTime } from '../threads/carried-time';
import { DialingConnector } from './connector';
import { type FoundToSend, scanned } from './finding';
import { splitSources, type StreamSource } from './named-pipes';
import { RateLimit } from './rate-limit';
import { checkUsage, type SendOptions, usualInputName } from './send-options';
import { refuseAbsentSources } from './absent-sources';
import { conclude, withTicketOf } from './sender';
import { SharedBundles } from './shared-bundles';
import { SharedFinding } from './shared-finding';
import { SharedSegments } from './shared-segments';
import { spoolFile } from './spool';
import { type ContentSource, SessionTransfer } from './transfer';

/** One of several receivers. */
export interface NamedReceiver {
  /** What events and results call it; no two are called the same. */
  readonly name: string;
  /** A ticket, or a code; the plain wire has one receiver. */
  readonly target: string;
}

export interface SendToSeveralOptions extends Omit<
  SendOptions,
  'target' | 'listen' | 'announced' | 'codeWords' | 'relayAt' | 'plain' | 'insecurePlain' | 'useCache'
> {
  readonly receivers: readonly NamedReceiver[];
}

/** What became of one receiver. */
export interface ReceiverResult {
  readonly name: string;
  /** What it confirmed; empty where something failed, which its events tell one by one. */
  readonly files: readonly FileDone[];
  readonly summary: Summary | undefined;
  readonly failure: TransferError | undefined;
}

/** Of more receivers each has one connection: what is on its way on each is memory. */
const few = 8;
/** Memory is kept for each. */
const mostReceivers = 256;

/**
 * Sends the same files to several receivers at once, in a session each. What several lack is read once, while they keep
 * pace; a slow one, and one that has some of it, reads for itself. Each event names its receiver; the summary of all
 * comes last, without one. Resolves if every receiver confirmed everything; otherwise rejects with `interrupted`, with
 * the failure that all of them have in common by its code, or with `some-failed`.
 */
export async function sendToSeveral(options: SendToSeveralOptions): Promise<readonly ReceiverResult[]> {
  checkReceivers(options);
  if (options.text === undefined) await refuseAbsentSources(options.paths, options.on);
  const { receivers, on = () => undefined, digest = 'blake3', limit, signal } = options;
  // All sessions listen for it.
  if (signal) setMaxListeners(0, signal);
  const began = performance.now();
  const count = receivers.length;
  const spooled: FileHandle[] = [];
  const finding = new SharedFinding(findOnce(options, spooled));
  const segments = new SharedSegments(count);
  const bundles = new SharedBundles(digest, count);
  const rate = limit === undefined ? undefined : new RateLimit(limit);
  const sources = receivers.map((): ContentSource => ({
    found: finding.share(),
    segments: segments.share(),
    bundles: bundles.share(),
    ...(rate ? { limit: rate } : {}),
  }));
  try {
    const results = await Promise.all(
      receivers.map((receiver, at) => sendToOne(receiver, options, sources[at] as ContentSource)),
    );
    on({ event: 'summary', ...wholeOf(results, (performance.now() - began) / 1000) });
    const failure = failureOfAll(results, signal);
    if (failure) throw failure;
    return results;
  } finally {
    await Promise.all([finding.close(), segments.close(), bundles.close()]);
    await Promise.all(spooled.map((handle) => handle.close()));
  }
}

/** Throws `usage` for what makes no sense, before anything is begun. */
function checkReceivers(options: SendToSeveralOptions): void {
  const { receivers } = options;
  const wrong = (message: string, hint?: string): never => {
    throw new TransferError('usage', message, hint === undefined ? {} : { hint });
  };
  if (receivers.length === 0) wrong('There is no receiver.');
  if (receivers.length > mostReceivers) wrong(`There are more than ${String(mostReceivers)} receivers.`);
  const names = new Set<string>();
  const targets = new Set<string>();
  for (const { name, target } of receivers) {
    checkUsage({ ...options, target });
    if (!isTicket(target) && !looksLikeCode(target))
      wrong('The plain wire has one receiver.', 'Several need a ticket, a code, or a peer each.');
    if (names.has(name)) wrong(`Two receivers are called ${name}.`);
    if (targets.has(target)) wrong(`${name} is named twice.`, 'Name each receiver once.');
    names.add(name);
    targets.add(target);
  }
}

/** A session of its own for one receiver. Never rejects. */
async function sendToOne(
  { name, target }: NamedReceiver,
  options: SendToSeveralOptions,
  shared: ContentSource,
): Promise<ReceiverResult> {
  const { on: tell = () => undefined, digest = 'blake3', deadlines, retryFor, congestion, check, metadata } = options;
  const began = performance.now();
  let summary: Summary | undefined;
  let isReported = false;
  const on: Listener = (event) => {
    if (event.event === 'failed') isReported = true;
    if (event.event === 'summary') summary = event;
    tell({ ...event, receiver: name });
  };
  const many = options.receivers.length > few;
  const send = (ticket: Ticket): ReturnType<typeof conclude> => {
    const connector = new DialingConnector(ticket, {
      algorithm: digest,
      deadlines,
      retryFor,
      congestion,
      required: { check, metadata },
      beside: many ? 'many' : 'few',
    });
    const { connections: asked = 'auto' } = options;
    const connections = many && asked === 'auto' ? 1 : asked;
    const transfer = new SessionTransfer({ ...options, connections, on }, connector, { shared });
    return conclude(transfer, { on }, began);
  };
  try {
    const { files } = await (isTicket(target) ? send(parseTicket(target)) : withTicketOf(target, options, send));
    return { name, files, summary, failure: undefined };
  } catch (thrown) {
    const failure = asTransferError(thrown, 'unexpected', 'Sending failed');
    // Where a code led nowhere there is no transfer that would report it.
    if (!isReported) on(failureEvent(failure));
    return { name, files: [], summary, failure };
  } finally {
    await Promise.all([shared.segments.close(), shared.bundles.close()]);
  }
}

/** All receivers together; the time is that of the slowest. */
function wholeOf(results: readonly ReceiverResult[], seconds: number): Summary {
  const sum = (of: (summary: Summary) => number): number =>
    results.reduce((total, { summary }) => total + (summary ? of(summary) : 0), 0);
  return {
    files: sum(({ files }) => files),
    bytes: sum(({ bytes }) => bytes),
    bytes_on_wire: sum(({ bytes_on_wire: onWire }) => onWire),
    seconds,
    bottleneck: slowest(results)?.bottleneck ?? null,
    receivers: results.length,
    failed_receivers: results.filter(({ failure }) => failure !== undefined).length,
  };
}

function slowest(results: readonly ReceiverResult[]): Summary | undefined {
  return results
    .flatMap(({ summary }) => summary ?? [])
    .reduce<Summary | undefined>((most, each) => (most && most.seconds >= each.seconds ? most : each), undefined);
}

/** The one error that stands for all. */
function failureOfAll(results: readonly ReceiverResult[], signal: AbortSignal | undefined): TransferError | undefined {
  const failures = results.flatMap(({ failure }) => failure ?? []);
  const [first] = failures;
  if (!first) return undefined;
  const interrupted = failures.find(({ code }) => code === 'interrupted');
  if (interrupted && signal?.aborted) return interrupted;
  if (failures.length === results.length && failures.every(({ code }) => code === first.code)) return first;
  return new TransferError(
    'some-failed',
    `${String(failures.length)} of ${String(results.length)} receivers did not get everything.`,
    { cause: new AggregateError(failures) },
  );
}

/**
 * What there is to send, with numbers that are the same for all: what can be read only once is read into a file first.
 */
async function* findOnce(options: SendToSeveralOptions, spooled: FileHandle[]): AsyncGenerator<FoundToSend> {
  const { paths, input = process.stdin, name, inputName = name ?? usualInputName, text, signal } = options;
  if (text !== undefined) yield { single: { type: 'text', text } };
  const { pathnames, streams } = await splitSources(paths, { input, inputName, single: name });
  let numbered = text === undefined ? 0 : 1;
  for (const stream of streams) {
    try {
      yield { entries: packEntries([await spool(stream, spooled, signal)]) };
      numbered++;
    } catch (error) {
      yield { failures: [asTransferError(error, 'source-unreadable', 'The input cannot be read')], streams: 1 };
    }
  }
  if (pathnames.length === 0) return;
  const taken = streams.map(({ name }) => name);
  yield* scanned(options, pathnames, { taken, numbered, snapshot: false });
}

/** A stream as a file that has no name, and is gone with this process. */
async function spool(
  { name, open }: StreamSource,
  spooled: FileHandle[],
  signal: AbortSignal | undefined,
): Promise<FoundFile> {
  const { handle, pathname } = await spoolFile(open(), name, signal);
  spooled.push(handle);
  const { size, mtimeNs, ctimeNs } = await handle.stat({ bigint: true }).catch((error: unknown) => {
    throw unreadable(name, error);
  });
  return {
    type: 'file',
    path: pathname,
    name,
    size: Number(size),
    mode: 0o666 & ~process.umask(),
    mtime: carriedTime(mtimeNs),
    ctime: ctimeNs,
    sparse: false,
  };
}
