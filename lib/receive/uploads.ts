import { statfs } from 'node:fs/promises';
import path from 'node:path';
import { asTransferError, TransferError } from '../errors';
import type { NamesTaken } from '../name';
import type { FileReceived } from '../progress';
import { namesOfDisk } from '../store/local/local-probe';
import { ignored } from '../trace';
import type { Destination } from './destinations';
import { SmallUploads, type SmallUpload } from './small-uploads';
import { Upload } from './upload';
import { type UploadOffer, type UploadRules, UploadVisit } from './upload-visit';

/** Where uploads go, and by which rules. */
export interface UploadsOptions extends Omit<UploadRules, 'names'> {
  /** Default: what the directory's disk has; see `namesOfDisk`. */
  readonly names?: NamesTaken | undefined;
  /** Rejects with `directory`. */
  readonly destination: () => Promise<Destination>;
}

/** Most large files at a time: each has a descriptor. */
const mostUploads = 64;
/** Ms without a slice after which an upload is suspended, and after which it makes way for another of its name. */
const forgottenAfter = 60_000;
const givesWayAfter = 5_000;
/** Ms without an upload after which a visit ends. */
const visitEndsAfter = 5_000;
const lookEvery = 1_000;
/** Ended uploads whose outcome is kept for a page that has not heard it. */
const mostRemembered = 1_000;

/** A file that a page wants to upload. */
export interface WantedUpload extends UploadOffer {
  /** Who that is: the same one may go on with what it has begun. */
  readonly page: string;
  /** Where that is known already. */
  readonly blake3?: string | undefined;
}

/** How an upload begins. */
export type UploadBegin =
  | { readonly begin: 'open'; readonly upload: Upload }
  /** The same content is there already. */
  | { readonly begin: 'stored'; readonly done: FileReceived }
  /** A file of that name and size is there: whether it is the same one, its digest tells. */
  | { readonly begin: 'digest needed' }
  /** Another page is uploading a file of that name. */
  | { readonly begin: 'busy' };

/** A visit with its small files. */
interface OpenVisit {
  readonly visit: UploadVisit;
  readonly small: SmallUploads;
}

/**
 * Uploads by name, size and time, in slices or whole, without a wire of ours. From here on they are received like files
 * of a session (`UploadVisit`, `Upload`, `SmallUploads`).
 */
export class Uploads {
  private readonly visits = new Set<OpenVisit>();
  private opening: Promise<OpenVisit> | undefined;
  /** By their ids, in the order in which they were begun; those that have ended, too, for a while. */
  private readonly uploads = new Map<string, Upload>();
  /** Names that are being begun at this moment, each with the promise of the end of that. */
  private readonly beginning = new Map<string, Promise<unknown>>();
  private readonly timer: NodeJS.Timeout;
  private closed: TransferError | undefined;

  constructor(private readonly options: UploadsOptions) {
    this.timer = setInterval(() => void this.look(), lookEvery).unref();
  }

  /**
   * The upload of this file: the one that is open, or what is left of an earlier one, or a new one. Rejects with why it
   * is not taken: `name`, `exists`, `size`, `quota`, `space`, `disk`, `directory`, and `timeout` where there are too
   * many.
   */
  async begin(wanted: WantedUpload): Promise<UploadBegin> {
    const { visit } = await this.visit();
    return visit.during(async () => {
      try {
        const name = visit.name(wanted.name);
        // Uploads of one name begin one after another.
        const before = this.beginning.get(name) ?? Promise.resolve();
        const beginning = before.then(() => this.goOn(visit, wanted, this.underWay(name)));
        const settled: Promise<unknown> = beginning
          .catch(ignored('whoever begins it is told'))
          .finally(() => this.beginning.get(name) === settled && this.beginning.delete(name));
        this.beginning.set(name, settled);
        return await beginning;
      } catch (error) {
        throw visit.tell(asTransferError(error, 'disk', 'The file could not be staged'), wanted.name);
      }
    });
  }

  /** The upload with this id; undefined where there is none, or it has ended and is forgotten. */
  find(id: string): Upload | undefined {
    return this.uploads.get(id);
  }

  /**
   * Stores small files whose contents follow one another in `content`: what became of each, in their order. Rejects
   * with `directory` and `disk`.
   */
  async store(files: readonly SmallUpload[], content: Uint8Array): Promise<(FileReceived | TransferError)[]> {
    const { visit, small } = await this.visit();
    return visit.during(() => small.store(files, content));
  }

