// The files of a snapshot in an object store as a session reads them: small ones many at a time, with one request for
// those that lie beside one another; large ones piece by piece. Nothing goes out whose digest is not that of the
// manifest.
import { createDigest, createDigestOf, type Digest, type DigestAlgorithm } from '../../digest/digest';
import { TransferError } from '../../errors';
import type { EntryName } from '../../name';
import { splitTexts } from '../../scan/found-batch';
import type { FoundEntry } from '../../scan/found';
import { damagedSource } from '../../scan/source';
import { Alike } from '../../send/alike';
import type { BundleFailure } from '../../send/bundle-reading';
import type { ReadBundle, SmallFileReader } from '../../send/bundle-reader';
import { findToSend, type SessionSource } from '../../send/finding';
import type { OfferedBatch } from '../../send/offered-batch';
import type { Piece, PieceReader, ReadOrder } from '../../send/segment-reader';
import type { ContentSource } from '../../send/transfer';
import type { Bucket } from '../../store/object/bucket';
import { ignored } from '../../trace';
import { pieceSize, segmentSizeOf } from '../../wire/segment';
import { encodeList } from '../../wire/session-list';
import type { ManifestEntry } from '../manifest/manifest';
import { entryByManifest } from '../restore/entry-by-manifest';
import type { ContentOf } from '../restore/restore';
import type { ObjectCatalog } from './object-catalog';

export type ObjectFile = Extract<ManifestEntry, { readonly type: 'file' }>;

/** Entries that are offered at a time. */
const offeredTogether = 1024;
/** Files with not more bytes than that between them are read with one request. */
const readThrough = 64 * 1024;
const readsAtOnce = 4;

/** How a restore reads snapshots of this catalog. */
export function objectContentOf({ bucket }: ObjectCatalog): ContentOf {
  return ({ digest }, entries) => objectContent(bucket, digest, entries);
}

/** What a restore sends of a snapshot, and how it is read. */
export function objectContent(
  bucket: Bucket,
  algorithm: DigestAlgorithm,
  entries: readonly ManifestEntry[],
): ContentSource {
  const files = new Map<string, ObjectFile>();
  for (const entry of entries) if (entry.type === 'file') files.set(entry.name, entry);
  return {
    found: findToSend({ paths: [] }, entriesToSend(entries, algorithm), { snapshot: true }),
    segments: new ObjectPieces(bucket, files),
    bundles: new ObjectBundles(bucket, algorithm, files),
  };
}

/** The entries as a session offers them, with the digest of the manifest vouching for each file. */
async function* entriesToSend(entries: readonly ManifestEntry[], algorithm: DigestAlgorithm): SessionSource {
  for (let at = 0; at < entries.length; at += offeredTogether) {
    const found = entries.slice(at, at + offeredTogether).map((entry) => foundOf(entry, algorithm));
    yield await Promise.resolve(found.filter((entry) => entry !== undefined));
  }
}

function foundOf(entry: ManifestEntry, algorithm: DigestAlgorithm): FoundEntry | undefined {
  if (entry.type === 'missing') return undefined;
  const base = { path: '', below: entry.name };
  if (entry.type !== 'file') return entryByManifest(entry, base);
  const { type, name, size, mode, mtime, digests, metadata } = entry;
  const vouched = { digest: digests[algorithm] ?? '', mtime };
  return { type, ...base, name, size, mode, mtime, ctime: mtime, sparse: false, metadata, vouched };
}

/** A run of bytes of one object that several files lie in. */
interface ReadRun {
  readonly key: string;
  readonly from: number;
  end: number;
  readonly files: { readonly file: number; readonly known: ObjectFile }[];
}

/**
 * Small files of a snapshot in an object store, in bundles; files that lie beside one another are read with one
 * request.
 */
class ObjectBundles implements SmallFileReader {
  private readonly batches: { readonly first: number; readonly names: readonly string[] }[] = [];
  private closed = false;

  constructor(
    private readonly bucket: Bucket,
    private readonly algorithm: DigestAlgorithm,
    private readonly files: ReadonlyMap<string, ObjectFile>,
  ) {}

