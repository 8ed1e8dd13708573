import { errnoOf, TransferError } from '../errors';
import { type EntryName, parseEntryName, printable } from '../name';

// What a source is called where it travels, and what is said of one that cannot be sent.

/** The name with which something travels that is called `text` here, or why it cannot (`name`). */
export function sourceName(text: string): EntryName | TransferError {
  try {
    // Hidden names are the receiver's decision.
    return parseEntryName(text, { allowHidden: true, names: 'any' });
  } catch (error) {
    if (error instanceof TransferError) return error.about(text);
    throw error;
  }
}

/** What to do with a named pipe or a device. */
export const asStream = 'Its content can be sent as a stream: sendall send - --name NAME < FILE';

/** What something is that is neither a regular file nor a directory. */
export function kindOf(entry: { isSymbolicLink(): boolean; isFIFO(): boolean; isSocket(): boolean }): string {
  if (entry.isSymbolicLink()) return 'a symbolic link';
  if (entry.isFIFO()) return 'a named pipe';
  return entry.isSocket() ? 'a socket' : 'a device';
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
  const message =
    (code && known[code]) ?? `${shown} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}.`;
  const isForbidden = code === 'EACCES' || code === 'EPERM';
  return new TransferError('source-unreadable', message, {
    cause,
    fileName: name,
    ...(isForbidden
      ? { hint: 'Whoever may read it can do this, root for example; a sender leaves it out with --exclude.' }
      : {}),
  });
}

/** The failure for what the user named, as it was named; it travels as `name`. */
export function unreadableSource(pathname: string, name: string, cause: unknown): TransferError {
  if (errnoOf(cause) !== 'ENOENT') return unreadable(name, cause);
  return new TransferError('source-unreadable', `${printable(pathname)} does not exist.`, { cause, fileName: name });
}

/** The failure for what is there, and is no file. */
export function notRegular(name: string): TransferError {
  return new TransferError('source-unreadable', `${printable(name)} is not a regular file.`, { fileName: name });
}

/**
 * The failure for a file that has content, and says that it is empty: of the kernel's own (`/proc`), or of a disk in
 * user space. How much there is of it nobody can tell before its end.
 */
export function sizeless(name: string): TransferError {
  return new TransferError(
    'source-unreadable',
    `${printable(name)} says that it is empty, and has content: its system does not tell sizes.`,
    { fileName: name, hint: asStream },
  );
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
