import { Connection, type HeaderDeadlines, usualStall } from '../net/connection';
import { asTransferError, TransferError } from '../errors';
import { type Listener, type Summary } from '../progress';
import { newSession } from '../session/opening';
import { ofReceived } from './report';
import type { AuthorizedKeys } from '../access/authorized';
import { LimitedAdmission } from '../store/limited-session';
import type { MetadataUse } from '../store/store';
import type { IfExists } from '../store/store';
import type { RelayWaiter } from '../net/relay';
import { type Address, defaultPort, parseAddress, parseRelay, parseListenAddress } from '../net/address';
import { dialable, listeningAt, type ListeningAt } from '../net/own-address';
import { type PlainWire, plainRefusal } from '../net/plain-wire';
import { dialFirst } from '../net/happy-eyeballs';
import { type Dialed, listen, type Listening } from '../net/socket';
import { isTicket, parseTicket, type SessionKey, type Ticket, type TicketRelay } from '../net/ticket';
import { drawCode, formatCode, looksLikeCode, parseCodeTarget } from '../codes/code';
import { OpenCode, refuseCode } from '../codes/open-code';
import { reachByCode } from '../codes/reach';
import { announced } from '../net/tls';
import { Destinations, type OpenDestinations } from './destinations';
import type { ObjectStoreOptions } from '../store/object/object-store';
import { type PlainDestination, type Received, receivePlain, type ReceiveRules } from './plain-receive';
import type { NamesTaken } from '../name';
import { SessionHost } from './host';
import type { Keeper } from './keeper';
import type { LinkDeadlines } from '../session/link';
import type { SessionReceived } from './session';
import { UnidentifiedConnections } from './unidentified-connections';
import { Uploads } from './uploads';
import { failureEvent, failureOf } from '../session/summary';
import { usualLinkDeadlines, usualRetry, returnWithin, usualIdleLimit, warmsAfter } from '../session/deadlines';
import { ignored } from '../trace';

export interface ReceiverOptions {
  /** Where files go. It must exist, be ours, and not be writable by others. */
  readonly directory: string;
  /**
   * Files and backups go into this object store instead, in sessions only: it takes no plain wire. Any number of
   * receivers may store there.
   */
  readonly objects?: ObjectStoreOptions | undefined;
  /** Default `refuse`. Identical content is success under every rule. */
  readonly ifExists?: IfExists;
  /** Takes names with components that begin with a dot from the plain wire too; sessions always may have them. */
  readonly allowHidden?: boolean;
  /**
   * Which names are taken: `portable` are those that Windows and macOS can have too, and what the plain wire takes by
   * default; `any` is what this system can have, and what sessions take by default, but on Windows and on disks of its
   * kind.
   */
  readonly names?: NamesTaken;
  /** What entries get that come with metadata; absent: nothing but content, mode and time. */
  readonly metadata?: MetadataUse;
  /** The largest file taken, in bytes. */
  readonly maxSize?: number;
  /** How many bytes may be in the directory in all, unfinished files too. */
  readonly quota?: number;
  /** How many files, directories and links may be in the directory, and in that of each key which has one. */
  readonly quotaFiles?: number;
  /** How long a session may carry nothing but signs of life until it is ended, in ms; default an hour. */
  readonly idleLimit?: number;
  /** Takes the plain wire from other machines, where anybody on the way can read and change it. */
  readonly insecurePlain?: boolean;
  /**
   * Whether the plain wire is spoken at all; default true: with processes of our own user and root, see `plainRefusal`.
   */
  readonly plain?: boolean;
  /** The lasting keys of those who may connect beside the holder of the ticket. */
  readonly authorized?: AuthorizedKeys;
  /** Number of words of a code that is shown, too, which one sender may use instead of the ticket. */
  readonly codeWords?: number | undefined;
  /** `HOST` or `HOST:PORT` of a relay, at which whoever has the ticket finds this receiver, too. */
  readonly relayAt?: string | undefined;
  /** Of that relay, or of that of a code which is dialed. */
  readonly relayPassword?: string | undefined;
  /** Whether machines on this network that look for receivers find this one; it is so with a code, too. */
  readonly announce?: boolean | undefined;
  readonly on?: Listener;
  /** @internal Shorter ones, for tests. */
  readonly deadlines?: Partial<ReceiverDeadlines>;
}

