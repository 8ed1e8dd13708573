import type { EntryName } from '../../name';
import type { Digests, Verified } from '../../progress';
import { trace } from '../../trace';
import type { KnownContent, OfferedFile, StoreUse } from '../session-store';
import { look, type ExistingEntry, existingOf } from './existing-look';
import type { FileStat } from '../../threads/file-calls';
import type { ReceiptIndex } from './receipt-index';

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

  /**
   * The receipt of what is at an offered name, if neither that nor its source was touched since, and it was given to
   * this peer: of what another one sent it is told nothing.
   */
  known(
    { name, size, mtime, ctime }: OfferedFile,
    existing: ExistingEntry,
    { algorithm, peer }: Pick<StoreUse, 'algorithm' | 'peer'>,
  ): KnownContent | undefined {
    const kept = existing.kind === 'file' ? this.index.find(name) : undefined;
    if (kept?.digests[algorithm] === undefined || kept.verified !== this.verified || kept.peer !== peer)
      return undefined;
    const same = kept.size === size && kept.sourceMtime === mtime && ctime !== undefined && kept.sourceCtime === ctime;
    return same && isUntouched(kept, existing)
      ? { digests: kept.digests, verifiedAt: new Date(kept.verifiedAt).toISOString() }
      : undefined;
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