  /** Free bytes on the disk, and the name of the directory. Rejects with `directory` and `disk`. */
  async room(): Promise<{ readonly free: number; readonly directory: string; readonly name: string }> {
    const { directory } = await this.options.destination();
    const { bavail, bsize } = await statfs(directory).catch((error: unknown) => {
      throw asTransferError(error, 'disk', 'The disk cannot be looked at');
    });
    return { free: bavail * bsize, directory, name: path.basename(path.resolve(directory)) };
  }

  /** Ends all of them: those that were sent whole come to their end, what is here of others is kept. */
  async close(reason: TransferError): Promise<void> {
    this.closed = reason;
    clearInterval(this.timer);
    await Promise.all(this.beginning.values());
    await Promise.all([...this.uploads.values()].map((upload) => upload.suspend(reason)));
    await this.opening?.catch(ignored('whoever opened it is told'));
    await Promise.all([...this.visits].map((open) => this.end(open)));
  }

  /** The upload of this name that has not ended: one that was closed may be read back for minutes. */
  private underWay(name: string): Upload | undefined {
    for (const upload of this.uploads.values()) if (!upload.hasEnded && upload.name === name) return upload;
    return undefined;
  }

  /** `before` is one of the same name that is under way. */
  private async goOn(visit: UploadVisit, wanted: WantedUpload, before: Upload | undefined): Promise<UploadBegin> {
    if (before && before.page !== wanted.page && !(before.isOpen && before.idleFor >= givesWayAfter))
      return { begin: 'busy' };
    if (before?.isOf(wanted)) {
      before.page = wanted.page;
      return { begin: 'open', upload: before };
    }
    await before?.suspend();
    if (this.closed) throw this.closed;
    if ([...this.uploads.values()].filter((upload) => upload.isOpen).length + this.beginning.size > mostUploads)
      throw new TransferError('timeout', 'Too many files are being uploaded at this moment.');
    const entry = visit.entry(wanted);
    const already = await visit.already(entry, wanted.blake3);
    if (already === 'digest needed') return { begin: 'digest needed' };
    if (already) return { begin: 'stored', done: already };
    const [admitted] = await visit.admit([entry]);
    if (admitted instanceof TransferError) throw admitted;
    if (admitted === undefined) throw new TransferError('unexpected', 'The store has said nothing of this file.');
    const upload = await Upload.open(visit, admitted, wanted.page);
    this.uploads.set(upload.id, upload);
    return { begin: 'open', upload };
  }

  /** The one that is open, as long as its directory is the same. */
  private async visit(): Promise<OpenVisit> {
    const destination = await this.options.destination();
    const known = this.opening;
    const open = await known?.catch(ignored('whoever opened it is told'));
    if (this.closed) throw this.closed;
    if (open && this.visits.has(open) && open.visit.destination.store === destination.store) {
      open.visit.touch();
      return open;
    }
    // A concurrent caller that found the same opens it once, together with us.
    if (this.opening === known) this.opening = this.openVisit(destination);
    return this.opening ?? this.visit();
  }

  private async openVisit(destination: Destination): Promise<OpenVisit> {
    const { ifExists, names, on, pace } = this.options;
    const rules = { ifExists, on, pace, names: names ?? (await namesOfDisk(destination.directory)) };
    const visit = await UploadVisit.open(destination, rules);
    const open = { visit, small: new SmallUploads(visit) };
    this.visits.add(open);
    return open;
  }

  /** Suspends uploads without slices, and ends visits without uploads. */
  private async look(): Promise<void> {
    const busy = new Set<UploadVisit>();
    for (const [id, upload] of this.uploads) {
      if (upload.isOpen && upload.idleFor > forgottenAfter)
        await upload.suspend().catch(ignored('what cannot be kept is sent again'));
      if (upload.isOpen) busy.add(upload.visit);
      else if (upload.hasEnded && this.uploads.size > mostRemembered) this.uploads.delete(id);
    }
    for (const open of this.visits)
      if (open.visit.idleFor > visitEndsAfter && !busy.has(open.visit))
        await this.end(open).catch(ignored('what was stored is stored'));
  }

  private async end(open: OpenVisit): Promise<void> {
    this.visits.delete(open);
    await open.small.ended();
    await open.visit.end();
  }
}
