import type { ErrorCode } from './errors';

/** What is being done to a file at this moment. */
export type Phase = 'scan' | 'hash' | 'send' | 'receive' | 'verify';

/**
 * What a transfer waited for most; measured by `Waits`, not guessed. `limit` is the rate that the user set. At a
 * receiver, `network` is whatever it waited for bytes for: the network, or the sender.
 */
export type Bottleneck = 'source' | 'hash' | 'network' | 'write' | 'verify' | 'limit' | 'compress';

/** How far the reading back from a disk went: past the page cache, or only to it. */
export type DiskVerified = 'device' | 'cache';

/**
 * How far the reading back went: from a disk, or `store`, from what an object store answered; `accepted`: nothing was
 * read back, an object store said that it has it.
 */
export type Verified = DiskVerified | 'store' | 'accepted';

/** Digests of one file, lower-case hex, by algorithm. */
export type Digests = Readonly<Partial<Record<'md5' | 'sha256' | 'blake3', string>>>;

/** One file that arrived whole: what the receiver says of it, and what the sender repeats of the receipt. */
export interface FileDone {
  readonly file_name: string;
  readonly file_size: number;
  readonly digests: Digests;
  /** null on the sending side when the receiver closed without a receipt. */
  readonly verified: Verified | null;
  /** Where it is, relative to the receive directory; absent when not known. */
  readonly path?: string;
  /** Everything that crossed the wire for it, headers included, in bytes. */
  readonly bytes_on_wire: number;
  readonly seconds: number;
  /**
   * The same content was there already, and is what was verified: when it was last read back, as ISO 8601. Absent for
   * a file that came now.
   */
  readonly verified_at?: string;
  /** Bytes that were there before, of an earlier try or of something alike, and were not sent; absent for none. */
  readonly kept?: number;
  /** How many segments were sent again because they were found damaged; absent for none. */
  readonly repaired?: number;
  /** `relay HOST:PORT` where a relay carried it; absent for a direct connection. */
  readonly route?: string;
  /**
   * On the sending side: the file was appended to meanwhile, and this is what it had when it was looked at; absent
   * where it was not.
   */
  readonly source_grew?: true;
}

/** A file that is stored, as it is told of. */
export type FileReceived = FileDone & { readonly event: 'received' };

/**
 * What is wrong with something in a snapshot. Of several only the first of these is told.
 * - `manifest`: the manifest is missing, cut off or changed, or contradicts itself, so that nothing vouches for what it
 *   speaks of
 * - `missing`: it is not there
 * - `unreadable`: the disk, or the system, does not give it out
 * - `truncated`: the file is shorter than it was
 * - `changed`: the content is another one, the symbolic link points elsewhere, or something of another kind stands
 *   there
 * - `metadata`: its content is right; its mode, its modification time, or of what it is another name, is not
 * - `foreign`: it is there, and the manifest does not know it
 */
export type DamageReason = 'manifest' | 'missing' | 'unreadable' | 'truncated' | 'changed' | 'metadata' | 'foreign';

/** A complete snapshot. */
export interface SnapshotEvent {
  /** `NAME/ID` */
  readonly snapshot: string;
  /** When it was begun, as ISO 8601. */
  readonly time: string;
  readonly entries: number;
  /** Of all files, and of those whose content was in no earlier snapshot. */
  readonly bytes: number;
  readonly new_bytes: number;
  /** How many entries should be there and are not. */
  readonly missing: number;
  /** The bytes of what no other snapshot shares, which would be free without this one; where that was asked for. */
  readonly alone_bytes?: number;
  /** When all of it was last read back and found right, as ISO 8601; null for never since it was received. */
  readonly verified_at: string | null;
}

/** A source that has become empty, or lost most of its entries, since the snapshot before. */
export interface ShrunkSource {
  /** Its name in the snapshot: one component. */
  readonly path: string;
  /** How many entries are below it, and were in the snapshot before. */
  readonly entries: number;
  readonly before: number;
}

/** Something in a snapshot that is not as it was when it was stored. */
export interface Damage {
  /** `NAME/ID` */
  readonly snapshot: string;
  /** Relative to the snapshot. */
  readonly path: string;
  readonly reason: DamageReason;
}

