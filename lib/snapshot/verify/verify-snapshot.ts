import { lstat } from 'node:fs/promises';
import { errnoOf } from '../../errors';
import type { DamageReason } from '../../progress';
import type { Snapshot } from '../manifest/catalog';
import { checksumListName } from '../manifest/checksum-list';
import {
  agrees,
  compareDirectory,
  compareFile,
  compareSymlink,
  digestIn,
  type FileToCompare,
  implied,
  treeOf,
} from './compare';
import { readContents } from './content-reading';
import type { DeviceReader, FileToVerify } from './device-reader';
import { FoundModes } from './held-modes';
import { longestManifest, type Manifest, type ManifestEntry, manifestName } from '../manifest/manifest';
import { readRegister } from '../register/register';
import { ignored } from '../../trace';
import { ReadingAhead } from './reading-ahead';
import type { FoundOnDisk } from './survey';
import { together } from './together';
import { EntriesDone, includes, type Pass, type PassHere } from './verify-pass';

/** What reading a file back came to: its digest, or why there is none. */
export type VerifiedContent = { readonly digest: string } | { readonly reason: DamageReason };

/** A damaged file that has other names, maybe in other snapshots. */
export interface SharedFile {
  readonly inode: bigint;
  /** That it should have. */
  readonly digest: string;
  readonly reason: DamageReason;
}

/** What the verification of one snapshot works with, and whom it tells. */
export interface CheckGround {
  readonly reader: DeviceReader;
  readonly pass: Pass;
  readonly signal: AbortSignal;
  /**
   * What files with several names read as, by inode, in the digest of this snapshot: they are read once, in whichever
   * they are met first.
   */
  readonly known: Map<bigint, VerifiedContent>;
  readonly onDamage: (path: string, reason: DamageReason, shared?: SharedFile) => void;
  /** Told when modes are not compared, since the disk has others than its own. */
  readonly onWithoutModes: () => void;
  /** Told of how far a file is, and last, when it was read, of its size. */
  readonly onProgress: (name: string, done: number, ended: boolean) => void;
}

/** A snapshot that was removed while it was being looked at: nothing is wrong with it. */
export class SnapshotGone extends Error {}

/** A snapshot that was made anew, without something, while it was being looked at: nothing is wrong with it either. */
export class SnapshotRenewed extends SnapshotGone {}

/** A file of the manifest, or another name of one, and what stands there. */
interface FileToCheck {
  readonly at: number;
  readonly name: string;
  readonly file: FileToCompare;
  readonly found: FoundOnDisk;
  /** What is wrong with it besides its content. */
  readonly flaw: DamageReason | undefined;
}

const directoriesAtOnce = 64;
/** Failures that are ours rather than the disk's. */
const ownFailures = ['EMFILE', 'ENFILE', 'ENOMEM'];

/**
 * One snapshot against its manifest: `survey`, then `read`, and `close` in any case. Damage is told, everything else
 * rejects.
 */
export class SnapshotCheck {
  /** The entries that need no reading any more. */
  readonly done: EntriesDone;
  private readonly resumed: EntriesDone;
  private readonly path: string;
  /** All names here of each file that is to be read. */
  private readonly groups = new Map<FileToVerify, readonly FileToCheck[]>();
  private readonly ahead: ReadingAhead;

  /** `resumed` is what an earlier run of this pass has found good. */
  constructor(
    private readonly snapshot: Snapshot,
    private readonly manifest: Manifest,
    resumed: PassHere['done'],
    private readonly ground: CheckGround,
  ) {
    const count = manifest.entries.length;
    this.done = new EntriesDone(count, count === 0 ? [] : [[0, count - 1]]);
    this.resumed = new EntriesDone(count, resumed);
    this.path = `${snapshot.name}/${snapshot.id}`;
    const { reader, signal, onProgress } = ground;
    const { directory } = snapshot;
    this.ahead = new ReadingAhead({
      reader,
      algorithm: manifest.head.digest,
      signal,
      directory,
      onProgress: (name, done) => onProgress(name, done, false),
    });
  }

