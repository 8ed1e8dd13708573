// What of a damaged snapshot its manifest alone makes right again: modes and times, directories, symbolic links,
// further names of a file that is whole, and the list of digests. Content is brought by who still has it; what is
// foreign is left to whoever put it there.
import { constants } from 'node:fs';
import { mkdir, open, rename, rm, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { asTransferError, errnoOf } from '../../errors';
import { parseEntryName } from '../../name';
import { bytesOfName, systemPath } from '../../name-bytes';
import type { Damage } from '../../progress';
import { Directory } from '../../store/local/directory';
import { look, type ExistingEntry, existingOf } from '../../store/local/existing-look';
import { setFileTime, systemCalls } from '../../threads/system-calls';
import { ignored, trace } from '../../trace';
import { lockBackup } from '../backup/backup-lock';
import { Catalog, type Snapshot, within } from '../manifest/catalog';
import { checksumLines, checksumListName } from '../manifest/checksum-list';
import type { Manifest, ManifestEntry } from '../manifest/manifest';
import { linkOrCopy } from './healing';
import { allowAll, Removal } from '../prune/removal';
import { compareDirectory, compareFile, compareSymlink, type FileToCompare } from '../verify/compare';

type Line = Exclude<ManifestEntry, { type: 'missing' }>;
type LineOf<Type extends Line['type']> = Extract<Line, { type: Type }>;

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
/** In the private directory of the backup: what is renamed from there into a snapshot, and what made room for it. */
const freshName = 'mended';
const replacedName = 'replaced';
/** When it is their turn: after all directories, however deep. */
const [files, namesOfFiles] = [1_000_000, 1_000_001];

/**
 * Mends what it can of `damages`, which a verification of the snapshots in `directory` has just found; resolves with
 * those that are as the manifests say again. Rejects with `directory` while another process uses one of the backups.
 */
export async function mend(directory: string, damages: readonly Damage[], signal?: AbortSignal): Promise<Damage[]> {
  const catalog = new Catalog(directory);
  const mended: Damage[] = [];
  const bySnapshot = grouped(damages, ({ snapshot }) => snapshot);
  const byBackup = grouped([...bySnapshot.keys()], (snapshot) => snapshot.split('/')[0] ?? '');
  for (const [name, snapshots] of byBackup) {
    const locked = await lockBackup(directory, parseEntryName(name));
    try {
      for (const called of snapshots) {
        signal?.throwIfAborted();
        const snapshot = await catalog.find(called);
        const manifest = await catalog
          .manifest(snapshot)
          .catch(ignored('what has no manifest to be believed was told of as damage itself'));
        if (!manifest) continue;
        const mending = new Mending(snapshot, manifest, locked.own);
        mended.push(...(await mending.mend(bySnapshot.get(called) ?? [])));
      }
      // A sync is believed only of a disk that still takes changes.
      await locked.own.confirm();
    } catch (error) {
      throw asTransferError(error, 'directory', `The backup ${name} cannot be repaired`);
    } finally {
      await locked.release();
    }
  }
  return mended;
}

/** One snapshot while it is mended. */
class Mending {
  private readonly lines: ReadonlyMap<string, Line>;
  /** Directories whose modes and times are to be set in the end. */
  private readonly touched = new Set<string>();

  /** `own` is the private directory of the backup. */
  constructor(
    private readonly snapshot: Snapshot,
    private readonly manifest: Manifest,
    private readonly own: Directory,
  ) {
    this.lines = new Map(
      manifest.entries.flatMap((entry) => (entry.type === 'missing' ? [] : [[entry.name, entry] as const])),
    );
  }

  async mend(damages: readonly Damage[]): Promise<Damage[]> {
    const reasons = new Map(damages.map((damage) => [damage.path, damage.reason]));
    const tried: Damage[] = [];
    for (const damage of [...damages].sort((one, other) => this.turnOf(one) - this.turnOf(other))) {
      try {
        if (await this.mendOne(damage, reasons)) tried.push(damage);
      } catch (error) {
        // Whether it is right again is found out below; one bad entry does not keep the others from it.
        trace('%s/%s cannot be mended: %o', damage.snapshot, damage.path, error);
      }
    }
    const deepest = [...this.touched].sort((one, other) => depthOf(other) - depthOf(one));
    for (const name of deepest) await this.finish(name);
    const right = this.check(tried, reasons);
    return tried.filter((_, at) => right[at] === true);
  }

  /** Directories before what is in them, the highest first; the names of a file after the file. */
  private turnOf({ path: name }: Damage): number {
    const line = this.lines.get(name);
    return line?.type === 'directory' ? depthOf(name) : line?.type === 'link' ? namesOfFiles : files;
  }

  /** Whether anything was done. */
  private async mendOne(
    { path: name, reason }: Damage,
    reasons: ReadonlyMap<string, Damage['reason']>,
  ): Promise<boolean> {
    const line = this.lines.get(name);
    if (line === undefined) return reason !== 'foreign' && this.writeList(name);
    switch (line.type) {
      case 'directory':
        this.touched.add(name);
        if (reason !== 'metadata') await this.makeDirectory(name);
        return true;
      case 'symlink':
        await this.giveName(name, (fresh) => {
          return symlink(systemPath(line.target), fresh).then(() => {
            systemCalls()?.setLinkTime(fresh, timeOf(line));
          });
        });
        return true;
      case 'file':
        if (reason !== 'metadata') return false;
        await this.giveState(line);
        return true;
      case 'link':
        return this.mendLink(line, reasons);
    }
  }

  /** One more name of a file whose content is right. */
  private async mendLink(line: LineOf<'link'>, reasons: ReadonlyMap<string, string>): Promise<boolean> {
    const { name, target, kept } = line;
    const ofTarget = reasons.get(target);
    if (ofTarget !== undefined && ofTarget !== 'metadata') return false;
    const [existing, file] = this.look([name, target]);
    if (!file || existing?.ino === file.ino) return true;
    if (kept?.apart && reasons.get(name) === 'metadata') {
      const of = this.lines.get(target);
      if (of?.type === 'file') await this.giveState({ ...of, name });
      return true;
    }
    const directory = await this.enter(path.posix.dirname(target));
    try {
      await this.giveName(name, (fresh) => linkOrCopy(directory.at(path.posix.basename(target)), fresh));
    } finally {
      await directory.close();
    }
    return true;
  }

  private async writeList(name: string): Promise<boolean> {
    const { head, entries } = this.manifest;
    if (name !== checksumListName(head.digest)) return false;
    const list = bytesOfName([...checksumLines(entries, head.digest)].join(''));
    await this.giveName(name, (fresh) => writeFile(fresh, list, { flag: 'wx', mode: 0o666, flush: true }));
    return true;
  }

  private async giveState(line: FileToCompare): Promise<void> {
    const directory = await this.enter(path.posix.dirname(line.name));
    try {
      const at = systemPath(directory.at(path.posix.basename(line.name)));
      const file = await open(at, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
      try {
        await file.chmod(modeOf(line));
        setFileTime(file.fd, timeOf(line));
        await file.sync();
      } finally {
        await file.close();
      }
    } finally {
      await directory.close();
    }
  }

  private async makeDirectory(name: string): Promise<void> {
    const parent = await this.enter(path.posix.dirname(name));
    try {
      const base = path.posix.basename(name);
      await this.takeAway(parent, base);
      await mkdir(systemPath(parent.at(base)), { mode: 0o700 });
      await parent.sync();
      this.touched.add(path.posix.dirname(name));
    } finally {
      await parent.close();
    }
  }

  /** Puts what `make` makes under the path that it gets in the place of whatever has this name, by one rename. */
  private async giveName(name: string, make: (fresh: string) => Promise<void>): Promise<void> {
    const parent = await this.enter(path.posix.dirname(name));
    try {
      const [base, fresh] = [path.posix.basename(name), this.own.at(freshName)];
      await rm(fresh, { force: true });
      await make(fresh);
      if ((await parent.look(base))?.isDirectory() === true) await this.takeAway(parent, base);
      await rename(fresh, systemPath(parent.at(base)));
      await parent.sync();
      this.touched.add(path.posix.dirname(name));
    } finally {
      await parent.close();
    }
  }

  /** What has the name of something that should be there. */
  private async takeAway(parent: Directory, base: string): Promise<void> {
    const existing = await parent.look(base);
    if (!existing) return;
    if (!existing.isDirectory()) return rm(systemPath(parent.at(base)));
    await allowAll(parent, base);
    await rename(systemPath(parent.at(base)), this.own.at(replacedName));
    await new Removal().remove(this.own, replacedName);
  }

  /** A directory gets the mode and time of its line. One without a line, as that of the snapshot itself, has none. */
  private async finish(name: string): Promise<void> {
    const line = this.lines.get(name);
    if (line?.type !== 'directory') return;
    try {
      const directory = await this.enter(name);
      try {
        const handle = await open(directory.at('.'));
        try {
          await handle.chmod(modeOf(line));
          setFileTime(handle.fd, timeOf(line));
          await handle.sync();
        } finally {
          await handle.close();
        }
      } finally {
        await directory.close();
      }
    } catch (error) {
      trace('%s cannot get its mode and time: %o', name, error); // found out by `check`
    }
  }

  /** Opens a directory of the snapshot, never through a symbolic link. To be closed. */
  private async enter(name: string): Promise<Directory> {
    const { directory, name: backup, id } = this.snapshot;
    let at = await Directory.open(directory, true);
    const below = name === '.' ? [] : name.split('/');
    for (const [depth, component] of [backup, id, ...below].entries()) {
      const parent = at;
      try {
        if (depth >= 2) await this.allow(parent, component, below.slice(0, depth - 1).join('/'));
        at = await Directory.open(parent.at(component));
      } finally {
        await parent.close();
      }
    }
    return at;
  }

  private async allow(parent: Directory, component: string, name: string): Promise<void> {
    const line = this.lines.get(name);
    if (line?.type === 'directory' && (modeOf(line) & 0o700) !== 0o700) this.touched.add(name);
    await allowAll(parent, component).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error; // which opening it tells better
    });
  }

  /** Which of them are as their lines say. */
  private check(tried: readonly Damage[], reasons: ReadonlyMap<string, Damage['reason']>): boolean[] {
    const foreign = new Set<string>();
    for (const [name, reason] of reasons) if (reason === 'foreign') foreign.add(path.posix.dirname(name));
    const found = this.look(tried.map((damage) => damage.path));
    return tried.map(({ path: name }, at) => {
      const line = this.lines.get(name);
      const existing = found[at];
      if (!existing) return false;
      const seen = { ...existing, inode: existing.ino, links: 1, mtime: existing.mtimeNs };
      switch (line?.type) {
        case undefined:
          return true; // the list of digests
        case 'directory':
          return compareDirectory(line, seen, foreign.has(name)) === undefined;
        case 'symlink':
          return compareSymlink(line, seen) === undefined;
        case 'file':
          return compareFile(line, seen) === undefined;
        case 'link': {
          const file = this.lines.get(line.target);
          const [target] = this.look([line.target]);
          const one = target?.ino === existing.ino || line.kept?.apart === true;
          return file?.type === 'file' && one && compareFile(file, seen) === undefined;
        }
      }
    });
  }

  private look(names: readonly string[]): (ExistingEntry | undefined)[] {
    const { snapshot } = this;
    return existingOf(
      look(
        names.map((name) => within(snapshot, name).below),
        snapshot.directory,
      ),
    );
  }
}

function modeOf({ mode, kept }: LineOf<'file' | 'directory'>): number {
  return kept?.mode ?? mode;
}

function timeOf({ mtime, kept, metadata }: LineOf<'file' | 'directory' | 'symlink'>): bigint {
  return kept?.mtime ?? metadata?.time ?? mtime;
}

function grouped<Each>(all: readonly Each[], keyOf: (each: Each) => string): Map<string, Each[]> {
  const groups = new Map<string, Each[]>();
  for (const each of all) {
    const group = groups.get(keyOf(each)) ?? [];
    group.push(each);
    groups.set(keyOf(each), group);
  }
  return groups;
}

function depthOf(name: string): number {
  return name === '.' ? 0 : name.split('/').length;
}
