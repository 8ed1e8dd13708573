import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '../net/connection';
import { errnoOf, TransferError } from '../errors';
import type { EntryName } from '../name';
import type { Digests } from '../progress';
import { commonCoding } from '../session/content-coding';
import type { Coding } from '../wire/coding';
import type { Hello } from '../wire/hello';
import type { Address } from '../net/address';
import { startingAt, type Ticket } from '../net/ticket';
import { dialSecured } from '../net/tls';
import { type LinkDeadlines, Link } from '../session/link';
import { awaitAnswer, levelsOffer, newSession, sayHello, sealedOffer } from '../session/opening';
import { commonSuite, dialSealed, type SealedBasis } from '../session/sealed-opening';
import { SealedSending } from '../session/sealed-sending';
import type { Suite } from '../wire/record';
import type { CarryingLink } from './carriers';
import { usualDial, firstPause, longestPause, usualRetry, retryBeforeHello } from '../session/deadlines';
import { trace } from '../trace';

/** What the hello of a backup, or of a repair, asks for; see PROTOCOL.md, "Backups". */
export interface BackupHello {
  readonly name: EntryName;
  /** Its files heal existing snapshots, instead of becoming a new one. */
  readonly repairs: boolean;
  /** Read every file, changed or not. */
  readonly checksum: boolean;
  /** Sources may have lost most of what the snapshot before had. */
  readonly allowShrink?: boolean;
}

export interface FirstConnection {
  readonly link: Link;
  /** In ms. */
  readonly roundTrip: number;
  /**
   * Resolves when the receiver has said that we are welcome, before which nothing else is read, with the round trip as
   * it is known then; rejects with why we are not. Absent where it has.
   */
  readonly welcome?: Promise<number>;
  /** Whether the receiver is on this machine for certain. */
  readonly local: boolean;
  /** How contents may be coded, where the receiver dialed. */
  readonly coding?: Coding | undefined;
  /** How further connections are sealed, where the receiver dialed and both can. */
  readonly sealing?: Sealing;
}

/** Sealed connections that failed in a row, after which none is tried any more in this conversation. */
const mostFailed = 3;

/** Bytes that each of many receivers has in this process between its frame and the system. */
const sliceOfMany = 128 * 1024;

/** How the connections of a sender's session come about. */
export interface Connector {
  /**
   * Connection 0, by one attempt within `within` ms where that is given. Rejects where nobody can be met. `roundTrip`
   * in ms.
   */
  first(signal: AbortSignal | undefined, within?: number): Promise<FirstConnection>;
  /** A further one. `control` is connection 0, over which a peer that dials is asked for it. */
  another(connection: number, control: Link, signal: AbortSignal | undefined): Promise<CarryingLink>;
  /** The id of the session, once it is known; absent within this process. */
  readonly session?: string | undefined;
  /** The congestion control of connection 0, where it was chosen. */
  readonly congestion?: string | undefined;
  /** The relay that carries connection 0, and then all there is; absent for none. */
  readonly relay?: Address | undefined;
  /** How contents may be coded, once the receiver has said that we are welcome; absent: not at all. */
  readonly coding?: Coding | undefined;
  /** Whether further ones are sealed, once the receiver has said that we are welcome. */
  readonly seals?: boolean;
  close(): Promise<void>;
}

/** How the sealed connections of a conversation are made. */
export interface Sealing {
  readonly basis: SealedBasis;
  readonly suite: Suite;
}

/** Features that the receiver must have before anything is sent to it; see `SendOptions`. */
export interface RequiredFeatures {
  readonly check?: boolean | undefined;
  readonly metadata?: boolean | undefined;
}