  know({ first, found }: Pick<OfferedBatch, 'first' | 'found'>): void {
    this.batches.push({ first, names: splitTexts(found.names, found.length) });
  }

  forget(first: number): void {
    const at = this.batches.findIndex((batch) => batch.first === first);
    if (at !== -1) this.batches.splice(at, 1);
  }

  async read(files: readonly number[], held: ReadonlyMap<number, string>): Promise<ReadBundle> {
    if (this.closed) throw new TransferError('interrupted', 'Interrupted.');
    const digestOf = await createDigestOf(this.algorithm);
    const contents = new Map<number, Buffer>();
    const failures: { file: number; failure: BundleFailure }[] = [];
    const runs = this.runsOf(files);
    const left = runs.values();
    const work = async (): Promise<void> => {
      for (const run of left) await this.readRun(run, contents);
    };
    await Promise.all(Array.from({ length: Math.min(readsAtOnce, runs.length) }, work));
    const list: [file: number, size: number, digest: string][] = [];
    const kept: { file: number; digest: string }[] = [];
    const bytes: Buffer[] = [];
    for (const file of files) {
      const known = this.fileOf(file);
      const content = known?.size === 0 ? Buffer.alloc(0) : contents.get(file);
      const digest = content && digestOf(content);
      if (content === undefined || digest === undefined || digest !== known?.digests[this.algorithm])
        failures.push({ file, failure: 'damaged' });
      else if (held.get(file) === digest) kept.push({ file, digest });
      else {
        list.push([file, content.length, digest]);
        bytes.push(content);
      }
    }
    return {
      files: Float64Array.from(list, ([file]) => file),
      digests: list.map(([, , digest]) => digest).join(''),
      list: encodeList(list),
      kept,
      failures,
      grew: [],
      bytes: Buffer.concat(bytes),
      release: () => undefined,
    };
  }

  warm(): void {
    // The first request makes its connection.
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }

  private fileOf(number: number): ObjectFile | undefined {
    const batch = this.batches.find(({ first, names }) => number >= first && number < first + names.length);
    return batch && this.files.get(batch.names[number - batch.first] ?? '');
  }

  /** Which bytes are read for these files, with what lies closely between them. */
  private runsOf(files: readonly number[]): ReadRun[] {
    const wanted = files.flatMap((file) => {
      const known = this.fileOf(file);
      return known?.content && known.size > 0 ? [{ file, known, content: known.content }] : [];
    });
    wanted.sort((one, other) =>
      one.content.key === other.content.key
        ? one.content.offset - other.content.offset
        : one.content.key < other.content.key
          ? -1
          : 1,
    );
    const runs: ReadRun[] = [];
    for (const { file, known, content } of wanted) {
      const last = runs.at(-1);
      const end = content.offset + known.size;
      if (last?.key === content.key && content.offset <= last.end + readThrough) {
        last.end = Math.max(last.end, end);
        last.files.push({ file, known });
      } else runs.push({ key: content.key, from: content.offset, end, files: [{ file, known }] });
    }
    return runs;
  }

  /** What an object does not have any more is found out by the digests of its files. */
  private async readRun({ key, from, end, files }: ReadRun, contents: Map<number, Buffer>): Promise<void> {
    const memory = Buffer.alloc(end - from);
    let at = 0;
    try {
      await this.bucket.read(key, from, end - from, (bytes) => {
        memory.set(bytes, at);
        at += bytes.length;
      });
    } catch (error) {
      if (!(error instanceof TransferError) || error.code !== 'mismatch') throw error;
    }
    for (const { file, known } of files) {
      const start = (known.content?.offset ?? 0) - from;
      if (start + known.size <= at) contents.set(file, memory.subarray(start, start + known.size));
    }
  }
}

/** Large files of a snapshot in an object store, piece by piece. */
class ObjectPieces implements PieceReader {
  constructor(
    private readonly bucket: Bucket,
    private readonly files: ReadonlyMap<string, ObjectFile>,
  ) {}

