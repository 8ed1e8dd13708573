import type { Compress } from './compression';
import type { Readable } from 'node:stream';
import { TransferError } from '../errors';
import type { LeavingOut } from '../scan/leaving-out';
import { patternsFor } from '../scan/own-patterns';
import { sourceName } from '../scan/source';
import type { Digests, Listener } from '../progress';
import { isPlainTarget, parseAddress, parseListenAddress } from '../net/address';
import { isTicket, parseTicket } from '../net/ticket';
import { looksLikeCode, parseCodeTarget } from '../codes/code';
import type { LinkDeadlines } from '../session/link';
import { mostSessionConnections } from '../session/connection-count';

export interface SendOptions extends LeavingOut {
  /** Files and directories; `-` is `input`; a named pipe is read, too. */
  readonly paths: readonly string[];
  /**
   * A ticket (`sendall://…`) or a code (`4821-crane-velvet@HOST`) for a session; `tcp://HOST:PORT` or `unix:PATH` for
   * the plain wire. Either this or `listen`.
   */
  readonly target?: string;
  /** `HOST:PORT` or `unix:PATH`, at which the receiver dials in. */
  readonly listen?: string;
  /**
   * With `listen`: at which `HOST` or `HOST:PORT` the receiver finds this machine, where that is not found out by
   * itself.
   */
  readonly announced?: readonly string[];
  /** With `listen`: number of words of a code that is shown, too, which one receiver may use instead of the ticket. */
  readonly codeWords?: number | undefined;
  /** With `listen`: `HOST` or `HOST:PORT` of a relay, at which the receiver finds this sender, too. */
  readonly relayAt?: string | undefined;
  /** Of that relay, or of that of a code for a target. */
  readonly relayPassword?: string | undefined;
  /** What `-` reads; default standard input. */
  readonly input?: Readable;
  /** Stores a single file under this name. */
  readonly name?: string;
  /** What `-` is called; default `name`, or else `stdin`. */
  readonly inputName?: string;
  /**
   * How many connections carry files at once; `auto` finds the number by measuring, and is one on the plain wire, which
   * one fills.
   */
  readonly connections?: number | 'auto';
  /**
   * Whether contents are compressed on their way, in a session with a receiver that takes that: `auto`, the default,
   * where the network is what the transfer waits for.
   */
  readonly compress?: Compress;
  /** What a session computes; default `blake3`. The plain wire has md5. */
  readonly digest?: keyof Digests;
  /** Words for whoever runs the receiver; in a session, beside or instead of `paths`. */
  readonly text?: string;
  /** How long a session that was lost tries to go on, in ms; default five minutes. */
  readonly retryFor?: number;
  /** Bytes per second, over all connections. */
  readonly limit?: number;
  /**
   * Has the receiver read back from its disk what it has already, instead of repeating its receipt; a receiver that
   * cannot do that fails it with `usage`. Sessions only.
   */
  readonly check?: boolean;
  /** Whether owners and extended attributes are sent, which only a receiver gets that gives them. */
  readonly metadata?: boolean;
  /** Whether digests of unchanged files are remembered between runs; default true. */
  readonly useCache?: boolean;
  /** Speaks the plain wire to another machine, where anybody on the way can read and change it. */
  readonly insecurePlain?: boolean;
  /**
   * With `listen`: also serves a receiver of the plain wire that dials in, if it belongs to our own user or root; see
   * `plainRefusal`. Default false: the ticket is needed.
   */
  readonly plain?: boolean;
  readonly on?: Listener;
  readonly signal?: AbortSignal;
  /** @internal Shorter ones of a session's connections, for tests. */
  readonly deadlines?: LinkDeadlines;
  /**
   * Which congestion control the system is to use, by its name there; default BBR where this user may choose it and the
   * receiver is on another machine.
   */
  readonly congestion?: string;
}

/** What standard input is called that was given no name. */
export const usualInputName = 'stdin';

/** A text stands in a header, in which a character may take six bytes. */
const longestText = 8192;

/** Throws `usage` for what makes no sense, before anything is begun. */
export function checkUsage({
  paths,
  target,
  listen: where,
  name,
  connections = 'auto',
  limit,
  text,
  digest,
  retryFor = 0,
  check,
  metadata,
  exclude = [],
}: SendOptions): void {
  const wrong = (message: string, hint?: string): never => {
    throw new TransferError('usage', message, hint === undefined ? {} : { hint });
  };
  if (paths.length === 0 && text === undefined) wrong('There is nothing to send.');
  if ((target === undefined) === (where === undefined))
    wrong('Either a target to dial or an address to listen at is needed.');
  if (target !== undefined && isTicket(target)) parseTicket(target);
  else if (target !== undefined && looksLikeCode(target)) parseCodeTarget(target);
  else if (target !== undefined && !isPlainTarget(target))
    wrong(
      `Not a target: ${JSON.stringify(target)}.`,
      'Targets look like sendall://HOST:PORT/TOKEN, tcp://192.168.1.20:8898 or unix:/run/sendall.sock.',
    );
  else if (target !== undefined) parseAddress(target);
  else parseListenAddress(where ?? '');
  if (target !== undefined && !isTicket(target) && !looksLikeCode(target)) {
    if (check) wrong('The plain wire sends every file again: there is nothing to check.', 'Use a ticket.');
    if (metadata) wrong('The plain wire carries content alone.', 'Owners and extended attributes need a ticket.');
    if (text !== undefined) wrong('The plain wire carries files only, no text.', 'Send it with a ticket.');
    if (digest !== undefined && digest !== 'md5')
      wrong('The plain wire has md5, and nothing else.', 'Other digests need a ticket.');
  }
  if (text !== undefined && Buffer.byteLength(text) > longestText)
    wrong(`The text is longer than ${String(longestText)} bytes.`, 'Send it as a file.');
  if (!(retryFor >= 0)) wrong('The time to retry is a number of milliseconds.');
  for (const pathname of paths) if (pathname !== '-') patternsFor(pathname, exclude);
  if (name !== undefined && paths.length > 1) wrong('--name is for a single file.');
  const flaw = name === undefined ? undefined : sourceName(name);
  if (flaw instanceof TransferError) wrong(flaw.message, 'It is the --name that was given: give another one.');
  if (paths.filter((path) => path === '-').length > 1) wrong('Standard input can be sent only once.');
  if (
    connections !== 'auto' &&
    !(Number.isInteger(connections) && connections >= 1 && connections <= mostSessionConnections)
  ) {
    wrong(`The number of connections is a whole number from 1 to ${String(mostSessionConnections)}, or auto.`);
  }
  if (limit !== undefined && !(limit > 0)) wrong('The rate limit is a number of bytes per second above 0.');
}
