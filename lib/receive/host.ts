import { setTimeout as sleep } from 'node:timers/promises';
import type { Authorization, AuthorizedKeys } from '../access/authorized';
import { Connection } from '../net/connection';
import { asTransferError, errnoOf, TransferError } from '../errors';
import type { RestoreAsk } from '../wire/ask';
import type { Hello } from '../wire/hello';
import { type Address, routeThrough } from '../net/address';
import type { Dialed } from '../net/socket';
import { createKey, type SessionKey, startingAt, type Ticket } from '../net/ticket';
import { acceptSecured, dialSecured, type Secured } from '../net/tls';
import { failureEvent } from '../session/summary';
import { furtherDeadlines, Link, type LinkDeadlines } from '../session/link';
import { forPeer } from '../session/refusal';
import { roundTripSince } from '../session/round-trip';
import { keeperMissing, type SnapshotService } from './keeper';
import {
  answerIntroduction,
  awaitIntroduction,
  introduce,
  newSession,
  sealedOffer,
  unknownSession,
} from '../session/opening';
import { SealedArrivals } from '../session/sealed-arrivals';
import { answerSealed, readSealedHello, type SealedBasis } from '../session/sealed-opening';
import {
  type PeerIdentity,
  stageFor,
  openReceiving,
  type ReceivingSetup,
  type ReceivingOptions,
  rightsHint,
} from './open-receiving';
import { NamesOfSessions } from './offered-names';
import type { AskedFor } from './rules';
import { ownCodings } from '../session/content-coding';
import type { SessionReceived, Session } from './session';
import { Turns } from './turns';
import { UploadPace } from './upload-pace';
import { ignored } from '../trace';
import { mostBeforeHandshake, mostHandshakes, mostSealed, mostSessions, mostWaiting } from './limits';
import {
  handshakeWithin,
  firstPause,
  longestPause,
  waitForHandshake,
  handshakeCutAfter,
  handshakeLookEvery,
  waitForTurn,
} from '../session/deadlines';

export interface SessionHostOptions extends ReceivingOptions {
  /** The lasting keys; without it only the ticket opens. */
  readonly authorized: AuthorizedKeys | undefined;
  readonly deadlines: LinkDeadlines;
}

/** The peer id of all holders of a ticket: what one leaves unfinished, the next one can go on with. */
const ticketPeer = 'ticket';

interface RunningSession {
  readonly receiving: Promise<Session>;
  /** The id of the key of its peer. */
  readonly peer: string;
  readonly over: Promise<SessionReceived>;
  /** For sealed connections; undefined where none were offered. */
  readonly sealed: SealedBasis | undefined;
  stop(reason: TransferError): void;
}

/** What a session needs beside its link and hello, whoever dialed. */
interface ConnectionSetup extends ReceivingSetup {
  /** Ends the session when it aborts. */
  readonly signal?: AbortSignal | undefined;
  /** Where sealed connections are offered to the peer. */
  readonly sealed?: SealedBasis | undefined;
  /** Answers the hello of connection 0. */
  readonly welcome?: () => Promise<void>;
}

/** The receiver's side of all sessions: who is let in, and which connection belongs to which session. */
export class SessionHost {
  /** Of uploads, which come behind the sessions here. */
  readonly pace = new UploadPace();
  /** The ticket's key, valid until `close`. */
  readonly key: SessionKey = createKey();
  /** The ticket's key and those agreed by codes, by id. */
  private readonly ownKeys = new Map([[this.key.id, this.key]]);
  private readonly sessions = new Map<string, RunningSession>();
  private readonly names = new NamesOfSessions();
  /** Who is showing its key, and since when. */
  private readonly handshakes = new Map<Dialed, number>();
  private readonly showing = new Turns(
    mostHandshakes,
    mostBeforeHandshake,
    waitForHandshake,
    'Too many others are showing their keys.',
  );
  private readonly sending = new Turns(
    mostSessions,
    mostWaiting,
    waitForTurn,
    'Too many others are sending at this moment.',
  );
  /** Nobody waits for those: a sender goes on without. */
  private readonly sealing = new Turns(mostSealed, 0, 0, 'There are too many sealed connections.');
  /** Accepted connections, each with the promise of its outcome. */
  private readonly connections = new Map<Connection, Promise<unknown>>();
  private closed: TransferError | undefined;
  private readonly snapshots: SnapshotService | undefined;

