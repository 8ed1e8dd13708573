import { setTimeout as sleep } from 'node:timers/promises';
import { asTransferError, TransferError } from '../../errors';
import type { Waits } from '../../progress';
import type { RateLimit } from '../rate-limit';
import { Carriers } from './carriers';
import { ConnectionCount } from './connection-count';
import type { Link } from './link';
import type { Meeting } from './meeting';
import { type SessionOutlet, SessionSending } from './send';

export interface SessionSenderOptions {
  readonly meeting: Meeting;
  readonly outlet: SessionOutlet;
  readonly limit: RateLimit;
  readonly waits: Waits;
  readonly connections: number | 'auto';
  /** How long to try to go on after a connection was lost, in ms. */
  readonly retryFor: number;
  readonly signal: AbortSignal | undefined;
}

/** Between attempts to meet again, in ms; doubled each time. */
const firstPause = 200;
const longestPause = 5_000;
/** Over so long the rate of a number of connections is measured, in ms; before that they get up to speed. */
const measuredFor = 1_000;
const warmUp = 500;
/** How long the receiver may still say that it took what a connection brought that has ended, in ms. */
const takenWithin = 1_000;

/**
 * Holds conversations until one comes to its end: where a connection is lost, it meets the receiver again and goes on with what
 * is not settled. Rejects with why that was not possible.
 */
export async function sendUntilDone(options: SessionSenderOptions): Promise<void> {
  const { meeting, retryFor, signal } = options;
  let lostAt: number | undefined;
  let reason: TransferError | undefined;
  for (let pause = firstPause; ; pause = Math.min(longestPause, pause * 2)) {
    try {
      const { link, roundTrip } = await meeting.first(signal);
      lostAt = undefined;
      pause = firstPause;
      await new Conversation(options, link).run(roundTrip);
      return;
    } catch (thrown) {
      const error = asTransferError(thrown, 'unexpected', 'The session failed');
      // "Was never connected" is an answer; "is not connected any more" is worth another try.
      if (!worthAnother(error) || signal?.aborted || (lostAt === undefined && error.code === 'cannot-connect')) throw error;
      lostAt ??= performance.now();
      reason = error.code === 'cannot-connect' ? (reason ?? error) : error;
      if (performance.now() - lostAt + pause > retryFor) throw reason;
    }
    await sleep(pause, undefined, signal ? { signal } : {});
  }
}

function worthAnother({ code }: TransferError): boolean {
  return code === 'connection-lost' || code === 'timeout' || code === 'cannot-connect';
}

/** One conversation with all of its connections. */
class Conversation {
  private readonly carriers: Carriers;
  private readonly running = new Set<Promise<void>>();
  private readonly links = new Set<Link>();
  private wanted = 1;
  private opened = 1;
  private readonly ended = new AbortController();

  constructor(
    private readonly options: SessionSenderOptions,
    private readonly control: Link,
  ) {
    this.carriers = new Carriers(options.limit, options.waits, options.signal);
  }

  async run(roundTrip: number): Promise<void> {
    const { connections, outlet } = this.options;
    const sending = new SessionSending(this.control, this.carriers, outlet).run();
    // The control connection's own end is met by the conversation, which reads from it.
    this.start(this.carriers.carry(this.control, 0));
    if (connections === 'auto') this.start(this.find(new ConnectionCount(roundTrip)));
    else this.grow(connections);
    try {
      await sending;
    } catch (error) {
      this.control.close(error instanceof TransferError ? error : undefined);
      throw error;
    } finally {
      this.ended.abort();
      this.carriers.close();
      for (const link of this.links) link.close();
      await Promise.allSettled(this.running);
      await this.control.finish();
      this.control.close();
    }
  }

  private get over(): boolean {
    return this.ended.signal.aborted;
  }

  /** A pause that the end of the conversation cuts short, by rejecting. */
  private pause(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.ended.signal });
  }

  /** Measures while there is something to carry, and goes up and down with the connections. */
  private async find(count: ConnectionCount): Promise<void> {
    this.grow(count.count);
    while (!this.over && !count.found) {
      await this.pause(warmUp);
      const before = { bytes: this.carriers.bytes, at: performance.now() };
      await this.pause(measuredFor);
      // What was not held up by the connections says nothing about them.
      if (this.over || !this.carriers.busy) continue;
      this.grow(count.measured((this.carriers.bytes - before.bytes) / (performance.now() - before.at)));
    }
  }

  private grow(wanted: number): void {
    for (; this.wanted > wanted; this.wanted--) this.carriers.retire();
    for (; this.wanted < wanted; this.wanted++) this.start(this.open(this.opened++));
  }

  /** One more connection; another one instead when it dies. */
  private async open(first: number): Promise<void> {
    const { meeting, signal } = this.options;
    let pause = firstPause;
    for (let number = first; !this.over; number = this.opened++) {
      let link: Link;
      try {
        link = await meeting.another(number, this.control, signal);
      } catch {
        // The others go on without it; whether the receiver is gone is for the control connection to find out.
        if (this.over || pause > longestPause) return;
        await this.pause(pause);
        pause *= 2;
        continue;
      }
      if (await this.use(link, number)) return;
    }
  }

  /** Whether the connection ended because it was not needed any more. */
  private async use(link: Link, number: number): Promise<boolean> {
    if (this.over) {
      link.close();
      return true;
    }
    this.links.add(link);
    const carrying = this.carriers.carry(link, number);
    // Nothing but heartbeats comes back; what ends in another way than by FIN is dead, and what it carried goes on another one.
    const clean = await link.receive().then(
      (message) => message === undefined,
      () => false,
    );
    if (clean) await this.pause(takenWithin).catch(() => undefined);
    this.carriers.gone(number);
    link.close();
    await carrying;
    this.links.delete(link);
    return clean;
  }

  private start(task: Promise<void>): void {
    const running = task.catch(() => undefined).finally(() => this.running.delete(running));
    this.running.add(running);
  }
}
