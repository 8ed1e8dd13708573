import type { Digests } from '../progress';
import {
  countUnder,
  digestsUnder,
  optionalCountUnder,
  optionalSizeUnder,
  optionalTextUnder,
  sizeUnder,
  textUnder,
  wrong,
} from './fields';
import { type Coded, codedUnder } from './coding';
import type { JsonObject } from './frame';
import { type Hello, parseHello } from './hello';
import { ownValue } from './json-object';
import { parseRefusal, parseWaited, type Refusal, type Waited } from './message';
import { mostSegments, pieceSize } from './segment';
import { parseSnapshotDone, type SnapshotDone } from './snapshot-done';

export type { Hello } from './hello';

/** The longest list that a message carries behind its header, in bytes. */
export const longestList = 8 * 1024 * 1024;
/** The longest content of a bundle, in bytes. */
export const longestBundle = 512 * 1024;

/** By both sides: the one that says it is alive. */
export interface Heartbeat {
  readonly type: 'heartbeat';
}

/** By the sender: everything was offered. */
export interface End {
  readonly type: 'end';
  /** Of a backup: how many entries were offered in the whole session, over all of its conversations. */
  readonly entries?: number;
}

/** By the sender of a backup: a list of what belongs into the snapshot and cannot be sent (`parseMissing`). */
export interface Missing {
  readonly type: 'missing';
  readonly list: number;
}

/** By the sender: a list of entries (`parseEntries`). */
export interface Offer {
  readonly type: 'offer';
  readonly list: number;
}

/** By the sender: bytes of a file, or a run of zeros that has no payload. */
export interface Segment extends Partial<Coded> {
  readonly type: 'segment';
  readonly file: number;
  /** A multiple of `pieceSize`. */
  readonly offset: number;
  /** At least 1, and at most `pieceSize` where it has a payload. */
  readonly size: number;
  readonly zero: boolean;
}

/** By the sender: whole small files, behind a list of them (`parseBundle`). */
export interface Bundle extends Partial<Coded> {
  readonly type: 'bundle';
  readonly list: number;
  readonly size: number;
}

/** By the sender: these segments that the receiver holds are as they should be. */
export interface Keep {
  readonly type: 'keep';
  readonly file: number;
  readonly first: number;
  readonly count: number;
}

/** By the sender: these bytes stand at the receiver, from `from` on in the file of which it told by `standing`. */
export interface Copy {
  readonly type: 'copy';
  readonly file: number;
  /** A multiple of `pieceSize`. */
  readonly offset: number;
  /** Of whole pieces, or up to the end of the file; at least 1. */
  readonly size: number;
  readonly from: number;
}

/** By the sender: all of the file was sent, kept or copied, and this is what it must be. */
export interface Close {
  readonly type: 'close';
  readonly file: number;
  readonly size: number;
  readonly digests: Digests;
}

/** By the sender: the file is not sent after all, and why. */
export interface Drop {
  readonly type: 'drop';
  readonly file: number;
  /** Absent: it changed. */
  readonly code?: DropCode;
  readonly message?: string;
}

/** What a sender may say of its own file. */
export type DropCode = 'source-changed' | 'source-unreadable' | 'mismatch';

/** By the sender: words for whoever runs the receiver. */
export interface Text {
  readonly type: 'text';
  readonly file: number;
  readonly text: string;
}

/** By a sender that was dialed: more connections would help. */
export interface Connect {
  readonly type: 'connect';
  readonly connection: number;
}

/** By the receiver: entries `list` (their numbers) that were not settled yet are wanted. */
export interface Answer {
  readonly type: 'answer';
  readonly list: number;
}

/** By the receiver: the segments that it holds (`parseHeld`). All else that it got of these files is forgotten. */
export interface Held {
  readonly type: 'held';
  readonly list: number;
}

/** By the receiver: what it has of files that may be alike in part (`parseStanding`). */
export interface BasisMessage {
  readonly type: 'standing';
  readonly list: number;
}

/** By the receiver: entries that are stored (`parseReceipts`). */
export interface ReceiptsMessage {
  readonly type: 'receipts';
  readonly list: number;
}

/** By the receiver: one entry that is not stored, or with no `file` the end of the conversation. */
export interface SessionRefusal extends Refusal {
  readonly file?: number;
}

/**
 * By the receiver of a backup: this file is stored, and is other than it was, though its size and mtime are the same.
 */
export interface Alarm {
  readonly type: 'alarm';
  readonly file: number;
  readonly message: string;
}

/** By the receiver: how many frames of segments and bundles have been taken off a connection. */
export interface Taken {
  readonly type: 'taken';
  readonly connection: number;
  readonly frames: number;
}

/** By the receiver: how far it is with what takes long. */
export interface ProgressMessage {
  readonly type: 'progress';
  readonly file: number;
  readonly done: number;
}

/** By the receiver, after `end`: everything has its receipt or refusal. */
export interface Done {
  readonly type: 'done';
  readonly waited?: Waited;
  /** Of a backup: the snapshot that is complete now. */
  readonly snapshot?: SnapshotDone;
}

