import path from 'node:path';
import { Lane } from '../../threads/lane';
import { systemCalls } from '../../threads/system-calls';
import type { CommitAnswer, CommitLaneSetup, CommitRequest } from './group-commit.worker';
import type { GroupAnswer, GroupLaneSetup, GroupRequest } from './group.worker';

/** Beside the one that commits. Each takes nearly 10 MiB. */
const mostWriting = 2;

/**
 * The threads that store groups in one receive directory, whoever sends them: many sessions at once need no more of them than
 * one does. Each is started when it is first needed. One that has died is replaced.
 */
export class GroupThreads {
  private readonly setup: GroupLaneSetup & CommitLaneSetup;
  private writing: Lane<GroupRequest, GroupAnswer>[] = [];
  private committing: Lane<CommitRequest, CommitAnswer> | undefined;

  /**
   * `root`: the path of the receive directory; `direct`: whether what is on the disk can be read past the page cache; `syncEach`: makes
   * every file and directory durable by itself. Default: only where the system cannot sync a disk as a whole.
   */
  constructor({ syncEach = systemCalls() === undefined, ...place }: { readonly root: string; readonly direct: boolean; readonly foldsNames: boolean; readonly syncEach?: boolean }) {
    this.setup = { ...place, syncEach, umask: process.umask() };
  }

  /** For the contents of files: the one with the least to do. */
  writer(): Lane<GroupRequest, GroupAnswer> {
    this.writing = this.writing.filter(({ ended }) => !ended);
    const idlest = this.writing.reduce<Lane<GroupRequest, GroupAnswer> | undefined>((best, lane) => (best && best.load <= lane.load ? best : lane), undefined);
    if (idlest && (idlest.load === 0 || this.writing.length >= mostWriting)) return idlest;
    const lane = new Lane<GroupRequest, GroupAnswer>(path.join(__dirname, 'group.worker'), this.setup);
    this.writing.push(lane);
    return lane;
  }

  /** For directories and final names. It knows what is to be made durable, so whoever has begun with one stays with it. */
  committer(): Lane<CommitRequest, CommitAnswer> {
    if (!this.committing || this.committing.ended) this.committing = new Lane<CommitRequest, CommitAnswer>(path.join(__dirname, 'group-commit.worker'), this.setup);
    return this.committing;
  }

  /** When nobody asks any more. */
  async close(): Promise<void> {
    await Promise.all([this.committing?.close(), ...this.writing.map((lane) => lane.close())]);
  }
}