/** How long a receiver waits for those whom it did not dial. */
export interface ReceiverDeadlines {
  /** For the first header, counted from accepting: a connection that says nothing is closed after it. */
  readonly first: HeaderDeadlines;
  readonly later: HeaderDeadlines;
  /** How long nothing may move in the middle of something, in ms. */
  readonly stall: number;
  /** Of sessions. */
  readonly link: LinkDeadlines;
}

/** A receive directory that is open for senders. */
export interface Receiver {
  /**
   * Accepts senders at `HOST:PORT` or `unix:PATH` until `close`; port 0 takes a free one. `announced`: at which `HOST`
   * or `HOST:PORT` others find it, where that is not found out by itself. Rejects with `usage` or `cannot-connect`.
   */
  listen(address?: string, announced?: readonly string[]): Promise<ListeningAt>;
  /** The end of the first transfer that a sender began; rejects with its failure. */
  once(): Promise<Summary>;
  /** Rejects once the code cannot be used any more and was not: with `not-authorized`, or `timeout`. */
  codeOver(): Promise<never>;
  /**
   * Connects to a sender that listens, by its ticket, its code or, on the plain wire, its address, and takes all that
   * it sends. A session that is lost is dialed again for `retryFor` ms. Rejects with its failure.
   */
  dial(where: string, options?: { readonly signal?: AbortSignal; readonly retryFor?: number }): Promise<Summary>;
  /** @internal What comes without a wire of ours, as by a web page. */
  uploads(): Uploads;
  /**
   * Stops. Files whose bytes are all here are still verified and answered, others are discarded (with `now`: all of
   * them).
   */
  close(options?: { readonly now?: boolean }): Promise<void>;
}

const usualDeadlines: ReceiverDeadlines = {
  first: { silence: 0, whole: 10_000 },
  later: { silence: 600_000, whole: 10_000 },
  stall: usualStall,
  link: usualLinkDeadlines,
};
/** Whom we dialed may hash for hours before the first header. TCP keep-alive notices if it is gone. */
const dialedDeadlines: HeaderDeadlines = { silence: null, whole: 10_000 };

/**
 * Opens a directory for receiving; backups too, where `keeper` keeps them. Rejects with `directory` when it is unsafe
 * or in use, and for an object store that does not do what everything rests on.
 */
export async function createReceiver(options: ReceiverOptions, keeper?: Keeper): Promise<Receiver> {
  const { directory, objects } = options;
  if (!objects) return new OpenReceiver(await Destinations.open(directory, options), options, keeper);
  const { ObjectDestinations } = require('./object-destinations') as typeof import('./object-destinations');
  const destinations = await ObjectDestinations.open(objects, options);
  return new OpenReceiver(destinations, { ...options, plain: false }, keeper);
}

/** `Receiver` over open destinations; see the contract for each method. */
class OpenReceiver implements Receiver {
  private readonly rules: ReceiveRules;
  private readonly plainWire: PlainWire;
  private readonly deadlines: ReceiverDeadlines;
  private readonly listening = new Set<Listening>();
  private warming: NodeJS.Timeout | undefined;
  private readonly conversations = new Map<Connection, Promise<ConversationOutcome>>();
  private readonly firstTransfer: Promise<ConversationOutcome | TransferError>;
  private awaitingReturn: NodeJS.Timeout | undefined;
  private endFirst: (outcome: ConversationOutcome | TransferError) => void = () => undefined;
  private closed: Promise<void> | undefined;
  private readonly host: SessionHost;
  private readonly code: OpenCode | undefined;
  /** Functions that end each announcement. */
  private readonly announcements = new Set<() => void>();
  private readonly waiters: RelayWaiter[] = [];
  private readonly unidentified = new UnidentifiedConnections();
  private uploading: Uploads | undefined;

