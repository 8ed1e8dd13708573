import { isErrorCode, type ErrorCode } from '../errors';
import { md5Under, millisecondsUnder, sizeUnder, textUnder, verifiedUnder, wrong } from './fields';
import type { JsonObject } from './frame';
import { ownValue } from './json-object';

/** What stands before each file on the plain wire. */
export interface FileHeader {
  /** As the sender wrote it: hostile text until lib/name has looked at it. */
  readonly file_name: string;
  /** Bytes of payload that follow. */
  readonly file_size: number;
  /** Lower case. */
  readonly md5: string;
  /** Whether the sender reads its socket and wants a receipt or a refusal. */
  readonly reply: boolean;
}

/** Milliseconds that the receiver waited for each of its own. */
export interface Waited {
  readonly network: number;
  readonly write: number;
  readonly verify: number;
}

/** The receiver's word that a file is on its disk, read back and committed. */
export interface Receipt {
  readonly type: 'receipt';
  readonly file_name: string;
  readonly file_size: number;
  readonly md5: string;
  readonly verified: 'device' | 'cache';
  /** Where it is, relative to the receive directory. */
  readonly path: string;
  readonly waited?: Waited;
}

/** The receiver's word that a file was not stored, and why. */
export interface Refusal {
  readonly type: 'refusal';
  /** Absent where no name could be read. */
  readonly file_name?: string;
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string;
  /** The receiver keeps what it has, and its owner wanted that: nothing to worry about. */
  readonly skipped?: boolean;
}

/**
 * The three keys of a file on the plain wire; all others are ignored.
 * @throws TransferError `bad-header` if one is missing, mistyped or out of range.
 */
export function parseFileHeader(header: JsonObject): FileHeader {
  return {
    file_name: textUnder(header, 'file_name'),
    file_size: sizeUnder(header, 'file_size'),
    md5: md5Under(header, 'md5'),
    reply: wantsReply(header),
  };
}

/**
 * Whether `reply` is exactly true. Also works on a header that parseFileHeader refuses, so that its sender can be told.
 */
export function wantsReply(header: JsonObject): boolean {
  return ownValue(header, 'reply') === true;
}

/**
 * What a receiver answers for one file. Keys that are not named here are ignored; an unknown code becomes `unexpected`.
 * @throws TransferError `bad-header`
 */
export function parseReply(header: JsonObject): Receipt | Refusal {
  const type = ownValue(header, 'type');
  switch (type) {
    case 'receipt':
      return parseReceipt(header);
    case 'refusal':
      return parseRefusal(header);
    default:
      throw wrong('type', '"receipt" or "refusal"', type);
  }
}

function parseReceipt(header: JsonObject): Receipt {
  const waited = ownValue(header, 'waited');
  return {
    type: 'receipt',
    file_name: textUnder(header, 'file_name'),
    file_size: sizeUnder(header, 'file_size'),
    md5: md5Under(header, 'md5'),
    verified: verifiedUnder(header, 'verified'),
    path: textUnder(header, 'path'),
    ...(waited === undefined ? {} : { waited: parseWaited(waited) }),
  };
}

/** @throws TransferError `bad-header` */
export function parseRefusal(header: JsonObject): Refusal {
  const code = textUnder(header, 'code');
  return {
    type: 'refusal',
    ...(Object.hasOwn(header, 'file_name') ? { file_name: textUnder(header, 'file_name') } : {}),
    code: isErrorCode(code) ? code : 'unexpected',
    message: textUnder(header, 'message'),
    ...(Object.hasOwn(header, 'hint') ? { hint: textUnder(header, 'hint') } : {}),
    ...(ownValue(header, 'skipped') === true ? { skipped: true } : {}),
  };
}

/** @throws TransferError `bad-header` */
export function parseWaited(value: unknown): Waited {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong('waited', 'an object', value);
  const waited = value as JsonObject;
  return {
    network: millisecondsUnder(waited, 'network'),
    write: millisecondsUnder(waited, 'write'),
    verify: millisecondsUnder(waited, 'verify'),
  };
}
