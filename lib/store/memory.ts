import { createDigests } from '../digest/digest';
import { TransferError } from '../errors';
import { collationKey, type EntryName, parseEntryName, printable } from '../name';
import { algorithmsOf, type Committed, firstDifference, type NewFile, type StagedFile, type Store } from './store';

const pieceSize = 64 * 1024;

/**
 * The contract in its simplest form: the reference that the conformance suite holds the local store against, and a
 * store for
 * tests. What it reads back is memory, so it says `cache`.
 */
export class MemoryStore implements Store {
  readonly verified = 'cache';
  readonly files = new Map<string, Uint8Array>();
  private readonly staged = new Set<MemoryFile>();

  /** `capacity` in bytes, over all files; `foldsNames` as on a disk that ignores case. */
  constructor(
    private readonly capacity = Infinity,
    readonly foldsNames = false,
  ) {}

  stage(file: NewFile): Promise<StagedFile> {
    const used = [...this.files.values()].reduce((sum, bytes) => sum + bytes.length, 0);
    const promised = [...this.staged].reduce((sum, other) => sum + other.file.size, 0);
    if (used + promised + file.size > this.capacity) {
      return Promise.reject(
        new TransferError('space', `${printable(file.name)} needs ${String(file.size)} bytes, and fewer are free.`),
      );
    }
    const staged = new MemoryFile(file, this, () => this.staged.delete(staged));
    this.staged.add(staged);
    return Promise.resolve(staged);
  }

  async close(): Promise<void> {
    for (const file of this.staged) await file.discard();
  }

  /** Throws when `name` cannot stand beside what is there: below a file, or folded onto another name. */
  admit(name: EntryName): void {
    for (const other of this.files.keys()) {
      if (name.startsWith(`${other}/`))
        throw new TransferError(
          'exists',
          `${printable(name)} cannot be stored: ${printable(other)} is not a directory.`,
        );
      if (this.foldsNames && foldsOnto(name, other))
        throw new TransferError('name', `${printable(name)} collides with ${printable(other)}.`);
    }
  }

  /** Whether a file or a directory stands under `name`. */
  has(name: string): boolean {
    return this.files.has(name) || [...this.files.keys()].some((other) => other.startsWith(`${name}/`));
  }
}

/** Whether the first components in which the names differ are one and the same on a disk that folds names. */
function foldsOnto(name: string, other: string): boolean {
  const theirs = other.split('/');
  const pairs = name.split('/').map((mine, at) => [mine, theirs[at]] as const);
  const [mine, their] = pairs.find((pair) => pair[0] !== pair[1]) ?? [];
  return mine !== undefined && their !== undefined && collationKey(mine) === collationKey(their);
}

class MemoryFile implements StagedFile {
  private readonly bytes: Uint8Array;
  private received = 0;
  private verifiedOnce = false;
  private discarded = false;

  constructor(
    readonly file: NewFile,
    private readonly store: MemoryStore,
    private readonly ended: () => void,
  ) {
    this.bytes = new Uint8Array(file.size);
  }

  async write(fill: (memory: Uint8Array, hurry: () => boolean) => Promise<number>): Promise<number> {
    if (this.discarded) throw discardedError();
    const count = await fill(this.bytes.subarray(this.received, this.received + pieceSize), () => false);
    this.received += count;
    return count;
  }

  async verify(onProgress?: (done: number) => void): Promise<void> {
    const { name, size, digests } = this.file;
    if (this.discarded) throw discardedError();
    if (this.received !== size)
      throw new TransferError('unexpected', `Bytes of ${printable(name)} were never written.`);
    const hashing = await createDigests(algorithmsOf(digests));
    hashing.update(this.bytes);
    const actual = hashing.digests();
    onProgress?.(size);
    const different = firstDifference(digests, actual);
    if (different !== undefined) {
      await this.discard();
      throw new TransferError(
        'mismatch',
        `${printable(name)} does not match: its ${different} should be ${digests[different] ?? ''}, and is ${actual[different] ?? ''}.`,
      );
    }
    this.verifiedOnce = true;
  }

  async commit(): Promise<Committed> {
    if (this.discarded) throw discardedError();
    if (!this.verifiedOnce) throw new TransferError('unexpected', 'A file is committed only after it was verified.');
    await this.discard();
    const { name, ifExists } = this.file;
    this.store.admit(name);
    if (!this.store.has(name)) return this.put(name, 'stored');
    const standing = this.store.files.get(name);
    if (standing && ifExists === 'replace') return this.put(name, 'replaced');
    if (standing && Buffer.compare(standing, this.bytes) === 0)
      return { path: name, verified: 'cache', outcome: 'identical' };
    if (ifExists === 'rename') return this.put(this.freeName(), 'renamed');
    throw new TransferError('exists', `${printable(name)} already exists with other content.`);
  }

  discard(): Promise<void> {
    if (!this.discarded) this.ended();
    this.discarded = true;
    return Promise.resolve();
  }

  private put(path: string, outcome: Committed['outcome']): Committed {
    this.store.files.set(path, this.bytes);
    return { path, verified: 'cache', outcome };
  }

  private freeName(): EntryName {
    const { name } = this.file;
    const dot = name.lastIndexOf('.');
    const cut = dot > name.lastIndexOf('/') + 1 ? dot : name.length;
    for (let number = 1; ; number++) {
      const candidate = `${name.slice(0, cut)} (${String(number)})${name.slice(cut)}`;
      if (!this.store.has(candidate)) return parseEntryName(candidate, { allowHidden: true, names: 'any' });
    }
  }
}

function discardedError(): TransferError {
  return new TransferError('interrupted', 'The file was discarded.');
}