  constructor(
    private readonly destinations: OpenDestinations,
    private readonly options: ReceiverOptions,
    keeper: Keeper | undefined,
  ) {
    const {
      ifExists = 'refuse',
      allowHidden = false,
      names,
      insecurePlain = false,
      plain = true,
      idleLimit = usualIdleLimit,
      on = () => undefined,
      authorized,
    } = options;
    this.rules = { ifExists, allowHidden, names, on };
    this.plainWire = !plain ? 'off' : insecurePlain ? 'any' : 'own';
    const deadlines = { ...usualDeadlines, ...options.deadlines };
    this.deadlines = { ...deadlines, link: { idle: idleLimit, ...deadlines.link } };
    this.host = new SessionHost({
      metadata: options.metadata,
      ifExists,
      names,
      on,
      authorized,
      deadlines: this.deadlines.link,
      destination: (authorization) => destinations.of(authorization),
      keeper,
    });
    this.code = options.codeWords
      ? new OpenCode('receiver', drawCode(options.codeWords, options.relayAt === undefined ? 4 : 6))
      : undefined;
    this.firstTransfer = new Promise((resolve) => {
      this.endFirst = resolve;
    });
  }

  async listen(where = `[::]:${String(defaultPort)}`, announced: readonly string[] = []): Promise<ListeningAt> {
    const listening = await listen(parseListenAddress(where), (accepted) => this.accept(accepted));
    this.listening.add(listening);
    const reachable = await dialable(listening.address, announced);
    if (this.code) this.code.addresses = reachable;
    this.waitAtRelay(({ relayToken }) => relayToken(this.host.key.key));
    const { code } = this;
    if (code) this.waitAtRelay(({ codeToken }) => codeToken(code.code.number));
    const shown = {
      ...listeningAt(listening.address, reachable, this.host.key, this.ticketRelay()),
      ...(this.code ? { code: formatCode(this.code.code) } : {}),
    };
    this.rules.on({ event: 'listening', ...shown });
    // Starting the thread takes longer than storing a small file that comes at once, so it is started later.
    this.warming ??= setTimeout(() => this.destinations.own.store.warm(), warmsAfter).unref();
    if (this.code || this.options.announce) await this.announce(listening.address, reachable);
    if (!this.options.announce) void this.code?.over.catch(() => this.endAnnouncements()); // nobody can use it
    return shown;
  }

  /** Where that is not possible, others can still type the address. */
  private async announce(listening: Address, reachable: readonly Address[]): Promise<void> {
    const { announceListener } = require('../net/lan') as typeof import('../net/lan');
    try {
      this.announcements.add(await announceListener(listening, reachable, this.code?.code.number));
    } catch (error) {
      this.rules.on(failureEvent(asTransferError(error, 'cannot-connect', 'This machine cannot be found')));
    }
  }

  private ticketRelay(): TicketRelay {
    const { relayAt, relayPassword } = this.options;
    if (relayAt === undefined) return {};
    const { ticketRelay } = require('../net/relay') as typeof import('../net/relay');
    return ticketRelay(parseRelay(relayAt), this.host.key, relayPassword);
  }

  /** A connection from the relay is treated as any other accepted one. */
  private waitAtRelay(token: (relay: typeof import('../net/relay')) => string): void {
    const { relayAt, relayPassword } = this.options;
    if (relayAt === undefined) return;
    const relaying = require('../net/relay') as typeof import('../net/relay');
    const waiter = new relaying.RelayWaiter(
      relaying.withPass({ relay: parseRelay(relayAt), token: token(relaying), side: 'listening' }, relayPassword),
      (met) => this.accept(met),
      this.waiters.length > 0 ? ignored('the first one says so') : (error) => this.rules.on(failureEvent(error)),
    );
    this.waiters.push(waiter);
  }

  /** Accepts a key that was agreed by the code, and waits for it at the relay, too. */
  private letIn(key: SessionKey): void {
    this.host.letIn(key);
    this.waitAtRelay(({ relayToken }) => relayToken(key.key));
  }

  private endAnnouncements(): void {
    for (const end of this.announcements) end();
    this.announcements.clear();
  }

  async once(): Promise<Summary> {
    const end = await this.firstTransfer;
    if (end instanceof TransferError) throw end;
    return concluded(end);
  }

