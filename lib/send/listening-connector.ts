import type { OpenCode } from '../codes/open-code';
import { refuseCode } from '../codes/open-code';
import { Connection } from '../net/connection';
import { TransferError } from '../errors';
import type { Digests } from '../progress';
import { commonCoding } from '../session/content-coding';
import type { Coding } from '../wire/coding';
import type { Hello } from '../wire/session-message';
import type { Address } from '../net/address';
import type { RelayWaiter } from '../net/relay';
import { type PlainWire, plainRefusal } from '../net/plain-wire';
import { type Dialed, listen, type Listening } from '../net/socket';
import { createKey, type SessionKey, type TicketRelay } from '../net/ticket';
import { acceptSecured, announced, type Secured } from '../net/tls';
import { roundTripSince } from '../session/round-trip';
import { DialedIn } from './dialed-in';
import { type LinkDeadlines, Link } from '../session/link';
import {
  checkRequired,
  announceRequired,
  type RequiredFeatures,
  type Connector,
  type FirstConnection,
} from './connector';
import { answerIntroduction, awaitIntroduction, levelsOffer } from '../session/opening';
import { handshakeWithin, firstByteWithin } from '../session/deadlines';
import { ignored, trace } from '../trace';

export interface ListeningOptions {
  readonly algorithm: keyof Digests;
  /** Called once, with the first peer that waits for the plain wire instead of showing a key. */
  readonly plain: (accepted: Dialed) => void;
  /** Who that may be. */
  readonly plainWire: PlainWire;
  readonly deadlines: LinkDeadlines | undefined;
  /** Whether the receiver reads back what it has already; see `SendOptions`. */
  readonly required: RequiredFeatures;
  /** Shown beside the ticket; closed with this. */
  readonly code?: OpenCode | undefined;
  /** At which the receiver finds us, too. */
  readonly relayAt?: Address | undefined;
  readonly relayPassword?: string | undefined;
  /** Told why it cannot be used, once until it can. */
  readonly relayFailed: (error: TransferError) => void;
}

/** A sender that waits for the receiver to dial in. */
export class ListeningConnector implements Connector {
  readonly key: SessionKey = createKey();
  /** The ticket's key, and the one agreed by a code, by id. */
  private readonly keys = new Map([[this.key.id, this.key]]);
  session: string | undefined;
  relay: Address | undefined;
  private readonly dialedIn = new DialedIn();
  private readonly waiters: RelayWaiter[] = [];
  /** Accepted, and not known yet to be anybody. */
  private readonly unidentified = new Set<Dialed>();
  /** Whether it is settled who gets the files. */
  private begun = false;
  private come: () => void = () => undefined;
  /** Resolves when the first receiver has shown its key. */
  private readonly here = new Promise<void>((resolve) => {
    this.come = resolve;
  });
  private closed: Promise<void> | undefined;

  private constructor(
    private readonly options: ListeningOptions,
    private readonly listening: Listening,
  ) {}

  /** Listens at `address`. Rejects with `cannot-connect`. */
  static async at(address: Address, options: ListeningOptions): Promise<ListeningConnector> {
    const early: Dialed[] = [];
    let accept = (accepted: Dialed): void => void early.push(accepted);
    const connector = new ListeningConnector(options, await listen(address, (accepted) => accept(accepted)));
    accept = (accepted) => void connector.receive(accepted);
    for (const accepted of early) accept(accepted);
    connector.waitAtRelay(({ relayToken }) => relayToken(connector.key.key));
    const { code } = options;
    if (code) connector.waitAtRelay(({ codeToken }) => codeToken(code.code.number));
    return connector;
  }

  /** Where it listens. */
  get address(): Address {
    return this.listening.address;
  }

  get seals(): boolean {
    return this.dialedIn.seals;
  }

  get coding(): Coding | undefined {
    return this.dialedIn.coding;
  }

  /** What its ticket says of the relay. */
  ticketRelay(): TicketRelay {
    const { relayAt, relayPassword } = this.options;
    if (!relayAt) return {};
    const { ticketRelay } = require('../net/relay') as typeof import('../net/relay');
    return ticketRelay(relayAt, this.key, relayPassword);
  }

  /** Waits until a receiver has shown its key. Rejects with `interrupted`. */
  firstReceiver(signal: AbortSignal | undefined): Promise<undefined> {
    return new Promise((resolve, reject) => {
      const aborted = (): void => reject(new TransferError('interrupted', 'Interrupted.'));
      signal?.addEventListener('abort', aborted, { once: true });
      if (signal?.aborted) aborted();
      void this.here.then(() => {
        signal?.removeEventListener('abort', aborted);
        resolve(undefined);
      });
    });
  }

  first(signal: AbortSignal | undefined, within?: number): Promise<FirstConnection> {
    return this.dialedIn.first(signal, within);
  }