export interface DialingOptions {
  readonly algorithm: keyof Digests;
  readonly deadlines?: LinkDeadlines | undefined;
  /** What a session for a backup says of it; absent where files are sent. */
  readonly backup?: BackupHello;
  /** How long a receiver that has too many others is asked again, in ms. */
  readonly retryFor?: number | undefined;
  /** See `DialOptions`; 'auto' where it is absent. */
  readonly congestion?: string | undefined;
  readonly required?: RequiredFeatures;
  /** How many other receivers get the same at this moment; `many` are so many that memory is short. */
  readonly beside?: 'nobody' | 'few' | 'many';
}

/** A sender that dials the holder of its ticket. */
export class DialingConnector implements Connector {
  readonly session = newSession();
  private sealing: Sealing | undefined;
  congestion: string | undefined;
  relay: Address | undefined;
  coding: Coding | undefined;
  /** Sealed connections that could not be made, one after another. */
  private failed = 0;

  constructor(
    private ticket: Ticket,
    private readonly options: DialingOptions,
  ) {}

  /**
   * Dials again, within `retryFor`, a receiver that answers that it has too many others, or hangs up as a crowded one
   * does.
   */
  async first(signal: AbortSignal | undefined, within?: number): Promise<FirstConnection> {
    if (within !== undefined) return this.dial(0, signal, within);
    const { retryFor = usualRetry } = this.options;
    const began = performance.now();
    /** Whether the receiver has said that it has too many others: then it knows our key. */
    let known = false;
    for (let pause = firstPause; ; pause = Math.min(longestPause, pause * 2)) {
      try {
        return await this.dial(0, signal);
      } catch (error) {
        known ||= error instanceof TransferError && error.code === 'timeout';
        const left = began + Math.min(retryFor, worthAsking(error, known)) - performance.now();
        if (left <= 0 || signal?.aborted) throw error;
        trace('the receiver is dialed again, %d ms are left: %o', Math.round(left), error);
        // A random pause, so that the senders of a crowd do not all dial at the same moment again.
        await sleep(Math.min(left, pause * (0.5 + Math.random())), undefined, signal ? { signal } : {});
      }
    }
  }

  /** Sealing overwrites the bytes in place, so what is shared with other receivers is not sealed. */
  private get maySeal(): boolean {
    return (this.options.beside ?? 'nobody') === 'nobody';
  }

  get seals(): boolean {
    return this.sealing !== undefined;
  }