  async dial(
    where: string,
    { signal, retryFor = usualRetry }: { readonly signal?: AbortSignal; readonly retryFor?: number } = {},
  ): Promise<Summary> {
    if (looksLikeCode(where)) {
      const target = { ...parseCodeTarget(where), relayPassword: this.options.relayPassword };
      const { ticket, forget } = await reachByCode(target, 'receiver', signal);
      const summary = await this.dialTicket(ticket, retryFor, signal).catch(async (error: unknown) => {
        if (error instanceof TransferError && error.code === 'not-authorized') await forget();
        throw error;
      });
      await forget();
      return summary;
    }
    if (isTicket(where)) return this.dialTicket(parseTicket(where), retryFor, signal);
    const address = parseAddress(where);
    const dialed = await dialFirst([address], { signal });
    const connection = new Connection(dialed.stream, dialed.peer, this.deadlines.stall);
    const refusal = plainRefusal(dialed, this.plainWire);
    if (refusal) {
      connection.close(refusal);
      throw refusal;
    }
    const aborted = (): void => connection.stopReading(new TransferError('interrupted', 'Interrupted.'));
    signal?.addEventListener('abort', aborted, { once: true });
    try {
      return concluded(await this.converse(connection, dialedDeadlines, dialedDeadlines));
    } finally {
      signal?.removeEventListener('abort', aborted);
    }
  }

  private async dialTicket(ticket: Ticket, retryFor: number, signal: AbortSignal | undefined): Promise<Summary> {
    const began = performance.now();
    return concluded(this.outcomeOf(await this.host.dial(ticket, retryFor, signal), began));
  }

  codeOver(): Promise<never> {
    return this.code?.over ?? new Promise(() => undefined);
  }

  uploads(): Uploads {
    const destination = () => this.destinations.of(undefined);
    this.uploading ??= new Uploads({ ...this.rules, pace: this.host.pace, destination });
    return this.uploading;
  }

  close({ now = false } = {}): Promise<void> {
    this.closed ??= this.shut(now);
    if (now) for (const connection of this.conversations.keys()) connection.close(stopped());
    return this.closed;
  }

  private async shut(now: boolean): Promise<void> {
    this.endFirst(stopped());
    const addressesFree = [...this.listening].map((listening) => listening.close());
    this.code?.close();
    this.endAnnouncements();
    for (const waiter of this.waiters) waiter.close();
    this.unidentified.closeAll(stopped());
    for (const connection of this.conversations.keys()) {
      if (now) connection.close(stopped());
      else connection.stopReading(stopped());
    }
    await Promise.allSettled([
      ...this.conversations.values(),
      this.host.close(stopped(), now),
      this.uploading?.close(stopped()),
    ]);
    await Promise.all(addressesFree);
    clearTimeout(this.warming);
    await this.destinations.close();
  }

  private accept(accepted: Dialed): void {
    const { first, later, stall } = this.deadlines;
    const connection = new Connection(accepted.stream, accepted.peer, stall);
    if (this.closed) {
      connection.close(stopped());
      return;
    }
    void this.takeUp(accepted, connection, first, later);
  }

  /**
   * "The first bytes tell": TLS is a session, a sealed connection belongs to one, everything else is the plain wire.
   */
  private async takeUp(
    accepted: Dialed,
    connection: Connection,
    first: HeaderDeadlines,
    later: HeaderDeadlines,
  ): Promise<void> {
    const began = performance.now();
    this.unidentified.add(connection);
    const begins = await announced(accepted.stream, first.whole);
    if (begins === 'sealed') {
      await this.host.acceptSealed(connection, () => this.unidentified.delete(connection));
      return;
    }
    if (begins === 'tls') {
      this.unidentified.delete(connection);
      const received = await this.host.accept(accepted);
      if (received) this.sessionEnded(received, began);
      return;
    }
    if (begins === 'code') {
      await this.takeCode(connection);
      return;
    }
    // The peer hung up without a byte, or we did.
    const silent = accepted.stream.peek().length === 0 && !accepted.stream.open;
    if (silent || this.closed) {
      this.unidentified.delete(connection);
      connection.close(stopped());
      return;
    }
    const spent = performance.now() - began;
    const left = { silence: first.silence, whole: Math.max(1, first.whole - spent) };
    const outcome = await this.converse(connection, left, later, plainRefusal(accepted, this.plainWire));
    this.unidentified.delete(connection);
    // A port scan, or a peer that names no file, does not begin the transfer that `once` waits for.
    if (outcome.began) this.endFirst(outcome);
  }

