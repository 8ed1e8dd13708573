/**
 * A large file gets its final name, once all of it is here, durable and verified: one if-exists rule, directories by
 * descriptors, and a sync of each directory that changed. What entries of batches do is in `publish.ts`.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import path from 'node:path';
import type { DigestPool } from '../../digest/digest-pool';
import { errnoOf, TransferError } from '../../errors';
import type { EntryName } from '../../name';
import { systemPath } from '../../name-bytes';
import type { Digests, Verified } from '../../progress';
import { numberedNames } from '../numbered-names';
import { algorithmsOf, alreadyExists, type Committed, firstDifference, type IfExists } from '../store';
import type { Directory } from './directory';
import type { DirectoryTree } from './directory-tree';
import type { PartialBytes } from './partial-bytes';

const { O_DIRECT, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants as typeof constants & { readonly O_DIRECT?: number };

/** The store that a file goes into. */
export interface PublishRoot {
  readonly tree: DirectoryTree;
  readonly pool: DigestPool;
  readonly verified: Verified;
}

/** A file of which all bytes are durable and verified. */
export interface VerifiedFile {
  readonly name: EntryName;
  /** In bytes. */
  readonly size: number;
  readonly digests: Digests;
  readonly ifExists: IfExists;
}

/**
 * Puts it under its final name, durably, by its rule. Rejects with `exists` or `name`, and with the errors of the
 * operating system.
 */
export async function publishPartial(
  file: VerifiedFile,
  bytes: PartialBytes,
  root: PublishRoot,
): Promise<Omit<Committed, 'verified'>> {
  const { tree } = root;
  const { name } = file;
  const publishing = new Publishing(file, bytes, root);
  const published = await tree.within(name, (directory) => publishing.within(directory, path.posix.basename(name)));
  if (published.outcome !== 'identical') tree.keep(name);
  return published;
}

/** Gives one verified file its final name in an open directory. */
class Publishing {
  constructor(
    private readonly file: VerifiedFile,
    private readonly bytes: PartialBytes,
    private readonly root: PublishRoot,
  ) {}

  async within(directory: Directory, base: string): Promise<Omit<Committed, 'verified'>> {
    const { name, ifExists } = this.file;
    await this.root.tree.refuseCollision(directory, base);
    for (;;) {
      if (await this.appear(directory, base)) return { path: name, outcome: 'stored' };
      const existing = await directory.look(base);
      // Removed since it was in the way: there is room now.
      if (existing === undefined) continue;
      if (existing.isFile() && ifExists === 'replace') {
        await this.bytes.replace(directory, base);
        await this.root.tree.sync(directory);
        return { path: name, outcome: 'replaced' };
      }
      if (existing.isFile() && (await this.sameContent(directory, base))) return { path: name, outcome: 'identical' };
      if (ifExists === 'rename') return this.takeNumberedName(directory);
      throw alreadyExists(name, ifExists, existing.isFile() ? 'other content' : 'something that is not a regular file');
    }
  }

  /** As `sameContent`, for what an earlier transfer may have stored; what cannot be read is not the same. */
  private async sameAsRenamed(directory: Directory, base: string): Promise<boolean> {
    try {
      return (await directory.look(base))?.isFile() === true && (await this.sameContent(directory, base));
    } catch (error) {
      if (error instanceof TransferError) return false;
      throw error;
    }
  }

  private async appear(directory: Directory, base: string): Promise<boolean> {
    if (!(await this.bytes.appear(directory, base))) return false;
    await this.root.tree.sync(directory);
    return true;
  }

  /** Whether what is there has the same content, read from where a receipt says it was read. */
  private async sameContent(directory: Directory, base: string): Promise<boolean> {
    const { digests, size, name, ifExists } = this.file;
    const direct = this.root.verified === 'device' ? (O_DIRECT ?? 0) : 0;
    const handle = await open(systemPath(directory.at(base)), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | direct).catch(
      (error: unknown) => {
        throw errnoOf(error) === 'ENOENT'
          ? error
          : alreadyExists(name, ifExists, 'something that cannot be read as a file', error);
      },
    );
    try {
      const existing = await handle.stat();
      if (!existing.isFile() || existing.size !== size) return false;
      // Another program may have written it a moment ago; a receipt needs it on the disk.
      await handle.sync();
      const actual = await this.root.pool.digestFile({ fd: handle.fd, size, algorithms: algorithmsOf(digests) })
        .digests;
      if (firstDifference(digests, actual) !== undefined) return false;
      await this.root.tree.sync(directory);
      return true;
    } finally {
      await handle.close();
    }
  }

  /** Gives it the first numbered name that is free, or has the same. */
  private async takeNumberedName(directory: Directory): Promise<Omit<Committed, 'verified'>> {
    for (const { name, base, isCompared } of numberedNames(this.file.name)) {
      if (await this.appear(directory, base)) return { path: name, outcome: 'renamed' };
      if (isCompared && (await this.sameAsRenamed(directory, base))) return { path: name, outcome: 'identical' };
    }
    throw alreadyExists(this.file.name, 'rename');
  }
}
