import { setMaxListeners } from 'node:events';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { asTransferError, TransferError } from '../errors';
import type { RateLimit } from './rate-limit';
import { Carriers } from './carriers';
import { type Compress, Compression } from './compression';
import { ConnectionCount } from '../session/connection-count';
import type { Link } from '../session/link';
import type { CarryingLink } from './carriers';
import type { Connector, FirstConnection } from './connector';
import { type SessionWork, SessionSending } from './session-send';
import {
  firstPause,
  longestPause,
  retryBeforeHello,
  farewellWithin,
  steadyAfter,
  takenWithin,
  measuredFor,
  warmUp,
} from '../session/deadlines';
import { ignored, trace } from '../trace';

export interface SessionSenderOptions {
  readonly connector: Connector;
  readonly work: SessionWork;
  readonly limit: RateLimit;
  readonly connections: number | 'auto';
  readonly compress: Compress;
  /** How long to try to go on after a connection was lost, in ms. */
  readonly retryFor: number;
}

/**
 * Runs conversations until one of them comes to its end. After a lost connection the receiver is met again, and what is
 * not settled goes on. Rejects with why that was not possible; at once where no receiver was met at all.
 */
export async function sendUntilDone(options: SessionSenderOptions): Promise<void> {
  const { connector, retryFor } = options;
  const { entries, results, signal } = options.work;
  let lost = await converse(options, await connector.first(signal));
  let [until, pause] = [0, 0];
  while (lost) {
    for (const { name } of entries.takeBegun()) results.failed(lostForGood(name));
    // A receiver that drops us again and again without progress gets one retry window, not a new one each time.
    const anew = lost.progress || until === 0;
    if (anew) until = performance.now() + patienceWith(lost, options);
    pause = anew ? firstPause : Math.min(longestPause, pause * 2);
    // Report a lost connection only if the receiver had accepted us and entries are still open.
    const tell = lost.welcome && !entries.over;
    if (tell) results.connectionLost(lost.reason, retryFor);
    const again = await meetAgain(connector, until, pause, signal);
    if (!again && nothingLeft(options)) return;
    if (!again) throw lost.reason;
    if (tell) results.connectionBack();
    lost = await converse(options, again);
  }
}

/** A conversation that was lost. */
interface LostConversation {
  readonly reason: TransferError;
  /** Whether the receiver had let us in. */
  readonly welcome: boolean;
  /** Whether anything came of it: an entry was settled, or bytes were carried. */
  readonly progress: boolean;
}

/**
 * Retry window in ms after a lost conversation. A crowded receiver says `timeout`; one that closes at once may be
 * crowded, too.
 */
function patienceWith({ reason, welcome }: LostConversation, options: SessionSenderOptions): number {
  const { retryFor } = options;
  if (nothingLeft(options)) return Math.min(retryFor, farewellWithin);
  return welcome || reason.code === 'timeout' ? retryFor : Math.min(retryFor, retryBeforeHello);
}

/** Whether all that is missing is the receiver's `done`, which says nothing new. */
function nothingLeft({ work: { entries, needsDone } }: SessionSenderOptions): boolean {
  return entries.over && !needsDone;
}

/**
 * One conversation. Resolves with undefined when it came to its end, and with why it was lost otherwise; rejects where
 * no other would do better.
 */
async function converse(
  options: SessionSenderOptions,
  { link, roundTrip, local, welcome = Promise.resolve(roundTrip) }: FirstConnection,
): Promise<LostConversation | undefined> {
  let welcomed = false;
  const letIn = welcome.then((measured) => {
    welcomed = true;
    return measured;
  });
  const { entries } = options.work;
  const settledBefore = entries.settled;
  const conversation = new SessionConversation(options, link, local);
  try {
    await conversation.run(letIn);
    return undefined;
  } catch (thrown) {
    const error = asTransferError(thrown, 'unexpected', 'The session failed');
    if (options.work.signal?.aborted || !worthAnother(error)) throw error;
    return { reason: error, welcome: welcomed, progress: entries.settled > settledBefore || conversation.carried > 0 };
  }
}

/**
 * Undefined where that was not possible in time; `firstPause` in ms, before the first attempt. Rejects with what time
 * does not change.
 */
async function meetAgain(
  connector: Connector,
  until: number,
  pauseBefore: number,
  signal: AbortSignal | undefined,
): Promise<FirstConnection | undefined> {
  for (let pause = pauseBefore; ; pause = Math.min(longestPause, pause * 2)) {
    const left = until - performance.now();
    if (left <= 0) return undefined;
    await sleep(Math.min(pause, left), undefined, signal ? { signal } : {});
    try {
      return await connector.first(signal, Math.max(1, until - performance.now()));
    } catch (thrown) {
      const error = asTransferError(thrown, 'unexpected', 'The receiver could not be met again');
      if (signal?.aborted || !worthAnother(error)) throw error;
      trace('the receiver was not met again, %d ms are left: %o', Math.round(until - performance.now()), error);
    }
  }
}

function worthAnother({ code }: TransferError): boolean {
  return code === 'connection-lost' || code === 'timeout' || code === 'cannot-connect';
}

function lostForGood(fileName: string): TransferError {
  return new TransferError('connection-lost', 'The connection was lost, and the input cannot be read a second time.', {
    hint: 'Start the same command again.',
    fileName,
  });
}

/** One conversation with all of its connections. */
class SessionConversation {
  private readonly carriers: Carriers;
  private readonly running = new Set<Promise<void>>();
  private readonly links = new Set<CarryingLink>();
  /** How many connections are to carry, beside connection 0 where others are sealed. */
  private wanted = 1;
  private opened = 1;
  private readonly ended = new AbortController();

