import { createHash } from 'node:crypto';
import path from 'node:path';
import { TransferError } from '../errors';
import { printable } from '../name';
import { formatSizes } from '../size-text';

export interface Limits {
  /** The largest single file taken, in bytes. */
  readonly maxSize?: number | undefined;
  /** How many bytes may be kept in all, by what is written of them: holes take none. */
  readonly quota?: number | undefined;
  /** How many names may be kept in all: files, directories, symbolic and hard links. */
  readonly quotaFiles?: number | undefined;
  /** How many bytes are used already. */
  readonly used?: number | undefined;
}

/** What is in a directory. */
export interface KeptFiles {
  readonly bytes: number;
  readonly names: number;
  /** Bytes of unfinished files, which are among `bytes`, by their keys; see `unfinishedKey`. */
  readonly unfinished: ReadonlyMap<string, number>;
}

/** What one file takes of an allowance. */
export interface Share {
  /** It takes at least `bytes` in all. Throws `size` or `quota`. */
  grow(bytes: number): void;
  /** Once: it is stored. */
  keep(): void;
  /** Gives all of it back, once. */
  giveBack(): void;
  /** Gives back, once, all but what was written of it, which stays unfinished. */
  leave(written: number): void;
}

/** Least ms between two counts of a directory, and least multiple of what the last count took. */
const countEvery = 1_000;
const countShare = 20;
/** Directories that are known to be counted. */
const mostDirectories = 100_000;

/** The names that one session has taken, those of files left out, and that were not there when they were looked at. */
export interface SessionNames {
  /** Below which directory. */
  readonly root: string;
  readonly missing: Set<string>;
  /** Removes from `missing` what is there by now. */
  look(): Promise<void>;
}

/** What a backup says of its missing entries: lines of a manifest that is not written yet. */
export interface MissingLines {
  names: number;
  bytes: number;
}

/** What is kept in a directory, and what is promised to files that are arriving, for all that store something there. */
export class Usage {
  bytes = 0;
  names = 0;
  /** Bytes of unfinished files that nobody writes at this moment. */
  readonly unfinished = new Map<string, number>();
  readonly promised = new Set<TakenShare>();
  /** Of sessions that are open: they may not be there yet. */
  readonly taking = new Set<SessionNames>();
  readonly lines = new Set<MissingLines>();
  /** Directories whose names are counted already. */
  private readonly directories = new Set<string>();
  private counting: Promise<void> | undefined;
  private countAgainAt = 0;

  /** `count` lists what the directory holds; without it usage starts at `bytes`. */
  constructor(
    private readonly count?: () => Promise<KeptFiles>,
    bytes = 0,
  ) {
    this.bytes = bytes;
  }

  /** Counts what is there, if that was never done. */
  async firstCount(): Promise<void> {
    if (this.countAgainAt === 0) await this.recount();
  }

  /** Counts what is there, unless that was done just now: other programs remove files, too. */
  async recount(): Promise<void> {
    if (this.count === undefined || performance.now() < this.countAgainAt) return;
    await (this.counting ??= this.countNow(this.count).finally(() => (this.counting = undefined)));
  }

  /** Directories above a name, and the name itself where it is one, that were not counted yet. */
  newDirectories(root: string, name: string, isDirectory: boolean): string[] {
    const found: string[] = [];
    for (let end = isDirectory ? name.length : name.lastIndexOf('/'); end > 0; end = name.lastIndexOf('/', end - 1)) {
      const directory = name.slice(0, end);
      if (this.directories.has(keyOf(root, directory))) break;
      found.push(directory);
    }
    return found;
  }

  /** These directories below `root` are counted. */
  counted(root: string, directories: readonly string[]): void {
    if (this.directories.size + directories.length > mostDirectories) this.directories.clear();
    for (const directory of directories) this.directories.add(keyOf(root, directory));
  }

  /** A directory below `root` is not made after all. */
  giveBackDirectory(root: string, name: string): void {
    this.names--;
    this.forget(root, [name]);
  }

  /** Of these names below `root` it is not known any more whether they are there. */
  forget(root: string, names: Iterable<string>): void {
    for (const name of names) this.directories.delete(keyOf(root, name));
  }

  private async countNow(count: () => Promise<KeptFiles>): Promise<void> {
    const began = performance.now();
    for (const taking of this.taking) await taking.look();
    const kept = await count();
    const took = performance.now() - began;
    this.countAgainAt = performance.now() + Math.max(countEvery, countShare * took);
    const live = new Set([...this.promised].map(({ key }) => key));
    this.bytes = kept.bytes;
    this.names = kept.names;
    this.unfinished.clear();
    for (const [key, bytes] of kept.unfinished) {
      // The bytes and the name of a file that is being written are in its promise already.
      if (live.has(key)) {
        this.bytes -= bytes;
        this.names--;
      } else this.unfinished.set(key, bytes);
    }
    for (const share of this.promised) {
      this.bytes += share.taken;
      this.names += share.names;
    }
    for (const { missing } of this.taking) this.names += missing.size;
    for (const { names, bytes } of this.lines) {
      this.names += names;
      this.bytes += bytes;
    }
  }
}

