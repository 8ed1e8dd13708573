// Reads many small files into the memory of bundles, in the thread that calls it, by plain synchronous calls.
import { createDigestOf, type DigestAlgorithm } from '../digest/digest';
import { edgesIn, isUntouched } from '../scan/edges';
import { isInode } from '../scan/found';
import { fileType, type FoundBatch, locate, splitTexts } from '../scan/found-batch';
import { failureOf } from '../threads/order-worker';
import { fileCalls, type FileStat } from '../threads/file-calls';
import { fillBy } from '../threads/fill';
import { type Located, readFlags, Walker } from '../threads/walker';
import { ignored } from '../trace';
import { encodeList } from '../wire/session-list';

export interface BundleSetup {
  readonly memory: SharedArrayBuffer;
  readonly algorithm: DigestAlgorithm;
}

export type BundleOrder =
  /** Entries with the numbers from `first` on, of which files will be read. */
  | { readonly order: 'know'; readonly first: number; readonly batch: FoundBatch }
  | { readonly order: 'forget'; readonly first: number }
  /**
   * Files to be read into the memory from `at` on, by their numbers; `held` are digests of what the receiver holds, by
   * number.
   */
  | {
      readonly order: 'read';
      readonly at: number;
      readonly files: Float64Array;
      readonly held: ReadonlyMap<number, string>;
    };

export type BundleFailure = 'changed' | 'not a file' | 'sizeless' | 'damaged' | ReturnType<typeof failureOf>['failure'];

/** The contents lie one after another, without those of `kept`. */
export interface BundleAnswer {
  /** The files whose contents lie there, in order, and their digests one after another. */
  readonly files: Float64Array;
  readonly digests: string;
  /** The list of a `bundle` that has them (PROTOCOL.md 15.1). */
  readonly list: Uint8Array;
  /** How many bytes the contents have. */
  readonly length: number;
  /** What the receiver holds already. */
  readonly kept: readonly { readonly file: number; readonly digest: string }[];
  readonly failures: readonly { readonly file: number; readonly failure: BundleFailure }[];
  /** Those of `files` and `kept` that are longer by now than what was read of them. */
  readonly grew: readonly number[];
}

/** What is known of the files that may be read. */
interface KnownBatch {
  readonly first: number;
  readonly batch: FoundBatch;
  readonly below: readonly string[];
}

/** How a file was when it was offered. */
interface FileAsOffered {
  readonly size: number;
  readonly mtime: bigint | undefined;
  readonly ctime: bigint | undefined;
  readonly inode: bigint | undefined;
  readonly edges: bigint | undefined;
}

const nothing: BundleAnswer = {
  files: new Float64Array(),
  digests: '',
  list: new Uint8Array(),
  length: 0,
  kept: [],
  failures: [],
  grew: [],
};

/** For the byte of a file that should have none. */
const one = new Uint8Array(1);

/** Reads small files whose entries it knows, in the calling thread. */
export class BundleReading {
  private readonly bytes: Uint8Array;
  private readonly ready: ReturnType<typeof createDigestOf>;
  private readonly walker = new Walker(fileCalls);
  private readonly calls = fileCalls();
  private known: readonly KnownBatch[] = [];

  constructor({ memory, algorithm }: BundleSetup) {
    this.bytes = new Uint8Array(memory);
    this.ready = createDigestOf(algorithm);
    this.ready.catch(ignored('whoever reads is told'));
  }

  async carryOut(order: BundleOrder): Promise<BundleAnswer> {
    switch (order.order) {
      case 'know':
        this.know(order.first, order.batch);
        return nothing;
      case 'forget':
        this.known = this.known.filter(({ first }) => first !== order.first);
        return nothing;
      case 'read':
        try {
          return this.read(order, await this.ready);
        } finally {
          // Nothing is kept open between two orders: a directory may be removed, or its disk be taken away.
          this.walker.close();
        }
    }
  }

  private know(first: number, batch: FoundBatch): void {
    this.known = [...this.known, { first, batch, below: splitTexts(batch.below, batch.length) }];
  }

