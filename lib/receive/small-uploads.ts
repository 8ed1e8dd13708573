import { asTransferError, TransferError } from '../errors';
import type { FileReceived } from '../progress';
import type { BatchOutcome, SmallFile } from '../store/session-store';
import { ignored } from '../trace';
import type { FileEntry } from '../wire/session-list';
import { inTurns } from './in-turns';
import { receivedOf } from './receiving';
import type { AdmittedUpload, UploadOffer, UploadVisit } from './upload-visit';

/** A whole small file, with its BLAKE3 as its owner has computed it. */
export interface SmallUpload extends UploadOffer {
  readonly blake3: string;
}

/** One of them on its way; its content begins at `from`. */
interface ComingFile {
  readonly offer: SmallUpload;
  readonly from: number;
  readonly entry: FileEntry;
}

/**
 * Small files of one visit. While one batch is committed the next one gathers, so that who brings a single file waits
 * for nobody, and many files share the syncs of their disk.
 */
export class SmallUploads {
  /** Those of which nothing is known yet, by the number of their entry. */
  private readonly waiting = new Map<number, (outcome: BatchOutcome) => void>();
  private committing: Promise<void> | undefined;

  constructor(private readonly visit: UploadVisit) {}

  /**
   * Stores files whose contents follow one another in `content`. Resolves with what became of each, in their order,
   * once that is durable; all of it is told. Rejects with `disk` where nothing can be looked up.
   */
  async store(offers: readonly SmallUpload[], content: Uint8Array): Promise<(FileReceived | TransferError)[]> {
    const ends = new Map<SmallUpload, FileReceived | TransferError>();
    const coming: ComingFile[] = [];
    let from = 0;
    await inTurns(offers, (offer) => {
      try {
        coming.push({ offer, from, entry: this.visit.entry(offer) });
      } catch (error) {
        ends.set(offer, asTransferError(error, 'name', 'The name cannot be had'));
      }
      from += offer.size;
    });
    const admitted = await this.visit.admit(coming.map(({ entry }) => entry));
    const wanted = coming.flatMap((file, at) => {
      const one = admitted[at];
      if (one instanceof TransferError) ends.set(file.offer, one);
      return one === undefined || one instanceof TransferError ? [] : [{ ...file, admitted: one }];
    });
    const outcomes = await this.write(
      wanted.map(({ entry, offer }) => ({ entry, digest: offer.blake3 })),
      wanted.map(({ from: begin, offer }) => content.subarray(begin, begin + offer.size)),
    );
    await inTurns(wanted, ({ offer, admitted: one }, at) => {
      ends.set(offer, this.end(one, offer.blake3, outcomes[at] ?? unheard()));
    });
    const results: (FileReceived | TransferError)[] = [];
    await inTurns(offers, (offer) => {
      results.push(this.visit.tell(ends.get(offer) ?? unheard(), offer.name));
    });
    return results;
  }

  /** Resolves when nothing is being committed any more. */
  async ended(): Promise<void> {
    await this.committing;
  }

  private end(
    { entry, room, began }: AdmittedUpload,
    digest: string,
    outcome: BatchOutcome,
  ): FileReceived | TransferError {
    if (outcome instanceof TransferError) {
      room.settle(false);
      return outcome;
    }
    const fresh = outcome === 'stored' || outcome.outcome !== 'identical';
    room.settle(fresh);
    const path = outcome === 'stored' ? entry.name : outcome.path;
    const done = receivedOf({ entry, began }, path, this.visit.store.verified, { blake3: digest }, entry.size ?? 0);
    return fresh ? done : { ...done, verified_at: new Date().toISOString() };
  }

  /** Puts files into the open batch, and sees to it that it is committed. Resolves with what became of each. */
  private async write(files: readonly SmallFile[], contents: readonly Uint8Array[]): Promise<BatchOutcome[]> {
    const { batch } = this.visit.store;
    const outcomes = files.map(
      ({ entry: { file } }) => new Promise<BatchOutcome>((resolve) => this.waiting.set(file, resolve)),
    );
    for (let first = 0; first < files.length;) {
      const lease = await batch.memory.lease();
      let end = first;
      for (let used = 0; end < files.length; end++) {
        const content = contents[end] ?? new Uint8Array(0);
        if (used + content.length > lease.bytes.length) break;
        lease.bytes.set(content, used);
        used += content.length;
      }
      batch.write(lease, files.slice(first, end)).catch(ignored('the commit of its batch tells'));
      first = end;
      this.committing ??= this.commitAll().finally(() => (this.committing = undefined));
    }
    return Promise.all(outcomes);
  }

  private async commitAll(): Promise<void> {
    const { batch } = this.visit.store;
    for (;;) {
      // Uploads of the same turn of the event loop go into one batch.
      await new Promise((resolve) => setImmediate(resolve));
      if (batch.open.entries === 0) return;
      try {
        await inTurns([...(await batch.commit())], ([file, outcome]) => this.settle(file, outcome));
      } catch (error) {
        const failure = asTransferError(error, 'disk', 'The files could not be stored');
        for (const file of [...this.waiting.keys()]) this.settle(file, failure);
      }
    }
  }

  private settle(file: number, outcome: BatchOutcome): void {
    this.waiting.get(file)?.(outcome);
    this.waiting.delete(file);
  }
}

function unheard(): TransferError {
  return new TransferError('unexpected', 'The store has said nothing of this file.');
}
