import { chmod, link, mkdir, open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../../errors';
import type { EntryName } from '../../name';
import type { Digests } from '../../progress';
import { Directory } from '../../store/local/directory';
import { copyFile } from '../../store/local/copy-file';
import { cannotLink } from '../../store/local/final-name';
import { answersFromDevice } from '../../store/local/local-probe';
import { look, existingOf } from '../../store/local/existing-look';
import { setFileTime } from '../../threads/system-calls';
import { Catalog, type Snapshot, within } from '../manifest/catalog';
import { compareFile, digestIn, type FileToCompare } from '../verify/compare';
import { DeviceReader } from '../verify/device-reader';
import { type Manifest, manifestName } from '../manifest/manifest';
import { allowAll, Removal } from '../prune/removal';
import { systemPath } from '../../name-bytes';
import { ignored } from '../../trace';

const freshName = 'fresh';
const replacedName = 'replaced';

/** A snapshot with what its manifest says. */
interface Healable {
  readonly snapshot: Snapshot;
  readonly manifest: Manifest;
}

/** Puts whole files in the place of damaged ones, in every snapshot of a backup that should have the same. */
export class Healing {
  /** Whether the content of a file is as it should be, by inode and digest. */
  private readonly known = new Map<string, boolean>();

  private constructor(
    private readonly snapshots: readonly Healable[],
    private readonly reader: DeviceReader,
    private readonly own: Directory,
  ) {}

  /**
   * `directory` is the receive directory, `own` a private directory on its disk. Snapshots whose manifests cannot be
   * believed are left alone.
   */
  static async open(directory: string, name: EntryName, own: Directory): Promise<Healing> {
    const catalog = new Catalog(directory);
    const snapshots: Healable[] = [];
    for (const snapshot of await catalog.snapshots(name)) {
      const manifest = await catalog.manifest(snapshot).catch(ignored('told of by whoever verifies'));
      if (manifest) snapshots.push({ snapshot, manifest });
    }
    const sample = snapshots.at(-1)?.snapshot;
    return new Healing(
      snapshots,
      await DeviceReader.open(directory, sample && within(sample, manifestName).below),
      own,
    );
  }

  /**
   * `staged` is the path of a whole, durable file with the content, mode and time of `entry`. It gets the names of all
   * damaged files that should be the same; at every instant each of these is the damaged or the whole one. Rejects with
   * the errors of the disk.
   */
  async heal(staged: string, entry: FileToCompare, algorithm: keyof Digests): Promise<void> {
    const digest = digestIn(entry, algorithm);
    for (const { snapshot, manifest } of this.snapshots) {
      if (manifest.head.digest !== algorithm) continue;
      const same = manifest.entries.filter(
        (each): each is FileToCompare =>
          each.type === 'file' &&
          each.size === entry.size &&
          each.mode === entry.mode &&
          each.mtime === entry.mtime &&
          digestIn(each, algorithm) === digest,
      );
      for (const file of same) {
        for (const name of await this.damaged(snapshot, manifest, file)) {
          // Whoever stored it may have kept it with another mode than this process would.
          await chmod(staged, file.kept?.mode ?? file.mode);
          await this.replace(snapshot, manifest, name, staged);
        }
      }
    }
  }

  /** The names of a file, and of the hard links to it, under which it is not as it should be. */
  private async damaged(snapshot: Snapshot, { head, entries }: Manifest, file: FileToCompare): Promise<EntryName[]> {
    const names = [
      file.name,
      ...entries.flatMap((each) => (each.type === 'link' && each.target === file.name ? [each.name] : [])),
    ];
    const existing = existingOf(
      look(
        names.map((name) => within(snapshot, name).below),
        snapshot.directory,
      ),
    );
    const found: EntryName[] = [];
    for (const [at, name] of names.entries()) {
      const entry = existing[at];
      const good =
        entry !== undefined &&
        compareFile(file, { ...entry, mtime: entry.mtimeNs }) === undefined &&
        (await this.reads(snapshot, name, entry.ino, file, head.digest));
      if (!good) found.push(name);
    }
    return found;
  }

  async close(): Promise<void> {
    await this.reader.close();
  }

  /** Whether a file reads as it should from the disk. */
  private async reads(
    snapshot: Snapshot,
    name: EntryName,
    inode: bigint,
    { size, digests }: FileToCompare,
    algorithm: keyof Digests,
  ): Promise<boolean> {
    const digest = digests[algorithm];
    const key = `${String(inode)} ${String(digest)}`;
    const before = this.known.get(key);
    if (before !== undefined) return before;
    const file = { name: `${snapshot.name}/${snapshot.id}/${name}`, size, inode };
    const reading = { signal: new AbortController().signal, onProgress: () => undefined };
    const found = this.reader.isLarge(file)
      ? await this.reader.digest(file, algorithm, reading).catch(ignored('what cannot be read is damaged too'))
      : (await this.reader.digests([file], algorithm))[0];
    this.known.set(key, found === digest);
    return found === digest;
  }

  /** The directories above get the modes and times that the manifest has for them, or had before. */
  private async replace(
    { directory: root, ...snapshot }: Snapshot,
    manifest: Manifest,
    name: EntryName,
    staged: string,
  ): Promise<void> {
    let parent = await Directory.open(root, true);
    const opened = [parent];
    const touched: (() => Promise<void>)[] = [];
    try {
      for (const component of [snapshot.name, snapshot.id])
        opened.push((parent = await Directory.open(parent.at(component))));
      const above = name.split('/').slice(0, -1);
      for (const [at, component] of above.entries()) {
        const before = await parent.look(component);
        if (before?.isDirectory() !== true) {
          if (before) await rm(systemPath(parent.at(component)), { force: true });
          await mkdir(systemPath(parent.at(component)), { mode: 0o700 });
          await parent.sync();
        }
        await allowAll(parent, component);
        const directory = await Directory.open(parent.at(component));
        opened.push(directory);
        const line = manifest.entries.find(
          (each) => each.type === 'directory' && each.name === above.slice(0, at + 1).join('/'),
        );
        const mode = line?.type === 'directory' ? (line.kept?.mode ?? line.mode) : (before?.mode ?? 0o755) & 0o777;
        const mtime =
          line?.type === 'directory'
            ? (line.kept?.mtime ?? line.mtime)
            : before && BigInt(Math.trunc(before.mtimeMs * 1e6));
        touched.unshift(() => leave(directory, mode, mtime));
        parent = directory;
      }
      const base = path.posix.basename(name);
      if ((await parent.look(base))?.isDirectory() === true) await this.takeAway(parent, base);
      await rm(this.own.at(freshName), { force: true });
      await linkOrCopy(staged, this.own.at(freshName));
      await rename(this.own.at(freshName), systemPath(parent.at(base)));
      await parent.sync();
      for (const each of touched) await each();
      await this.own.confirm();
    } finally {
      await Promise.all(opened.map((each) => each.close()));
    }
  }

  /** A directory that stands where a file should be. */
  private async takeAway(parent: Directory, name: string): Promise<void> {
    await allowAll(parent, name);
    await rename(systemPath(parent.at(name)), this.own.at(replacedName));
    await new Removal().remove(this.own, replacedName);
  }
}

/** Gives the file at `from` one more name, or a copy where the disk has no link for it. Rejects if `to` exists. */
export async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(systemPath(from), to);
  } catch (error) {
    if (!cannotLink(error) && errnoOf(error) !== 'EMLINK') throw error;
    const ground = { algorithm: 'sha256', direct: await answersFromDevice(path.dirname(to)), syncEach: false } as const;
    await copyFile(from, to, ground);
  }
}

async function leave(directory: Directory, mode: number, mtime: bigint | undefined): Promise<void> {
  // Opened before its mode may close it to us.
  const handle = await open(directory.at('.'));
  try {
    await handle.chmod(mode);
    if (mtime !== undefined) setFileTime(handle.fd, mtime);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