  another(connection: number, control: Link, signal: AbortSignal | undefined): Promise<Link> {
    return this.dialedIn.another(connection, control, signal);
  }

  async close(): Promise<void> {
    this.options.code?.close();
    for (const waiter of this.waiters) waiter.close();
    await this.dialedIn.close();
    for (const { stream } of this.unidentified) stream.destroy();
    this.closed ??= this.listening.close();
    await this.closed;
  }

  private async receive(accepted: Dialed): Promise<void> {
    this.unidentified.add(accepted);
    await this.accept(accepted).finally(() => this.unidentified.delete(accepted));
  }

  private async accept(accepted: Dialed): Promise<void> {
    // A receiver of the plain wire sends nothing before it has got a file; one with a key sends first.
    const mayBePlain = plainRefusal(accepted, this.options.plainWire) === undefined;
    const begins = await announced(accepted.stream, mayBePlain ? firstByteWithin : handshakeWithin);
    if (begins === 'code') return this.takeCode(new Connection(accepted.stream, accepted.peer));
    if (begins !== 'tls') {
      // None of these may end what others wait for: a peer without the right, one that comes too late, one that says
      // something that is no key, and one that has gone again.
      const waits = mayBePlain && accepted.stream.open && accepted.stream.peek().length === 0;
      if (waits && !this.begun) this.options.plain(accepted);
      else accepted.stream.destroy();
      this.begun ||= waits;
      return;
    }
    const began = performance.now();
    let secured: Secured;
    try {
      secured = await acceptSecured(accepted, (id) => this.keys.get(id)?.key, {
        deadline: handshakeWithin,
      });
    } catch (error) {
      // A peer without the key is dropped; the one with it may still come.
      trace('somebody did not show the key: %o', error);
      return;
    }
    const roundTrip = roundTripSince(began);
    const connection = new Connection(secured.stream, secured.peer, this.options.deadlines?.silence);
    try {
      const hello = await awaitIntroduction(connection, 'sender');
      this.admit(hello);
      const required = hello.connection === 0 ? this.options.required : {};
      checkRequired(hello, required);
      await answerIntroduction(connection, hello, {
        role: 'sender',
        digest: this.options.algorithm,
        ...announceRequired(required),
        ...levelsOffer(hello.connection),
      });
      const coding = commonCoding(hello.codings);
      const link = new Link(connection, this.options.deadlines);
      this.dialedIn.take({ link, roundTrip, local: secured.local, coding }, hello.connection);
      if (hello.connection === 0) this.relay = secured.relay;
      this.begun = true;
      this.come();
    } catch (error) {
      if (error instanceof TransferError)
        await connection
          .send({
            type: 'refusal',
            code: error.code,
            message: error.message,
            ...(error.hint ? { hint: error.hint } : {}),
          })
          .catch(ignored('a peer that does not take our last word is gone'));
      await connection.linger();
    }
  }

  /** A connection from the relay is treated as any other accepted one. */
  private waitAtRelay(token: (relay: typeof import('../net/relay')) => string): void {
    const { relayAt: relay, relayPassword, relayFailed } = this.options;
    if (!relay || this.closed) return;
    const relaying = require('../net/relay') as typeof import('../net/relay');
    const waiter = new relaying.RelayWaiter(
      relaying.withPass({ relay, token: token(relaying), side: 'listening' }, relayPassword),
      (met) => void this.receive(met),
      this.waiters.length === 0 ? relayFailed : ignored('the first of those who wait at the relay says so'),
    );
    this.waiters.push(waiter);
  }

  /** A peer proves that it has the code, and gets a key for it. */
  private async takeCode(connection: Connection): Promise<void> {
    const { code } = this.options;
    if (!code) return refuseCode(connection);
    await code
      .answer(connection, (key) => {
        this.keys.set(key.id, key);
        this.waitAtRelay(({ relayToken }) => relayToken(key.key));
      })
      .catch(ignored('whoever tried is told, and whoever shows the code hears of its end'));
  }

  /**
   * Admits one receiver, and another one only once that one is lost. Throws `not-authorized`, and `usage` for a peer
   * that asks for something else.
   */
  private admit({ session, connection, ask }: Hello): void {
    if (ask)
      throw new TransferError('usage', 'This is a sender that listens, and keeps no backups.', {
        hint: 'sendall receive --from takes what it sends.',
      });
    const taken = this.session !== undefined && this.session !== session;
    const { present } = this.dialedIn;
    if (taken && (connection > 0 || (present && !present.connection.stream.closed))) {
      throw new TransferError('not-authorized', 'Another receiver has begun already.', {
        hint: 'A ticket of sendall send --listen is for one receiver.',
      });
    }
    this.session = session;
  }
}
