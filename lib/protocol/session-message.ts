import type { Digests } from '../progress';
import { countUnder, type DigestAlgorithm, digestsUnder, optionalCountUnder, roleUnder, sizeUnder, textUnder, wrong } from './fields';
import type { JsonObject } from './frame';
import { ownValue } from './json-object';
import { parseRefusal, parseWaited, type Refusal, type Waited } from './message';
import { mostSegments, pieceSize } from './segment';

/** The version of the session's conversation that is spoken here. */
export const sessionVersion = 1;

/** The longest list that a message carries behind its header, in bytes. */
export const longestList = 8 * 1024 * 1024;
/** The longest content of a bundle, in bytes. */
export const longestBundle = 512 * 1024;

export type Role = 'sender' | 'receiver';

/** The first message on every connection, from both sides; see PROTOCOL.md, "The session". */
export interface Hello {
  readonly type: 'hello';
  readonly version: number;
  /** What the side that says it is. */
  readonly role: Role;
  /** 32 hexadecimal digits, chosen by the side that dials; the same on all connections of one session. */
  readonly session: string;
  /** 0 for the one that carries the conversation, 1 and up for those that carry segments only. */
  readonly connection: number;
  /** By the sender: what the digests of this session are. */
  readonly digest?: DigestAlgorithm;
}

/** By both sides: the one that says it is alive. */
export interface Heartbeat {
  readonly type: 'heartbeat';
}

/** By the sender: everything was offered. */
export interface End {
  readonly type: 'end';
}

/** By the sender: a list of entries (`parseEntries`). */
export interface Offer {
  readonly type: 'offer';
  readonly list: number;
}

/** By the sender: bytes of a file, or a run of zeros that has no payload. */
export interface Segment {
  readonly type: 'segment';
  readonly file: number;
  /** A multiple of `pieceSize`. */
  readonly offset: number;
  /** At least 1, and at most `pieceSize` where it has a payload. */
  readonly size: number;
  readonly zero: boolean;
}

/** By the sender: whole small files, behind a list of them (`parseBundle`). */
export interface Bundle {
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

/** By the sender: all of the file was sent or kept, and this is what it must be. */
export interface Close {
  readonly type: 'close';
  readonly file: number;
  readonly size: number;
  readonly digests: Digests;
}

/** By the sender: the file is not sent after all, for instance because it changed. */
export interface Drop {
  readonly type: 'drop';
  readonly file: number;
}

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

/** By the receiver: entries that are stored (`parseReceipts`). */
export interface Receipts {
  readonly type: 'receipts';
  readonly list: number;
}

/** By the receiver: one entry that is not stored, or with no `file` the end of the conversation. */
export interface SessionRefusal extends Refusal {
  readonly file?: number;
}

/** By the receiver: so many frames of segments and bundles have been taken off a connection. */
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
}

export type FromSender = Hello | Heartbeat | Offer | Segment | Bundle | Keep | Close | Drop | Text | End | Connect;
export type FromReceiver = Hello | Heartbeat | Answer | Held | Receipts | SessionRefusal | Taken | ProgressMessage | Done;

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
    case 'end':
      return { type };
    case 'offer':
      return { type, list: sizeUnder(header, 'list', longestList) };
    case 'segment':
      return parseSegment(header);
    case 'bundle':
      return { type, list: sizeUnder(header, 'list', longestList), size: sizeUnder(header, 'size', longestBundle) };
    case 'keep':
      return {
        type,
        file: countUnder(header, 'file'),
        first: sizeUnder(header, 'first', mostSegments - 1),
        count: positive('count', sizeUnder(header, 'count', mostSegments)),
      };
    case 'close':
      return { type, file: countUnder(header, 'file'), size: sizeUnder(header, 'size'), digests: digestsUnder(header, 'digests') };
    case 'drop':
      return { type, file: countUnder(header, 'file') };
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
    case 'receipts':
      return { type, list: sizeUnder(header, 'list', longestList) };
    case 'refusal': {
      const file = optionalCountUnder(header, 'file');
      return { ...parseRefusal(header), ...(file === undefined ? {} : { file }) };
    }
    case 'taken':
      return { type, connection: countUnder(header, 'connection'), frames: countUnder(header, 'frames') };
    case 'progress':
      return { type, file: countUnder(header, 'file'), done: sizeUnder(header, 'done') };
    case 'done': {
      const waited = ownValue(header, 'waited');
      return { type, ...(waited === undefined ? {} : { waited: parseWaited(waited) }) };
    }
    default:
      throw wrong('type', 'a message of a receiver', type);
  }
}

/** @throws TransferError `bad-header` */
export function parseHello(header: JsonObject): Hello {
  const type = ownValue(header, 'type');
  if (type !== 'hello') throw wrong('type', '"hello"', type);
  const session = textUnder(header, 'session');
  if (!/^[0-9a-f]{32}$/.test(session)) throw wrong('session', '32 hexadecimal digits', session);
  const digest = ownValue(header, 'digest');
  if (digest !== undefined && digest !== 'blake3' && digest !== 'sha256' && digest !== 'md5') throw wrong('digest', '"blake3", "sha256" or "md5"', digest);
  return {
    type,
    version: countUnder(header, 'version'),
    role: roleUnder(header, 'role'),
    session,
    connection: countUnder(header, 'connection'),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** What no file could have is refused here; what its own size forbids, by whoever knows the file. */
function parseSegment(header: JsonObject): Segment {
  const zero = ownValue(header, 'zero') === true;
  const offset = sizeUnder(header, 'offset');
  if (offset % pieceSize !== 0) throw wrong('offset', `a multiple of ${String(pieceSize)}`, offset);
  const left = Number.MAX_SAFE_INTEGER - offset;
  const size = positive('size', sizeUnder(header, 'size', zero ? left : Math.min(left, pieceSize)));
  return { type: 'segment', file: countUnder(header, 'file'), offset, size, zero };
}

function positive(key: string, value: number): number {
  if (value === 0) throw wrong(key, 'at least 1', value);
  return value;
}
