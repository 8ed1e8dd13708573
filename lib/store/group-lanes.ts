import path from 'node:path';
import { AlignedMemory } from '../aligned-memory';
import { Lane } from '../lane';
import { longestBundle } from '../protocol/session-message';
import type { CommitAnswer, CommitLaneSetup, CommitOrder } from './group-commit-lane';
import type { GroupAnswer, GroupLaneSetup, GroupOrder } from './group-lane';

const pieces = 16;
/** Beside the one that commits. Each takes nearly 10 MiB. */
const mostLanes = 2;
/** So many orders of one job are under way at once; what others ask for comes in between. */
const mostAtOnce = 2 * mostLanes;

/** The threads of a group store, each started when first needed, and the memory that they share with us. */
export class GroupLanes {
  readonly memory = new AlignedMemory(longestBundle, pieces, true);
  private readonly lanes: Lane<GroupOrder, GroupAnswer>[] = [];
  private committing: Lane<CommitOrder, CommitAnswer> | undefined;

  constructor(private readonly setup: Omit<GroupLaneSetup, 'memory'> & CommitLaneSetup) {}

  /** Starts a thread, so that the first order does not wait for it. */
  warm(): void {
    this.choose().warm();
  }

  /** Has an order about files carried out, by the lane that has the least to do. */
  ask(order: GroupOrder): Promise<GroupAnswer> {
    return this.choose().ask(order);
  }

  /** Has orders carried out by all lanes, some at a time. Rejects with the first failure, when none is under way any more. */
  async askAll(orders: readonly GroupOrder[], answered: (answer: GroupAnswer, at: number) => void): Promise<void> {
    const left = orders.entries();
    const failures: unknown[] = [];
    const work = async (): Promise<void> => {
      for (const [at, order] of left) {
        if (failures.length > 0) return;
        try {
          answered(await this.ask(order), at);
        } catch (error) {
          failures.push(error);
        }
      }
    };
    await Promise.all(Array.from({ length: mostAtOnce }, work));
    if (failures.length > 0) throw failures[0];
  }

  /** Has an order about directories and final names carried out; one after another. */
  commit(order: CommitOrder): Promise<CommitAnswer> {
    this.committing ??= new Lane<CommitOrder, CommitAnswer>(path.join(__dirname, 'group-commit-lane'), this.setup);
    return this.committing.ask(order);
  }

  async close(): Promise<void> {
    await Promise.all([this.committing?.close(), ...this.lanes.map((lane) => lane.close())]);
  }

  private choose(): Lane<GroupOrder, GroupAnswer> {
    const idlest = this.lanes.reduce<Lane<GroupOrder, GroupAnswer> | undefined>((best, lane) => (best && best.load <= lane.load ? best : lane), undefined);
    if (idlest && (idlest.load === 0 || this.lanes.length >= mostLanes)) return idlest;
    const lane = new Lane<GroupOrder, GroupAnswer>(path.join(__dirname, 'group-lane'), { ...this.setup, memory: this.memory.buffer });
    this.lanes.push(lane);
    return lane;
  }
}
