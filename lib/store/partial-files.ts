import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, open, rm } from 'node:fs/promises';
import path from 'node:path';
import type { AlignedMemory } from '../aligned-memory';
import { errnoOf } from '../errors';
import { segmentCountOf, segmentSizeOf } from '../protocol/segment';
import type { Directory } from './directory';
import { readJournal } from './journal';
import type { FilePlace } from './local-file';
import { PartialBytes } from './partial-bytes';
import { PartialFile, type PartialOffer } from './partial-file';
import { openPrivate, removeEmpty } from './receive-directory';
import { diskError } from './staged-bytes';

const { O_CREAT, O_DIRECT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants as typeof constants & { readonly O_DIRECT?: number };
const directoryName = 'partial';
/** What nobody went on with for so long is removed, in ms. */
const keptFor = 14 * 24 * 60 * 60 * 1000;

export interface PartialFilesPlace extends Omit<FilePlace, 'ended'> {
  readonly direct: boolean;
  readonly memory: AlignedMemory;
}

/** The unfinished files of a receive directory, each with its journal, in a private directory of their own. */
export class PartialFiles {
  private readonly open = new Map<string, PartialFile>();

  private constructor(
    private readonly directory: Directory,
    private readonly own: Directory,
    private readonly place: PartialFilesPlace,
  ) {}

  /** `own` is the private directory inside the receive directory. What is too old is removed. */
  static async in(own: Directory, place: PartialFilesPlace): Promise<PartialFiles> {
    const files = new PartialFiles(await openPrivate(own, directoryName), own, place);
    await files.expire();
    return files;
  }

  /**
   * The unfinished file of this offer, or a new one. One that is in use by an earlier connection of the same peer is suspended
   * first. `update` begins a new one with what stands under its name: what is the same need not be sent. Rejects with `disk` or `space`.
   */
  async take(offer: PartialOffer, update: boolean): Promise<PartialFile> {
    const base = createHash('sha256').update(`${offer.peer}\0${offer.name}`).digest('hex').slice(0, 32);
    await this.open.get(base)?.suspend();
    const place = this.directory.at(base);
    const journalPath = `${place}.journal`;
    try {
      const segments = (await this.resumable(offer, place, journalPath)) ?? (await this.anew(offer, place, journalPath, update));
      const handle = await open(place, O_CREAT | O_NOFOLLOW | O_RDWR | (this.place.direct ? (O_DIRECT ?? 0) : 0), 0o600);
      const file: PartialFile = new PartialFile(offer, {
        path: place,
        journalPath,
        segments,
        bytes: new PartialBytes(offer, { ...this.place, path: place, handle, wrote: () => file.wrote() }),
        place: { ...this.place, ended: () => undefined },
        memory: this.place.memory,
        ended: () => this.open.delete(base),
      });
      this.open.set(base, file);
      return file;
    } catch (error) {
      throw diskError(error, offer);
    }
  }

  /** Suspends everything. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.open.values()].map((file) => file.suspend()));
    await this.directory.close();
    await removeEmpty(this.own.at(directoryName));
  }

  /** The segments by the journal, if it is about exactly this offer. */
  private async resumable(offer: PartialOffer, place: string, journalPath: string): Promise<readonly number[] | undefined> {
    const journal = await readJournal(journalPath);
    if (!journal || journal.peer !== offer.peer || journal.name !== offer.name || journal.size !== offer.size || journal.mtime !== offer.mtime) return undefined;
    if ((await this.directory.look(path.basename(place))) === undefined) return undefined;
    const there = await open(place, O_NOFOLLOW | O_RDWR);
    try {
      // The last segment may have been written with padding behind it; whatever lacks reads as zeros and is found so.
      if ((await there.stat()).size !== journal.size) await there.truncate(journal.size);
    } finally {
      await there.close();
    }
    return journal.segments;
  }

  private async anew(offer: PartialOffer, place: string, journalPath: string, update: boolean): Promise<readonly number[]> {
    await rm(journalPath, { force: true });
    await rm(place, { force: true });
    const reached = update && offer.size !== undefined ? await this.place.tree.find(offer.name) : undefined;
    if (!reached || offer.size === undefined) {
      await (await open(place, O_CREAT | O_EXCL | O_NOFOLLOW | O_RDWR, 0o600)).close();
      return [];
    }
    try {
      await copyFile(reached.directory.at(path.posix.basename(offer.name)), place, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    } finally {
      reached.release();
    }
    const copy = await open(place, O_NOFOLLOW | O_RDWR);
    try {
      const { size } = await copy.stat();
      await copy.chmod(0o600);
      await copy.truncate(offer.size);
      const whole = Math.min(segmentCountOf(offer.size), Math.floor(size / segmentSizeOf(offer.size)) + (size === offer.size ? 1 : 0));
      return Array.from({ length: whole }, (_, segment) => segment);
    } finally {
      await copy.close();
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
