import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const fixtures = join(__dirname, '..', '..', 'fixtures');

export type Piece =
  | { readonly text: string }
  | { readonly hex: string }
  | { readonly repeat: string; readonly times: number }
  | { readonly int32le: number }
  | { readonly int32be: number };

/** One frame, not yet bytes, or what is waited for. */
export interface Part {
  readonly header?: unknown;
  readonly list?: unknown;
  readonly payload?: Buffer;
  readonly await?: string;
  /** In place of all that: bytes as they are. */
  readonly bytes?: Buffer;
}

export interface ConversationSeed {
  readonly name: string;
  readonly wire: 'plain' | 'session';
  readonly by: 'sender' | 'receiver';
  readonly parts: readonly Part[];
}

/** An input that once did harm. */
export interface Found {
  readonly name: string;
  readonly wire: 'plain' | 'session';
  readonly by: 'sender' | 'receiver';
  readonly bytes: Buffer;
}

type Written<Seed> = Omit<Seed, 'parts' | 'bytes'> & {
  readonly frames?: readonly (Omit<Part, 'payload'> & { readonly payload?: readonly Piece[] })[];
  readonly bytes?: readonly Piece[];
};

function read<Content>(...path: readonly string[]): Content {
  return JSON.parse(readFileSync(join(fixtures, ...path), 'utf8')) as Content;
}

/** The conversations of fixtures/fuzz. */
export function conversations(): ConversationSeed[] {
  const { conversations } = read<{ readonly conversations: readonly Written<ConversationSeed>[] }>(
    'fuzz',
    'conversations.json',
  );
  return conversations.map(({ frames = [], ...seed }) => ({
    ...seed,
    parts: frames.map(({ payload, ...part }) => ({ ...part, ...(payload ? { payload: bytesOf(payload) } : {}) })),
  }));
}

/** The inputs of fixtures/fuzz that once did harm. */
export function found(): Found[] {
  return read<{ readonly inputs: readonly Written<Found>[] }>('fuzz', 'found.json').inputs.map(
    ({ bytes = [], ...input }) => ({ ...input, bytes: bytesOf(bytes) }),
  );
}

/** What the vectors hold, by what reads it: good and bad, each as the bytes in which it arrives. */
export function vectorBytes(): Record<'frames' | 'headers' | 'lists' | 'manifests' | 'names' | 'tickets', Buffer[]> {
  const frames = read<{ readonly vectors: readonly { readonly bytes: readonly Piece[] }[] }>(
    'vectors',
    'frames.json',
  ).vectors;
  const messages = read<{ readonly vectors: readonly { readonly header: unknown }[] }>(
    'vectors',
    'session-messages.json',
  ).vectors;
  const lists = read<{
    readonly vectors: readonly { readonly elements?: unknown; readonly bytes?: readonly Piece[] }[];
  }>('vectors', 'session-lists.json').vectors;
  const manifests = read<{
    readonly vectors: readonly { readonly lines?: readonly string[]; readonly bytes?: readonly Piece[] }[];
  }>('vectors', 'manifests.json').vectors;
  const names = read<{
    readonly entries: readonly { readonly input: string; readonly times?: number; readonly then?: string }[];
  }>('vectors', 'names.json').entries;
  const tickets = read<{ readonly vectors: readonly { readonly ticket: string }[] }>('vectors', 'tickets.json').vectors;
  // Long ones of the same byte take all the time and find nothing more.
  const short = (bytes: Buffer): boolean => bytes.length < 20_000;
  return {
    frames: frames.map(({ bytes }) => bytesOf(bytes)).filter(short),
    headers: messages.map(({ header }) => Buffer.from(JSON.stringify(header))),
    lists: lists
      .map(({ elements, bytes }) => (bytes ? bytesOf(bytes) : Buffer.from(JSON.stringify(elements))))
      .filter(short),
    manifests: manifests
      .map(({ lines, bytes }) =>
        lines ? Buffer.from(lines.map((line) => `${line}\n`).join('')) : bytesOf(bytes ?? []),
      )
      .filter(short),
    names: names.map(({ input, times = 1, then = '' }) => Buffer.from(input.repeat(times) + then)).filter(short),
    tickets: tickets.map(({ ticket }) => Buffer.from(ticket)),
  };
}

export function bytesOf(pieces: readonly Piece[]): Buffer {
  return Buffer.concat(pieces.map(bytesOfPiece));
}

function bytesOfPiece(piece: Piece): Buffer {
  if ('text' in piece) return Buffer.from(piece.text);
  if ('hex' in piece) return Buffer.from(piece.hex.replaceAll(' ', ''), 'hex');
  if ('repeat' in piece) return Buffer.from(piece.repeat.repeat(piece.times));
  const number = Buffer.alloc(4);
  if ('int32le' in piece) number.writeInt32LE(piece.int32le);
  else number.writeInt32BE(piece.int32be);
  return number;
}

/** A part as it goes over the wire; nothing for what is waited for. Whatever the header is, it is written. */
export function encodePart({ header, list, payload, bytes }: Part): Buffer {
  if (bytes !== undefined) return bytes;
  if (header === undefined) return Buffer.alloc(0);
  const listed = list === undefined ? undefined : Buffer.from(JSON.stringify(list));
  const full =
    listed === undefined || typeof header !== 'object' || header === null || Array.isArray(header)
      ? header
      : { ...header, list: listed.length };
  const json = Buffer.from(JSON.stringify(full));
  const length = Buffer.alloc(4);
  length.writeInt32LE(json.length);
  return Buffer.concat([length, json, listed ?? Buffer.alloc(0), payload ?? Buffer.alloc(0)]);
}