export type FromSender =
  Hello | Heartbeat | Offer | Segment | Bundle | Keep | Copy | Close | Drop | Text | End | Connect | Missing;
export type FromReceiver =
  | Hello
  | Heartbeat
  | Answer
  | Held
  | BasisMessage
  | ReceiptsMessage
  | SessionRefusal
  | Taken
  | ProgressMessage
  | Alarm
  | Done;

/**
 * What a sender says inside a session. Keys that are not named are ignored.
 * @throws TransferError `bad-header`
 */
export function parseFromSender(header: JsonObject): FromSender {
  const type = ownValue(header, 'type');
  switch (type) {
    case 'hello':
      return parseHello(header);
    case 'heartbeat':
      return { type };
    case 'end': {
      const entries = optionalSizeUnder(header, 'entries');
      return { type, ...(entries === undefined ? {} : { entries }) };
    }
    case 'offer':
    case 'missing':
      return { type, list: sizeUnder(header, 'list', longestList) };
    case 'segment':
      return parseSegment(header);
    case 'bundle':
      return parseBundleHeader(header);
    case 'keep':
      return {
        type,
        file: countUnder(header, 'file'),
        first: sizeUnder(header, 'first', mostSegments - 1),
        count: positive('count', sizeUnder(header, 'count', mostSegments)),
      };
    case 'copy': {
      const { file, offset, size } = parseSegment({ ...header, zero: true });
      return { type, file, offset, size, from: sizeUnder(header, 'from', Number.MAX_SAFE_INTEGER - size) };
    }
    case 'close':
      return {
        type,
        file: countUnder(header, 'file'),
        size: sizeUnder(header, 'size'),
        digests: digestsUnder(header, 'digests'),
      };
    case 'drop':
      return parseDrop(header);
    case 'text':
      return { type, file: countUnder(header, 'file'), text: textUnder(header, 'text') };
    case 'connect':
      return { type, connection: positive('connection', countUnder(header, 'connection')) };
    default:
      throw wrong('type', 'a message of a sender', type);
  }
}

/**
 * What a receiver says inside a session. Keys that are not named are ignored.
 * @throws TransferError `bad-header`
 */
export function parseFromReceiver(header: JsonObject): FromReceiver {
  const type = ownValue(header, 'type');
  switch (type) {
    case 'hello':
      return parseHello(header);
    case 'heartbeat':
      return { type };
    case 'answer':
    case 'held':
    case 'standing':
    case 'receipts':
      return { type, list: sizeUnder(header, 'list', longestList) };
    case 'refusal': {
      const file = optionalCountUnder(header, 'file');
      return { ...parseRefusal(header), ...(file === undefined ? {} : { file }) };
    }
    case 'taken':
      return { type, connection: countUnder(header, 'connection'), frames: countUnder(header, 'frames') };
    case 'alarm':
      return { type, file: countUnder(header, 'file'), message: textUnder(header, 'message') };
    case 'progress':
      return { type, file: countUnder(header, 'file'), done: sizeUnder(header, 'done') };
    case 'done': {
      const waited = ownValue(header, 'waited');
      const snapshot = ownValue(header, 'snapshot');
      return {
        type,
        ...(waited === undefined ? {} : { waited: parseWaited(waited) }),
        ...(snapshot === undefined ? {} : { snapshot: parseSnapshotDone(snapshot) }),
      };
    }
    default:
      throw wrong('type', 'a message of a receiver', type);
  }
}

/** A code that a sender cannot give is as if there were none. */
function parseDrop(header: JsonObject): Drop {
  const [file, code, message] = [
    countUnder(header, 'file'),
    ownValue(header, 'code'),
    optionalTextUnder(header, 'message'),
  ];
  const known = code === 'source-changed' || code === 'source-unreadable' || code === 'mismatch';
  return { type: 'drop', file, ...(known ? { code } : {}), ...(message === undefined ? {} : { message }) };
}

/** What no file could have is refused here; what its own size forbids, by whoever knows the file. */
function parseSegment(header: JsonObject): Segment {
  const zero = ownValue(header, 'zero') === true;
  const offset = sizeUnder(header, 'offset');
  if (offset % pieceSize !== 0) throw wrong('offset', `a multiple of ${String(pieceSize)}`, offset);
  const left = Number.MAX_SAFE_INTEGER - offset;
  const size = positive('size', sizeUnder(header, 'size', zero ? left : Math.min(left, pieceSize)));
  const coded = zero ? {} : codedUnder(header, size);
  return { type: 'segment', file: countUnder(header, 'file'), offset, size, zero, ...coded };
}

function parseBundleHeader(header: JsonObject): Bundle {
  const size = sizeUnder(header, 'size', longestBundle);
  return { type: 'bundle', list: sizeUnder(header, 'list', longestList), size, ...codedUnder(header, size) };
}

function positive(key: string, value: number): number {
  if (value === 0) throw wrong(key, 'at least 1', value);
  return value;
}
