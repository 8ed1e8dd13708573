import { asTransferError, type TransferError } from '../errors';
import type { SessionReceipt } from '../wire/session-list';
import type { Close, Copy, Keep, Segment } from '../wire/session-message';
import type { ArrivingFile, FileToLink } from './entries';
import { LargeFile, storingError } from './large-file';
import type { Payload } from './payload';
import type { LargeToBegin } from './offer';
import { receivedOf, type Receiving } from './receiving';

/** A large file that the sender was asked for. */
export type OpenFile = ArrivingFile & { readonly file: LargeFile };

/**
 * What of a session arrives in segments: each file is opened, asked for, written, closed and told of. PROTOCOL.md 14.
 */
export class LargeFileReceiver {
  constructor(private readonly receiving: Receiving) {}

  /** Opens what is here of a file already, and asks the sender for the rest. */
  async begin({ entry, room, began, again, wanted: { basis, unlessSame } }: LargeToBegin): Promise<void> {
    const { entries, flow, rules, store, waits } = this.receiving;
    const arriving: ArrivingFile = { state: 'arriving', entry, room, began, file: undefined, again };
    entries.set(arriving);
    try {
      const partial = await store.partial(entry, typeof basis === 'object' ? basis.file : basis);
      if (entries.isOver) {
        await partial.suspend();
        return;
      }
      const link = typeof basis === 'object' && basis.linkable ? basis : undefined;
      const file = new LargeFile({ entry, room, unlessSame, link }, partial, rules.on, waits, flow);
      entries.set({ ...arriving, file });
      await this.ask(file);
    } catch (error) {
      this.receiving.refuse(entry, asTransferError(error, 'disk', 'The file could not be staged'));
      entries.notify();
    }
  }

  /** Takes a segment of a file; one of a file that is settled is thrown away. Rejects with what ends the connection. */
  async segment(open: OpenFile | undefined, segment: Segment, payload: Payload): Promise<void> {
    if (open) this.failed(open.file, await open.file.segment(segment, payload));
    else if (!segment.zero) await payload.skip();
  }

  keep(open: OpenFile | undefined, keep: Keep): void {
    open?.file.keep(keep);
  }

  async copy(open: OpenFile | undefined, copy: Copy): Promise<void> {
    if (open) this.failed(open.file, await open.file.copy(copy));
  }

  /**
   * Everything of a file was sent: stores it and tells so, or asks again for what is damaged. Resolves with it where it
   * is to be linked instead. Throws `bad-header` at once.
   */
  closed({ file, entry, room, began }: OpenFile, close: Close): Promise<FileToLink | undefined> {
    const { algorithm, replies } = this.receiving;
    const ending = file.close(close, algorithm, (done) => replies.progress(close.file, done));
    return ending.then(async (end): Promise<FileToLink | undefined> => {
      switch (end.end) {
        case 'stored': {
          const { path, verified, outcome, kept, lost } = end.committed;
          const repaired = end.repaired > 0 ? { repaired: end.repaired } : {};
          const already = outcome === 'identical' ? { verified_at: new Date().toISOString() } : {};
          const receipt: SessionReceipt = {
            file: entry.file,
            digests: end.digests,
            verified,
            ...(path === entry.name ? {} : { path }),
            ...already,
            ...repaired,
            ...(lost ? { lost } : {}),
          };
          this.receiving.report.without(entry.name, lost);
          // What a stream has in the end is known only now.
          this.receiving.stored({ ...entry, size: end.size }, path, end.digests, outcome !== 'identical', kept);
          replies.receipts([receipt]);
          this.receiving.report.received({
            ...receivedOf({ entry, began }, path, verified, end.digests, file.bytesOnWire),
            file_size: end.size,
            ...(file.keptBytes > 0 ? { kept: file.keptBytes } : {}),
            ...already,
            ...repaired,
          });
          break;
        }
        case 'same':
          return {
            state: 'batched',
            entry,
            digest: end.link.digest,
            room,
            began,
            repairs: 0,
            bytesOnWire: file.bytesOnWire,
            earlier: end.link.file,
          };
        case 'damaged':
          await this.ask(file);
          break;
        case 'refused':
          this.receiving.refuse(entry, end.error);
          break;
        case 'over':
          break;
      }
      this.receiving.entries.notify();
      return undefined;
    });
  }

  /** The sender gave a file up, or it cannot be stored: that is told once. */
  failed(file: LargeFile, error: TransferError | undefined): void {
    if (error === undefined || !file.discard()) return;
    this.receiving.refuse(file.entry, error);
    this.receiving.entries.notify();
  }

  /** The conversation is over: what is here is kept for the next one. */
  async suspend(): Promise<void> {
    await Promise.all(this.receiving.entries.arriving.map((file) => file.suspend()));
  }

  private async ask(file: LargeFile): Promise<void> {
    try {
      const question = await file.ask();
      if (question) this.receiving.replies.ask(file.entry.file, question);
    } catch (error) {
      this.failed(file, storingError(error));
    }
  }
}
