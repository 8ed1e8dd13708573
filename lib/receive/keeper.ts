import type { Authorization } from '../access/authorized';
import { TransferError } from '../errors';
import type { Connection } from '../net/connection';
import type { LinkDeadlines } from '../session/link';
import type { Ask } from '../wire/ask';
import type { Hello } from '../wire/hello';
import type { Listener } from '../progress';
import type { Destination } from './destinations';
import type { OpenStage } from './snapshot-stage';

/** A peer that asks for something to be done with snapshots. */
export interface Asker {
  readonly hello: Hello;
  readonly ask: Ask;
  /** Undefined for the holder of the ticket. */
  readonly authorization: Authorization | undefined;
  /** The id of its key. */
  readonly peer: string;
  /** In ms. */
  readonly roundTrip: number;
}

/** What a service of snapshots gets from the receiver whose snapshots they are. */
export interface ServiceOptions {
  readonly on: Listener;
  /** Where the files of a key are; undefined for the ticket. Rejects with `directory`. */
  readonly destination: (authorization: Authorization | undefined) => Promise<Destination>;
  readonly deadlines: LinkDeadlines;
}

/** Does what others ask of the snapshots of one receiver. */
export interface SnapshotService {
  /**
   * Does what is asked over `connection`. Resolves when that has ended. Rejects with what the peer is to be refused
   * with.
   */
  take(connection: Connection, asker: Asker): Promise<void>;
  /** Ends all of it. */
  stop(): Promise<void>;
}

/** What keeps the snapshots of a receiver: the layer above this one, which this one does not import. */
export interface Keeper {
  /** Takes a new one in, or what heals those that are there. */
  readonly openStage: OpenStage;
  /** What serves those who ask, for as long as the receiver lives. */
  readonly serve: (options: ServiceOptions) => SnapshotService;
}

/** The refusal of a receiver that keeps no backups. */
export function keeperMissing(): TransferError {
  return new TransferError('usage', 'This receiver keeps no backups.');
}