  constructor(
    private readonly options: SessionSenderOptions,
    private readonly control: Link,
    /** Whether the receiver is on this machine. */
    private readonly local: boolean,
  ) {
    // Every connection listens for the end while it is dialed, and while it waits for the limit.
    setMaxListeners(0, this.ended.signal);
    this.carriers = new Carriers(options.limit, options.work.waits, this.ended.signal);
  }

  /** `welcome` resolves with the round trip in ms, once the receiver has said that we are. */
  async run(welcome: Promise<number>): Promise<void> {
    const sending = new SessionSending(this.control, this.carriers, this.options.work, welcome);
    // The end of connection 0 is reported by the conversation, which reads from it.
    this.start(this.carriers.carry(this.control, 0));
    this.start(
      welcome.then((roundTrip) => {
        this.compress();
        return this.spread(roundTrip);
      }),
    );
    let failure: TransferError | undefined;
    try {
      await sending.run();
    } catch (thrown) {
      failure = asTransferError(thrown, 'unexpected', 'The session failed');
      throw failure;
    } finally {
      this.ended.abort();
      this.carriers.close();
      for (const link of this.links) link.close();
      // A receiver is told of a sender that is stopped; otherwise it learns of the end by FIN.
      if (this.options.work.signal?.aborted) await this.control.leave();
      else if (failure) this.control.close(failure);
      await Promise.allSettled(this.running);
      await this.control.finish();
      this.control.close();
      await sending.quiet();
    }
  }

  /** Bytes of files that the system has taken. */
  get carried(): number {
    return this.carriers.bytes;
  }

  private get over(): boolean {
    return this.ended.signal.aborted;
  }

  /** A pause that the end of the conversation cuts short, by rejecting. */
  private pause(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.ended.signal });
  }

  /** Codes contents from now on, where that is wanted and the receiver takes it. PROTOCOL.md 14.17. */
  private compress(): void {
    const { compress, connector, work } = this.options;
    const { carriers } = this;
    // Within this machine there is no network that could hold anything back.
    if (compress === 'off' || (compress === 'auto' && this.local)) return;
    if (connector.coding) carriers.compression = new Compression(connector.coding, compress, carriers.rate, work.waits);
  }

  /** Makes further connections: the receiver knows the session now. */
  private async spread(roundTrip: number): Promise<void> {
    const { connections, connector } = this.options;
    // More of them through a relay were slower, and each would have to be met there.
    if (this.over || connector.relay) return;
    if (connections !== 'auto') {
      this.begin(connections);
      return;
    }
    // On a short round trip only processors limit the rate: more threads than processors bring nothing.
    const count = new ConnectionCount(roundTrip, connector.seals === true ? availableParallelism() : undefined);
    if (connector.seals === true && count.count === 1) await this.carriers.worthThreads;
    if (this.over) return;
    this.begin(count.count);
    await this.find(count);
  }

  /** Connection 0 carries frames unless further connections are sealed; then it carries none. */
  private begin(wanted: number): void {
    if (this.options.connector.seals === true) this.wanted = 0;
    this.grow(wanted);
  }

  /** The number of carrying connections, without connection 0 where others are sealed. */
  private get carrying(): number {
    return this.carriers.further + (this.options.connector.seals === true ? 0 : 1);
  }

  /** Measures while there is something to carry, and goes up and down with the connections. */
  private async find(count: ConnectionCount): Promise<void> {
    while (!this.over && !count.found) {
      await this.pause(warmUp);
      const before = { bytes: this.carriers.bytes, at: performance.now() };
      await this.pause(measuredFor);
      // Without waiting frames the rate says nothing about the connections.
      if (this.over || !this.carriers.busy) continue;
      this.grow(count.measured((this.carriers.bytes - before.bytes) / (performance.now() - before.at)));
    }
  }

  private grow(wanted: number): void {
    const before = this.wanted;
    this.wanted = wanted;
    for (let count = before; count > wanted; count--) this.carriers.retire();
    for (let count = before; count < wanted; count++) this.start(this.open());
  }

  /** One more connection, and another one instead whenever it dies, until it is not wanted any more. */
  private async open(): Promise<void> {
    const { connector } = this.options;
    for (let pause = 0; !this.over && this.carrying < this.wanted;) {
      const number = this.opened++;
      const began = performance.now();
      try {
        if (await this.use(await connector.another(number, this.control, this.ended.signal), number)) return;
      } catch (error) {
        // The other connections go on; connection 0 finds out whether the receiver is gone.
        trace('connection %d could not be had: %o', number, error);
        pause ||= firstPause;
      }
      if (performance.now() - began > steadyAfter) pause = 0;
      if (pause > 0 && !this.over) await this.pause(pause);
      pause = Math.min(longestPause, Math.max(firstPause, pause * 2));
    }
  }

  /** Lets a connection carry until it ends. Returns whether that is because it was not needed any more. */
  private async use(link: CarryingLink, number: number): Promise<boolean> {
    if (this.over || this.carrying >= this.wanted) {
      link.close();
      return true;
    }
    this.links.add(link);
    const carrying = this.carriers.carry(link, number);
    // Nothing but heartbeats comes back until the connection ends.
    await link.ended();
    const retired = this.carriers.ended(number);
    link.close();
    await carrying;
    this.links.delete(link);
    this.start(this.forget(number));
    return retired;
  }

  private async forget(number: number): Promise<void> {
    await this.pause(takenWithin).catch(ignored('the conversation ends'));
    this.carriers.forget(number);
  }

  private start(task: Promise<unknown>): void {
    const running = task.then(() => undefined, ignored('the end of a connection is met by the conversation'));
    this.running.add(running);
    void running.then(() => this.running.delete(running));
  }
}