  async another(connection: number, _control: Link, signal: AbortSignal | undefined): Promise<CarryingLink> {
    const { sealing, ticket } = this;
    const { deadlines, congestion = 'auto' } = this.options;
    if (!sealing) return (await this.dial(connection, signal)).link;
    try {
      const sealed = await dialSealed(ticket.address, sealing.basis, sealing.suite, connection, {
        signal,
        congestion,
      });
      this.failed = 0;
      return new SealedSending(sealed, deadlines);
    } catch (error) {
      // A middlebox may let through nothing but TLS.
      if (++this.failed >= mostFailed && this.sealing === sealing) this.sealing = undefined;
      throw error;
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  private linkOf(connection: Connection): Link {
    return new Link(connection, this.options.deadlines, true, this.options.beside === 'many' ? sliceOfMany : Infinity);
  }

  /** "A sender that dialed need not wait for the answer before it offers": what it says is read once it is welcome. */
  private async dial(number: number, signal: AbortSignal | undefined, within?: number): Promise<FirstConnection> {
    const { algorithm, deadlines, backup, congestion = 'auto', required = {}, beside } = this.options;
    const until = performance.now() + (within ?? Infinity);
    const dialed = await dialSecured(this.ticket, {
      signal,
      timeout: Math.min(within ?? usualDial, usualDial),
      congestion,
    });
    this.congestion = dialed.congestion;
    if (number === 0) this.relay = dialed.relay;
    this.ticket = startingAt(this.ticket, dialed.address);
    const connection = new Connection(dialed.stream, dialed.peer, deadlines?.silence);
    const aborted = (): void => connection.close(new TransferError('interrupted', 'Interrupted.'));
    const late = (): void => connection.close(new TransferError('timeout', 'The receiver did not answer in time.'));
    const timer = within === undefined ? undefined : setTimeout(late, until - performance.now());
    signal?.addEventListener('abort', aborted, { once: true });
    if (signal?.aborted) aborted();
    const introduction = {
      role: 'sender',
      session: this.session,
      connection: number,
      digest: algorithm,
      ...(number === 0 && backup ? keysOfBackup(backup) : {}),
      ...(number === 0 ? announceRequired(required) : {}),
      ...(this.maySeal ? sealedOffer(number) : {}),
      ...levelsOffer(number),
    } as const;
    if (number === 0) this.sealing = undefined;
    const asked = performance.now();
    const welcome = sayHello(connection, introduction)
      .then(() => awaitAnswer(connection, introduction))
      .then((hello) => {
        if (number === 0 && backup && hello.snapshot === undefined && hello.repair === undefined)
          throw new TransferError('usage', 'The receiver keeps no backups.', {
            hint: 'Install the same version on both sides.',
          });
        if (number === 0) checkRequired(hello, required);
        if (number === 0 && beside !== 'many') this.coding = commonCoding(hello.codings);
        const suite = this.maySeal && number === 0 && !dialed.relay ? commonSuite(hello.sealed) : undefined;
        if (suite) this.sealing = { suite, basis: { session: this.session, secret: dialed.secret } };
        // The shorter of two measurements: either may have taken longer because this machine was busy.
        return Math.min(dialed.rtt, performance.now() - asked);
      })
      .catch((error: unknown) => {
        connection.close();
        throw error;
      })
      .finally(() => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', aborted);
      });
    // A receiver that knows no backups would take what is offered for files.
    if (number > 0 || backup || required.check || required.metadata)
      return { roundTrip: await welcome, link: this.linkOf(connection), local: dialed.local };
    const link = this.linkOf(connection);
    welcome.catch(() => link.close()); // whoever waits for it is told
    return { link, roundTrip: dialed.rtt, local: dialed.local, welcome };
  }
}

/** Retry window in ms for a receiver that failed like this; 0 where it refused for good, or nothing listens there. */
function worthAsking(error: unknown, known: boolean): number {
  if (!(error instanceof TransferError)) return 0;
  const hungUp =
    error.code === 'cannot-connect' && ['ECONNRESET', 'EPIPE', 'ETIMEDOUT'].includes(errnoOf(error.cause) ?? '');
  if (!hungUp && error.code !== 'connection-lost' && error.code !== 'timeout') return 0;
  return known ? Infinity : retryBeforeHello;
}

/** The keys of a `hello` on connection 0 that announce them. */
export function announceRequired({ check, metadata }: RequiredFeatures): Pick<Hello, 'check' | 'metadata'> {
  return { ...(check ? { check } : {}), ...(metadata ? { metadata } : {}) };
}

/** Throws `usage` for a receiver that would repeat its receipts unread, or drop what entries have beside content. */
export function checkRequired(hello: Hello, { check, metadata }: RequiredFeatures): void {
  if (metadata && hello.metadata !== true)
    throw new TransferError('usage', 'The receiver gives entries no owners and no extended attributes.', {
      hint: 'Start it with sendall receive --metadata, as root where owners are to be given; or send without --metadata.',
    });
  if (check && hello.check !== true)
    throw new TransferError('usage', 'The receiver cannot read back what it has: it is of an earlier version.', {
      hint: 'Install the same version on both sides.',
    });
}

function keysOfBackup(backup: BackupHello): Pick<Hello, 'backup' | 'repair' | 'checksum' | 'allow_shrink'> {
  const { name, repairs, checksum, allowShrink } = backup;
  return {
    ...(repairs ? { repair: name } : { backup: name }),
    ...(checksum ? { checksum } : {}),
    ...(allowShrink ? { allow_shrink: true } : {}),
  };
}
