/**
 * The four frames by which two sides that know the same code agree on the key of a session: PROTOCOL.md 28. Neither
 * learns more of the code than whether the other one has the same.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { TransferError } from '../errors';
import type { Connection } from '../net/connection';
import { type Address, formatAddress, parseAddress } from '../net/address';
import { hidden, type SessionKey, sessionKeyOf, sessionKeyLength } from '../net/ticket';
import { handshakeWithin } from '../session/deadlines';
import { refused } from '../session/opening';
import {
  codeAgreed,
  codeAnswer,
  codeHello,
  type CodeHello,
  codeOffer,
  codeProof,
  codeSessionLength,
  parseCodeAgreed,
  parseCodeAnswer,
  parseCodeHello,
  parseCodeProof,
} from '../wire/code-message';
import type { JsonObject } from '../wire/frame';
import type { Role } from '../wire/hello';
import { ownValue } from '../wire/json-object';
import { parseRefusal } from '../wire/message';
import type { Code } from './code';
import { type CpaceInput, cpaceKey, cpacePoint, type CpaceShare, cpaceTag, pointLength, withLengths } from './cpace';

/** The key is used for one message only. */
const onlyNonce = Buffer.alloc(12);
const addressTag = 16;
const mostAddresses = 8;

/** What to do where a frame comes too late, or not at all. */
interface FrameHints {
  readonly late: string;
  readonly lost: string;
}
const startAgain = 'Start the same command again: it goes on, although the code may be used up.';
const hints = {
  answer: {
    late: 'Do the other command, and the relay if there is one, still run? Start the same command again.',
    lost: 'Start the same command again. An earlier version of sendall knows no codes, only tickets.',
  },
  agreed: { late: startAgain, lost: startAgain },
  /** Who has dialed us decides whether it tries again. */
  listening: { late: '', lost: '' },
} as const;

/** Random bytes of one side; given by vectors only. */
export interface CodeChance {
  readonly session: Buffer;
  readonly scalar: Buffer;
}

/** What both sides have at the end. */
export interface AgreedKey extends SessionKey {
  /** For the one message that is sealed with it. */
  readonly addressKey: Uint8Array;
}

/** What the side that dials has to remember between its two frames. */
export interface CodeProposal {
  readonly hello: CodeHello;
  /** What the answer gives: the key, and our proof that we have it. Throws `not-authorized` where the codes differ. */
  readonly take: (answer: JsonObject) => { readonly key: AgreedKey; readonly proof: object };
}

/** Begins a run as the side that dials. Pure, but for its chance. */
export function proposeCode(code: Code, role: Role, chance: CodeChance = drawChance()): CodeProposal {
  const { session, scalar } = chance;
  const input = inputOf(code, role, session);
  const offer = codeOffer(role);
  const own: CpaceShare = { point: cpacePoint(scalar, input), associated: Buffer.from(offer.text) };
  const hello = { number: code.number, session, point: Buffer.from(own.point), offer };
  return {
    hello,
    take(header) {
      const answer = parseCodeAnswer(header);
      if (answer.offer.role === role) throw sameRoles(role);
      const other: CpaceShare = { point: answer.point, associated: Buffer.from(answer.offer.text) };
      const key = cpaceKey(scalar, session, 'dialing', { dialing: own, listening: other });
      if (!key || !timingSafeEqual(answer.tag, cpaceTag(key, session, other))) throw otherCode();
      return { key: keyFrom(key, session), proof: codeProof(cpaceTag(key, session, own)) };
    },
  };
}

/** What the side that listens has to remember between its two frames. */
export interface CodeReply {
  readonly answer: object;
  /** The key, once the other side has proved that it has it. Throws `not-authorized` where it has not. */
  readonly take: (proof: JsonObject) => AgreedKey;
}

/** Goes on with a run as the side that listens. Throws `not-authorized` for a point of small order. */
export function replyToCode(
  code: Code,
  role: Role,
  hello: CodeHello,
  scalar: Uint8Array = randomBytes(pointLength),
): CodeReply {
  const { session, point, offer: theirs } = hello;
  const input = inputOf(code, theirs.role, session);
  const offer = codeOffer(role);
  const own: CpaceShare = { point: cpacePoint(scalar, input), associated: Buffer.from(offer.text) };
  const other: CpaceShare = { point, associated: Buffer.from(theirs.text) };
  const key = cpaceKey(scalar, session, 'listening', { dialing: other, listening: own });
  if (!key) throw otherCode();
  return {
    answer: codeAnswer({ point: Buffer.from(own.point), offer, tag: cpaceTag(key, session, own) }),
    take(header) {
      if (!timingSafeEqual(parseCodeProof(header), cpaceTag(key, session, other))) throw otherCode();
      return keyFrom(key, session);
    },
  };
}

/** A key that the other side has proved to have, and we have not yet. */
export interface DialedKey extends SessionKey {
  /**
   * Proves that we have it, too, and ends the connection. Resolves with the addresses of the other side, which lets the
   * key in from then on. Where it rejects with anything but a refusal, that side may do so as well: its last frame was
   * lost, or our proof.
   */
  readonly prove: () => Promise<readonly Address[]>;
}