/** How a drill went; `failures` is empty where every file came back as it was. */
export interface DrillReport {
  /** `NAME/ID` */
  readonly snapshot: string;
  /** How many were to come back, and how many bytes they have. */
  readonly files: number;
  readonly bytes: number;
  readonly failures: readonly { readonly file_name: string; readonly code: ErrorCode; readonly message: string }[];
  readonly seconds: number;
}

/**
 * Everything that the library reports while it works. The same objects are the lines of `--json` on the command line,
 * which is why their keys are spelled as they are on the wire.
 */
export type TransferEvent = (
  | {
      readonly event: 'listening';
      readonly address: string;
      readonly port: number | null;
      readonly ticket: string;
      /** Those in the ticket, the likeliest first. */
      readonly addresses: readonly string[];
      /** For `--code`: what the other side types. */
      readonly code?: string;
    }
  /** A page is served, at this address with its token. */
  | {
      readonly event: 'web';
      readonly url: string;
      /** Of a certificate that nobody vouches for, lower-case hex. */
      readonly certificate_sha256?: string;
    }
  | {
      readonly event: 'started';
      readonly file_name: string;
      readonly file_size: number;
      /** Bytes that are left of an earlier try, where there are any. */
      readonly resumed?: number;
      /** The name of the key that it comes with, at a receiver; absent for the ticket and the plain wire. */
      readonly from?: string;
    }
  | {
      readonly event: 'progress';
      readonly file_name: string;
      readonly phase: Phase;
      readonly done: number;
      readonly total: number;
      /** Of `done`, what the receiver had before; absent for nothing. */
      readonly kept?: number;
      /** With `scan`: how many files were found, or offered, so far; `total` is what they have. */
      readonly files?: number;
    }
  /** `directory`: the receive directory that `path` is relative to, as an absolute path. */
  | ({ readonly event: 'received'; readonly directory?: string; readonly from?: string } & FileDone)
  | ({ readonly event: 'sent' } & FileDone)
  | { readonly event: 'text'; readonly text: string }
  /** The connection is lost, and is tried to be had again for `retry_for` seconds; or it is there again. */
  | { readonly event: 'connection'; readonly state: 'lost'; readonly message: string; readonly retry_for: number }
  | { readonly event: 'connection'; readonly state: 'back' }
  | { readonly event: 'skipped'; readonly file_name: string; readonly reason: string }
  /** Entries that are stored without something that they have at their source; `file_name` is the first of them. */
  | {
      readonly event: 'lost';
      readonly what: 'mode' | 'mtime' | 'special' | 'owner' | 'xattrs' | 'link';
      readonly entries: number;
      readonly file_name: string;
      readonly message: string;
    }
  | {
      readonly event: 'failed';
      readonly file_name?: string;
      readonly code: ErrorCode;
      readonly message: string;
      readonly hint?: string;
    }
  | ({ readonly event: 'snapshot' } & SnapshotEvent)
  | ({ readonly event: 'shrunk'; readonly snapshot: string } & ShrunkSource)
  | ({ readonly event: 'damaged' } & Damage)
  /**
   * Something lies among the snapshots of a receive directory, relative to that, and this receiver has not committed
   * it: it is never read.
   */
  | { readonly event: 'foreign'; readonly path: string }
  /** What was damaged there is whole again. */
  | { readonly event: 'repaired'; readonly snapshot: string; readonly path: string }
  | ({ readonly event: 'drill' } & DrillReport)
  | ({ readonly event: 'summary' } & Summary)
) & {
  /**
   * Of which transfer this tells; the same on both sides of a session. Absent for what belongs to none, and in the
   * result of a whole command, which makes one transfer.
   */
  readonly id?: string;
  /**
   * Which of several receivers it is about, by its name; absent where there is one, and in what is about all of them.
   */
  readonly receiver?: string;
};

/** The end of a transfer: what moved, how fast, and what held it back. */
export interface Summary {
  readonly files: number;
  readonly bytes: number;
  readonly bytes_on_wire: number;
  readonly seconds: number;
  readonly bottleneck: Bottleneck | null;
  /** How many files there were to send, where not all of them were confirmed and that is known. */
  readonly offered?: number;
  /** How far the reading back went, of a verification. */
  readonly verified?: Verified;
  /** `relay HOST:PORT` where a relay carried it. */
  readonly route?: string;
  /** The congestion control of the connections, where it was chosen: by the sender. */
  readonly congestion?: string;
  /**
   * Of a transfer to several receivers as a whole: how many there were, and how many of them did not get everything.
   */
  readonly receivers?: number;
  readonly failed_receivers?: number;
}

