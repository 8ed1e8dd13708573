import type { Conversation } from './conversation';

/**
 * Messages on their way to one peer, one after another. Whoever posts never waits, however slow the peer is; instead
 * the box gets full. So one process can speak to many, and none of them holds up the others.
 */
export class Outbox {
  private readonly waiting: object[] = [];
  private sending: Promise<void> | undefined;
  private closed = false;

  constructor(
    private readonly conversation: Conversation,
    /** How many messages may wait. */
    private readonly most: number,
  ) {}

  /** Puts a message in; false if the box is full or closed, and then the message is not sent. */
  post(header: object): boolean {
    if (this.closed || this.waiting.length >= this.most) return false;
    this.waiting.push(header);
    this.sending ??= this.empty();
    return true;
  }

  /**
   * Throws away what waits, posts `last` in its place, and takes nothing more. Resolves when `last` was sent or cannot
   * be.
   */
  async close(last: object): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.waiting.splice(0, Infinity, last);
    await (this.sending ??= this.empty());
  }

  /**
   * A conversation that has failed says so to its reader; here it only means that nothing needs to be sent any more.
   */
  private async empty(): Promise<void> {
    try {
      for (let header = this.waiting.shift(); header; header = this.waiting.shift())
        await this.conversation.sendMessage(header);
    } catch {
      // Its reader is told.
      this.closed = true;
      this.waiting.length = 0;
      this.conversation.close();
    }
    this.sending = undefined;
  }
}