  private read(
    { at: start, files, held }: Extract<BundleOrder, { order: 'read' }>,
    digestOf: (content: Uint8Array) => string,
  ): BundleAnswer {
    const list: [file: number, size: number, digest: string][] = [];
    const kept: { file: number; digest: string }[] = [];
    const failures: { file: number; failure: BundleFailure }[] = [];
    const grew: number[] = [];
    let at = start;
    let from: KnownBatch | undefined;
    for (const file of files) {
      if (!from || file < from.first || file >= from.first + from.batch.length)
        from = this.known.find(({ first, batch }) => file >= first && file < first + batch.length);
      const found = from ? this.contentOf(from, file - from.first, at, digestOf) : { failure: 'changed' as const };
      if ('failure' in found) {
        failures.push({ file, failure: found.failure });
        continue;
      }
      const { digest } = found;
      if (found.grew) grew.push(file);
      if (held.get(file) === digest) {
        kept.push({ file, digest });
      } else {
        const size = from?.batch.sizes[file - from.first] ?? 0;
        list.push([file, size, digest]);
        at += size;
      }
    }
    return {
      files: Float64Array.from(list, ([file]) => file),
      digests: list.map(([, , digest]) => digest).join(''),
      list: encodeList(list),
      length: at - start,
      kept,
      failures,
      grew,
    };
  }

  /** The digest of a file, whose content is in the memory from `at` on; or why it is not. */
  private contentOf(
    { batch, below }: KnownBatch,
    slot: number,
    at: number,
    digestOf: (content: Uint8Array) => string,
  ): { readonly digest: string; readonly grew: boolean } | { readonly failure: BundleFailure } {
    const size = batch.types[slot] === fileType ? (batch.sizes[slot] ?? 0) : 0;
    const vouched = batch.vouched.get(slot);
    try {
      // Hard links are made to a file that someone vouches for: another ctime alone is no change, since its digest is
      // known.
      const end = this.readFrom(locate(batch, slot, below[slot] ?? ''), at, {
        size,
        mtime: batch.mtimes[slot],
        ctime: vouched ? undefined : batch.ctimes[slot],
        inode: batch.inodes[slot],
        edges: batch.edges.get(slot),
      });
      if (end !== 'whole' && end !== 'grew') return { failure: end };
      const digest = digestOf(this.bytes.subarray(at, at + size));
      return vouched && vouched.digest !== digest ? { failure: 'damaged' } : { digest, grew: end === 'grew' };
    } catch (error) {
      return failureOf(error);
    }
  }

  /**
   * Reads the file between two looks at it. The second look costs a microsecond, and without it a file of which one
   * half was read before it was rewritten and one half after would go out as if it had ever been so. One that has grown
   * is taken only if it is the same file, with the edges that it was found with; if it grew meanwhile it is read again,
   * since only that tells whether more than that was done to it. Without `ctime` someone vouches for the file: that is
   * not compared, and it may not grow.
   */
  private readFrom(
    located: Located,
    at: number,
    { size, mtime, ctime, inode, edges }: FileAsOffered,
  ): 'whole' | 'grew' | 'changed' | 'not a file' | 'sizeless' {
    const fd = this.walker.open(located, readFlags);
    try {
      const isAsOffered = ({ mtimeNs, ctimeNs, size: found }: FileStat): boolean =>
        mtimeNs === mtime && (ctime === undefined || ctimeNs === ctime) && found === size;
      const before = this.calls.stat(fd);
      if (!before.isFile) return 'not a file';
      const grew = (now: FileStat): boolean => ctime !== undefined && now.size > size && isInode(inode, now.ino);
      if (!isAsOffered(before) && !grew(before)) return 'changed';
      if (!fillBy(this.calls, fd, this.bytes, at, size)) return 'changed';
      const tellsSize = size > 0 || this.calls.read(fd, one, 0, 1, 0) === 0;
      const after = this.calls.stat(fd);
      if (isAsOffered(after)) return tellsSize ? 'whole' : 'sizeless';
      if (!grew(after)) return 'changed';
      const isSameSoFar = size === 0 || edges === edgesIn(this.bytes.subarray(at, at + size));
      if (!isSameSoFar) return 'changed';
      if (isUntouched(before, after)) return 'grew';
      const again = new Uint8Array(size);
      const same =
        fillBy(this.calls, fd, again, 0, size) && Buffer.compare(again, this.bytes.subarray(at, at + size)) === 0;
      return same ? 'grew' : 'changed';
    } finally {
      this.calls.close(fd);
    }
  }
}
