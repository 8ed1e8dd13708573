import { encodeList } from '../wire/session-list';
import { longestBundle } from '../wire/session-message';
import { TransferError } from '../errors';
import type { BundleReader, ReadBundle, SmallSource } from './bundle-reader';
import { damagedSource } from '../scan/source';
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
    const bundle = withoutDamaged(await this.reader.read(waiting.map(sourceOf)), numbered);
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
  private carry(bundle: Outbound, numbered: ReadonlyMap<number, Waiting>): Promise<void> {
    const list = encodeList(bundle.files.map(({ file, size, digest }) => [file, size, digest]));
    const overhead = list.length / bundle.files.length;
    return new Promise((resolve) => {
      this.carriers.push({
        header: { type: 'bundle', list: list.length, size: bundle.size },
        payload: () => [list, ...bundle.pieces],
        size: list.length + bundle.size,
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

/** A bundle as it goes out: the contents of its files stand one after another in `pieces`, and have `size` bytes. */
interface Outbound extends Omit<ReadBundle, 'bytes'> {
  readonly pieces: readonly Uint8Array[];
  readonly size: number;
}

/** What was read, without the files that are not what was vouched for: those are among its failures. */
function withoutDamaged(bundle: ReadBundle, numbered: ReadonlyMap<number, Waiting>): Outbound {
  const { bytes } = bundle;
  const damaged = bundle.files.flatMap(({ file, digest }) => {
    const found = numbered.get(file)?.outgoing.found;
    return found?.type === 'file' && found.vouched && found.vouched.digest !== digest ? [{ file, error: damagedSource(found.name) }] : [];
  });
  if (damaged.length === 0) return { ...bundle, pieces: bytes.length > 0 ? [bytes] : [], size: bytes.length };
  const isDamaged = new Set(damaged.map(({ file }) => file));
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const { file, size } of bundle.files) {
    if (size > 0 && !isDamaged.has(file)) pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  const files = bundle.files.filter(({ file }) => !isDamaged.has(file));
  return { ...bundle, files, failures: [...bundle.failures, ...damaged], pieces, size: pieces.reduce((sum, { length }) => sum + length, 0) };
}

function sizeOf({ found }: Outgoing): number {
  return found.type === 'file' ? found.size : 0;
}

function sourceOf({ outgoing: { file, found }, held }: Waiting): SmallSource {
  if (found.type !== 'file') throw new TransferError('unexpected', 'Only files are sent in bundles.');
  const { path, below, name, size, mtime, ctime, vouched } = found;
  return { file, path, below, name, size, mtime, ctime, ...(vouched ? { vouched } : {}), ...(held === undefined ? {} : { held }) };
}
