import { randomBytes } from 'node:crypto';
import { mkdir, rm, rmdir, stat, statfs } from 'node:fs/promises';
import { AlignedMemory } from '../aligned-memory';
import { DigestPool } from '../digest-pool';
import { errnoOf, TransferError } from '../errors';
import { printable } from '../name';
import type { Verified } from '../progress';
import { Directory } from './directory';
import { DirectoryTree } from './directory-tree';
import { probe, type Abilities } from './local-probe';
import { alreadyThere, LocalFile } from './local-file';
import { diskError, smallFile, StagedBytes, type StageMemory } from './local-stage';
import { takeLock } from './lock';
import type { NewFile, StagedFile, Store } from './store';

/** Our own directory inside the receive directory. No file can be received under this name. */
export const stagingName = '.sendall';
const filesName = 'stage';
/** From this size on, a file that would be refused at the end is refused before its bytes are taken. */
const worthLooking = 1024 * 1024;
const freeSpaceGoodFor = 100;

/** A directory of a local disk; keeps the promises of `Store` by descriptors, O_DIRECT, link and fsync. */
export class LocalStore implements Store {
  private readonly files = new Set<LocalFile>();
  private readonly memory: StageMemory = { small: new AlignedMemory(smallFile, 64), large: new AlignedMemory(1024 * 1024, 16) };
  private readonly pool = new DigestPool();
  private free = { bytes: 0, at: -Infinity };
  private promised = 0;

  private constructor(
    private readonly place: string,
    private readonly tree: DirectoryTree,
    private readonly staging: Directory,
    private readonly outer: Directory,
    private readonly abilities: Abilities,
    private readonly unlock: () => Promise<void>,
  ) {}

  /**
   * Opens a receive directory: checks that it is ours and not writable by others, locks it, finds out what its disk can do,
   * and removes what an earlier run left staged. Rejects with `directory`.
   */
  static async open(place: string): Promise<LocalStore> {
    await checkOwnership(place);
    const root = await Directory.open(place, true);
    const outer = await openStaging(root, stagingName);
    const unlock = await takeLock(outer);
    await rm(outer.at(filesName), { recursive: true, force: true });
    const staging = await openStaging(outer, filesName);
    const abilities = await probe(staging);
    return new LocalStore(place, new DirectoryTree(root, abilities.foldsNames), staging, outer, abilities, unlock);
  }

  get verified(): Verified {
    return this.abilities.direct ? 'device' : 'cache';
  }

  async stage(file: NewFile): Promise<StagedFile> {
    await this.promise(file);
    try {
      if (file.size >= worthLooking) {
        await this.refuseEarly(file);
        this.pool.warm();
      }
      const stageName = randomBytes(16).toString('hex');
      const bytes = await StagedBytes.create(file, { path: this.staging.at(stageName), direct: this.abilities.direct, memory: this.memory, pool: this.pool });
      const staged = new LocalFile(file, stageName, bytes, {
        tree: this.tree,
        staging: this.staging,
        pool: this.pool,
        verified: this.verified,
        ended: (ended) => {
          this.files.delete(ended);
          this.promised -= file.size;
        },
      });
      this.files.add(staged);
      return staged;
    } catch (error) {
      this.promised -= file.size;
      throw diskError(error, file);
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.files].map((file) => file.discard()));
    await this.pool.close();
    await rm(this.outer.at(filesName), { recursive: true, force: true });
    await this.staging.close();
    await this.unlock();
    await this.outer.close();
    try {
      await rmdir(this.tree.root.at(stagingName));
    } catch (error) {
      // Someone else's file in there stays where it is.
      if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error;
    }
    await this.tree.close();
  }

  /** Free space less what was promised to others. A little stale for small files, since full disks are noticed anyway. */
  private async promise(file: NewFile): Promise<void> {
    if (file.size >= worthLooking || Date.now() - this.free.at > freeSpaceGoodFor) {
      const { bavail, bsize } = await statfs(this.place);
      this.free = { bytes: bavail * bsize, at: Date.now() };
    }
    const left = this.free.bytes - this.promised;
    if (file.size > left) {
      throw new TransferError('space', `${printable(file.name)} needs ${String(file.size)} bytes, and ${String(Math.max(0, left))} are free on the receiver.`);
    }
    this.promised += file.size;
  }

  private async refuseEarly(file: NewFile): Promise<void> {
    const reached = await this.tree.find(file.name);
    if (!reached) return;
    try {
      const standing = await reached.directory.look(file.name.slice(file.name.lastIndexOf('/') + 1));
      if (!standing || file.ifExists === 'rename') return;
      if (!standing.isFile()) throw alreadyThere(file.name, 'something that is not a regular file');
      if (file.ifExists !== 'replace' && standing.size !== file.size) throw alreadyThere(file.name);
    } finally {
      reached.release();
    }
  }
}

async function checkOwnership(place: string): Promise<void> {
  const found = await stat(place).catch((cause: unknown) => {
    const missing = errnoOf(cause) === 'ENOENT';
    throw new TransferError('directory', `${printable(place)} ${missing ? 'does not exist' : 'cannot be opened'}.`, { cause, hint: missing ? `mkdir ${printable(place)}` : '' });
  });
  if (!found.isDirectory()) throw new TransferError('directory', `${printable(place)} is not a directory.`);
  if (process.platform === 'win32') return;
  if (found.uid !== process.geteuid?.()) {
    throw new TransferError('directory', `${printable(place)} belongs to another user.`, { hint: 'Receive into a directory of your own.' });
  }
  if ((found.mode & 0o002) !== 0) {
    throw new TransferError('directory', `${printable(place)} is writable by other users.`, { hint: `chmod o-w ${printable(place)}, or receive into another directory.` });
  }
}

/** Opens a private directory below `parent`, made if missing; refuses one that is not ours alone. */
async function openStaging(parent: Directory, name: string): Promise<Directory> {
  const place = parent.at(name);
  try {
    await mkdir(place, { mode: 0o700 }).catch((error: unknown) => {
      if (errnoOf(error) !== 'EEXIST') throw error;
    });
    const directory = await Directory.open(place);
    const found = await parent.look(name);
    const ours = process.platform === 'win32' || (found?.uid === process.geteuid?.() && ((found?.mode ?? 0) & 0o077) === 0);
    if (found?.isDirectory() && ours) return directory;
    await directory.close();
  } catch (cause) {
    throw new TransferError('directory', `The staging directory ${name} cannot be used: ${cause instanceof Error ? cause.message : String(cause)}.`, { cause });
  }
  throw new TransferError('directory', `${name} in the receive directory is not a private directory of ours.`, { hint: 'Remove it, or chmod 700 it.' });
}
