import { longestBundle } from '../wire/session-message';
import { TransferError } from '../errors';
import { bundleError, type ReadBundle, type SmallFileReader } from './bundle-reader';
import type { Carriers } from './carriers';
import type { SendEntries } from './entries';

export interface SmallFilesSink {
  /** The receiver holds exactly this file. */
  kept(file: number, size: number, digest: string): Promise<void>;
  dropped(file: number, error: TransferError): Promise<void>;
}

/** Most bundles at a time that are read, or wait for a connection. */
const mostReading = 4;
/** Most files of one bundle. */
const mostFiles = 512;

/**
 * Sends the small files that the receiver wants, many to a bundle, without a round trip for any of them. They are
 * numbers here: the thread that reads them knows their names and contents.
 */
export class SmallFiles {
  private waiting: number[] = [];
  /** What the receiver holds of those that wait, by number. */
  private readonly held = new Map<number, string>();
  private reading = 0;
  private stopped = false;
  private wake: () => void = () => undefined;

  constructor(
    private readonly entries: SendEntries,
    private readonly reader: Pick<SmallFileReader, 'read'>,
    private readonly carriers: Carriers,
    private readonly sink: SmallFilesSink,
  ) {}

  /** `held` is the digest of what the receiver holds of it. */
  add(file: number, held: string | undefined): void {
    this.waiting.push(file);
    if (held !== undefined) this.held.set(file, held);
    this.wake();
  }

  stop(): void {
    this.stopped = true;
    this.wake();
  }

  /** Sends what is added, until it is stopped. Rejects with what the reader or the sink reject with. */
  async run(): Promise<void> {
    let failure: unknown;
    while (!this.stopped && failure === undefined) {
      if (this.waiting.length === 0 || this.reading >= mostReading) {
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
        continue;
      }
      this.reading++;
      this.send(this.nextBundle())
        .catch((error: unknown) => {
          failure ??= error;
        })
        .finally(() => {
          this.reading--;
          this.wake();
        });
    }
    if (failure !== undefined && !this.stopped)
      throw failure instanceof Error ? failure : new TransferError('unexpected', 'Reading failed.');
  }

  /** As many as fit, in their order, without those that were settled meanwhile. */
  private nextBundle(): number[] {
    const bundle: number[] = [];
    let bytes = 0;
    let taken = 0;
    for (const file of this.waiting) {
      const batch = this.entries.small(file);
      if (batch) {
        bytes += batch.sizeOf(file);
        if (bundle.length === mostFiles || (bundle.length > 0 && bytes > longestBundle)) break;
        bundle.push(file);
      }
      taken++;
    }
    this.waiting = this.waiting.slice(taken);
    return bundle;
  }

  private async send(files: readonly number[]): Promise<void> {
    const { entries, sink } = this;
    const held = new Map<number, string>();
    if (this.held.size > 0) for (const file of files) this.moveHeld(file, held);
    const bundle = await this.reader.read(files, held);
    for (const file of bundle.grew) entries.small(file)?.grew(file);
    for (const { file, digest } of bundle.kept) {
      const batch = entries.small(file);
      batch?.read(file, digest, 0);
      await sink.kept(file, batch?.sizeOf(file) ?? 0, digest);
    }
    for (const { file, failure } of bundle.failures)
      await sink.dropped(file, bundleError(entries.small(file)?.nameOf(file) ?? '', failure));
    if (bundle.files.length === 0) bundle.release();
    else await this.carry(bundle, held);
  }

  private moveHeld(file: number, to: Map<number, string>): void {
    const digest = this.held.get(file);
    if (digest === undefined) return;
    to.set(file, digest);
    this.held.delete(file);
  }

  /**
   * Resolves when the system has taken it. A receipt may come before that, so size, digest and cost of each file are
   * noted before a byte of it goes.
   */
  private carry(bundle: ReadBundle, held: ReadonlyMap<number, string>): Promise<void> {
    const { files, list, bytes } = bundle;
    return new Promise((resolve) => {
      this.carriers.push({
        header: { type: 'bundle', list: list.length, size: bytes.length },
        payload: () => [list, bytes],
        size: list.length + bytes.length,
        goes: (length) => this.note(bundle, length),
        sent: () => {
          bundle.release();
          resolve();
        },
        lost: () => {
          for (const file of files) if (this.entries.small(file)) this.add(file, held.get(file));
        },
      });
    });
  }

  /** What each file is that was read, and what it costs of `wire` bytes, with its share of the list. */
  private note({ files, digests, list, bytes }: ReadBundle, wire: number): void {
    const overhead = list.length / files.length;
    const share = (wire - list.length) / Math.max(1, bytes.length);
    const length = digests.length / files.length;
    let at = 0;
    for (const file of files) {
      const batch = this.entries.small(file);
      batch?.read(file, digests.slice(at, at + length), Math.round(batch.sizeOf(file) * share + overhead));
      at += length;
    }
  }
}
