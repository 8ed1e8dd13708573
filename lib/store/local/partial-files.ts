import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import path from 'node:path';
import type { AlignedMemory } from '../../threads/aligned-memory';
import { errnoOf, TransferError } from '../../errors';
import type { Located } from '../../threads/walker';
import { type EntryName, printable } from '../../name';
import { ignored } from '../../trace';
import type { Directory } from './directory';
import { readJournal } from './journal';
import type { PublishRoot } from './publish-partial';
import { PartialBytes } from './partial-bytes';
import { LocalPartialFile, type PartialOffer } from './partial-file';
import { openPrivate, removeEmpty } from './receive-directory';
import type { Receipts } from './receipts';
import { diskError } from './disk-error';
import { unfinishedName } from '../limited';
import type { OfferedFile } from '../session-store';
import { smallFile } from '../../wire/segment';
import { createBasisWorker, BasisFile } from './basis-file';

const { O_CREAT, O_DIRECT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants as typeof constants & {
  readonly O_DIRECT?: number;
};
/** Where they are, in our own directory of a receive directory. */
export const partialName = 'partial';
/** Ms without progress after which an unfinished file is removed. */
const keptFor = 14 * 24 * 60 * 60 * 1000;

/** The file that an arriving one may be like in part, if that is not what has its name already. */
export interface Update {
  readonly basis?: Located;
}

export interface PartialFilesRoot extends PublishRoot {
  readonly direct: boolean;
  readonly memory: AlignedMemory;
  readonly receipts: Receipts;
  /** Where files are that nobody can go on with: it is empty at every start. */
  readonly staging: Directory;
  /** Permission bits of a new file for which none were said. */
  readonly mode: number;
}

/** The unfinished files of a receive directory, each with its journal, in a private directory of their own. */
export class PartialFiles {
  private readonly open = new Map<string, LocalPartialFile>();
  /** Files that are being opened, by the same keys: two at once would write into one. */
  private readonly opening = new Map<string, Promise<unknown>>();
  private readonly basisWorker = createBasisWorker();

  private constructor(
    private readonly directory: Directory,
    private readonly own: Directory,
    private readonly root: PartialFilesRoot,
  ) {}

  /** `own` is the private directory inside the receive directory. What is too old is removed. */
  static async in(own: Directory, root: PartialFilesRoot): Promise<PartialFiles> {
    const files = new PartialFiles(await openPrivate(own, partialName), own, root);
    await files.expire();
    return files;
  }

  /**
   * The unfinished file of this offer, or a new one. One that is in use by an earlier connection of the same peer is
   * suspended first. With `update` there is a file whose bytes need not be sent where they are the same. Rejects with
   * `disk` or `space`.
   */
  take(offer: PartialOffer, update: Update | false): Promise<LocalPartialFile> {
    // The thread that reads back is there by the time when there is something to read.
    this.root.pool.warm();
    // Without an mtime another offer cannot be known to be the same file.
    if (offer.mtime === undefined) return this.openNew(offer, update);
    const base = unfinishedName(offer.peer, offer.name);
    const taking = (this.opening.get(base) ?? Promise.resolve()).then(() => this.takeOver(base, offer, update));
    const settled: Promise<unknown> = taking.catch(ignored('whoever takes it is told')).finally(() => {
      if (this.opening.get(base) === settled) this.opening.delete(base);
    });
    this.opening.set(base, settled);
    return taking;
  }

  private async takeOver(base: string, offer: PartialOffer, update: Update | false): Promise<LocalPartialFile> {
    await this.open.get(base)?.suspend(takenOver(offer.name));
    const pathname = this.directory.at(base);
    const journalPath = `${pathname}.journal`;
    let made = false;
    try {
      const resumable = await this.resumable(offer, pathname, journalPath);
      made = resumable === undefined;
      const segments = resumable ?? (await this.anew(pathname, journalPath));
      return await this.openAt(pathname, base, O_CREAT, { offer, segments, update });
    } catch (error) {
      // A partial file without a journal is useless.
      if (made)
        await rm(pathname, { force: true }).catch(ignored('it is removed with the others that have no journal'));
      throw diskError(error, offer);
    }
  }

  private async openNew(offer: PartialOffer, update: Update | false): Promise<LocalPartialFile> {
    const base = randomBytes(16).toString('hex');
    const pathname = this.root.staging.at(base);
    return this.openAt(pathname, base, O_CREAT | O_EXCL, { offer, segments: [], update }).catch((error: unknown) => {
      throw diskError(error, offer);
    });
  }

  private async openAt(
    path: string,
    base: string,
    how: number,
    {
      offer,
      segments,
      update,
    }: { readonly offer: PartialOffer; readonly segments: readonly number[]; readonly update: Update | false },
  ): Promise<LocalPartialFile> {
    const { direct, memory, receipts, mode } = this.root;
    const handle = await open(path, how | O_NOFOLLOW | O_RDWR | (direct ? (O_DIRECT ?? 0) : 0), 0o600);
    const basis = update && (await this.findBasis(offer.name, update).catch(closing(handle)));
    const file: LocalPartialFile = new LocalPartialFile(offer, {
      path,
      journalPath: `${path}.journal`,
      segments,
      basis: basis || undefined,
      bytes: new PartialBytes(
        { ...offer, mode: offer.modeOnDisk ?? offer.mode ?? mode },
        { ...this.root, path, handle, wrote: (written) => file.wrote(written) },
      ),
      root: this.root,
      memory,
      receipts,
      ended: () => this.open.delete(base),
    });
    this.open.set(base, file);
    return file;
  }

  /** How many bytes each of these files has on the disk by now, from an earlier try. */
  async allocated(peer: string, files: readonly OfferedFile[]): Promise<number[]> {
    const allocated = files.map(() => 0);
    const look = async (name: EntryName, at: number): Promise<void> => {
      const found = await this.directory.look(unfinishedName(peer, name));
      allocated[at] = (found?.blocks ?? 0) * 512;
    };
    const looking: Promise<void>[] = [];
    // Small files have nothing here, and there are many: nothing is waited for because of them.
    files.forEach(({ name, size = Infinity }, at) => {
      if (size > smallFile) looking.push(look(name, at));
    });
    await Promise.all(looking);
    return allocated;
  }

  /** Suspends everything. */
  async close(): Promise<void> {
    // What it still reads is not needed any more.
    await this.basisWorker.close();
    await Promise.all(this.opening.values());
    await Promise.allSettled([...this.open.values()].map((file) => file.suspend()));
    await this.directory.close();
    await removeEmpty(this.own.at(partialName));
  }

  /** The segments by the journal, if it is about exactly this offer. */
  private async resumable(
    offer: PartialOffer,
    pathname: string,
    journalPath: string,
  ): Promise<readonly number[] | undefined> {
    const journal = await readJournal(journalPath);
    if (
      !journal ||
      journal.segments.length === 0 ||
      journal.peer !== offer.peer ||
      journal.name !== offer.name ||
      journal.size !== offer.size ||
      journal.mtime !== offer.mtime
    )
      return undefined;
    if ((await this.directory.look(path.basename(pathname))) === undefined) return undefined;
    const handle = await open(pathname, O_NOFOLLOW | O_RDWR);
    try {
      // The last segment may have been written with padding behind it; whatever lacks reads as zeros and is found so.
      if ((await handle.stat()).size !== journal.size) await handle.truncate(journal.size);
    } finally {
      await handle.close();
    }
    return journal.segments;
  }

  private async anew(pathname: string, journalPath: string): Promise<readonly number[]> {
    await rm(journalPath, { force: true });
    await rm(pathname, { force: true });
    await (await open(pathname, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR, 0o600)).close();
    return [];
  }

  private async findBasis(name: EntryName, { basis }: Update): Promise<BasisFile | undefined> {
    if (basis) return BasisFile.open(basis, this.basisWorker);
    const reached = await this.root.tree.find(name);
    try {
      return (
        reached &&
        (await BasisFile.open({ path: reached.directory.at('.'), below: path.posix.basename(name) }, this.basisWorker))
      );
    } finally {
      reached?.release();
    }
  }

  private async expire(): Promise<void> {
    for (const name of await this.directory.list()) {
      const found = await this.directory.look(name);
      const journal = name.endsWith('.journal') ? found : await this.directory.look(`${name}.journal`);
      // A file without a journal holds nothing that could be trusted.
      if (journal && Date.now() - journal.mtimeMs < keptFor) continue;
      await rm(this.directory.at(name), { force: true }).catch((error: unknown) => {
        if (errnoOf(error) !== 'ENOENT') throw error;
      });
    }
  }
}

/** Closes what was opened before something failed. */
function closing(handle: FileHandle): (error: unknown) => Promise<never> {
  return async (error) => {
    await handle.close();
    throw error;
  };
}

/** The error for a connection whose file its sender has begun to send on another one. */
function takenOver(name: string): TransferError {
  return new TransferError('exists', `${printable(name)} is being sent on another connection with the same key.`, {
    hint: 'Send it under another name, or with another key.',
  });
}
