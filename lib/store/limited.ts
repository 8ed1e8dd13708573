import { createHash } from 'node:crypto';
import path from 'node:path';
import { asTransferError, TransferError } from '../errors';
import { printable } from '../name';
import { formatSizes } from '../size-text';
import { smallFile } from '../wire/segment';
import type { OfferedFile, Room, SessionStore } from './session-store';

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

/** How many names one session has taken, those of files left out, and bytes of what is said of missing ones. */
export interface SessionNames {
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
  newDirectories(name: string, isDirectory: boolean): string[] {
    const found: string[] = [];
    for (let end = isDirectory ? name.length : name.lastIndexOf('/'); end > 0; end = name.lastIndexOf('/', end - 1)) {
      const directory = name.slice(0, end);
      if (this.directories.has(directory)) break;
      found.push(directory);
    }
    return found;
  }

  /** Counts names, and those of directories among them. */
  add(names: number, directories: readonly string[]): void {
    this.names += names;
    if (this.directories.size + directories.length > mostDirectories) this.directories.clear();
    for (const directory of directories) this.directories.add(directory);
  }

  /** A directory is not made after all. */
  giveBackDirectory(name: string): void {
    this.names--;
    this.directories.delete(name);
  }

  private async countNow(count: () => Promise<KeptFiles>): Promise<void> {
    const began = performance.now();
    const kept = await count();
    const took = performance.now() - began;
    this.countAgainAt = performance.now() + Math.max(countEvery, countShare * took);
    const live = new Set([...this.promised].map(({ key }) => key));
    this.bytes = kept.bytes;
    this.names = kept.names;
    this.unfinished.clear();
    for (const [key, bytes] of kept.unfinished) {
      // The bytes of a file that is being written are in its promise already.
      if (live.has(key)) this.bytes -= bytes;
      else this.unfinished.set(key, bytes);
    }
    for (const share of this.promised) {
      this.bytes += share.taken;
      this.names++;
    }
    for (const { names, bytes } of this.taking) {
      this.names += names;
      this.bytes += bytes;
    }
  }
}

/** A file for which there is to be room, in bytes. */
export interface FileToKeep {
  readonly name: string;
  readonly size: number;
  readonly data?: number | undefined;
  readonly key?: string;
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
  take({ name, size, data = size, key }: FileToKeep, taking: SessionNames = { names: 0, bytes: 0 }): Share {
    checkSize(name, size, this.limits);
    taking.names += this.takeNames(name, false) - 1;
    const room = new TakenShare(name, key, this.limits, this.usage);
    try {
      room.grow(Math.min(size, data));
    } catch (error) {
      this.usage.names--;
      throw error;
    }
    this.usage.promised.add(room);
    return room;
  }

  /** Takes a name that is no file. Throws `quota`. */
  takeName(name: string, isDirectory: boolean, taking: SessionNames): void {
    taking.names += this.takeNames(name, isDirectory);
  }

  /** Takes a name that has no file, and so many bytes of what is said of it. Throws `quota`. */
  takeLine(name: string, bytes: number, taking: SessionNames): void {
    const { quota = Infinity } = this.limits;
    if (this.usage.bytes + bytes > quota)
      throw new TransferError(
        'quota',
        `${printable(name)} is missing, and this receiver's quota has no room to say so.`,
      );
    taking.names += this.takeNames(name, false);
    taking.bytes += bytes;
    this.usage.bytes += bytes;
  }

  /** Gives back what a session took. */
  giveBack(taking: SessionNames): void {
    this.usage.names -= taking.names;
    this.usage.bytes -= taking.bytes;
    taking.names = 0;
    taking.bytes = 0;
  }

  /**
   * Takes the name of a directory that is made at once. Resolves with what that took, 0 where it was counted before.
   * Rejects with `quota`.
   */
  async takeDirectory(name: string): Promise<number> {
    try {
      return this.takeNames(name, true);
    } catch (error) {
      if (!lacksRoom(error)) throw error;
      await this.recount();
      return this.takeNames(name, true);
    }
  }