  constructor(private readonly options: SessionHostOptions) {
    this.snapshots = options.keeper?.serve(options);
  }

  /**
   * Takes an accepted connection that begins with TLS. Resolves when it has ended: with how its session went for
   * connection 0 of a session, else with undefined. Never rejects.
   */
  async accept(accepted: Dialed): Promise<SessionReceived | undefined> {
    let came: { readonly secured: Secured; readonly roundTrip: number };
    const room = setInterval(() => this.makeRoom(), handshakeLookEvery);
    try {
      came = await this.showing.take(async () => {
        clearInterval(room);
        const began = performance.now();
        this.handshakes.set(accepted, began);
        return {
          secured: await acceptSecured(accepted, (id) => this.keyOf(id), { deadline: handshakeWithin }),
          roundTrip: roundTripSince(began),
        };
      });
    } catch (error) {
      accepted.stream.destroy();
      // A peer without a key gets no answer; the user of this receiver is told. One that hung up has shown no wrong
      // key: port scans do so, and further connections that their sender does not need any more.
      const failure = asTransferError(error, 'not-authorized', 'The handshake failed');
      if (!this.closed && errnoOf(failure.cause) !== 'ECONNRESET') this.options.on(failureEvent(failure));
      return undefined;
    } finally {
      clearInterval(room);
      this.handshakes.delete(accepted);
    }
    const { secured, roundTrip } = came;
    const connection = new Connection(secured.stream, secured.peer);
    const outcome = this.admit(connection, secured, roundTrip).finally(() => this.connections.delete(connection));
    this.connections.set(connection, outcome);
    return outcome;
  }

  /**
   * Takes an accepted connection that begins as a sealed one. `known` is told once it has proved to belong to a
   * session. Resolves when it has ended. Never rejects.
   */
  async acceptSealed(connection: Connection, known: () => void): Promise<void> {
    try {
      const hello = await readSealedHello(connection);
      const session = this.sessions.get(hello.session);
      if (!session?.sealed || this.closed) throw unknownSession();
      // The holder of a ticket is none of the authorized, and has it for as long as this lives.
      if (session.peer !== ticketPeer) this.holderOf(session.peer);
      const { further } = await session.receiving;
      const { sealed: basis } = session;
      await this.sealing.take(async () => {
        const sealed = await answerSealed(connection, hello, basis);
        known();
        await further.attachSealed(new SealedArrivals(sealed, this.options.deadlines), hello.connection);
      }, session.peer);
    } catch {
      // A peer without proof gets no answer; the sender goes on without this connection.
      known();
      connection.close();
    }
  }

  /**
   * Dials a sender that listens, and takes all that it sends, or a receiver that has snapshots, and takes of what it
   * sends what was asked for; dials again for `retryFor` ms where the connection is lost. Rejects with why that was not
   * possible.
   */
  async dial(
    ticket: Ticket,
    retryFor: number,
    signal: AbortSignal | undefined,
    restoring?: { readonly ask: RestoreAsk; readonly asked: AskedFor },
  ): Promise<SessionReceived> {
    const { ask, asked } = restoring ?? {};
    const session = newSession();
    let reached = ticket;
    let lostAt: number | undefined;
    let last: SessionReceived | undefined;
    for (let pause = firstPause; ; pause = Math.min(longestPause, pause * 2)) {
      try {
        const { link, hello, address, relay } = await this.introduce(reached, { session, connection: 0, ask }, signal);
        reached = startingAt(reached, address);
        const connect = async (number: number): Promise<void> => {
          const further = await this.introduce(reached, { session, connection: number, ask }, signal);
          const receiving = await this.sessions.get(session)?.receiving;
          if (receiving) await receiving.further.attach(further.link, number);
          else further.link.close();
        };
        const route = relay && routeThrough(relay);
        last = await this.receive(link, hello, undefined, { connect, asked, signal, route }).finally(() =>
          link.close(),
        );
        if (last.lost === undefined || !last.lost.retry || signal?.aborted || this.closed) return last;
        // A sender that was stopped makes a new ticket; a receiver of snapshots comes back with the same keys.
        if (last.lost.code === 'stopped' && !restoring) return last;
        lostAt = performance.now();
        pause = firstPause;
      } catch (error) {
        if (lostAt === undefined || !(error instanceof TransferError && error.retry) || signal?.aborted) throw error;
      }
      if (performance.now() - (lostAt ?? 0) + pause > retryFor) {
        if (last) return last;
        throw new TransferError('connection-lost', 'The sender could not be reached again.');
      }
      await sleep(pause, undefined, signal ? { signal } : {}).catch(ignored('cut short, the next attempt says why'));
    }
  }