  /** A peer proves that it has the code, and gets a key for it. Wrong codes are reported. */
  private async takeCode(connection: Connection): Promise<void> {
    try {
      if (this.code) {
        await this.code.answer(connection, (key) => this.letIn(key));
        if (!this.options.announce) this.endAnnouncements();
      } else await refuseCode(connection);
    } catch (error) {
      if (!this.closed)
        this.rules.on(failureEvent(asTransferError(error, 'unexpected', 'The code could not be taken')));
    } finally {
      this.unidentified.delete(connection);
    }
  }

  /** A lost session may be taken up again: the first transfer ends only when that does not happen in time. */
  private sessionEnded(received: SessionReceived, began: number): void {
    clearTimeout(this.awaitingReturn);
    const outcome = this.outcomeOf(received, began);
    if (received.lost?.code !== 'connection-lost' && received.lost?.code !== 'timeout') this.endFirst(outcome);
    else this.awaitingReturn = setTimeout(() => this.endFirst(outcome), returnWithin).unref();
  }

  private outcomeOf(received: SessionReceived, began: number): ConversationOutcome {
    const { id, tally, failures, moreFailures, waits, lost, route } = received;
    const summary = {
      ...tally.summary((performance.now() - began) / 1000, waits.longest),
      ...(route === undefined ? {} : { route }),
    };
    if (lost === undefined) this.rules.on({ event: 'summary', ...summary, id });
    return { summary, failure: lost ?? failureOf(tally.files, failures, moreFailures), began: true };
  }

  private async converse(
    connection: Connection,
    first: HeaderDeadlines,
    later: HeaderDeadlines,
    refuseAll?: TransferError,
  ): Promise<ConversationOutcome> {
    const began = performance.now();
    const id = newSession();
    const conversation = this.receive(connection, first, later, refuseAll, id).then((received): ConversationOutcome => {
      const { tally, failures, moreFailures, skipped, waits } = received;
      const summary = tally.summary((performance.now() - began) / 1000, waits.longest);
      const named = tally.files + skipped > 0 || failures.some(({ fileName }) => fileName !== undefined);
      if (named) this.rules.on({ event: 'summary', ...summary, id });
      return { summary, failure: failureOf(tally.files, failures, moreFailures), began: named };
    });
    this.conversations.set(connection, conversation);
    try {
      return await conversation;
    } finally {
      this.conversations.delete(connection);
    }
  }

  /** Where the receive directory cannot be used any more, everything is refused for that. */
  private async receive(
    connection: Connection,
    first: HeaderDeadlines,
    later: HeaderDeadlines,
    refuseAll: TransferError | undefined,
    id: string,
  ): Promise<Received> {
    const destination =
      refuseAll ??
      (await this.plainDestination().catch((error: unknown) =>
        asTransferError(error, 'directory', 'The receive directory cannot be used'),
      ));
    const rules = {
      ...this.rules,
      on: ofReceived(this.rules.on, { id, directory: this.destinations.directory }),
      begun: () => this.unidentified.delete(connection),
    };
    try {
      return await receivePlain(connection, destination, rules, first, later);
    } finally {
      if (!(destination instanceof TransferError)) destination.admission.close();
    }
  }

  /** Where a connection of the plain wire stores. Rejects with `directory` or `disk`. */
  private async plainDestination(): Promise<PlainDestination & { readonly admission: LimitedAdmission }> {
    const destination = await this.destinations.of(undefined);
    const { directory, allowance, backups } = destination;
    const { ifExists } = this.rules;
    const files = await destination.wholeFiles?.(ifExists);
    const verified = files?.verified;
    if (!files || (verified !== 'device' && verified !== 'cache'))
      throw new TransferError('directory', 'Nothing is received over the plain wire here.');
    const admission = new LimitedAdmission(files.admission, { allowance, directory, peer: undefined, ifExists });
    return { files, verified, admission, backups };
  }
}

/** How a connection ended. */
interface ConversationOutcome {
  readonly summary: Summary;
  readonly failure: TransferError | undefined;
  /** Whether it came to a first file. */
  readonly began: boolean;
}

function concluded({ summary, failure }: ConversationOutcome): Summary {
  if (failure) throw failure;
  return summary;
}

function stopped(): TransferError {
  return new TransferError('interrupted', 'The receiver was stopped.');
}