  /**
   * Looks at everything but the content of files. Resolves with the bytes that are to be read. Rejects with
   * `SnapshotGone`, or `SnapshotRenewed`.
   */
  async survey(): Promise<number> {
    const { entries, head } = this.manifest;
    const list = checksumListName(head.digest);
    const damages: [name: string, reason: DamageReason][] = [];
    const own = new Set<string>([manifestName, list]);
    const files: (readonly [number, ManifestEntry, FoundOnDisk])[] = [];
    const directories: ((withModes: boolean) => void)[] = [];
    const modes = new FoundModes();
    const disturbed = new Set<string>();
    const damaged = (name: string, reason: DamageReason | undefined): void => {
      if (reason !== undefined) damages.push([name, reason]);
    };
    const begun = this.ahead.begin(this.path, this.likely(), this.ground.known);
    const walk = together(treeOf(entries), directoriesAtOnce, async ([directory, expected]) => {
      const listed = await this.list(directory);
      for (const [base, at] of expected) {
        const entry = entries[at];
        if (at === implied || entry === undefined) continue;
        const found = typeof listed === 'string' ? undefined : listed.get(base);
        if (found === undefined || found.links === 0) {
          damaged(entry.name, typeof listed === 'string' ? listed : 'missing');
          disturbed.add(directory);
          continue;
        }
        modes.add(found, 'mode' in entry ? (entry.kept?.mode ?? entry.mode) : undefined);
        if (entry.type === 'symlink') damaged(entry.name, compareSymlink(entry, found));
        else if (entry.type === 'directory')
          directories.push((withModes) =>
            damaged(entry.name, compareDirectory(entry, found, disturbed.has(entry.name), withModes)),
          );
        else files.push([at, entry, found]);
      }
      for (const name of typeof listed === 'string' ? [] : listed.keys()) {
        if (expected.has(name) || (directory === '.' && own.has(name))) continue;
        damaged(directory === '.' ? name : `${directory}/${name}`, 'foreign');
        disturbed.add(directory);
      }
    });
    const [ofList] = await Promise.all([this.checkList(list), walk, begun]);
    const withModes = !(this.ground.reader.mayLackModes && modes.areOfMount);
    if (!withModes) this.ground.onWithoutModes();
    for (const compare of directories) compare(withModes);
    if (ofList.length + damages.length > 0) await checkCurrent(this.snapshot);
    for (const [name, reason] of [...ofList, ...damages]) this.ground.onDamage(name, reason);
    return this.plan(this.wanted(files, withModes));
  }

  /** Reads what `survey` found to be read. Rejects with `SnapshotGone`, and when the signal says so. */
  async read(): Promise<void> {
    const { reader, signal, onProgress } = this.ground;
    const missing: FileToVerify[] = [];
    const failure = await readContents([...this.groups.keys()], {
      reader,
      ahead: this.ahead,
      algorithm: this.manifest.head.digest,
      signal,
      onProgress: (name, done) => onProgress(name, done, false),
      wasRead: async (file, digest) => {
        const content: VerifiedContent =
          typeof digest === 'string' ? { digest } : { reason: digest === undefined ? 'changed' : reasonOf(digest) };
        if (!('reason' in content) || content.reason !== 'missing') this.settle(this.groups.get(file) ?? [], content);
        // Nothing more is read of a snapshot that is not there any more.
        else if (missing.push(file) === 1) await checkCurrent(this.snapshot);
        onProgress(file.name, file.size, true);
      },
    }).then(
      () => undefined,
      (error: unknown) => ({ error }),
    );
    if (failure?.error instanceof SnapshotGone) throw failure.error;
    // Something may have been taken out of it since the first one was missed. What ended the reading comes first.
    if (missing.length > 0)
      await checkCurrent(this.snapshot).catch((gone: unknown) => {
        throw failure ? failure.error : gone;
      });
    for (const file of missing) this.settle(this.groups.get(file) ?? [], { reason: 'missing' });
    if (failure) throw failure.error;
  }

  /** Resolves when nothing is under way any more. */
  async close(): Promise<void> {
    await this.ahead.end();
  }

  /** The files that this run has to read, if they are as they should be. */
  private *likely(): Generator<FileToCompare> {
    for (const [at, entry] of this.manifest.entries.entries()) {
      if (
        entry.type === 'file' &&
        !this.resumed.has(at) &&
        includes(this.ground.pass, digestIn(entry, this.manifest.head.digest))
      )
        yield entry;
    }
  }

  private async checkList(list: string): Promise<[string, DamageReason][]> {
    try {
      return agrees(this.manifest, await this.ground.reader.bytes(`${this.path}/${list}`, longestManifest))
        ? []
        : [[list, 'changed']];
    } catch (error) {
      return [[list, reasonOf(error)]];
    }
  }

  /** What stands in a directory, or why nothing in it can be looked at. */
  private async list(directory: string): Promise<Map<string, FoundOnDisk> | 'missing' | 'unreadable'> {
    this.ground.signal.throwIfAborted();
    try {
      return await this.ground.reader.survey(directory === '.' ? this.path : `${this.path}/${directory}`);
    } catch (error) {
      return reasonOf(error);
    }
  }