  /** A directory that was counted is gone again. */
  giveBackDirectory(name: string): void {
    this.usage.giveBackDirectory(name);
  }

  /** What a session takes, until `close`. */
  open(): SessionNames & { close(): void } {
    const { taking } = this.usage;
    const opened = { names: 0, bytes: 0, close: () => void taking.delete(opened) };
    taking.add(opened);
    return opened;
  }

  /** Counts what is there, before a lack of room is believed. */
  recount(): Promise<void> {
    return this.usage.recount();
  }

  /** Gives how many that were. */
  private takeNames(name: string, isDirectory: boolean): number {
    const { quotaFiles } = this.limits;
    if (quotaFiles === undefined) {
      this.usage.names++;
      return 1;
    }
    const directories = this.usage.newDirectories(name, isDirectory);
    const wanted = directories.length + (isDirectory ? 0 : 1);
    if (wanted > 0 && this.usage.names + wanted > quotaFiles) {
      throw new TransferError(
        'quota',
        `${printable(name)} is more than the ${String(quotaFiles)} files, directories and links that this receiver keeps.`,
        { hint: 'The receiver decides with --quota-files.' },
      );
    }
    this.usage.add(wanted, directories);
    return wanted;
  }
}

/** One object without closures for each arriving file: there are many. */
class TakenShare implements Share {
  taken = 0;
  /** What an earlier try has left of it. */
  private found = 0;
  private counted = true;

  constructor(
    private readonly name: string,
    readonly key: string | undefined,
    private readonly limits: Limits,
    private readonly usage: Usage,
  ) {}