function keyOf(root: string, directory: string): string {
  return `${root}\0${directory}`;
}

/** A file for which there is to be room, in bytes. */
export interface FileToKeep {
  readonly name: string;
  readonly size: number;
  readonly data?: number | undefined;
  readonly key?: string;
  /** What is at its name, and gives its own room to it: so many bytes; absent where nothing does. */
  readonly inPlaceOf?: number | undefined;
}

/** What may still be kept. What was taken counts as used until it is given back. */
export class Allowance {
  constructor(
    private readonly limits: Limits,
    private readonly usage: Usage = new Usage(undefined, limits.used),
  ) {}

  /**
   * Takes room for a file, of which only `data` bytes may be written, and for its name and the directories above it.
   * Throws `size` or `quota`.
   */
  take({ name, size, data = size, key, inPlaceOf }: FileToKeep, taking: SessionNames): Share {
    checkSize(name, size, this.limits);
    if (inPlaceOf === undefined) this.takeNames(name, 'file', taking);
    const room = new TakenShare(name, key, this.limits, this.usage, inPlaceOf);
    try {
      room.grow(Math.min(size, data));
    } catch (error) {
      this.usage.names -= room.names;
      throw error;
    }
    this.usage.promised.add(room);
    return room;
  }

  /** Takes a name that is no file. Throws `quota`. */
  takeName(name: string, isDirectory: boolean, taking: SessionNames): void {
    this.takeNames(name, isDirectory ? 'directory' : 'link', taking);
  }

  /** Whether it matters what is there already. */
  get isLimited(): boolean {
    return this.limits.quota !== undefined || this.limits.quotaFiles !== undefined;
  }

  /** Whether it matters how many names there are. */
  get countsNames(): boolean {
    return this.limits.quotaFiles !== undefined;
  }

  /** Directories above a name of which it is not known that they are counted; none where that does not matter. */
  newAbove(root: string, name: string): string[] {
    return this.countsNames ? this.usage.newDirectories(root, name, false) : [];
  }

  /** These directories are there, and were counted with everything that is. */
  foundDirectories(root: string, directories: readonly string[]): void {
    this.usage.counted(root, directories);
  }

  /**
   * Takes one name without a file, and `bytes` of what is said of it. Resolves with false after `closeLines`. Rejects
   * with `quota`.
   */
  async takeLine(name: string, bytes: number, lines: MissingLines): Promise<boolean> {
    const isTooMuch = (): boolean => this.usage.bytes + bytes > (this.limits.quota ?? Infinity);
    // Others may have removed something since the last count.
    if (isTooMuch() || !this.hasNames(1)) await this.recount();
    // What comes after `closeLines` would be given back by nobody.
    if (!this.usage.lines.has(lines)) return false;
    if (isTooMuch())
      throw new TransferError(
        'quota',
        `${printable(name)} is missing, and this receiver's quota has no room to say so.`,
      );
    this.checkNames(name, 1);
    lines.names++;
    lines.bytes += bytes;
    this.usage.names++;
    this.usage.bytes += bytes;
    return true;
  }

  /** Counts the missing lines of a backup until `closeLines`. */
  openLines(): MissingLines {
    const lines = { names: 0, bytes: 0 };
    this.usage.lines.add(lines);
    return lines;
  }

  /**
   * Gives back what these lines took. A manifest that has them by now counts from the next count on, as any file does.
   */
  closeLines(lines: MissingLines): void {
    if (!this.usage.lines.delete(lines)) return;
    this.usage.names -= lines.names;
    this.usage.bytes -= lines.bytes;
  }

  /**
   * Takes the name of a directory below `root` that is made at once. Resolves with whether it was not counted before.
   * Rejects with `quota`.
   */
  async takeDirectory(root: string, name: string): Promise<boolean> {
    const directories = this.usage.newDirectories(root, name, true);
    // Others may have removed something since the last count.
    if (!this.hasNames(directories.length)) await this.recount();
    this.checkNames(name, directories.length);
    this.usage.names += directories.length;
    this.usage.counted(root, directories);
    return directories.length > 0;
  }

  /** A directory below `root` that was counted is gone again. */
  giveBackDirectory(root: string, name: string): void {
    this.usage.giveBackDirectory(root, name);
  }

  /** What a session takes, until `close`. */
  open(taking: SessionNames): void {
    this.usage.taking.add(taking);
  }

