import type { EntryName } from '../../name';
import type { Digests, Verified } from '../../progress';
import { trace } from '../../trace';
import type { KnownContent, OfferedFile, StoreUse } from '../session-store';
import { look, type ExistingEntry, existingOf } from './existing-look';
import { contentBy, contentOf, type ReceiptRule, type ReceiptsAsked } from './known-files';
import type { FileStat } from '../../threads/file-calls';
import type { ReceiptIndex } from './receipt-index';

/** A question about receipts on its way, and what only this thread can answer of it. */
export interface AskedReceipts {
  readonly asked: ReceiptsAsked;
  /** Which of the files have receipts that are in memory only. */
  readonly unsaved: readonly number[];
  /** That of the index when it was asked. */
  readonly edition: number;
}

/**
 * The receipts of a receive directory: which of its files are still as they were when they were committed, and what
 * they read as then.
 */
export class Receipts {
  /** `root`: the path of the receive directory. */
  constructor(
    private readonly index: ReceiptIndex,
    private readonly root: string,
    private readonly verified: Verified,
  ) {}

  /** What the thread that looks up these names is to find out about them. */
  ask(files: readonly OfferedFile[], use: Pick<StoreUse, 'algorithm' | 'peer'>): AskedReceipts {
    const { index, verified } = this;
    const count = files.length;
    const asked = {
      file: index.file,
      algorithm: use.algorithm,
      peer: use.peer,
      verified,
      places: new Float64Array(count).fill(-1),
      sizes: new Float64Array(count),
      mtimes: new BigInt64Array(count),
      ctimes: new BigInt64Array(count),
    };
    const unsaved: number[] = [];
    for (const [at, { name, size, mtime, ctime }] of files.entries()) {
      const place = index.placeOf(name);
      // Of what has no size or no times nothing is known.
      if (place === undefined || size === undefined || mtime === undefined || ctime === undefined) continue;
      if (index.isSaved(place)) asked.places[at] = place;
      else unsaved.push(at);
      asked.sizes[at] = size;
      asked.mtimes[at] = mtime;
      asked.ctimes[at] = ctime;
    }
    return { asked, unsaved, edition: index.edition };
  }

  /**
   * What is known of each of the files: what the thread has found out, and of receipts that were in no file yet, or
   * whose file was written anew meanwhile, what is in memory.
   */
  known(
    files: readonly OfferedFile[],
    existing: readonly (ExistingEntry | undefined)[],
    { asked, unsaved, edition }: AskedReceipts,
    found: readonly (KnownContent | undefined)[],
  ): readonly (KnownContent | undefined)[] {
    if (edition === this.index.edition && unsaved.length === 0) return found;
    const known = [...found];
    for (const at of edition === this.index.edition ? unsaved : files.keys())
      known[at] = this.knownOf(files[at], existing[at], asked);
    return known;
  }

  private knownOf(
    file: OfferedFile | undefined,
    existing: ExistingEntry | undefined,
    rule: ReceiptRule,
  ): KnownContent | undefined {
    if (!file || !existing) return undefined;
    const { name, size, mtime, ctime } = file;
    if (size === undefined || mtime === undefined || ctime === undefined) return undefined;
    const content = contentBy(this.index.lineOf(name), name, { size, mtime, ctime }, existing, rule);
    return content && contentOf(content);
  }

  /** Whether what is at a name is a file of which this peer was given a receipt, and has not been touched since. */
  holds(name: EntryName, existing: ExistingEntry | undefined, peer: string): boolean {
    const kept = this.index.find(name);
    return kept?.peer === peer && isUntouched(kept, existing);
  }

  /** The file at a name got further names, and was not touched otherwise: its receipt holds on; `save` keeps it. */
  linked(name: EntryName, before: ExistingEntry | undefined, after: ExistingEntry | undefined): void {
    const kept = this.index.find(name);
    if (!kept || !after || !isUntouched(kept, before)) return;
    const since = { ...kept, ctimeNs: after.ctimeNs };
    if (isUntouched(since, after)) this.index.remember(name, since);
  }

  /** Notes that a file of `peer` was committed as `path`, and is `stat` there; `save` keeps it. */
  note(
    { mtime, ctime }: OfferedFile,
    peer: string,
    path: string,
    digests: Digests,
    { size, ino, mtimeNs, ctimeNs }: FileStat,
  ): void {
    this.index.remember(path, {
      size,
      ino,
      mtimeNs,
      ctimeNs,
      sourceMtime: mtime ?? mtimeNs,
      sourceCtime: ctime,
      digests,
      verified: this.verified,
      verifiedAt: Date.now(),
      peer,
    });
  }

  /** A file was read back now and is as its receipt says; `save` keeps that. Returns the time. */
  checked(name: EntryName): string {
    const now = Date.now();
    const kept = this.index.find(name);
    if (kept) this.index.remember(name, { ...kept, verifiedAt: now });
    return new Date(now).toISOString();
  }

  /** Notes and keeps the receipt of a single file. Resolves with what is there; undefined where that is no file. */
  async keep(
    file: OfferedFile & Pick<StoreUse, 'peer'>,
    path: string,
    digests: Digests,
  ): Promise<FileStat | undefined> {
    const [existing] = existingOf(look([path], this.root));
    if (existing?.kind !== 'file') return undefined;
    this.note(file, file.peer, path, digests, existing);
    await this.save();
    return existing;
  }

  /**
   * Keeps what was noted. The files are committed whether this can be done or not: without it they are read again
   * another time.
   */
  async save(): Promise<void> {
    try {
      await this.index.save();
    } catch (error) {
      trace('receipts are kept later: %o', error);
    }
  }
}

/** Whether a file is as it was when its receipt was given. */
function isUntouched(
  kept: Pick<FileStat, 'ino' | 'size' | 'mtimeNs' | 'ctimeNs'>,
  existing: ExistingEntry | undefined,
): boolean {
  return (
    existing?.kind === 'file' &&
    existing.ino === kept.ino &&
    existing.size === kept.size &&
    existing.mtimeNs === kept.mtimeNs &&
    existing.ctimeNs === kept.ctimeNs
  );
}