  grow(size: number): void {
    const { usage } = this;
    if (!this.counted) return;
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
      this.usage.names--;
    }
    this.keep();
  }

  leave(written: number): void {
    const { found, key, taken, usage } = this;
    const stays = Math.min(taken, found + written);
    if (!this.counted || key === undefined || stays === 0) return this.giveBack();
    const before = usage.unfinished.get(key);
    usage.bytes -= taken - stays + (before ?? 0);
    if (before !== undefined) usage.names--;
    usage.unfinished.set(key, stays);
    this.keep();
  }

  private check(size: number, before: number): void {
    const { name, taken } = this;
    const { quota = Infinity } = this.limits;
    checkSize(name, size, this.limits);
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

/** What a session, or a connection of the plain wire, may keep, and where. */
export interface SessionAllowance {
  readonly allowance: Allowance;
  /** Where everything goes, as a path. */
  readonly directory: string;
  /** Who sends; undefined on the plain wire. */
  readonly peer: string | undefined;
}

/** A session's store with limits. */
export interface LimitedSession extends SessionStore {
  /** See `LimitedAdmission`. */
  admitNames(
    entries: readonly { readonly name: string; readonly type: string }[],
  ): Promise<(TransferError | undefined)[]>;
}

/** A session's store whose files take no more than its allowance has. */
export function limitSession(store: SessionStore, allowed: SessionAllowance): LimitedSession {
  const admission = new LimitedAdmission(store, allowed);
  return {
    algorithm: store.algorithm,
    verified: store.verified,
    batch: store.batch,
    lookup: (files) => store.lookup(files),
    read: (files) => store.read(files),
    check: (file, digests, onProgress) => store.check(file, digests, onProgress),
    directories: (names) => store.directories(names),
    owns: (names) => store.owns(names),
    partial: (entry, basis) => store.partial(entry, basis),
    admit: (files) => admission.admit(files),
    admitNames: (entries) => admission.admitNames(entries),
    release() {
      admission.close();
      return store.release();
    },
  };
}

/**
 * Promises room as its store does, and no more than an allowance has. What is admitted counts as used until its room is
 * settled, so that files that arrive at the same time cannot exceed the quota together.
 */
export class LimitedAdmission {
  private readonly taking: ReturnType<Allowance['open']>;

  constructor(
    private readonly store: Pick<SessionStore, 'admit'>,
    private readonly allowed: SessionAllowance,
  ) {
    this.taking = allowed.allowance.open();
  }

  /** See `SessionStore`. Those that get no room may have a failure with `size` or `quota` too. */
  async admit(files: readonly OfferedFile[]): Promise<(Room | TransferError)[]> {
    const shares: (Share | TransferError)[] = [];
    // Nearly all have room at once, and nothing is waited for.
    for (const file of files) {
      const share = this.shareOf(file);
      shares.push(lacksRoom(share) ? await this.onceCounted(() => this.shareOf(file)) : share);
    }
    const within = files.filter((_, at) => !(shares[at] instanceof TransferError));
    const rooms = await this.store.admit(within).catch((error: unknown) => {
      for (const share of shares) if (!(share instanceof TransferError)) share.giveBack();
      throw error;
    });
    let next = 0;
    return shares.map((share, at) => {
      if (share instanceof TransferError) return share;
      const room = rooms[next++];
      const { size = Infinity } = files[at] ?? {};
      if (room && !(room instanceof TransferError)) return new LimitedRoom(room, share, size);
      share.giveBack();
      return room ?? new TransferError('unexpected', 'A store admitted fewer files than it was asked for.');
    });
  }

  /** Takes names of what has no content. Those that get none have a failure with `quota`. */
  async admitNames(
    entries: readonly { readonly name: string; readonly type: string }[],
  ): Promise<(TransferError | undefined)[]> {
    const refused: (TransferError | undefined)[] = [];
    for (const { name, type } of entries) {
      const refusal = this.nameRefused(name, type === 'directory');
      refused.push(
        lacksRoom(refusal) ? await this.onceCounted(() => this.nameRefused(name, type === 'directory')) : refusal,
      );
    }
    return refused;
  }

  /** Nothing is taken any more. */
  close(): void {
    this.taking.close();
  }

  private shareOf({ name, size = 0, data }: OfferedFile): Share | TransferError {
    const { allowance, directory, peer } = this.allowed;
    try {
      // A small file is written whole, and without a peer id it cannot be continued: neither is left unfinished.
      if (size <= smallFile || peer === undefined) return allowance.take({ name, size }, this.taking);
      const key = unfinishedKey(directory, unfinishedName(peer, name));
      return allowance.take({ name, size, data, key }, this.taking);
    } catch (error) {
      return asTransferError(error, 'quota', 'There is no room');
    }
  }

  private nameRefused(name: string, isDirectory: boolean): TransferError | undefined {
    try {
      this.allowed.allowance.takeName(name, isDirectory, this.taking);
      return undefined;
    } catch (error) {
      return asTransferError(error, 'quota', 'There is no room');
    }
  }

  /** Tries again after counting what is there, where there was no room. */
  private async onceCounted<Outcome>(again: () => Outcome): Promise<Outcome> {
    await this.allowed.allowance.recount();
    return again();
  }
}

function lacksRoom(outcome: unknown): boolean {
  return outcome instanceof TransferError && outcome.code === 'quota';
}

/** The room of one file in its store, and its share of an allowance. */
class LimitedRoom implements Room {
  private written = 0;

  constructor(
    private readonly room: Room,
    private readonly share: Share,
    /** In bytes. What is sent twice takes no more. */
    private readonly size: number,
  ) {}

  async grow(size: number): Promise<void> {
    this.share.grow(size);
    await this.room.grow(size);
  }

  wrote(bytes: number): void {
    this.written += bytes;
    this.room.wrote(bytes);
    // The sender has announced a size, and what is written may exceed it.
    this.share.grow(Math.min(this.size, this.written));
  }

  settle(kept: boolean): void {
    if (kept) this.share.keep();
    else this.share.giveBack();
    this.room.settle(kept);
  }

  suspend(): void {
    this.share.leave(this.written);
    this.room.settle(false);
  }
}