  /** The files whose content is to be compared; the others are told of. */
  private wanted(files: readonly (readonly [number, ManifestEntry, FoundOnDisk])[], withModes: boolean): FileToCheck[] {
    const { entries } = this.manifest;
    const targets = new Map<string, FileToCompare>();
    if (entries.some(({ type }) => type === 'link'))
      for (const entry of entries) if (entry.type === 'file') targets.set(entry.name, entry);
    const inodes = new Map(targets.size === 0 ? [] : files.map(([, { name }, { inode }]) => [name, inode]));
    const wanted: FileToCheck[] = [];
    for (const [at, entry, found] of files) {
      const file = entry.type === 'link' ? targets.get(entry.target) : entry.type === 'file' ? entry : undefined;
      if (file === undefined) continue; // no manifest has a link to anything else
      const apart = entry.type === 'link' && !entry.kept?.apart && inodes.get(entry.target) !== found.inode;
      const flaw = compareFile(file, found, withModes) ?? (apart ? 'metadata' : undefined);
      const one = { at, name: entry.name, file, found, flaw };
      if (flaw === undefined || flaw === 'metadata') wanted.push(one);
      else this.tell(one, flaw);
    }
    return wanted;
  }

  /** Finds out which files are to be read, once each; tells of the others what is known. */
  private plan(wanted: readonly FileToCheck[]): number {
    const byInode = new Map<bigint, FileToCheck[]>();
    for (const one of wanted) {
      const group = byInode.get(one.found.inode);
      if (group) group.push(one);
      else byInode.set(one.found.inode, [one]);
    }
    let bytes = 0;
    for (const [inode, group] of byInode) {
      const [first] = group;
      const content = this.ground.known.get(inode) ?? this.foundGood(group);
      if (content) this.settle(group, content);
      else if (first && group.some((one) => this.isIncluded(one))) {
        const { size } = first.file;
        this.groups.set({ name: `${this.path}/${first.name}`, size, inode }, group);
        for (const { at } of group) this.done.remove(at);
        bytes += size;
      } else for (const one of group) this.tell(one, one.flaw);
    }
    return bytes;
  }

  /** What an earlier run read. */
  private foundGood(group: readonly FileToCheck[]): VerifiedContent | undefined {
    const good = group.find((one) => this.resumed.has(one.at) && this.isIncluded(one));
    return good && { digest: this.digestOf(good) };
  }

  private settle(group: readonly FileToCheck[], content: VerifiedContent): void {
    const [first] = group;
    const lasts = 'digest' in content || content.reason === 'unreadable';
    if (lasts && first && first.found.links > 1) this.ground.known.set(first.found.inode, content);
    for (const one of group) {
      const good = 'digest' in content && content.digest === this.digestOf(one);
      if (good) this.done.add(one.at);
      else this.done.remove(one.at);
      this.tell(one, good ? one.flaw : 'reason' in content ? content.reason : 'changed');
    }
  }

  private tell({ name, found, file }: FileToCheck, reason: DamageReason | undefined): void {
    if (reason === undefined) return;
    this.ground.onDamage(
      name,
      reason,
      found.links > 1 ? { inode: found.inode, digest: digestIn(file, this.manifest.head.digest), reason } : undefined,
    );
  }

  private isIncluded(one: FileToCheck): boolean {
    return includes(this.ground.pass, this.digestOf(one));
  }

  private digestOf({ file }: FileToCheck): string {
    return digestIn(file, this.manifest.head.digest);
  }
}

/**
 * Rejects with `SnapshotGone` where there is no such directory any more, with `SnapshotRenewed` where another manifest
 * is registered for it by now.
 */
export async function checkCurrent({ pathname, directory, name, entry }: Snapshot): Promise<void> {
  await lstat(pathname).catch((error: unknown) => {
    throw errnoOf(error) === 'ENOENT' ? new SnapshotGone() : error;
  });
  const register = await readRegister(directory, name).catch(ignored('a damaged register says nothing of this'));
  const now = register?.snapshots.find(({ number }) => number === entry.number);
  if (now && now.manifest !== entry.manifest) throw new SnapshotRenewed();
}

/** What it says of a file that it cannot be opened or read; throws what says nothing of it. */
export function reasonOf(error: unknown): 'missing' | 'unreadable' {
  const code = errnoOf(error);
  if (code === undefined || ownFailures.includes(code)) throw error;
  return ['ENOENT', 'ENOTDIR', 'ELOOP'].includes(code) ? 'missing' : 'unreadable';
}