/**
 * Agrees on a key over a connection that we dialed, which is closed where that fails. Rejects with `not-authorized`
 * where the other side has another code, or with its refusal.
 */
export async function dialByCode(connection: Connection, code: Code, role: Role): Promise<DialedKey> {
  try {
    const { hello, take } = proposeCode(code, role);
    await connection.send(codeHello(hello));
    const { key, proof } = take(await headerOf(connection, hints.answer));
    const prove = async (): Promise<readonly Address[]> => {
      try {
        await connection.send(proof);
        const sealed = parseCodeAgreed(await headerOf(connection, hints.agreed));
        await connection.finish();
        return sealed ? openAddresses(sealed, key) : [];
      } finally {
        connection.close();
      }
    };
    return { id: key.id, key: key.key, prove };
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** The first frame of who dialed us, which `announced` has found. Rejects with `bad-header` and the like. */
export async function readCodeHello(connection: Connection): Promise<CodeHello> {
  return parseCodeHello(await headerOf(connection, hints.listening));
}

/**
 * Goes on with one who dialed us and has named our number, up to its proof. Rejects with `not-authorized` where that
 * has another code.
 */
export async function proofOfCode(
  connection: Connection,
  code: Code,
  role: Role,
  hello: CodeHello,
): Promise<AgreedKey> {
  const { answer, take } = replyToCode(code, role, hello);
  await connection.send(answer);
  return take(await headerOf(connection, hints.listening));
}

/** The last frame: our side knows the key from now on, and is found at `addresses`. */
export function sayAgreed(connection: Connection, key: AgreedKey, addresses: readonly Address[]): Promise<void> {
  return connection.send(codeAgreed(sealAddresses(addresses, key)));
}

/** Only who has the key learns what our addresses are. */
export function sealAddresses(addresses: readonly Address[], { addressKey }: AgreedKey): Buffer {
  const cipher = createCipheriv('aes-256-gcm', addressKey, onlyNonce);
  const text = JSON.stringify(addresses.slice(0, mostAddresses).map(formatAddress));
  return Buffer.concat([cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
}

/** Throws `bad-header` for what the other side cannot have sealed. */
export function openAddresses(sealed: Buffer, { addressKey }: AgreedKey): Address[] {
  try {
    const decipher = createDecipheriv('aes-256-gcm', addressKey, onlyNonce, { authTagLength: addressTag });
    decipher.setAuthTag(sealed.subarray(-addressTag));
    const text = Buffer.concat([decipher.update(sealed.subarray(0, -addressTag)), decipher.final()]).toString();
    const found = JSON.parse(text) as unknown;
    if (!Array.isArray(found)) throw new Error('They are no list.');
    return found.slice(0, mostAddresses).map((each) => parseAddress(String(each)));
  } catch (cause) {
    throw new TransferError('bad-header', 'The addresses of the other side cannot be opened.', { cause });
  }
}

/** Both want to send, or to receive. */
export function sameRoles(role: Role): TransferError {
  return new TransferError('usage', `Both sides are ${role}s.`, {
    hint: 'One side runs sendall send, the other one sendall receive.',
  });
}

/** The next frame. Rejects with `timeout` or `connection-lost` where none comes, with the hint for that. */
async function headerOf(connection: Connection, { late, lost }: FrameHints): Promise<JsonObject> {
  const seconds = String(handshakeWithin / 1000);
  const header = await connection.readHeader({ silence: 0, whole: handshakeWithin }).catch((cause: unknown) => {
    if (!(cause instanceof TransferError) || cause.code !== 'timeout') throw cause;
    throw new TransferError('timeout', `No word about the code came within ${seconds} s from ${connection.peer}.`, {
      cause,
      hint: late,
    });
  });
  if (header === undefined)
    throw new TransferError(
      'connection-lost',
      `The code was not taken: the connection to ${connection.peer} was closed.`,
      {
        hint: lost,
      },
    );
  if (ownValue(header, 'type') === 'refusal') throw refused(parseRefusal(header));
  return header;
}

function inputOf({ number, words }: Code, dialing: Role, session: Uint8Array): CpaceInput {
  const listening = dialing === 'sender' ? 'receiver' : 'sender';
  return {
    secret: Buffer.from(words.join('-')),
    channel: withLengths(...['sendall code 1', dialing, listening, number].map((text) => Buffer.from(text))),
    session,
  };
}

function keyFrom(agreed: Uint8Array, session: Uint8Array): AgreedKey {
  const derived = (use: string, length: number): Uint8Array =>
    new Uint8Array(hkdfSync('sha256', agreed, session, use, length));
  return {
    ...sessionKeyOf(derived('sendall code ticket', sessionKeyLength)),
    addressKey: hidden(derived('sendall code addresses', 32)),
  };
}

function drawChance(): CodeChance {
  return { session: randomBytes(codeSessionLength), scalar: randomBytes(pointLength) };
}

function otherCode(): TransferError {
  return new TransferError('not-authorized', 'The other side has another code.', {
    hint: 'Compare the words with what it shows. After three wrong tries a code is used up.',
  });
}
