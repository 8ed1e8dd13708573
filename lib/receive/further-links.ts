import { asTransferError, TransferError } from '../errors';
import type { Link } from '../session/link';
import type { SealedArrivals } from '../session/sealed-arrivals';
import { cutOff } from '../wire/frame';
import { mostSessionConnections } from '../session/connection-count';

/** The connections of a receiver's session beside connection 0, by their numbers. */
export class FurtherLinks {
  /** Undefined while one is being made. */
  private readonly links = new Map<number, Link | undefined>();
  private readonly sealed = new Map<number, SealedArrivals>();
  private closed = false;

  constructor(
    /** Takes what arrives on one, until its end. */
    private readonly listen: (link: Link, number: number) => Promise<void>,
    /** The same for a sealed one. */
    private readonly listenSealed: (arrivals: SealedArrivals, number: number) => Promise<void>,
    /** Told of what makes no sense: on another connection it would only come again. */
    private readonly broken: (error: TransferError) => void,
  ) {}

  /** Expects connection `number`. Throws `bad-header` where it is there already, or one too many. */
  expect(number: number): void {
    if (this.links.has(number) || this.sealed.has(number))
      throw new TransferError('bad-header', `Connection ${String(number)} of this session is there already.`);
    if (this.links.size + this.sealed.size >= mostSessionConnections)
      throw new TransferError(
        'bad-header',
        `A session has at most ${String(mostSessionConnections)} connections beside its first.`,
      );
    this.links.set(number, undefined);
  }

  /** One that was expected will not come. */
  giveUp(number: number): void {
    if (this.links.get(number) === undefined) this.links.delete(number);
  }

  /** One that was expected is here. Resolves when it has ended, in whatever way. */
  async attach(link: Link, number: number): Promise<void> {
    this.links.set(number, link);
    try {
      if (!this.closed) await this.listen(link, number);
      link.close();
    } catch (thrown) {
      const error = asTransferError(thrown, 'connection-lost', 'The connection was lost');
      // Frames that were not taken off it are sent again on another connection: the sender knows them by `taken`.
      if (!brokeOff(error)) this.broken(error);
      link.close(error);
    } finally {
      this.links.delete(number);
    }
  }

  /** A sealed one is here, as `attach`. */
  async attachSealed(arrivals: SealedArrivals, number: number): Promise<void> {
    try {
      this.expect(number);
      this.links.delete(number);
      this.sealed.set(number, arrivals);
      if (!this.closed) await this.listenSealed(arrivals, number);
      arrivals.close();
    } catch (thrown) {
      const error = asTransferError(thrown, 'connection-lost', 'The connection was lost');
      arrivals.close(error);
      if (!brokeOff(error)) this.broken(error);
    } finally {
      this.sealed.delete(number);
    }
    await arrivals.closed;
  }

  /** Reads from none of them any more. */
  stop(reason: TransferError): void {
    for (const arrivals of this.sealed.values()) arrivals.close(reason);
    for (const link of this.links.values()) link?.connection.stopReading(reason);
  }

  /** Ends all of them. */
  close(reason: TransferError | undefined): void {
    this.closed = true;
    for (const arrivals of this.sealed.values()) arrivals.close(reason);
    for (const link of this.links.values()) link?.close(reason);
  }
}

/**
 * Whether a connection merely ended, wherever that was: then nothing was wrong with what it brought. PROTOCOL.md 12.11.
 */
function brokeOff({ code, cause }: TransferError): boolean {
  return code === 'connection-lost' || code === 'timeout' || cause === cutOff;
}
