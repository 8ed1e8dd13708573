import type { EntryName } from '../name';
import type { Metadata } from '../wire/metadata';
import type { Located } from '../threads/walker';
import type { FoundDirectory, FoundEntry, FoundFile, FoundLink, FoundSymlink } from './found';

/**
 * Many entries that were found together, by columns: those travel between threads at a tenth of the cost of objects,
 * and an entry that nobody asks about costs nothing. Columns of numbers may be longer than `length`.
 */
export interface FoundBatch {
  readonly length: number;
  /** Places in `entryTypes`. */
  readonly types: Uint8Array;
  /** Names, and where each is below its root (see `Located`), each list joined by NUL, which is in none of them. */
  readonly names: string;
  readonly below: string;
  /** What the caller named, in places of `roots`. */
  readonly rootOf: Uint16Array;
  readonly roots: readonly string[];
  /** Bytes; 0 for what is no file. */
  readonly sizes: Float64Array;
  readonly modes: Uint16Array;
  /** Nanoseconds since 1970. */
  readonly mtimes: BigInt64Array;
  readonly ctimes: BigInt64Array;
  readonly inodes: BigUint64Array;
  /** Of those of which they are known; see `FoundFile`. */
  readonly edges: ReadonlyMap<number, bigint>;
  /** 1 for a file that may have holes. */
  readonly sparse: Uint8Array;
  /** How many bytes are in no hole, of large files that have holes. */
  readonly data: ReadonlyMap<number, number>;
  /** Of symbolic and hard links, by their places. */
  readonly targets: ReadonlyMap<number, string>;
  /** What is known of files from elsewhere, by their places; see `FoundFile`. */
  readonly vouched: ReadonlyMap<number, NonNullable<FoundFile['vouched']>>;
  /** Of those that have any. */
  readonly metadata: ReadonlyMap<number, Metadata>;
}

export const entryTypes = ['file', 'directory', 'symlink', 'link'] as const;
export const fileType = 0;

const separator = '\0';

/** What `names` and `below` of a batch are made of. */
export function splitTexts(texts: string, length: number): readonly string[] {
  return length === 0 ? [] : texts.split(separator);
}

/** A batch while it is filled, of `most` entries. */
export class FoundColumns {
  readonly names: string[] = [];
  private readonly below: string[] = [];
  private readonly roots: string[] = [];
  private readonly rootOf: Uint16Array;
  private readonly types: Uint8Array;
  private readonly sizes: Float64Array;
  private readonly modes: Uint16Array;
  private readonly mtimes: BigInt64Array;
  private readonly ctimes: BigInt64Array;
  private readonly inodes: BigUint64Array;
  private readonly sparse: Uint8Array;
  private readonly edges = new Map<number, bigint>();
  private readonly data = new Map<number, number>();
  private readonly targets = new Map<number, string>();
  private readonly vouched = new Map<number, NonNullable<FoundFile['vouched']>>();
  private readonly metadata = new Map<number, Metadata>();

  constructor(most: number) {
    this.types = new Uint8Array(most);
    this.rootOf = new Uint16Array(most);
    this.sizes = new Float64Array(most);
    this.modes = new Uint16Array(most);
    this.mtimes = new BigInt64Array(most);
    this.ctimes = new BigInt64Array(most);
    this.inodes = new BigUint64Array(most);
    this.sparse = new Uint8Array(most);
  }

  get length(): number {
    return this.names.length;
  }