  async *read(
    { source, algorithm, held, basis = [] }: ReadOrder,
    signal?: AbortSignal,
  ): AsyncGenerator<Piece, void, undefined> {
    const file = this.files.get(source.name);
    if (!file?.content) throw damagedSource(source.name);
    const { size } = file;
    const whole = await createDigest(algorithm);
    if (basis.length > 0 && !held?.size) yield* this.compared(file, { basis, algorithm, whole }, signal);
    else yield* this.unlessHeld(file, { held, algorithm, whole }, signal);
    const digest = whole.digest();
    if (digest !== file.digests[algorithm]) throw damagedSource(source.name);
    yield { kind: 'end', size, digests: { [algorithm]: digest } };
  }

  /** What stands at the receiver, wherever it is there, is told and not sent. */
  private async *compared(
    file: ObjectFile,
    { basis, algorithm, whole }: { readonly whole: Digest } & Required<Pick<ReadOrder, 'algorithm' | 'basis'>>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Piece, void, undefined> {
    const { size } = file;
    const [alike, digestOf] = await Promise.all([Alike.of(basis ?? [], size, algorithm), createDigestOf(algorithm)]);
    const waiting: { readonly offset: number; readonly bytes: Buffer }[] = [];
    for await (const piece of this.pieces(file, 0, size, signal)) {
      whole.update(piece.bytes);
      waiting.push(piece);
      await alike.push(piece.bytes, piece.offset + piece.bytes.length === size);
      for (let next = waiting[0]; next && alike.known >= next.offset + next.bytes.length; next = waiting[0]) {
        waiting.shift();
        const { offset, bytes } = next;
        const from = alike.at(offset, bytes.length) ?? alike.find(offset, digestOf(bytes));
        yield from === undefined
          ? { kind: 'bytes', offset, bytes, release: () => undefined }
          : { kind: 'copy', offset, size: bytes.length, from };
      }
    }
  }

  /** Segments that the receiver holds are compared, and sent if they differ. */
  private async *unlessHeld(
    file: ObjectFile,
    { held, algorithm, whole }: { readonly whole: Digest } & Pick<ReadOrder, 'algorithm' | 'held'>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Piece, void, undefined> {
    const { size } = file;
    const segmentSize = segmentSizeOf(size);
    for (let from = 0; from < size; from += segmentSize) {
      const end = Math.min(size, from + segmentSize);
      const known = held?.get(from / segmentSize);
      if (known !== undefined) {
        const segment = await createDigest(algorithm);
        for await (const { bytes } of this.pieces(file, from, end, signal)) {
          whole.update(bytes);
          segment.update(bytes);
        }
        if (segment.digest() === known) {
          yield { kind: 'keep', first: from / segmentSize, count: 1 };
          continue;
        }
      }
      for await (const { offset, bytes } of this.pieces(file, from, end, signal)) {
        if (known === undefined) whole.update(bytes);
        yield { kind: 'bytes', offset, bytes, release: () => undefined };
      }
    }
  }

  async *readStream(): AsyncGenerator<Piece, void, undefined> {
    await Promise.reject(new TransferError('unexpected', 'A snapshot has no stream.'));
  }

  warm(): void {
    // The first request makes its connection.
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** The next pieces are asked for while one is used. */
  private async *pieces(
    { name, content }: ObjectFile,
    from: number,
    end: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<{ readonly offset: number; readonly bytes: Buffer }> {
    const ahead: { readonly offset: number; readonly read: Promise<Buffer> }[] = [];
    let next = from;
    for (let offset = from; offset < end; offset += pieceSize) {
      for (; next < end && ahead.length < readsAtOnce; next += pieceSize) {
        const read = this.piece(name, (content?.offset ?? 0) + next, Math.min(pieceSize, end - next), content?.key);
        read.catch(ignored('whoever takes it is told'));
        ahead.push({ offset: next, read });
      }
      if (signal?.aborted) throw new TransferError('interrupted', 'Interrupted.');
      const piece = ahead.shift();
      if (piece) yield { offset: piece.offset, bytes: await piece.read };
    }
  }

  private async piece(name: EntryName, offset: number, length: number, key = ''): Promise<Buffer> {
    const memory = Buffer.allocUnsafe(length);
    try {
      await this.bucket.readInto(key, offset, memory);
    } catch (error) {
      if (error instanceof TransferError && error.code === 'mismatch') throw damagedSource(name);
      throw error;
    }
    return memory;
  }
}
