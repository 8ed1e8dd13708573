import type { DigestAlgorithm } from '../../digest/digest';
import type { EntryName } from '../../name';
import type { BatchOrder, BatchReply, LookedUp } from './batch.worker';
import type { DiskContent, ReadExisting } from './existing-content';
import { slicesOf } from '../../slices';
import { look, type Looked, type ExistingEntry, existingOf } from './existing-look';
import { askedOf, contentsOf, knownAmong, type ReceiptsAsked } from './known-files';
import { diskError } from './disk-error';
import type { KnownContent } from '../session-store';

/** Names that one thread looks at in one go. */
const namesPerLook = 1_000;
/** Most names that are looked at without a thread: a session of some large files needs none. */
const fewNames = 8;
/** What stands at names, and what receipts say of it. */
export interface ExistingWithReceipts {
  readonly existing: readonly (ExistingEntry | undefined)[];
  readonly known: readonly (KnownContent | undefined)[];
}

/** Files that one thread reads in one go. */
const namesPerReading = 512;

/**
 * What is in a receive directory, whose path is `root`, when many are asked for at once. Rejects with `disk` only where
 * a thread fails.
 */
export class ExistingEntries {
  constructor(
    private readonly ask: (order: BatchOrder) => Promise<BatchReply>,
    private readonly algorithm: DigestAlgorithm,
    private readonly root: string,
  ) {}

  /** What is at these names; undefined where nothing is, or where symbolic links would have to be followed. */
  async look(names: readonly EntryName[]): Promise<(ExistingEntry | undefined)[]> {
    if (names.length <= fewNames) return attempt(names, async () => existingOf(look(names, this.root)));
    return attempt(names, async () => {
      const answers = await Promise.all(
        slicesOf(names, namesPerLook).map((slice) => this.ask({ order: 'look', names: slice })),
      );
      return (answers as Looked[]).flatMap(existingOf);
    });
  }

  /** The same, and which of the files that are offered under these names are stored already. */
  async lookForKnown(names: readonly EntryName[], asked: ReceiptsAsked): Promise<ExistingWithReceipts> {
    if (names.length <= fewNames) {
      const existing = await this.look(names);
      return { existing, known: contentsOf(knownAmong(names, existing, asked), names.length) };
    }
    return attempt(names, async () => {
      const slices = slicesOf(names, namesPerLook);
      const answers = (await Promise.all(
        slices.map((slice, at) =>
          this.ask({
            order: 'look',
            names: slice,
            asked: askedOf(asked, at * namesPerLook, at * namesPerLook + slice.length),
          }),
        ),
      )) as LookedUp[];
      return {
        existing: answers.flatMap(existingOf),
        known: answers.flatMap(({ known }, at) => contentsOf(known, slices[at]?.length ?? 0)),
      };
    });
  }

  /**
   * What the regular files at these names read as, from where a receipt says they were read; undefined for anything
   * else, and for what cannot be read.
   */
  async read(names: readonly EntryName[]): Promise<(DiskContent | undefined)[]> {
    return attempt(names, async () => {
      const answers = await Promise.all(
        slicesOf(names, namesPerReading).map((slice) =>
          this.ask({ order: 'read', names: slice, algorithm: this.algorithm }),
        ),
      );
      return (answers as ReadExisting[]).flatMap(({ contents }) => contents);
    });
  }
}

async function attempt<Found>([first]: readonly EntryName[], action: () => Promise<Found>): Promise<Found> {
  try {
    return await action();
  } catch (error) {
    throw diskError(error, { name: first ?? '' });
  }
}
