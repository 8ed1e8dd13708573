import { TransferError } from '../errors';
import { mostDescriptors } from '../net/descriptor-limit';
import { calmUnidentified } from './limits';
import { crowdedFirstByteWithin } from '../session/deadlines';

/** A connection without its first bytes. */
export interface UnidentifiedConnection {
  close(reason: TransferError): void;
}

/**
 * Connections that have not sent their first bytes. They never take the descriptors that the others need: above half of
 * all descriptors, and after a while in a silent crowd, the oldest ones are closed.
 */
export class UnidentifiedConnections {
  /** When each was accepted, by performance.now(); the oldest first. */
  private readonly since = new Map<UnidentifiedConnection, number>();

  /** `descriptors` is how many this process may have open. */
  constructor(
    descriptors = mostDescriptors(),
    private readonly calm = Math.min(calmUnidentified, descriptors / 4),
    private readonly most = descriptors / 2,
  ) {}

  add(connection: UnidentifiedConnection): void {
    this.since.set(connection, performance.now());
    for (const [oldest, since] of this.since) {
      const { size } = this.since;
      if (size <= this.calm || (size <= this.most && performance.now() - since < crowdedFirstByteWithin)) return;
      this.since.delete(oldest);
      oldest.close(new TransferError('timeout', 'Too many others are connected and say nothing.'));
    }
  }

  /** It has said what it wants, or is gone. */
  delete(connection: UnidentifiedConnection): void {
    this.since.delete(connection);
  }

  closeAll(reason: TransferError): void {
    for (const connection of this.since.keys()) connection.close(reason);
  }
}
