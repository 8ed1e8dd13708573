import { asTransferError, TransferError } from '../errors';
import type { Link } from '../session/link';
import type { Connector, FirstConnection } from './connector';
import type { Coding } from '../wire/coding';
import { anotherWithin } from '../session/deadlines';

interface WaitingLink {
  readonly resolve: (met: FirstConnection) => void;
  readonly reject: (error: TransferError) => void;
}

/**
 * Connections of a session that the receiver dials: each that arrives is handed to the conversation that waits for it.
 */
export class DialedIn implements Connector {
  private readonly waiting = new Map<number, WaitingLink>();
  /** A connection 0 that has arrived and was not asked for yet. */
  private arrived: FirstConnection | undefined;
  /** Connection 0 of the conversation that is or was held. */
  private current: Link | undefined;

  readonly seals = false;
  coding: Coding | undefined;

  /** Connection 0 of the receiver that is there, or was last. */
  get present(): Link | undefined {
    return this.arrived?.link ?? this.current;
  }

  async first(signal: AbortSignal | undefined, within?: number): Promise<FirstConnection> {
    const { arrived } = this;
    this.arrived = undefined;
    const met = arrived && !arrived.link.connection.stream.closed ? arrived : await this.await(0, signal, within);
    this.current = met.link;
    this.coding = met.coding;
    return met;
  }

  async another(connection: number, control: Link, signal: AbortSignal | undefined): Promise<Link> {
    const awaited = this.await(connection, signal, anotherWithin);
    control
      .send({ type: 'connect', connection })
      .catch((error: unknown) =>
        this.waiting.get(connection)?.reject(asTransferError(error, 'connection-lost', 'The connection was lost')),
      );
    return (await awaited).link;
  }

  /** No connection is accepted any more. */
  close(): Promise<void> {
    for (const { reject } of this.waiting.values()) reject(new TransferError('interrupted', 'Interrupted.'));
    this.arrived?.link.close();
    return Promise.resolve();
  }

  /** A connection whose hello is answered. */
  take(met: FirstConnection, connection: number): void {
    const waiting = this.waiting.get(connection);
    if (waiting) {
      waiting.resolve(met);
    } else if (connection > 0) {
      met.link.close();
    } else {
      this.arrived?.link.close();
      this.arrived = met;
      // The receiver dials again before we noticed that it was gone.
      this.current?.connection.stopReading(
        new TransferError('connection-lost', 'The receiver came back on another connection.'),
      );
    }
  }

  private await(
    connection: number,
    signal: AbortSignal | undefined,
    within: number | undefined,
  ): Promise<FirstConnection> {
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
      const timer =
        within === undefined
          ? undefined
          : setTimeout(() => give(new TransferError('timeout', 'The receiver did not dial in.')), within);
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
}
