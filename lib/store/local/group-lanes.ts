import { AlignedMemory } from '../../threads/aligned-memory';
import type { DigestAlgorithm } from '../../digest/digest';
import type { Lane } from '../../threads/lane';
import { longestBundle } from '../../wire/session-message';
import type { CommitAnswer, CommitOrder, CommitRequest } from './group-commit.worker';
import type { GroupAnswer, GroupOrder } from './group.worker';
import type { GroupThreads } from './group-threads';

const pieces = 16;
/** So many orders of one job are under way at once; what others ask for comes in between. */
const mostAtOnce = 4;

/** The threads of a receive directory as one group store uses them, and the memory that they share with it. */
export class GroupLanes {
  readonly memory = new AlignedMemory(longestBundle, pieces, true);
  private committing: Lane<CommitRequest, CommitAnswer> | undefined;
  private readonly asked = new Set<Promise<unknown>>();

  /** `algorithm`: of the digests that files come with; `disk`: a descriptor of the staging directory, opened before anything is written. */
  constructor(
    private readonly threads: GroupThreads,
    private readonly algorithm: DigestAlgorithm,
    private readonly disk: number,
  ) {}

  /** Starts a thread, so that the first order does not wait for it. */
  warm(): void {
    this.threads.writer().warm();
  }

  /** Has an order about files carried out. */
  ask(order: GroupOrder): Promise<GroupAnswer> {
    return this.counted(this.threads.writer().ask({ memory: this.memory.buffer, algorithm: this.algorithm, order }));
  }

  /** Has orders carried out by all threads, some at a time. Rejects with the first failure, when none is under way any more. */
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
    this.committing ??= this.threads.committer();
    return this.counted(this.committing.ask({ disk: this.disk, algorithm: this.algorithm, order }));
  }

  /** Resolves when nothing that was asked for is under way. Nothing is asked for after that. */
  async close(): Promise<void> {
    if (this.committing) void this.commit({ order: 'leave' }).catch(() => undefined);
    while (this.asked.size > 0) await Promise.allSettled(this.asked);
  }

  private counted<Answer>(answer: Promise<Answer>): Promise<Answer> {
    this.asked.add(answer);
    const done = (): void => void this.asked.delete(answer);
    answer.then(done, done);
    return answer;
  }
}