  /** Ends all sessions; what is unfinished is kept. Resolves when they have ended. */
  async close(reason: TransferError, now: boolean): Promise<void> {
    this.closed = reason;
    for (const { stream } of this.handshakes.keys()) stream.destroy(reason);
    for (const line of [this.showing, this.sending]) line.close(reason);
    for (const session of this.sessions.values()) session.stop(reason);
    const asked = this.snapshots?.stop();
    for (const connection of this.connections.keys()) connection[now ? 'close' : 'stopReading'](reason);
    await Promise.allSettled([
      ...[...this.sessions.values()].map(({ over }) => over),
      asked,
      ...this.connections.values(),
    ]);
  }

  /** Accepts this key like that of the ticket, until `close`. */
  letIn(key: SessionKey): void {
    this.ownKeys.set(key.id, key);
  }

  private keyOf(id: string): Uint8Array | undefined {
    return this.ownKeys.get(id)?.key ?? this.options.authorized?.find(id)?.key;
  }

  private async admit(
    connection: Connection,
    { keyId, secret, relay }: Secured,
    roundTrip: number,
  ): Promise<SessionReceived | undefined> {
    try {
      const hello = await awaitIntroduction(connection, 'receiver');
      refuseFurtherQuestion(hello);
      const { authorization, peer } = this.holderOf(keyId);
      if (hello.ask) {
        const { snapshots } = this;
        if (!snapshots) throw keeperMissing();
        const { ask } = hello;
        const take = (): Promise<void> =>
          snapshots.take(connection, { hello, ask, ...this.holderOf(keyId), roundTrip });
        await (hello.connection > 0 ? take() : this.sending.take(take, peer));
        return undefined;
      }
      if (authorization?.rights === 'read')
        throw new TransferError('not-authorized', 'This key may read, and not send.', { hint: rightsHint });
      if (hello.connection > 0) {
        await this.join(connection, hello, peer);
        return undefined;
      }
      for (let earlier = this.sessions.get(hello.session); earlier; earlier = this.sessions.get(hello.session)) {
        if (earlier.peer !== peer) throw unknownSession();
        // The sender dials again before we noticed that it was gone.
        earlier.stop(new TransferError('connection-lost', 'The sender came back on another connection.'));
        await earlier.over.catch(ignored('whoever ran that session is told'));
      }
      if (this.closed) throw this.closed;
      // While it waits for its turn its key may be taken away.
      const begin = (): Promise<SessionReceived> =>
        this.begin(connection, hello, { ...this.holderOf(keyId), secret, relay });
      return await this.sending.take(begin, peer);
    } catch (thrown) {
      await this.refuse(connection, asTransferError(thrown, 'unexpected', 'The session could not begin'));
      return undefined;
    } finally {
      connection.close();
    }
  }

  /** What the holder of a key may do at this moment. Throws `not-authorized` where it is not valid any more. */
  private holderOf(keyId: string): Pick<PeerIdentity, 'authorization' | 'peer'> {
    if (this.ownKeys.has(keyId)) return { authorization: undefined, peer: ticketPeer };
    const authorization = this.options.authorized?.find(keyId);
    if (authorization) return { authorization, peer: keyId };
    throw new TransferError('not-authorized', 'This key is not valid any more.', {
      hint: 'Whoever runs the receiver makes a new one with sendall authorize.',
    });
  }

  private async begin(
    connection: Connection,
    hello: Hello,
    { authorization, peer, secret, relay }: Pick<Secured, 'secret' | 'relay'> & Omit<PeerIdentity, 'hello'>,
  ): Promise<SessionReceived> {
    const stage = await stageFor(this.options, { hello, authorization, peer });
    const link = new Link(connection, this.options.deadlines, false);
    const offer = sealedOffer(0, hello);
    const sealed = offer.sealed && { session: hello.session, secret };
    const welcome = (): Promise<void> => {
      const answered = answerIntroduction(connection, hello, {
        role: 'receiver',
        check: true,
        codings: ownCodings,
        ...(this.options.metadata ? { metadata: true } : {}),
        ...(hello.repair === undefined ? {} : { repair: hello.repair }),
        ...(stage && hello.backup !== undefined ? { snapshot: stage.id } : {}),
        ...offer,
      });
      link.greeted();
      return answered;
    };
    const route = relay && routeThrough(relay);
    return this.receive(link, hello, authorization, { welcome, stage, sealed, route });
  }

