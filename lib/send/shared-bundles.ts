// Small files for several receivers: each bundle is read and hashed once, and kept for a while for those who ask later.
import type { DigestAlgorithm } from '../digest/digest';
import { ignored } from '../trace';
import { BundleReader, type ReadBundle, type SmallFileReader } from './bundle-reader';
import type { OfferedBatch } from './offered-batch';

/** Bundles that are kept though nobody has them at this moment. */
const mostKept = 8;
/** Bundles that one receiver may have at a time, where there are few receivers and where there are many. */
const [mostEach, mostOfMany] = [4, 1];

interface SharedBundle {
  readonly files: readonly number[];
  readonly read: Promise<ReadBundle>;
  /** Receivers that have it now. */
  holders: number;
}

/** What the reader was told of, by the number of the first entry: how many receivers have something of it to send. */
type KnownBatches = Map<number, number>;

/**
 * One reader for any number of receivers, whose entries have the same numbers. One that asks for what is not kept any
 * more, or holds some of the files, has them read for itself.
 */
export class SharedBundles {
  private readonly reader: BundleReader;
  /** By the files in it, those asked for last at the end. */
  private readonly bundles = new Map<string, SharedBundle>();
  private readonly known: KnownBatches = new Map();
  private readonly each: number;

  constructor(algorithm: DigestAlgorithm, receivers: number) {
    this.each = receivers <= 8 ? mostEach : mostOfMany;
    this.reader = new BundleReader(algorithm, { slots: mostKept + 2 + this.each * receivers });
  }

  /** The share of one receiver; closing it forgets what it knew. */
  share(): SmallFileReader {
    const known = new Set<number>();
    const waiting: (() => void)[] = [];
    let out = 0;
    const release = (): void => {
      out--;
      waiting.shift()?.();
    };
    return {
      know: (batch) => {
        known.add(batch.first);
        this.know(batch);
      },
      forget: (first) => {
        if (known.delete(first)) this.forget(first);
      },
      read: async (files, held) => {
        while (out >= this.each) await new Promise<void>((resolve) => waiting.push(resolve));
        out++;
        try {
          return releasedBy(await (held.size > 0 ? this.reader.read(files, held) : this.take(files)), release);
        } catch (error) {
          release();
          throw error;
        }
      },
      close: () => {
        for (const first of known) this.forget(first);
        known.clear();
        return Promise.resolve();
      },
    };
  }

  async close(): Promise<void> {
    await this.reader.close();
  }

  private know(batch: Pick<OfferedBatch, 'first' | 'found'>): void {
    const before = this.known.get(batch.first) ?? 0;
    this.known.set(batch.first, before + 1);
    if (before === 0) this.reader.know(batch);
  }

  private forget(first: number): void {
    const left = (this.known.get(first) ?? 0) - 1;
    if (left > 0) {
      this.known.set(first, left);
    } else {
      this.known.delete(first);
      this.reader.forget(first);
    }
  }

  /** The bundle with these files and no others, of which nobody holds anything. */
  private async take(files: readonly number[]): Promise<ReadBundle> {
    const key = `${String(files[0])} ${String(files.at(-1))} ${String(files.length)}`;
    const kept = this.bundles.get(key);
    if (kept && !isSame(kept.files, files)) return this.reader.read(files, new Map());
    const shared = kept ?? { files, read: this.reader.read(files, new Map()), holders: 0 };
    this.bundles.delete(key);
    this.bundles.set(key, shared);
    shared.holders++;
    try {
      const bundle = await shared.read;
      return { ...bundle, release: () => this.giveBack(shared) };
    } catch (error) {
      this.bundles.delete(key);
      throw error;
    }
  }

  private giveBack(shared: SharedBundle): void {
    shared.holders--;
    let kept = [...this.bundles.values()].filter(({ holders }) => holders === 0).length;
    for (const [key, { holders, read }] of this.bundles) {
      if (kept <= mostKept) return;
      if (holders > 0) continue;
      this.bundles.delete(key);
      read.then((bundle) => bundle.release()).catch(ignored('whoever asked for it was told'));
      kept--;
    }
  }
}

function releasedBy(bundle: ReadBundle, also: () => void): ReadBundle {
  return {
    ...bundle,
    release: () => {
      bundle.release();
      also();
    },
  };
}

function isSame(one: readonly number[], other: readonly number[]): boolean {
  return one.length === other.length && one.every((each, at) => each === other[at]);
}
