import type { Connection } from '../net/connection';
import type { Receipt, Refusal } from '../wire/message';
import { ignored } from '../trace';

/** A file that is to be answered for. */
export interface Due {
  /** Until it is known none. */
  reply: Receipt | Refusal | undefined;
}

/** Most replies in one write: few enough that a slow reader is seen to read. */
const sentTogether = 64;
/** Answered files after which all of them are forgotten together. */
const mostKept = 1024;

/**
 * The replies on one connection: exactly one for each file, in the order of the files (PROTOCOL.md 5.2), and all that
 * are known by then in one write.
 */
export class PlainReplies {
  private due: Due[] = [];
  /** How many of them were sent, or are being sent. */
  private sent = 0;
  /** How many are being sent. */
  private leaving = 0;
  private sending = false;
  private idle: (() => void)[] = [];

  constructor(private readonly connection: Connection) {}

  /** How many replies the system has not taken yet, those included that are not known. */
  get unread(): number {
    return this.due.length - this.sent + this.leaving;
  }

  /** This is the next file to be answered for. */
  expect(file: Due): void {
    this.due.push(file);
  }

  /** Sends what has become known. */
  send(): void {
    if (!this.sending) void this.sendKnown();
  }

  /** Resolves when there is nothing to be answered for. */
  async done(): Promise<void> {
    while (this.unread > 0) await new Promise<void>((resolve) => this.idle.push(resolve));
  }

  private async sendKnown(): Promise<void> {
    this.sending = true;
    for (let known = this.known(); known.length > 0; known = this.known()) {
      this.leaving = known.length;
      await this.connection
        .send(...known)
        .catch(ignored('a sender that went away gets no answer; whether its file is stored does not change by that'));
      this.leaving = 0;
    }
    // In the same turn of the event loop: replies that become known later begin a new write.
    this.sending = false;
    if (this.unread === 0) for (const wake of this.idle.splice(0)) wake();
  }

  private known(): (Receipt | Refusal)[] {
    const known: (Receipt | Refusal)[] = [];
    for (; known.length < sentTogether; this.sent++) {
      const reply = this.due[this.sent]?.reply;
      if (!reply) break;
      known.push(reply);
    }
    if (this.sent === this.due.length || this.sent >= mostKept) {
      this.due = this.due.slice(this.sent);
      this.sent = 0;
    }
    return known;
  }
}
