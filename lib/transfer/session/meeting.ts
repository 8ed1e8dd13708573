import { Connection } from '../../connection';
import { TransferError } from '../../errors';
import type { Digests } from '../../progress';
import type { Address } from '../../transport/address';
import { type Dialed, listen, type Listening } from '../../transport/net';
import { createKey, type SessionKey, type Ticket } from '../../transport/ticket';
import { acceptSecured, announcesTls, dialSecured, type Secured } from '../../transport/tls';
import { type LinkDeadlines, Link } from './link';
import { answerIntroduction, awaitIntroduction, introduce, newSession } from './opening';

export interface Met {
  readonly link: Link;
  readonly roundTrip: number;
}

/** How the connections of a sender's session come about. */
export interface Meeting {
  /** Connection 0. Rejects where nobody can be met. `roundTrip` in ms. */
  first(signal: AbortSignal | undefined): Promise<Met>;
  /** A further one. `control` is connection 0, over which a peer that dials is asked for it. */
  another(connection: number, control: Link, signal: AbortSignal | undefined): Promise<Link>;
  close(): Promise<void>;
}

/** A sender that dials the holder of its ticket. */
export class DialedMeeting implements Meeting {
  private readonly session = newSession();

  constructor(
    private readonly ticket: Ticket,
    private readonly algorithm: keyof Digests,
    private readonly deadlines?: LinkDeadlines,
  ) {}

  first(signal: AbortSignal | undefined): Promise<Met> {
    return this.dial(0, signal);
  }

  async another(connection: number, _control: Link, signal: AbortSignal | undefined): Promise<Link> {
    return (await this.dial(connection, signal)).link;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  private async dial(number: number, signal: AbortSignal | undefined): Promise<Met> {
    const dialed = await dialSecured(this.ticket, { signal });
    const connection = new Connection(dialed.stream, dialed.peer);
    try {
      await introduce(connection, { role: 'sender', session: this.session, connection: number, digest: this.algorithm });
      return { link: new Link(connection, this.deadlines), roundTrip: dialed.rtt };
    } catch (error) {
      connection.close();
      throw error;
    }
  }
}

/** Time in which an accepted peer shows its key, in ms. */
const handshakeWithin = 10_000;
/** Who has said nothing for so long after dialing waits for the plain wire, in ms. */
const speaksWithin = 1_000;
/** How long a peer that was asked for another connection may take, in ms. */
const anotherWithin = 20_000;

/** What a handshake costs beside its round trip, in ms. */
const handshakeWork = 5;

interface Waiting {
  readonly resolve: (met: Met) => void;
  readonly reject: (error: TransferError) => void;
}

/** A sender that waits for the receiver to dial in. */
export class ListeningMeeting implements Meeting {
  readonly key: SessionKey = createKey();
  private session: string | undefined;
  private readonly waiting = new Map<number, Waiting>();
  private readonly arrived: Met[] = [];

  private come: () => void = () => undefined;
  /** Resolves when the first receiver has shown its key. */
  private readonly here = new Promise<void>((resolve) => {
    this.come = resolve;
  });
  private closed: Promise<void> | undefined;

  private constructor(
    private readonly algorithm: keyof Digests,
    private readonly deadlines: LinkDeadlines | undefined,
    private readonly listening: Listening,
  ) {}

  /** Listens at `address`. `plain` gets those who wait for the plain wire instead of showing a key. Rejects with `cannot-connect`. */
  static async at(address: Address, algorithm: keyof Digests, plain: (accepted: Dialed) => void, deadlines?: LinkDeadlines): Promise<ListeningMeeting> {
    const early: Dialed[] = [];
    let accept = (accepted: Dialed): void => void early.push(accepted);
    const meeting = new ListeningMeeting(algorithm, deadlines, await listen(address, (accepted) => accept(accepted)));
    accept = (accepted) => void meeting.accept(accepted, plain);
    for (const accepted of early) accept(accepted);
    return meeting;
  }

  /** Where it listens. */
  get address(): Address {
    return this.listening.address;
  }

  /** Waits until a receiver has shown its key. Rejects with `interrupted`. */
  someone(signal: AbortSignal | undefined): Promise<undefined> {
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

  first(signal: AbortSignal | undefined): Promise<Met> {
    const ready = this.arrived.shift();
    return ready ? Promise.resolve(ready) : this.await(0, signal, undefined);
  }

  async another(connection: number, control: Link, signal: AbortSignal | undefined): Promise<Link> {
    const awaited = this.await(connection, signal, anotherWithin);
    await control.send({ type: 'connect', connection });
    return (await awaited).link;
  }

  async close(): Promise<void> {
    for (const { reject } of this.waiting.values()) reject(new TransferError('interrupted', 'Interrupted.'));
    this.closed ??= this.listening.close();
    await this.closed;
  }

  private await(connection: number, signal: AbortSignal | undefined, within: number | undefined): Promise<Met> {
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer);
        this.waiting.delete(connection);
        signal?.removeEventListener('abort', aborted);
      };
      const give = (error: TransferError): void => {
        settle();
        reject(error);
      };
      const aborted = (): void => give(new TransferError('interrupted', 'Interrupted.'));
      const timer = within === undefined ? undefined : setTimeout(() => give(new TransferError('timeout', 'The receiver did not dial in.')), within);
      signal?.addEventListener('abort', aborted, { once: true });
      this.waiting.set(connection, {
        resolve: (met) => {
          settle();
          resolve(met);
        },
        reject: give,
      });
      if (signal?.aborted) aborted();
    });
  }

  private async accept(accepted: Dialed, plain: (accepted: Dialed) => void): Promise<void> {
    // On the plain wire a receiver says nothing before it got a file; one with a key speaks first.
    if (!(await announcesTls(accepted.stream, speaksWithin))) {
      plain(accepted);
      return;
    }
    const began = performance.now();
    let secured: Secured;
    try {
      secured = await acceptSecured(accepted, (id) => (id === this.key.id ? this.key.key : undefined), { deadline: handshakeWithin });
    } catch {
      // Whoever cannot show the key is nobody, and the one who can may still come.
      return;
    }
    const roundTrip = Math.max(0, performance.now() - began - handshakeWork);
    const connection = new Connection(secured.stream, secured.peer);
    try {
      const hello = await awaitIntroduction(connection, 'sender');
      if (this.session !== undefined && hello.session !== this.session) {
        throw new TransferError('not-authorized', 'Another receiver has begun already.', { hint: 'A ticket of sendall send --listen is for one receiver.' });
      }
      this.session = hello.session;
      await answerIntroduction(connection, hello, { role: 'sender', digest: this.algorithm });
      const link = new Link(connection, this.deadlines);
      const waiting = this.waiting.get(hello.connection);
      if (waiting) waiting.resolve({ link, roundTrip });
      else if (hello.connection === 0) this.arrived.push({ link, roundTrip });

      else link.close();
      this.come();
    } catch (error) {
      if (error instanceof TransferError) await connection.send({ type: 'refusal', code: error.code, message: error.message, ...(error.hint ? { hint: error.hint } : {}) }).catch(() => undefined);
      await connection.linger();
    }
  }
}
