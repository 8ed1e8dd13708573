// What all uses of one object store share.
import type { AlignedMemory } from '../../threads/aligned-memory';
import type { Bucket } from './bucket';
import type { ContentOwner } from './contents';
import type { ObjectNames } from './names';
import type { PartMemory } from './part-memory';
import type { ObjectAbilities } from './probe';
import type { ObjectVerified } from './records';

/** Where entries get their names: in the store itself, or in what becomes a snapshot. */
export type GroundNames = Pick<ObjectNames, 'look' | 'publish' | 'write' | 'writeOver' | 'makeDirectory'>;

export interface ObjectGround {
  readonly bucket: Bucket;
  readonly names: GroundNames;
  /** What becomes of the bytes. */
  readonly contents: ContentOwner;
  readonly abilities: ObjectAbilities;
  /** Whether nothing is read back: the store's word is enough for whoever runs the receiver. */
  readonly trusts: boolean;
  readonly verified: ObjectVerified;
  /** For pieces of large files as they arrive. */
  readonly pieces: AlignedMemory;
  /** For what becomes of them. */
  readonly parts: PartMemory;
}
