import type { TransferError } from '../errors';
import type { Digests, FileReceived, Verified, Waits } from '../progress';
import type { LimitedSession } from '../store/limited-session';
import type { Kept } from '../store/store';
import type { DirectoryEntry, Entry, FileEntry } from '../wire/session-list';
import type { Hello } from '../wire/session-message';
import type { ContentFlow } from './content-flow';
import type { Entries } from './entries';
import { inTurns } from './in-turns';
import type { SnapshotStage } from './snapshot-stage';
import type { Replies } from './replies';
import type { Report } from './report';
import type { SessionRules } from './rules';

/** What all steps of a session share: the state of its entries, the store, and who is told how an entry ended. */
export class Receiving {
  constructor(
    readonly entries: Entries,
    readonly store: LimitedSession,
    readonly rules: SessionRules,
    /** Of all digests of the session. */
    readonly algorithm: NonNullable<Hello['digest']>,
    readonly replies: Replies,
    readonly report: Report,
    readonly waits: Waits,
    readonly flow: ContentFlow,
    /** The snapshot that its entries go into; undefined where there is none. */
    readonly stage: SnapshotStage | undefined,
  ) {}

  /** A directory goes into the batch: it needs no content. */
  storeDirectory(directory: DirectoryEntry): void {
    this.store.batch.directory(directory, this.entries.fresh.has(directory.file));
  }

  /** Something that was asked for is taken: so are the directories above it that were held. PROTOCOL.md 23.5. */
  storeAbove(name: string): void {
    for (const directory of this.entries.releaseAbove(name)) this.storeDirectory(directory);
    this.entries.notify();
  }

  /** An entry is not stored, and why: its end. PROTOCOL.md 17.5. */
  refuse(entry: Entry, error: TransferError): void {
    const { code, message } = error;
    this.entries.settle(entry.file, false);
    this.stage?.missing({ name: entry.name, code, message });
    this.tellRefused(entry.file, error.about(entry.name));
  }

  /**
   * Takes the names of what has no content of its own. Resolves with those that it refused, since there is no room for
   * them.
   */
  async refuseNames(entries: readonly Entry[]): Promise<ReadonlySet<Entry>> {
    const refusals = entries.length === 0 ? [] : await this.store.admitNames(entries);
    const refused = new Set<Entry>();
    await inTurns(entries, (entry, at) => {
      const refusal = refusals[at];
      if (refusal === undefined) return;
      refused.add(entry);
      this.refuse(entry, refusal);
    });
    return refused;
  }

  /** Tells the sender, and whoever runs the receiver. */
  tellRefused(file: number, error: TransferError): void {
    const skipped = error.nameTaken && this.rules.ifExists === 'skip';
    if (skipped) this.report.skipped(error.fileName ?? '', 'it exists already');
    else this.report.failed(error);
    this.replies.refuse(file, error, skipped);
  }

  /**
   * A file is stored at `path`; its receipt is still to be sent. `fresh` where that took room; `kept` where its disk
   * does not hold its mode or mtime.
   */
  stored(entry: FileEntry, path: string, digests: Digests, fresh: boolean, kept: Kept | undefined): void {
    this.entries.settle(entry.file, fresh);
    this.entries.stored(entry.name, path);
    const alarm = this.stage?.alarm(entry, digests);
    if (alarm) {
      this.report.failed(alarm);
      this.replies.alarm(entry.file, alarm);
    }
    this.stage?.stored(entry, digests, kept);
  }
}

/** What is told of a file that is stored. `began` is when it was offered, by performance.now(). */
export function receivedOf(
  { entry, began }: { readonly entry: FileEntry; readonly began: number },
  path: string,
  verified: Verified,
  digests: Digests,
  bytesOnWire: number,
): FileReceived {
  return {
    event: 'received',
    file_name: entry.name,
    file_size: entry.size ?? 0,
    digests,
    verified,
    path,
    bytes_on_wire: bytesOnWire,
    seconds: (performance.now() - began) / 1000,
  };
}
