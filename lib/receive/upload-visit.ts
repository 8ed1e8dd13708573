import { TransferError } from '../errors';
import { type EntryName, type NamesTaken, parseEntryName, printable } from '../name';
import { type FileReceived, type Listener, Waits } from '../progress';
import { newSession } from '../session/opening';
import { usualLinkDeadlines } from '../session/deadlines';
import type { Room } from '../store/session-store';
import { type LimitedSession, limitSession } from '../store/limited-session';
import { type IfExists, nameTaken } from '../store/store';
import type { FileEntry } from '../wire/session-list';
import { ContentFlow } from './content-flow';
import { decide, type WantedContent, wantedAnew } from './decision';
import type { Destination } from './destinations';
import { receivedOf } from './receiving';
import { ofReceived, Report } from './report';
import type { UploadPace } from './upload-pace';

/** A file that a page wants to upload. */
export interface UploadOffer {
  /** As it came: a path with `/`. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  /** When the source was modified, in ns since 1970. */
  readonly mtime: bigint;
}

/** By which rules uploads are stored. */
export interface UploadRules {
  readonly ifExists: IfExists;
  readonly names: NamesTaken;
  readonly on: Listener;
  /** That of all uploads of the receiver. */
  readonly pace: UploadPace;
}

/** A file that may come, and has room. */
export interface AdmittedUpload {
  readonly entry: FileEntry;
  readonly wanted: WantedContent;
  readonly room: Room;
  /** By performance.now(). */
  readonly began: number;
}

/** The peer id of all uploads: an unfinished one can be continued by any page. */
const uploadPeer = 'web';
/** The permissions of a new file, as any program would make it. */
const usualMode = 0o666 & ~process.umask();

/**
 * One use of the store by uploads, as a session is one by a sender: opened for the first upload, closed after a while
 * without one, and reported as one transfer. Files are admitted as for a `write` key: an upload adds, and never
 * replaces.
 */
export class UploadVisit {
  readonly id = newSession();
  readonly waits = new Waits();
  readonly flow = new ContentFlow(usualLinkDeadlines.silence);
  readonly pace: UploadPace;
  readonly report: Report;
  readonly on: Listener;
  /** Uploads that are open, and batches on their way. */
  private working = 0;
  /** When the last of them ended, by performance.now(). */
  private idleAt = performance.now();
  private next = 0;
  private readonly began = performance.now();

  private constructor(
    readonly destination: Destination,
    readonly store: LimitedSession,
    private readonly rules: UploadRules,
  ) {
    this.on = ofReceived(rules.on, { id: this.id, directory: destination.directory });
    this.report = new Report(this.on);
    this.pace = rules.pace;
  }

  /** Rejects like the store. */
  static async open(destination: Destination, rules: UploadRules): Promise<UploadVisit> {
    const ifExists = rules.ifExists === 'replace' ? 'refuse' : rules.ifExists;
    const store = await destination.store.session({ algorithm: 'blake3', peer: uploadPeer, ifExists });
    return new UploadVisit(destination, limitSession(store, { ...destination, peer: uploadPeer, ifExists }), {
      ...rules,
      ifExists,
    });
  }

  /** The entry that an offer becomes. Throws `name`. */
  entry({ name, size, mtime }: UploadOffer): FileEntry {
    const parsed = this.name(name);
    return { type: 'file', file: this.next++, name: parsed, size, mtime, mode: usualMode, ctime: undefined };
  }

  /** Throws `name`. */
  name(text: string): EntryName {
    const name = parseEntryName(text, { allowHidden: true, names: this.rules.names });
    this.destination.backups?.look();
    this.destination.backups?.refuse(name);
    return name;
  }

  /**
   * Whether what is at its name is this file: its receipt then, read back now. Where the digest is not known and would
   * tell, that is `digest needed`. Rejects with `exists` where it is something else, and is not to be renamed.
   */
  async already(entry: FileEntry, blake3: string | undefined): Promise<FileReceived | 'digest needed' | undefined> {
    const [existing] = await this.store.lookup([entry]);
    if (existing?.kind !== 'file' || existing.size !== entry.size) return undefined;
    const renames = this.rules.ifExists === 'rename';
    if (blake3 === undefined) return renames ? undefined : 'digest needed';
    const digests = { blake3 };
    const began = performance.now();
    const verifiedAt = await this.waits.on(
      'verify',
      this.store.check(entry, digests, () => undefined),
    );
    if (verifiedAt === undefined) {
      if (renames) return undefined;
      throw nameTaken(`${printable(entry.name)} already exists with other content.`, this.rules.ifExists, true);
    }
    const done = receivedOf({ entry, began }, entry.name, this.store.verified, digests, 0);
    this.report.received({ ...done, verified_at: verifiedAt });
    return { ...done, verified_at: verifiedAt };
  }

  /** Decides about files and promises them room. What is refused is a failure, and is not told yet. */
  async admit(entries: readonly FileEntry[]): Promise<(AdmittedUpload | TransferError)[]> {
    const existing = await this.store.lookup(entries);
    const decided = entries.map((entry, at): WantedContent | TransferError => {
      const decision = decide(entry, existing[at], { ifExists: this.rules.ifExists, mayCompare: false });
      if (decision.decision === 'refused') return decision.error;
      // Without a ctime no source is known to be unchanged, and an upload makes no links.
      return decision.decision === 'wanted' ? decision : wantedAnew;
    });
    const rooms = await this.store.admit(entries.filter((_, at) => !(decided[at] instanceof TransferError)));
    const began = performance.now();
    let next = 0;
    return entries.map((entry, at) => {
      const wanted = decided[at] ?? wantedAnew;
      if (wanted instanceof TransferError) return wanted;
      const room = rooms[next++] ?? new TransferError('unexpected', 'A store admitted fewer files than it was asked.');
      return room instanceof TransferError ? room : { entry, wanted, room, began };
    });
  }

  /** Tells what became of a file, and gives it back. */
  tell<End extends FileReceived | TransferError>(end: End, name: string): End | TransferError {
    if (!(end instanceof TransferError)) {
      this.report.received(end);
      return end;
    }
    const error = end.about(name);
    if (error.nameTaken && this.rules.ifExists === 'skip') this.report.skipped(name, 'it exists already');
    else this.report.failed(error);
    return error;
  }

  /** Keeps the visit open while `work` is done. */
  async during<Result>(work: () => Promise<Result>): Promise<Result> {
    this.working++;
    try {
      return await work();
    } finally {
      this.working--;
      this.idleAt = performance.now();
    }
  }

  /** Something is about to be done in it. */
  touch(): void {
    this.idleAt = performance.now();
  }

  /** For how long nothing has been done in it, in ms. */
  get idleFor(): number {
    return this.working > 0 ? 0 : performance.now() - this.idleAt;
  }

  /** Once all uploads have ended: releases the store, and tells the end of the transfer. */
  async end(): Promise<void> {
    await this.store.release();
    const { tally, failures } = this.report;
    if (tally.files + failures.first.length === 0) return;
    this.on({ event: 'summary', ...tally.summary((this.idleAt - this.began) / 1000, this.waits.longest) });
  }
}
