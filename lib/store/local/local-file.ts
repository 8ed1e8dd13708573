import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import type { DigestPool } from '../../digest/digest-pool';
import { errnoOf, TransferError } from '../../errors';
import { parseEntryName, printable } from '../../name';
import type { Verified } from '../../progress';
import type { Directory } from './directory';
import type { DirectoryTree } from './directory-tree';
import { diskError, discarded, type StagedBytes } from './staged-bytes';
import { algorithmsOf, type Committed, firstDifference, type NewFile, type StagedFile } from '../store';
import { systemPath } from '../../name-bytes';
import { ignored } from '../../trace';

const { O_DIRECT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants as typeof constants & { readonly O_DIRECT?: number };
const mostRenames = 10_000;

/** What a staged file needs to know of the store that it goes into. */
export interface FilePlace {
  readonly tree: DirectoryTree;
  readonly pool: DigestPool;
  readonly verified: Verified;
  /** Called once, when the file was committed or discarded. */
  readonly ended: (file: LocalFile) => void;
}

type Settled = Omit<Committed, 'verified'>;

/** A staged file of the local store: its bytes, and the way to its final name. */
export class LocalFile implements StagedFile {
  private verifiedOnce = false;
  private settled: Promise<unknown> = Promise.resolve();
  private end: Promise<void> | undefined;

  constructor(
    private readonly file: NewFile,
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
    if (this.end) throw discarded();
    if (!this.verifiedOnce) throw new TransferError('unexpected', 'A file is committed only after it was verified.');
    const settling = this.settle();
    this.settled = settling.catch(ignored('whoever settles it is told'));
    try {
      return { ...(await settling), verified: this.place.verified };
    } catch (error) {
      throw diskError(error, this.file);
    } finally {
      // What stays staged is removed at the next start, and changes nothing about what became of the file.
      this.end = this.discard().catch(ignored('what is wrong with the disk is told already'));
      await this.end;
    }
  }

  /** A commit under way comes to its end first: broken off, nobody could tell what became of it. */
  discard(): Promise<void> {
    this.end ??= this.settled.then(() => this.remove()).finally(() => this.place.ended(this));
    return this.end;
  }

  private async settle(): Promise<Settled> {
    const { tree } = this.place;
    const { name } = this.file;
    const settled = await tree.within(name, (directory) => this.settleIn(directory, path.posix.basename(name)));
    if (settled.outcome !== 'identical') tree.keep(name);
    return settled;
  }

  private async settleIn(directory: Directory, base: string): Promise<Settled> {
    const { name, ifExists } = this.file;
    await this.place.tree.refuseCollision(directory, base);
    for (;;) {
      if (await this.appear(directory, base)) return { path: name, outcome: 'stored' };
      const standing = await directory.look(base);
      // Removed since it was in the way: there is room now.
      if (standing === undefined) continue;
      if (standing.isFile() && ifExists === 'replace') {
        await this.bytes.replace(directory, base);
        await this.place.tree.sync(directory);
        return { path: name, outcome: 'replaced' };
      }
      if (standing.isFile() && (await this.sameContent(directory, base))) return { path: name, outcome: 'identical' };
      if (ifExists === 'rename') return { path: await this.findFreeName(directory, base), outcome: 'renamed' };
      throw alreadyExists(name, standing.isFile() ? 'other content' : 'something that is not a regular file');
    }
  }

  private async appear(directory: Directory, base: string): Promise<boolean> {
    if (!(await this.bytes.appear(directory, base))) return false;
    await this.place.tree.sync(directory);
    return true;
  }

  /** Whether what stands there has the same content, read from where a receipt says it was read. */
  private async sameContent(directory: Directory, base: string): Promise<boolean> {
    const { digests, size, name } = this.file;
    const direct = this.place.verified === 'device' ? (O_DIRECT ?? 0) : 0;
    const handle = await open(systemPath(directory.at(base)), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | direct).catch(
      (error: unknown) => {
        throw errnoOf(error) === 'ENOENT'
          ? error
          : alreadyExists(name, 'something that cannot be read as a file', error);
      },
    );
    try {
      const standing = await handle.stat();
      if (!standing.isFile() || standing.size !== size) return false;
      // Someone else may have written it a moment ago; a receipt for it needs it on the disk as well.
      await handle.sync();
      const actual = await this.place.pool.digestFile({ fd: handle.fd, size, algorithms: algorithmsOf(digests) })
        .digests;
      if (firstDifference(digests, actual) !== undefined) return false;
      await this.place.tree.sync(directory);
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
      parseEntryName(full, { allowHidden: true, names: 'any' });
      if (await this.appear(directory, candidate)) return full;
    }
    throw alreadyExists(this.file.name);
  }

  private async remove(): Promise<void> {
    try {
      await this.bytes.discard();
    } finally {
      await this.place.tree.prune(this.file.name);
    }
  }
}

/** The refusal for a name under which something else stands. */
export function alreadyExists(name: string, what = 'other content', cause?: unknown): TransferError {
  return new TransferError(
    'exists',
    `${printable(name)} already exists on the receiver: ${what} stands under that name.`,
    cause === undefined ? {} : { cause },
  );
}