/** Whoever wants to know. Called synchronously from the transfer, so it must be quick and must not throw. */
export type Listener = (event: TransferEvent) => void;

/** What is written down before it is handed on. */
export type Mutable<Object> = { -readonly [Key in keyof Object]: Object[Key] };

/** A `TransferEvent` of a file that arrived. */
type FileEvent<Name extends 'sent' | 'received'> = Mutable<FileDone> & {
  readonly event: Name;
  readonly id: string;
  directory?: string;
  from?: string;
};

/**
 * What is told of a file, with the id of its transfer. There is one for every file, and what is spread and then
 * extended takes five times the memory of what is written down.
 */
export function fileEvent<Name extends 'sent' | 'received'>(kind: Name, id: string, file: FileDone): FileEvent<Name> {
  const { file_name, file_size, digests, verified, path, bytes_on_wire, seconds } = file;
  const { verified_at, kept, repaired, route, source_grew } = file;
  const event: FileEvent<Name> = {
    event: kind,
    id,
    file_name,
    file_size,
    digests,
    verified,
    bytes_on_wire,
    seconds,
  };
  if (path !== undefined) event.path = path;
  if (verified_at !== undefined) event.verified_at = verified_at;
  if (kept !== undefined) event.kept = kept;
  if (repaired !== undefined) event.repaired = repaired;
  if (route !== undefined) event.route = route;
  if (source_grew !== undefined) event.source_grew = source_grew;
  return event;
}

/** Tells the same events, with the id of the transfer that they are about. */
export function ofTransfer(on: Listener, id: () => string): Listener {
  return (event) => on(withId(event, id()));
}

/** The event with the id of its transfer. One begins for every file, and what is spread costs several times as much. */
export function withId(event: TransferEvent, id: string): TransferEvent {
  if (event.event !== 'started' || event.resumed !== undefined || event.from !== undefined) return { ...event, id };
  const { file_name, file_size } = event;
  return { event: 'started', file_name, file_size, id };
}

const tellEvery = 250;

/**
 * Tells how far one file is in one phase: at once when it begins to take long, then four times a second until `stop`.
 */
export class Meter {
  private done = 0;
  private readonly timer: NodeJS.Timeout;

  constructor(
    private readonly on: Listener,
    private readonly fileName: string,
    private readonly phase: Phase,
    private readonly total: number,
    /** Asked how far it is, where nobody calls `update`. */
    private readonly look: () => number = () => this.done,
    /** How much of that was there before. */
    private readonly kept: () => number = () => 0,
  ) {
    this.timer = setInterval(() => this.tell(), tellEvery);
  }

  update(done: number): void {
    this.done = done;
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private tell(): void {
    const kept = this.kept();
    this.on({
      event: 'progress',
      file_name: this.fileName,
      phase: this.phase,
      done: this.look(),
      total: this.total,
      ...(kept > 0 ? { kept } : {}),
    });
  }
}

/** How long a transfer waited for what, in ms. */
export class Waits {
  readonly spent: Record<Bottleneck, number> = {
    source: 0,
    hash: 0,
    network: 0,
    write: 0,
    verify: 0,
    limit: 0,
    compress: 0,
  };

  /** Counts the time until `promise` settles. */
  async on<T>(what: Bottleneck, promise: Promise<T>): Promise<T> {
    const began = performance.now();
    try {
      return await promise;
    } finally {
      this.add(what, performance.now() - began);
    }
  }

  add(what: Bottleneck, ms: number): void {
    this.spent[what] += ms;
  }

  /** What was waited for most; null if nothing was. */
  get longest(): Bottleneck | null {
    let longest: Bottleneck | null = null;
    for (const what of Object.keys(this.spent) as Bottleneck[]) {
      if (this.spent[what] > (longest ? this.spent[longest] : 0)) longest = what;
    }
    return longest;
  }
}