  /**
   * Nothing is taken any more. What was taken and is not there is not counted by the next count, and then taken anew.
   */
  close(taking: SessionNames): void {
    this.usage.taking.delete(taking);
    this.usage.forget(taking.root, taking.missing);
  }

  /** Counts what is there, before a lack of room is believed. */
  recount(): Promise<void> {
    return this.usage.recount();
  }

  private takeNames(name: string, what: 'file' | 'directory' | 'link', { root, missing }: SessionNames): void {
    const { quotaFiles } = this.limits;
    if (quotaFiles === undefined) {
      this.usage.names++;
      return;
    }
    const directories = this.usage.newDirectories(root, name, what === 'directory');
    const wanted = directories.length + (what === 'directory' ? 0 : 1);
    this.checkNames(name, wanted);
    this.usage.names += wanted;
    this.usage.counted(root, directories);
    for (const directory of directories) missing.add(directory);
    if (what === 'link') missing.add(name);
  }

  private hasNames(wanted: number): boolean {
    return wanted === 0 || this.usage.names + wanted <= (this.limits.quotaFiles ?? Infinity);
  }

  /** Throws `quota` where there is no room for `wanted` more names. */
  private checkNames(name: string, wanted: number): void {
    if (this.hasNames(wanted)) return;
    throw new TransferError(
      'quota',
      `${printable(name)} does not fit any more: this receiver keeps ${String(this.limits.quotaFiles)} files, directories and links.`,
      { hint: 'The receiver decides with --quota-files.' },
    );
  }
}

/** One object without closures for each arriving file: there are many. */
class TakenShare implements Share {
  taken = 0;
  /** How many names it takes. */
  readonly names: number;
  /** As much as it was said to be at most. */
  private asked = 0;
  /** What an earlier try has left of it. */
  private found = 0;
  private counted = true;

  constructor(
    private readonly name: string,
    readonly key: string | undefined,
    private readonly limits: Limits,
    private readonly usage: Usage,
    /** See `FileToKeep`. */
    private readonly inPlaceOf: number | undefined,
  ) {
    this.names = inPlaceOf === undefined ? 1 : 0;
  }

  grow(whole: number): void {
    const { usage } = this;
    if (!this.counted) return;
    checkSize(this.name, whole, this.limits);
    this.asked = Math.max(this.asked, whole);
    const size = Math.max(0, whole - (this.inPlaceOf ?? 0));
    const before = this.key === undefined ? undefined : usage.unfinished.get(this.key);
    if (size <= this.taken && before === undefined) return;
    this.check(size, before ?? 0);
    usage.bytes += Math.max(0, size - this.taken);
    this.taken = Math.max(this.taken, size);
    if (before === undefined || this.key === undefined) return;
    usage.unfinished.delete(this.key);
    usage.bytes -= before;
    usage.names--;
    this.found = before;
  }

  keep(): void {
    this.counted = false;
    this.usage.promised.delete(this);
  }

  giveBack(): void {
    if (this.counted) {
      this.usage.bytes -= this.taken;
      this.usage.names -= this.names;
    }
    this.keep();
  }

  leave(written: number): void {
    const { asked, found, key, taken, usage } = this;
    const stays = Math.min(asked, found + written);
    if (!this.counted || key === undefined || stays === 0) return this.giveBack();
    const before = usage.unfinished.get(key);
    usage.bytes -= taken - stays + (before ?? 0);
    if (before !== undefined) usage.names--;
    // It has its own name, beside what it was to take the place of.
    usage.names += 1 - this.names;
    usage.unfinished.set(key, stays);
    this.keep();
  }

  private check(size: number, before: number): void {
    const { name, taken } = this;
    const { quota = Infinity } = this.limits;
    const left = quota - this.usage.bytes + before;
    if (size - taken > left) {
      const [needed, free] = formatSizes(size, Math.max(0, left + taken));
      throw new TransferError(
        'quota',
        `${printable(name)} needs ${needed}, and ${free} are left of this receiver's quota.`,
      );
    }
  }
}

function checkSize(name: string, size: number, { maxSize = Infinity }: Limits): void {
  if (size <= maxSize) return;
  const [has, most] = formatSizes(size, maxSize);
  throw new TransferError('size', `${printable(name)} has ${has}; this receiver takes ${most} at most.`);
}

/** By what an unfinished file is counted: the directory that it is for, and its name in there, see `unfinishedName`. */
export function unfinishedKey(directory: string, name: string): string {
  return path.join(path.resolve(directory), name);
}

/** The key of an unfinished file: a hash, which reveals neither peer nor name. */
export function unfinishedName(peer: string, name: string): string {
  return createHash('sha256').update(`${peer}\0${name}`).digest('hex').slice(0, 32);
}
