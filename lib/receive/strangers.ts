import { TransferError } from '../errors';
import { mostDescriptors } from '../net/descriptor-limit';
import { calmStrangers } from './limits';
import { crowdedFirstByteWithin } from '../session/deadlines';

/** A connection of one of them. */
export interface Stranger {
  close(reason: TransferError): void;
}

/**
 * Connections of which nobody knows yet what they want. They never take the descriptors that those need who do say
 * something: beyond half of all descriptors, and in a crowd that is silent, the oldest ones make room.
 */
export class Strangers {
  /** Since when each is here; the oldest first. */
  private readonly since = new Map<Stranger, number>();

  /** `descriptors` is how many this process may have open. */
  constructor(
    descriptors = mostDescriptors(),
    private readonly calm = Math.min(calmStrangers, descriptors / 4),
    private readonly most = descriptors / 2,
  ) {}

  add(connection: Stranger): void {
    this.since.set(connection, performance.now());
    for (const [oldest, since] of this.since) {
      const { size } = this.since;
      if (size <= this.calm || (size <= this.most && performance.now() - since < crowdedFirstByteWithin)) return;
      this.since.delete(oldest);
      oldest.close(new TransferError('timeout', 'Too many others are connected and say nothing.'));
    }
  }

  /** It has said what it wants, or is gone. */
  delete(connection: Stranger): void {
    this.since.delete(connection);
  }

  closeAll(reason: TransferError): void {
    for (const connection of this.since.keys()) connection.close(reason);
  }
}
