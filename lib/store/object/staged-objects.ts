import type { StoreRoot, SessionStore, StoreUse } from '../session-store';
import type { ObjectGround } from './ground';
import { ObjectSession } from './object-session';
import { OpenPartials } from './open-partials';
import type { ObjectVerified } from './records';
import type { DigestAlgorithm } from '../../digest/digest';
import { Packing } from './packing';
import { type StagedNames, stagedPeer } from './staged-names';

/**
 * A store for what becomes a snapshot: bytes go into packs and objects of their own, names stay in memory
 * (`StagedNames`).
 */
export class StagedObjects implements StoreRoot {
  readonly verified: ObjectVerified;
  private readonly ground: ObjectGround;
  private readonly partials: OpenPartials;

  /** `backup` is what it becomes a snapshot of; the store that `ground` is of stays open. */
  constructor(
    ground: ObjectGround,
    readonly names: StagedNames,
    private readonly backup: string,
  ) {
    this.ground = { ...ground, names, contents: 'snapshots', abilities: { ...ground.abilities, replace: true } };
    this.verified = ground.verified;
    this.partials = new OpenPartials(this.ground);
  }

  /** What is unfinished of a backup is gone on with by the next one of the same name alone. */
  session(use: StoreUse): Promise<SessionStore> {
    const own = { ...use, peer: stagedPeer({ peer: use.peer, backup: this.backup }) };
    return Promise.resolve(new ObjectSession(own, this.ground, (offer, by) => this.partials.take(offer, by)));
  }

  /** For small files that come outside of a session. */
  packing<Item>(algorithm: DigestAlgorithm): Packing<Item> {
    return new Packing(this.ground, algorithm);
  }

  /** Whether what was staged before was verified as what is staged now is. */
  believes({ verified }: { readonly verified: ObjectVerified }): boolean {
    return this.ground.trusts || verified === 'store';
  }

  warm(): void {
    // The first request makes its connection.
  }

  close(): Promise<void> {
    return this.partials.close();
  }
}
