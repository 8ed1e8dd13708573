// A session's store as one that keeps no more than it may.
import { asTransferError, TransferError } from '../errors';
import type { EntryName } from '../name';
import { smallFile } from '../wire/segment';
import { type Allowance, type SessionNames, type Share, unfinishedKey, unfinishedName } from './limited';
import type { Existing, OfferedFile, Room, SessionStore } from './session-store';
import type { IfExists } from './store';

/** What a session, or a connection of the plain wire, may keep, and where. */
export interface SessionAllowance {
  readonly allowance: Allowance;
  /** Where everything goes, as a path. */
  readonly directory: string;
  /** Who sends; undefined on the plain wire. */
  readonly peer: string | undefined;
  /** By which rule: what is there may make room for the same, or for what replaces it. */
  readonly ifExists: IfExists;
}

/** A session's store with limits. */
export interface LimitedSession extends SessionStore {
  /** See `LimitedAdmission`. */
  admitNames(entries: readonly NamedEntry[]): Promise<(TransferError | undefined)[]>;
}

/** An entry that has no content of its own; of a link, `target` is where it points, or the name of its file. */
interface NamedEntry {
  readonly name: string;
  readonly type: string;
  readonly target?: string;
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
  private readonly taking: SessionNames;

  constructor(
    private readonly store: Pick<SessionStore, 'admit' | 'lookup'>,
    private readonly allowed: SessionAllowance,
  ) {
    const missing = new Set<string>();
    const look = async (): Promise<void> => {
      const names = [...missing];
      // Without it they count twice, and that is found out by the next one.
      const found = await store.lookup(names.map(named)).catch(() => []);
      names.forEach((name, at) => found[at] && missing.delete(name));
    };
    this.taking = { root: allowed.directory, missing, look };
    allowed.allowance.open(this.taking);
  }

  /** See `SessionStore`. Those that get no room may have a failure with `size` or `quota` too. */
  async admit(files: readonly OfferedFile[]): Promise<(Room | TransferError)[]> {
    const shares: (Share | TransferError)[] = [];
    const existing = await this.existing(files.map(({ name }) => name));
    // Nearly all have room at once, and nothing is waited for.
    for (const [at, file] of files.entries()) {
      const share = this.shareOf(file, existing[at]);
      shares.push(isOverQuota(share) ? await this.onceCounted(() => this.shareOf(file, existing[at])) : share);
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
  async admitNames(entries: readonly NamedEntry[]): Promise<(TransferError | undefined)[]> {
    const { allowance, ifExists } = this.allowed;
    if (!allowance.countsNames) return entries.map(() => undefined);
    const refused: (TransferError | undefined)[] = [];
    const existing = await this.existing(entries.map(({ name }) => name));
    const renamed = ifExists === 'rename' ? await this.renamed(entries, existing) : new Set<NamedEntry>();
    for (const [at, entry] of entries.entries()) {
      const { name, type } = entry;
      if (existing[at] !== undefined && !renamed.has(entry)) {
        if (existing[at].kind === 'directory') allowance.foundDirectories(this.allowed.directory, [name]);
        refused.push(undefined);
        continue;
      }
      const refusal = this.nameRefused(name, type === 'directory');
      refused.push(
        isOverQuota(refusal) ? await this.onceCounted(() => this.nameRefused(name, type === 'directory')) : refusal,
      );
    }
    return refused;
  }

  /** The links that get names of their own beside what is there, since that is something else. */
  private async renamed(
    entries: readonly NamedEntry[],
    existing: readonly (Existing | undefined)[],
  ): Promise<ReadonlySet<NamedEntry>> {
    const links = entries.flatMap((entry, at) =>
      entry.type !== 'directory' && existing[at] ? [{ entry, found: existing[at] }] : [],
    );
    if (links.length === 0) return new Set();
    // Where a symbolic link points is no name below this directory.
    const files = links.map(({ entry }) => (entry.type === 'link' ? entry.target : undefined) ?? entry.name);
    const targets = await this.store.lookup(files.map(named));
    const others = links.filter(({ entry, found }, at) =>
      entry.type === 'symlink' ? found.target !== entry.target : found.identity !== targets[at]?.identity,
    );
    return new Set(others.map(({ entry }) => entry));
  }

  /** Nothing is taken any more. */
  close(): void {
    this.allowed.allowance.close(this.taking);
  }

  /** What is at these names, as far as it matters; what is found of the directories above them is counted already. */
  private async existing(names: readonly string[]): Promise<readonly (Existing | undefined)[]> {
    const { allowance, directory } = this.allowed;
    if (!allowance.isLimited || names.length === 0) return [];
    const above = [...new Set(names.flatMap((name) => allowance.newAbove(directory, name)))];
    const found = await this.store.lookup([...names, ...above].map(named));
    allowance.foundDirectories(
      directory,
      above.filter((name, at) => found[names.length + at] !== undefined && !this.taking.missing.has(name)),
    );
    return found.slice(0, names.length);
  }

  /** How many bytes what is there gives to a file in its place; undefined where that gets a name of its own. */
  private inPlaceOf(size: number | undefined, existing: Existing | undefined): number | undefined {
    const { ifExists } = this.allowed;
    if (existing?.kind !== 'file' || ifExists === 'rename') return undefined;
    if (ifExists === 'replace') return existing.size;
    // Nothing but the same content can come of it, for which a full quota has room; SECURITY.md says what that lets in.
    return size === existing.size ? Infinity : 0;
  }

  private shareOf({ name, size: announced, data }: OfferedFile, existing: Existing | undefined): Share | TransferError {
    const { allowance, directory, peer } = this.allowed;
    const size = announced ?? 0;
    const inPlaceOf = this.inPlaceOf(announced, existing);
    try {
      // Small ones are written as a whole, and what nobody can go on with is never left unfinished.
      if (size <= smallFile || peer === undefined) return allowance.take({ name, size, inPlaceOf }, this.taking);
      const key = unfinishedKey(directory, unfinishedName(peer, name));
      return allowance.take({ name, size, data, key, inPlaceOf }, this.taking);
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

  /** Tries again what there was no room for, once it was counted what is there by now. */
  private async onceCounted<Outcome>(again: () => Outcome): Promise<Outcome> {
    await this.allowed.allowance.recount();
    return again();
  }
}

/** For a look at what is at a name. */
function named(name: string): OfferedFile {
  return { file: 0, name: name as EntryName, size: undefined };
}

function isOverQuota(outcome: unknown): boolean {
  return outcome instanceof TransferError && outcome.code === 'quota';
}

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
    // Who sends it has said how much that would be, and is not believed.
    this.share.grow(Math.min(this.size, this.written));
  }

  settle(kept: boolean): void {
    if (kept) this.share.keep();
    else this.share.giveBack();
    this.room.settle(kept);
  }

  suspend(): void {
    this.share.leave(this.written);
    this.room.suspend();
  }
}
