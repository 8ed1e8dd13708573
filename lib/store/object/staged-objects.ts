// A place for what becomes a snapshot: bytes go into packs and objects of their own, names stay in memory.
import type { SessionPlace, SessionStore, StoreUse } from '../session-store';
import type { ObjectGround } from './ground';
import { ObjectSession } from './object-session';
import { OpenPartials } from './open-partials';
import type { ObjectVerified } from './records';
import type { StagedNames } from './staged-names';

export class StagedObjects implements SessionPlace {
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
    const own = { ...use, peer: stagedPeer(use.peer, this.backup) };
    return Promise.resolve(new ObjectSession(own, this.ground, (offer, by) => this.partials.take(offer, by)));
  }

  warm(): void {
    // The first request makes its connection.
  }

  close(): Promise<void> {
    return this.partials.close();
  }
}

function stagedPeer(peer: string, backup: string): string {
  return `${peer} backup ${backup}`;
}
