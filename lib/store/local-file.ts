import { constants } from 'node:fs';
import { link, open, rename, unlink } from 'node:fs/promises';
import path from 'node:path';
import type { DigestPool } from '../digest-pool';
import { errnoOf, TransferError } from '../errors';
import { parseEntryName, printable } from '../name';
import type { Verified } from '../progress';
import type { Directory } from './directory';
import type { DirectoryTree } from './directory-tree';
import { diskError, type StagedBytes } from './local-stage';
import { algorithmsOf, type Committed, firstDifference, type NewFile, type StagedFile } from './store';
import { syncTogether } from './sync-together';

const { O_DIRECT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants as typeof constants & { readonly O_DIRECT?: number };
const mostRenames = 10_000;

/** What a staged file needs to know of the store that it goes into. */
export interface FilePlace {
  readonly tree: DirectoryTree;
  readonly staging: Directory;
  readonly pool: DigestPool;
  readonly verified: Verified;
  /** Called once, when the file was committed or discarded. */
  readonly ended: (file: LocalFile) => void;
}

/** A staged file of the local store: its bytes, and the way to its final name. */
export class LocalFile implements StagedFile {
  private verifiedOnce = false;
  private end: Promise<void> | undefined;

  constructor(
    private readonly file: NewFile,
    private readonly stageName: string,
    private readonly bytes: StagedBytes,
    private readonly place: FilePlace,
  ) {}

  write(fill: (memory: Uint8Array, hurry: () => boolean) => Promise<number>): Promise<number> {
    return this.bytes.write(fill);
  }

  async verify(onProgress?: (done: number) => void): Promise<void> {
    await this.bytes.verify(onProgress);
    this.verifiedOnce = true;
  }

  async commit(): Promise<Committed> {
    if (!this.verifiedOnce) throw new TransferError('unexpected', 'A file is committed only after it was verified.');
    const { tree } = this.place;
    try {
      const committed = await this.settle();
      if (committed.outcome !== 'identical') tree.keep(this.file.name);
      return { ...committed, verified: this.place.verified };
    } catch (error) {
      throw diskError(error, this.file);
    } finally {
      await this.discard();
    }
  }

  discard(): Promise<void> {
    this.end ??= this.remove().finally(() => this.place.ended(this));
    return this.end;
  }

  private async settle(): Promise<Omit<Committed, 'verified'>> {
    const { tree } = this.place;
    const { name, ifExists } = this.file;
    const { directory, release } = await tree.make(name);
    try {
      const base = path.posix.basename(name);
      await tree.refuseCollision(directory, base);
      if (ifExists === 'replace' && (await this.replaceable(directory, base))) {
        await rename(this.place.staging.at(this.stageName), directory.at(base));
        await syncTogether(directory);
        return { path: name, outcome: 'replaced' };
      }
      if (await this.appear(directory, base)) return { path: name, outcome: 'stored' };
      if (await this.sameContent(directory, base)) return { path: name, outcome: 'identical' };
      if (ifExists === 'rename') return { path: await this.findFreeName(directory, base), outcome: 'renamed' };
      throw alreadyThere(name);
    } finally {
      release();
    }
  }

  /** `link` fails when the name is taken, atomically; that is what makes it the way to a name that must not be replaced. */
  private async appear(directory: Directory, base: string): Promise<boolean> {
    const staged = this.place.staging.at(this.stageName);
    try {
      await link(staged, directory.at(base));
    } catch (error) {
      const code = errnoOf(error);
      if (code === 'EEXIST') return false;
      if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP' && code !== 'ENOSYS') throw error;
      // A disk without hard links. The lock keeps other receivers out, and our own files take turns by name.
      if (!(await renameIfFree(staged, directory, base))) return false;
    }
    await syncTogether(directory);
    return true;
  }

  private async replaceable(directory: Directory, base: string): Promise<boolean> {
    const standing = await directory.look(base);
    if (standing && !standing.isFile()) throw alreadyThere(this.file.name, 'something that is not a regular file');
    return standing !== undefined;
  }

  /** Whether what stands there has the same content, read from where a receipt says it was read. */
  private async sameContent(directory: Directory, base: string): Promise<boolean> {
    const { digests, size, name } = this.file;
    const direct = this.place.verified === 'device' ? (O_DIRECT ?? 0) : 0;
    const handle = await open(directory.at(base), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | direct).catch((error: unknown) => {
      throw alreadyThere(name, 'something that cannot be read as a file', error);
    });
    try {
      const standing = await handle.stat();
      if (!standing.isFile() || standing.size !== size) return false;
      // Someone else may have written it a moment ago; a receipt for it needs it on the disk as well.
      await handle.sync();
      const actual = await this.place.pool.digestFile({ fd: handle.fd, size, algorithms: algorithmsOf(digests) }).digests;
      if (firstDifference(digests, actual) !== undefined) return false;
      await syncTogether(directory);
      return true;
    } finally {
      await handle.close();
    }
  }

  /** `photo.jpg` becomes `photo (1).jpg`, or the next number that is free. */
  private async findFreeName(directory: Directory, base: string): Promise<string> {
    const extension = path.posix.extname(base);
    const stem = base.slice(0, base.length - extension.length);
    for (let number = 1; number <= mostRenames; number++) {
      const candidate = `${stem} (${String(number)})${extension}`;
      const full = path.posix.join(path.posix.dirname(this.file.name), candidate);
      parseEntryName(full, { allowHidden: true });
      if (await this.appear(directory, candidate)) return full;
    }
    throw alreadyThere(this.file.name);
  }

  private async remove(): Promise<void> {
    await this.bytes.close();
    try {
      await unlink(this.place.staging.at(this.stageName));
    } catch (error) {
      // After a rename it is gone already.
      if (errnoOf(error) !== 'ENOENT') throw error;
    } finally {
      await this.place.tree.prune(this.file.name);
    }
  }
}

/** The refusal for a name under which something else stands. */
export function alreadyThere(name: string, what = 'other content', cause?: unknown): TransferError {
  return new TransferError('exists', `${printable(name)} already exists on the receiver: ${what} stands under that name.`, cause === undefined ? {} : { cause });
}

const renaming = new Map<string, Promise<unknown>>();

async function renameIfFree(staged: string, directory: Directory, base: string): Promise<boolean> {
  const target = directory.at(base);
  const before = renaming.get(target);
  const turn = (async () => {
    await before?.catch(() => undefined);
    if (await directory.look(base)) return false;
    await rename(staged, target);
    return true;
  })();
  renaming.set(target, turn);
  try {
    return await turn;
  } finally {
    if (renaming.get(target) === turn) renaming.delete(target);
  }
}
