import { Connection } from '../../connection';
import { asTransferError, TransferError } from '../../errors';
import type { Digests } from '../../progress';
import type { Hello } from '../../protocol/session-message';
import type { Address } from '../../transport/address';
import { type Dialed, listen, type Listening } from '../../transport/net';
import { createKey, type SessionKey } from '../../transport/ticket';
import { acceptSecured, announcesTls, type Secured } from '../../transport/tls';
import { type LinkDeadlines, Link } from './link';
import type { Meeting, Met } from './meeting';
import { answerIntroduction, awaitIntroduction } from './opening';

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

export interface ListeningOptions {
  readonly algorithm: keyof Digests;
  /** Gets the first one who waits for the plain wire instead of showing a key, where nobody did that before. */
  readonly plain: (accepted: Dialed) => void;
  /** Whether that may be somebody on another machine. */
  readonly insecurePlain: boolean;
  readonly deadlines: LinkDeadlines | undefined;
}

/** A sender that waits for the receiver to dial in. */
export class ListeningMeeting implements Meeting {
  readonly key: SessionKey = createKey();
  private session: string | undefined;
  private readonly waiting = new Map<number, Waiting>();
  /** Accepted, and not known yet to be anybody. */
  private readonly strangers = new Set<Dialed>();
  /** Connection 0 of a receiver, which nobody waited for yet. */
  private arrived: Met | undefined;
  /** Connection 0 of the conversation that is or was held. */
  private current: Link | undefined;
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
  static async at(address: Address, options: ListeningOptions): Promise<ListeningMeeting> {
    const early: Dialed[] = [];
    let accept = (accepted: Dialed): void => void early.push(accepted);
    const meeting = new ListeningMeeting(options, await listen(address, (accepted) => accept(accepted)));
    accept = (accepted) => void meeting.receive(accepted);
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

  async first(signal: AbortSignal | undefined, within?: number): Promise<Met> {
    const { arrived } = this;
    this.arrived = undefined;
    const met = arrived && !arrived.link.connection.stream.closed ? arrived : await this.await(0, signal, within);
    this.current = met.link;
    return met;
  }

  async another(connection: number, control: Link, signal: AbortSignal | undefined): Promise<Link> {
    const awaited = this.await(connection, signal, anotherWithin);
    control.send({ type: 'connect', connection }).catch((error: unknown) => this.waiting.get(connection)?.reject(asTransferError(error, 'connection-lost', 'The connection was lost')));
    return (await awaited).link;
  }

  async close(): Promise<void> {
    for (const { reject } of this.waiting.values()) reject(new TransferError('interrupted', 'Interrupted.'));
    this.arrived?.link.close();
    for (const { stream } of this.strangers) stream.destroy();
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

  private async receive(accepted: Dialed): Promise<void> {
    this.strangers.add(accepted);
    await this.accept(accepted).finally(() => this.strangers.delete(accepted));
  }

  private async accept(accepted: Dialed): Promise<void> {
    // On the plain wire a receiver says nothing before it got a file; one with a key speaks first.
    const mayBePlain = accepted.local || this.options.insecurePlain;
    if (!(await announcesTls(accepted.stream, mayBePlain ? speaksWithin : handshakeWithin))) {
      // Whoever may not have it, or comes too late, must not end what others wait for.
      if (mayBePlain && !this.begun) this.options.plain(accepted);
      else accepted.stream.destroy();
      this.begun ||= mayBePlain;
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
    const connection = new Connection(secured.stream, secured.peer, this.options.deadlines?.silence);
    try {
      const hello = await awaitIntroduction(connection, 'sender');
      this.admit(hello);
      await answerIntroduction(connection, hello, { role: 'sender', digest: this.options.algorithm });
      this.take({ link: new Link(connection, this.options.deadlines), roundTrip }, hello.connection);
    } catch (error) {
      if (error instanceof TransferError) await connection.send({ type: 'refusal', code: error.code, message: error.message, ...(error.hint ? { hint: error.hint } : {}) }).catch(() => undefined);
      await connection.linger();
    }
  }

  /** One receiver, and another one only after that one was lost. Throws `not-authorized`. */
  private admit({ session, connection }: Hello): void {
    const taken = this.session !== undefined && this.session !== session;
    const present = this.arrived?.link ?? this.current;
    if (taken && (connection > 0 || (present && !present.connection.stream.closed))) {
      throw new TransferError('not-authorized', 'Another receiver has begun already.', { hint: 'A ticket of sendall send --listen is for one receiver.' });
    }
    this.session = session;
  }

  private take(met: Met, connection: number): void {
    const waiting = this.waiting.get(connection);
    if (waiting) {
      waiting.resolve(met);
    } else if (connection > 0) {
      met.link.close();
    } else {
      this.arrived?.link.close();
      this.arrived = met;
      // It is back before we noticed that it was gone.
      this.current?.connection.stopReading(new TransferError('connection-lost', 'The receiver came back on another connection.'));
    }
    this.begun = true;
    this.come();
  }
}