  /** Cuts off the oldest handshake while others wait for theirs. */
  private makeRoom(): void {
    const [oldest] = this.handshakes;
    if (!oldest || performance.now() - oldest[1] < handshakeCutAfter) return;
    this.handshakes.delete(oldest[0]);
    oldest[0].stream.destroy(new TransferError('timeout', 'Others wait to show their keys.'));
  }

  /** Reports the whole reason here, and to the peer only what concerns it: no paths of this machine. */
  private async refuse(connection: Connection, error: TransferError): Promise<void> {
    if (error.code !== 'connection-lost' && error !== this.closed) this.options.on(failureEvent(error));
    await connection
      .send({ type: 'refusal', ...forPeer(error) })
      .catch(ignored('a peer that does not take our last word is gone'));
    await connection.linger();
  }

  private async join(connection: Connection, hello: Hello, peer: string): Promise<void> {
    const session = this.sessions.get(hello.session);
    if (session?.peer !== peer) throw unknownSession();
    const { further } = await session.receiving;
    further.expect(hello.connection);
    try {
      await answerIntroduction(connection, hello, { role: 'receiver' });
    } catch (error) {
      further.giveUp(hello.connection);
      throw error;
    }
    const deadlines = furtherDeadlines(this.options.deadlines);
    await further.attach(new Link(connection, deadlines), hello.connection);
  }

  /** Runs a session to its end. It is known before `welcome` tells the peer, so that further connections find it. */
  private async receive(
    link: Link,
    hello: Hello,
    authorization: Authorization | undefined,
    { signal, welcome, sealed, ...dealings }: ConnectionSetup,
  ): Promise<SessionReceived> {
    const peer = authorization?.id ?? ticketPeer;
    const receiving = openReceiving({ ...this.options, pace: this.pace }, { hello, authorization, peer }, link, {
      ...dealings,
      names: this.names.of(hello.session, peer),
    });
    const over = receiving.then(async (opened) => {
      const running = opened.run();
      await welcome?.().catch(ignored('a peer that does not hear it is gone, which ends the session'));
      return running;
    });
    const stop = (reason: TransferError): void =>
      void receiving.then((opened) => opened.stop(reason)).catch(ignored('a session that did not begin needs no stop'));
    const session = { receiving, peer, over, stop, sealed };
    this.sessions.set(hello.session, session);
    const aborted = (): void => stop(new TransferError('interrupted', 'The receiver was stopped.'));
    signal?.addEventListener('abort', aborted, { once: true });
    if (signal?.aborted) aborted();
    try {
      const received = await over;
      if (received.lost) this.options.on({ ...failureEvent(received.lost), id: hello.session });
      return { ...received, route: dealings.route };
    } finally {
      signal?.removeEventListener('abort', aborted);
      if (this.sessions.get(hello.session) === session) this.sessions.delete(hello.session);
    }
  }

  private async introduce(
    ticket: Ticket,
    {
      session,
      connection: number,
      ask,
    }: Pick<Hello, 'session' | 'connection'> & { readonly ask: RestoreAsk | undefined },
    signal: AbortSignal | undefined,
  ): Promise<{ link: Link; hello: Hello; address: Address; relay: Address | undefined }> {
    const dialed = await dialSecured(ticket, { signal });
    const connection = new Connection(dialed.stream, dialed.peer);
    try {
      const hello = await introduce(connection, {
        role: 'receiver',
        ...(number === 0 ? { check: true, codings: ownCodings } : {}),
        ...(number === 0 && this.options.metadata ? { metadata: true } : {}),
        session,
        connection: number,
        ...(ask ? { ask } : {}),
      });
      return {
        link: new Link(connection, furtherDeadlines(this.options.deadlines)),
        hello,
        address: dialed.address,
        relay: dialed.relay,
      };
    } catch (error) {
      connection.close();
      throw error;
    }
  }
}

/**
 * Only a restore has further connections: a question on one would be counted by nobody. Throws `bad-header`.
 * PROTOCOL.md 23.1.
 */
function refuseFurtherQuestion({ ask, connection }: Hello): void {
  if (ask && ask.for !== 'restore' && connection > 0)
    throw new TransferError('bad-header', 'A question is asked on connection 0.', {
      hint: 'The other side does not keep to the protocol.',
    });
}