  add(entry: FoundEntry): void {
    const at = this.names.push(entry.name) - 1;
    this.below.push(entry.below ?? '');
    if (this.roots.at(-1) !== entry.path) this.roots.push(entry.path);
    this.rootOf[at] = this.roots.length - 1;
    this.types[at] = entryTypes.indexOf(entry.type);
    this.mtimes[at] = entry.mtime;
    this.ctimes[at] = entry.ctime;
    if (entry.type === 'file') {
      this.sizes[at] = entry.size;
      this.inodes[at] = entry.inode ?? 0n;
      this.sparse[at] = entry.sparse ? 1 : 0;
      if (entry.edges !== undefined) this.edges.set(at, entry.edges);
      if (entry.data !== undefined) this.data.set(at, entry.data);
      if (entry.vouched) this.vouched.set(at, entry.vouched);
    }
    if (entry.metadata) this.metadata.set(at, entry.metadata);
    if ('mode' in entry) this.modes[at] = entry.mode;
    if ('target' in entry) this.targets.set(at, entry.target);
  }

  batch(): FoundBatch {
    const {
      names,
      below,
      roots,
      rootOf,
      types,
      sizes,
      modes,
      mtimes,
      ctimes,
      inodes,
      edges,
      sparse,
      data,
      targets,
      vouched,
      metadata,
    } = this;
    return {
      length: names.length,
      names: names.join(separator),
      below: below.join(separator),
      roots,
      rootOf,
      types,
      sizes,
      modes,
      mtimes,
      ctimes,
      inodes,
      edges,
      sparse,
      data,
      targets,
      vouched,
      metadata,
    };
  }
}

/** The entries as a batch. */
export function packEntries(entries: readonly FoundEntry[]): FoundBatch {
  const columns = new FoundColumns(entries.length);
  for (const entry of entries) columns.add(entry);
  return columns.batch();
}

/** Where an entry of a batch is; `below` is that at its place. */
export function locate({ roots, rootOf }: FoundBatch, at: number, below: string): Located {
  return { path: roots[rootOf[at] ?? 0] ?? '', ...(below === '' ? {} : { below }) };
}

/** Written down in one piece: there are many, and what is spread and extended costs several times as much. */
function fileAt(batch: FoundBatch, at: number, name: string, below: string): FoundFile {
  const [metadata, vouched, data] = [batch.metadata.get(at), batch.vouched.get(at), batch.data.get(at)];
  const edges = batch.edges.get(at);
  const file: { -readonly [Key in keyof FoundFile]: FoundFile[Key] } = {
    type: 'file',
    path: batch.roots[batch.rootOf[at] ?? 0] ?? '',
    name: name as EntryName,
    mtime: batch.mtimes[at] ?? 0n,
    ctime: batch.ctimes[at] ?? 0n,
    size: batch.sizes[at] ?? 0,
    mode: batch.modes[at] ?? 0,
    sparse: batch.sparse[at] === 1,
    inode: batch.inodes[at] ?? 0n,
  };
  if (below !== '') file.below = below;
  if (metadata) file.metadata = metadata;
  if (data !== undefined) file.data = data;
  if (edges !== undefined) file.edges = edges;
  if (vouched) file.vouched = vouched;
  return file;
}

/** One entry of a batch; `name` and `below` are those at its place. */
export function entryAt(batch: FoundBatch, at: number, name: string, below: string): FoundEntry {
  if (batch.types[at] === fileType) return fileAt(batch, at, name, below);
  const metadata = batch.metadata.get(at);
  // Whoever filled the batch took the names from parseEntryName.
  const base = {
    ...locate(batch, at, below),
    name: name as EntryName,
    mtime: batch.mtimes[at] ?? 0n,
    ctime: batch.ctimes[at] ?? 0n,
    ...(metadata ? { metadata } : {}),
  };
  const type = entryTypes[batch.types[at] ?? 0] ?? 'file';
  const mode = batch.modes[at] ?? 0;
  switch (type) {
    case 'file':
      return fileAt(batch, at, name, below);
    case 'directory':
      return { type, mode, ...base } satisfies FoundDirectory;
    case 'symlink':
      return { type, target: batch.targets.get(at) ?? '', ...base } satisfies FoundSymlink;
    case 'link':
      return { type, target: (batch.targets.get(at) ?? '') as EntryName, ...base } satisfies FoundLink;
  }
}
