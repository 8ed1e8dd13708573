import { TransferError } from '../../errors';
import { printable } from '../../name';
import type { Listener } from '../../progress';
import type { SnapshotStage, StageRequest } from '../../receive/snapshot-stage';
import { oldestOfMost } from '../../receive/fair-shares';
import { BackupStage } from './backup-stage';
import { otherOwner } from './staged-snapshot';
import { ObjectRepairStage } from '../object/object-repair-stage';
import { ObjectStore } from '../../store/object/object-store';
import { RepairStage } from '../repair/repair-stage';
import { ignored } from '../../trace';

/** Window in ms for the return of a session that was lost. */
const returnWithin = 300_000;

/** Window in ms for the end of the session before, which first makes durable what it has. */
const endsWithin = 30_000;

/** Each that waits for its session has a lock and descriptors: so many may, of one key and of all together. */
const mostWaitingOfKey = 4;
const mostWaitingStages = 32;

interface WaitingStage {
  /** Of its backup. */
  readonly key: string;
  readonly timer: NodeJS.Timeout;
}

/** The snapshots that are on their way into one receiver. One backup has one at a time. */
export class SnapshotStages {
  private readonly open = new Map<string, Promise<BackupStage>>();
  /** Those whose sessions were lost, the longest ago first. */
  private readonly waiting = new Map<BackupStage, WaitingStage>();
  /** Who comes while another one is being let in waits for his turn. */
  private readonly turns = new Map<string, Promise<unknown>>();
  private closed = false;

  /** `patience`: how long a snapshot whose session was lost waits for it to come back, in ms. */
  constructor(
    private readonly on: Listener,
    private readonly patience = returnWithin,
  ) {}

  /**
   * The stage that heals snapshots, or that of the snapshot that a session makes: a new one, or one that an earlier
   * conversation of the session began. Another session of the same peer is ended for it, so that an idle one blocks
   * nothing. Rejects with `exists` while another peer makes a snapshot of the same name, and with `directory` where
   * another process does.
   */
  async take(request: StageRequest): Promise<SnapshotStage> {
    const { store } = request.destination;
    if (request.repairs)
      return store instanceof ObjectStore ? ObjectRepairStage.open(request, store) : RepairStage.open(request);
    const key = `${request.destination.directory}\0${request.name}`;
    return this.inTurn(key, () => this.takeNow(key, request));
  }

  private async inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    const working = (this.turns.get(key) ?? Promise.resolve()).then(work);
    const turn = working.catch(ignored('whoever waits for it is told'));
    this.turns.set(key, turn);
    try {
      return await working;
    } finally {
      if (this.turns.get(key) === turn) this.turns.delete(key);
    }
  }

  private async takeNow(key: string, request: StageRequest): Promise<SnapshotStage> {
    if (this.closed) throw new TransferError('interrupted', 'The receiver was stopped.');
    const before = await this.open.get(key)?.catch(ignored('whoever took that one is told'));
    // What waits for its session to come back is nobody else's to end.
    if (before && before.peer !== request.peer) throw otherOwner(request.name, request.destination.directory);
    if (before?.session === request.session && !before.isComplete) return this.lend(key, before);
    if (before && !(await before.takeFrom(endsWithin))) {
      throw new TransferError('exists', `Another backup ${printable(request.name)} is under way.`, {
        hint: 'Try again when it is done.',
      });
    }
    if (before) await this.end(before);
    const opening = BackupStage.open(request, this.on);
    this.open.set(key, opening);
    opening.catch(() => this.open.delete(key)); // whoever takes it is told
    return this.lend(key, await opening);
  }

  /** Unlocks all snapshots, those that wait for a session, too. */
  async close(): Promise<void> {
    this.closed = true;
    // After this every snapshot that was being opened is open.
    await Promise.allSettled(this.turns.values());
    const left = await Promise.allSettled(this.open.values());
    this.open.clear();
    for (const each of left) if (each.status === 'fulfilled') await this.end(each.value);
  }

  /**
   * A snapshot that its session leaves is forgotten some time later; at once where nothing has come of it, and where
   * too many wait: what is on the disk stays for whoever goes on with it.
   */
  private lend(key: string, snapshot: BackupStage): SnapshotStage {
    this.waitsNoMore(snapshot);
    return snapshot.takeUp(() => {
      if (snapshot.isComplete) this.open.delete(key);
      else if (!snapshot.isWorthKeeping) void this.giveUp(key, snapshot);
      else {
        const timer = setTimeout(() => void this.giveUp(key, snapshot), this.patience).unref();
        this.waiting.set(snapshot, { key, timer });
        this.keepFew(snapshot.peer);
      }
    });
  }

  /** Gives up the oldest of a key that has too many waiting; where all have too many, of the key that has most. */
  private keepFew(peer: string): void {
    const waiting = [...this.waiting].map(([snapshot, { key }]) => ({ snapshot, key, peer: snapshot.peer }));
    const own = waiting.filter((each) => each.peer === peer);
    if (own.length <= mostWaitingOfKey && waiting.length <= mostWaitingStages) return;
    const oldest = own.length > mostWaitingOfKey ? own[0] : oldestOfMost(waiting);
    if (oldest) void this.giveUp(oldest.key, oldest.snapshot);
  }

  /** Somebody has come back for it, or nobody is waited for. */
  private waitsNoMore(snapshot: BackupStage): void {
    clearTimeout(this.waiting.get(snapshot)?.timer);
    this.waiting.delete(snapshot);
  }

  /** Unlocks a snapshot that no conversation uses, in the turn of its backup. */
  private async end(snapshot: BackupStage): Promise<void> {
    this.waitsNoMore(snapshot);
    await snapshot.close();
  }

  private async giveUp(key: string, snapshot: BackupStage): Promise<void> {
    this.waitsNoMore(snapshot);
    await this.inTurn(key, async () => {
      // Somebody came back for it, or ended it, while others had their turn.
      const open = await this.open.get(key)?.catch(ignored('whoever took that one is told'));
      if (open !== snapshot || !snapshot.idle) return;
      this.open.delete(key);
      await this.end(snapshot);
    }).catch(ignored('nobody is left to be told, and the lock of a process that ends is taken over'));
  }
}
