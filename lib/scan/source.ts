import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf, TransferError } from '../errors';
import { type EntryName, parseEntryName, printable } from '../name';
import type { Listener } from '../progress';
import { matcher } from './exclude';

/** A regular file found on this machine, and the name under which it travels. */
export interface SourceFile {
  readonly path: string;
  readonly name: EntryName;
}

export interface ScanOptions {
  /** The name for a single file. */
  readonly name?: string | undefined;
  /** Patterns of what is left out; see `exclude.ts`. */
  readonly exclude?: readonly string[] | undefined;
  /** Told what the plain wire cannot carry: symbolic links, devices, sockets, empty directories. */
  readonly on: Listener;
}

/**
 * The regular files at and below `paths`, in an order that stays the same. A directory's files are named from the
 * directory's own name on. Yields a TransferError (`source-unreadable`, `name`) in place of a file that cannot be sent.
 */
export async function* scan(paths: readonly string[], options: ScanOptions): AsyncGenerator<SourceFile | TransferError> {
  const excluded = matcher(options.exclude ?? []);
  for (const place of paths) {
    const base = options.name ?? path.basename(path.resolve(place));
    // What the user names is followed; what a walk finds is not.
    const found = await attempt(base, () => stat(place));
    if (found instanceof TransferError) yield found;
    else if (found.isFile()) yield named(place, base);
    else if (!found.isDirectory()) yield new TransferError('source-unreadable', `${printable(place)} is not a regular file.`, { fileName: base });
    else if (options.name !== undefined) yield new TransferError('usage', '--name is for a single file, not for a directory.', { fileName: base });
    else yield* walk(place, base, '', excluded, options.on);
  }
}

async function* walk(place: string, base: string, below: string, excluded: (below: string, isDirectory: boolean) => boolean, on: Listener): AsyncGenerator<SourceFile | TransferError> {
  const here = path.join(place, below);
  const entries = await attempt(path.posix.join(base, below), () => readdir(here, { withFileTypes: true }));
  if (entries instanceof TransferError) {
    yield entries;
    return;
  }
  const name = (entry: string): string => path.posix.join(base, below, entry);
  if (entries.length === 0) on({ event: 'skipped', file_name: name(''), reason: 'an empty directory, which the plain wire cannot carry' });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    const inside = path.posix.join(below, entry.name);
    if (excluded(inside, entry.isDirectory())) continue;
    if (entry.isDirectory()) yield* walk(place, base, inside, excluded, on);
    else if (entry.isFile()) yield named(path.join(here, entry.name), name(entry.name));
    else on({ event: 'skipped', file_name: name(entry.name), reason: `${kindOf(entry)}, which the plain wire cannot carry` });
  }
}

/** The file under the name it travels with, or why it cannot. */
export function named(place: string, text: string): SourceFile | TransferError {
  try {
    // Hidden names are the receiver's decision.
    return { path: place, name: parseEntryName(text, { allowHidden: true }) };
  } catch (error) {
    if (error instanceof TransferError) return error.about(text);
    throw error;
  }
}

/** What something is that is neither a regular file nor a directory. */
export function kindOf(entry: { isSymbolicLink(): boolean; isFIFO(): boolean; isSocket(): boolean }): string {
  if (entry.isSymbolicLink()) return 'a symbolic link';
  if (entry.isFIFO()) return 'a named pipe';
  return entry.isSocket() ? 'a socket' : 'a device';
}

async function attempt<T>(name: string, look: () => Promise<T>): Promise<T | TransferError> {
  try {
    return await look();
  } catch (cause) {
    return unreadable(name, cause);
  }
}

/** The failure for a file that cannot be opened or read. */
export function unreadable(name: string, cause: unknown): TransferError {
  const code = errnoOf(cause);
  const shown = printable(name);
  const known: Record<string, string> = {
    ENOENT: `${shown} does not exist (any more).`,
    EACCES: `${shown} may not be read by you.`,
    EPERM: `${shown} may not be read by you.`,
  };
  const message = (code && known[code]) ?? `${shown} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}.`;
  return new TransferError('source-unreadable', message, { cause, fileName: name });
}

/** The failure for what is there, and is no file. */
export function notRegular(name: string): TransferError {
  return new TransferError('source-unreadable', `${printable(name)} is not a regular file.`, { fileName: name });
}

/** The failure for a file that is not any more what it was when it was hashed. */
export function changed(name: string): TransferError {
  return new TransferError('source-changed', `${printable(name)} changed while it was being sent.`, { fileName: name });
}

/** The failure for a file that is not what someone vouched for, though nobody changed it: its disk did. */
export function damagedSource(name: string): TransferError {
  return new TransferError('mismatch', `${printable(name)} is damaged: it has other content than when it was stored.`, {
    fileName: name,
    hint: 'sendall verify names every snapshot that shares the damage.',
  });
}

/** An open source file, and what it was when it was opened. */
export class OpenSource {
  private constructor(
    readonly handle: FileHandle,
    readonly before: BigIntStats,
    private readonly name: string,
  ) {}

  /** Rejects with `source-unreadable`, also for what is not a regular file (a FIFO is not waited for). */
  static async open(file: SourceFile): Promise<OpenSource> {
    try {
      const handle = await open(file.path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
      const before = await handle.stat({ bigint: true });
      if (before.isFile()) return new OpenSource(handle, before, file.name);
      await handle.close();
    } catch (cause) {
      throw unreadable(file.name, cause);
    }
    throw notRegular(file.name);
  }

  /** Wraps a file that nobody else can change, such as a spooled one. */
  static async of(handle: FileHandle, name: string): Promise<OpenSource> {
    return new OpenSource(handle, await handle.stat({ bigint: true }), name);
  }

  get size(): number {
    return Number(this.before.size);
  }

  /** Reads up to `into.length` bytes at `position`; fewer only at the end of the file. */
  async read(into: Uint8Array, position: number): Promise<number> {
    let at = 0;
    while (at < into.length) {
      const { bytesRead } = await this.handle.read(into, at, into.length - at, position + at);
      if (bytesRead === 0) break;
      at += bytesRead;
    }
    return at;
  }

  /** Throws `source-changed` unless the file is as it was when it was opened. */
  async checkUnchanged(): Promise<void> {
    const { before } = this;
    const now = await this.handle.stat({ bigint: true });
    if (now.size !== before.size || now.mtimeNs !== before.mtimeNs || now.ctimeNs !== before.ctimeNs) throw this.changed();
  }

  changed(): TransferError {
    return changed(this.name);
  }

  async close(): Promise<void> {
    await this.handle.close();
  }
}
