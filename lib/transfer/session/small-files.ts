import { encodeList } from '../../protocol/session-list';
import { longestBundle } from '../../protocol/session-message';
import { TransferError } from '../../errors';
import type { BundleReader, ReadBundle, SmallSource } from '../bundle-reader';
import type { Carriers } from './carriers';
import type { Outgoing } from './entries';

export interface SmallFilesSink {
  /** Whether it is not settled yet. */
  isWanted(outgoing: Outgoing): boolean;
  /** The receiver holds exactly this file. */
  kept(outgoing: Outgoing, digest: string): Promise<void>;
  dropped(outgoing: Outgoing, error: TransferError): Promise<void>;
}

interface Waiting {
  readonly outgoing: Outgoing;
  readonly held: string | undefined;
}

/** Bundles that are read, or wait for a connection, at once. */
const mostReading = 4;
const mostFiles = 512;

/** The small files that the receiver wants, read and sent many at a time, without a round trip for any of them. */
export class SmallFiles {
  private readonly waiting: Waiting[] = [];
  private reading = 0;
  private stopped = false;
  private wake: () => void = () => undefined;

  constructor(
    private readonly reader: BundleReader,
    private readonly carriers: Carriers,
    private readonly sink: SmallFilesSink,
  ) {}

  add(outgoing: Outgoing, held: string | undefined): void {
    this.waiting.push({ outgoing, held });
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
    if (failure !== undefined && !this.stopped) throw failure instanceof Error ? failure : new TransferError('unexpected', 'Reading failed.');
  }

  /** As many as fit, in their order. */
  private nextBundle(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { outgoing } of this.waiting) {
      bytes += sizeOf(outgoing);
      if (count === mostFiles || (count > 0 && bytes > longestBundle)) break;
      count++;
    }
    return this.waiting.splice(0, count);
  }

  private async send(waiting: readonly Waiting[]): Promise<void> {
    const numbered = new Map(waiting.map((each) => [each.outgoing.file, each]));
    const bundle = await this.reader.read(waiting.map(sourceOf));
    for (const { file, digest } of bundle.kept) {
      const outgoing = numbered.get(file)?.outgoing;
      if (outgoing) await this.sink.kept(outgoing, digest);
    }
    for (const { file, error } of bundle.failures) {
      const outgoing = numbered.get(file)?.outgoing;
      if (outgoing) await this.sink.dropped(outgoing, error);
    }
    if (bundle.files.length === 0) bundle.release();
    else await this.carry(bundle, numbered);
  }

  /** Resolves when the system has taken it. */
  private carry(bundle: ReadBundle, numbered: ReadonlyMap<number, Waiting>): Promise<void> {
    const list = encodeList(bundle.files.map(({ file, size, digest }) => [file, size, digest]));
    const overhead = list.length / bundle.files.length;
    return new Promise((resolve) => {
      this.carriers.push({
        header: { type: 'bundle', list: list.length, size: bundle.bytes.length },
        payload: () => (bundle.bytes.length > 0 ? [list, bundle.bytes] : [list]),
        size: list.length + bundle.bytes.length,
        sent: (wire) => {
          for (const { file, size, digest } of bundle.files) {
            const outgoing = numbered.get(file)?.outgoing;
            if (outgoing) outgoing.digest = digest;
            if (outgoing && wire > 0) outgoing.bytesOnWire += Math.round(size + overhead);
          }
          bundle.release();
          resolve();
        },
        lost: () => {
          for (const { file } of bundle.files) {
            const again = numbered.get(file);
            if (again && this.sink.isWanted(again.outgoing)) this.add(again.outgoing, again.held);
          }
        },
      });
    });
  }
}

function sizeOf({ found }: Outgoing): number {
  return found.type === 'file' ? found.size : 0;
}

function sourceOf({ outgoing: { file, found }, held }: Waiting): SmallSource {
  if (found.type !== 'file') throw new TransferError('unexpected', 'Only files are sent in bundles.');
  const { path, name, size, mtime, ctime } = found;
  return { file, path, name, size, mtime, ctime, ...(held === undefined ? {} : { held }) };
}
