/** Why a transfer, or a part of it, failed. Closed: every failure that leaves the library carries one of these. */
export type ErrorCode =
  | 'usage' // the caller asked for something that makes no sense
  | 'unexpected' // an operating system error that no other code names
  | 'cannot-connect' // no connection could be made, or no address listened on
  | 'not-authorized' // the connection is not allowed, for instance plain from another machine
  | 'connection-lost' // the peer vanished, or the network did, in the middle
  | 'timeout' // the peer kept silent, or dribbled, for too long
  | 'bad-frame' // what arrived is not a frame: length, UTF-8, JSON
  | 'bad-header' // a frame, but its keys are missing, mistyped or out of range
  | 'mismatch' // size or digest of what is on the disk differs from what was announced
  | 'source-changed' // the file changed while it was being sent
  | 'source-unreadable' // the file vanished, is not permitted, or is not a regular file
  | 'name' // a name that would leave the directory, collide or hide
  | 'exists' // something else stands under that name already
  | 'space' // the disk is too full
  | 'quota' // more than this receiver may keep
  | 'size' // larger than this receiver takes in one file
  | 'disk' // the receiver's disk failed to write, flush or read back
  | 'directory' // the receive directory is missing, not ours, writable by others or in use
  | 'not-confirmed' // all bytes were sent, and the receiver closed without an answer
  | 'some-failed' // some of several files failed; each was reported by itself
  | 'stopped' // whoever runs the other side stopped it
  | 'interrupted'; // the caller aborted

interface Trait {
  /** Whether the same attempt may succeed later without anyone changing anything. */
  readonly retry: boolean;
  /** What a person can do about it, where one sentence helps in most cases. */
  readonly hint?: string;
}

const traits: Readonly<Record<ErrorCode, Trait>> = {
  usage: { retry: false },
  unexpected: { retry: false },
  'cannot-connect': { retry: true, hint: 'Does the other side run, and is the address right?' },
  'not-authorized': { retry: false },
  'connection-lost': { retry: true, hint: 'Start the same command again.' },
  timeout: { retry: true, hint: 'Start the same command again.' },
  'bad-frame': { retry: false, hint: 'Does the other side speak the wire of PROTOCOL.md?' },
  'bad-header': { retry: false, hint: 'Does the other side speak the wire of PROTOCOL.md?' },
  mismatch: { retry: true, hint: 'Nothing was stored. Send it again; if it happens again, check memory and disk.' },
  'source-changed': { retry: true, hint: 'Send it again once nothing writes to it any more.' },
  'source-unreadable': { retry: false },
  name: { retry: false, hint: 'Rename it on the sending side, or send it with --name.' },
  exists: { retry: false, hint: 'The receiver decides with --if-exists skip, rename or replace.' },
  space: { retry: false, hint: 'Free space on the receiver.' },
  quota: { retry: false, hint: 'The receiver decides with --quota.' },
  size: { retry: false, hint: 'The receiver decides with --max-size.' },
  disk: { retry: false, hint: "Check the receiver's disk and its system log." },
  directory: { retry: false },
  'not-confirmed': { retry: false, hint: 'Compare the digest on the other side by hand.' },
  'some-failed': { retry: false },
  stopped: {
    retry: true,
    hint: 'Once it runs again, start the same again, with its new ticket or code in place of an old one: what is there is not sent a second time.',
  },
  interrupted: { retry: false },
};

export interface TransferErrorOptions {
  /** What led to this; kept, never shown in place of the sentence. */
  readonly cause?: unknown;
  /** The file it is about, as it is named on the wire. */
  readonly fileName?: string;
  /** Overrides the code's usual advice; '' for none. */
  readonly hint?: string;
  /** See `TransferError`. */
  readonly nameTaken?: boolean;
}

/**
 * The one error class of the library: a code for programs, a sentence and a hint for people, the cause for whoever
 * debugs.
 */
export class TransferError extends Error {
  override readonly name = 'TransferError';
  readonly code: ErrorCode;
  readonly fileName: string | undefined;
  readonly hint: string | undefined;
  /**
   * Whether an entry is at the very name that was meant, which is what a receiver with the rule `skip` leaves as it is.
   */
  readonly nameTaken: boolean;

  constructor(code: ErrorCode, message: string, options: TransferErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.fileName = options.fileName;
    this.nameTaken = options.nameTaken ?? false;
    this.hint = (options.hint ?? traits[code].hint) || undefined;
  }

  /** Whether the same attempt may succeed later by itself. */
  get retry(): boolean {
    return traits[this.code].retry;
  }

  /** The same failure, said of one file. */
  about(fileName: string): TransferError {
    if (this.fileName !== undefined) return this;
    const { code, message, nameTaken, hint = '' } = this;
    return new TransferError(code, message, { cause: this.cause ?? this, fileName, hint, nameTaken });
  }
}

/** Whether `text`, read off the wire, is one of the codes above. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(traits, text);
}

/** The errno name (`ENOSPC`, `EPIPE`, …) of an operating system error, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

/** Whether this, or what it was caused by, is a disk without a block or an inode left, or the end of a user's quota. */
export function lacksRoom(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if (['ENOSPC', 'EDQUOT'].includes(errnoOf(cause) ?? '')) return true;
  return false;
}

/**
 * Makes a TransferError of anything thrown: a TransferError stays itself, an AbortError becomes `interrupted`,
 * everything else gets `code` and a sentence of `doing` and the cause.
 */
export function asTransferError(error: unknown, code: ErrorCode, doing: string): TransferError {
  if (error instanceof TransferError) return error;
  if (error instanceof Error && error.name === 'AbortError')
    return new TransferError('interrupted', 'Interrupted.', { cause: error });
  return new TransferError(code, `${doing}: ${whyOf(error)}`, { cause: error });
}

/** What helps in most cases of a code; undefined for none. */
export function usualHint(code: ErrorCode): string | undefined {
  return traits[code].hint;
}

/** Why something failed, in words. Of a disk that is mounted read-only the system names only its call and our path. */
export function whyOf(error: unknown): string {
  if (errnoOf(error) === 'EROFS') return 'the disk is mounted read-only';
  return error instanceof Error ? error.message : String(error);
}
