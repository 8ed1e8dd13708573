import { TransferError } from '../errors';
import { parseJsonObject, type JsonObject } from './json-object';

export type { JsonObject } from './json-object';

/** The shortest header, in bytes: `{}`. */
export const minHeaderLength = 2;

/** The longest header, in bytes. */
export const maxHeaderLength = 65536;

const prefixLength = 4;

/**
 * The length and the header of one frame: a little-endian int32 (Python: `struct.pack('<i', n)`), then n bytes of UTF-8
 * JSON. The payload, if any, is the caller's to send after it.
 * @throws TransferError `usage` if the header is longer than `maxHeaderLength`.
 */
export function encodeFrame(header: object): Buffer {
  return encodeFrames([header]);
}

/**
 * The same of many headers, one after another. @throws TransferError `usage` if one is longer than `maxHeaderLength`.
 */
export function encodeFrames(headers: readonly object[]): Buffer {
  const texts: string[] = [];
  const lengths: number[] = [];
  let bytes = 0;
  for (const header of headers) {
    const json = JSON.stringify(header);
    const length = Buffer.byteLength(json);
    if (length > maxHeaderLength) {
      throw new TransferError(
        'usage',
        `A header of ${length} bytes is too long: ${maxHeaderLength} are the most that a frame carries.`,
      );
    }
    texts.push(json);
    lengths.push(length);
    bytes += prefixLength + length;
  }
  const frames = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (let row = 0; row < texts.length; row++) {
    at = frames.writeInt32LE(lengths[row] ?? 0, at);
    at += frames.write(texts[row] ?? '', at, 'utf8');
  }
  return frames;
}

/** A header that is here as a whole, and where it ends. */
export interface WholeHeader {
  readonly header: JsonObject;
  readonly end: number;
}

/**
 * The header of a frame that begins at `from` in `bytes`; undefined where it is not there as a whole, or is none: a
 * `HeaderDecoder` that is given the same bytes says why.
 */
export function headerAt(bytes: Uint8Array, from: number): WholeHeader | undefined {
  const begin = from + prefixLength;
  if (begin > bytes.length) return undefined;
  // As a signed number: what has the highest bit is negative, and no length.
  const length =
    (bytes[from] ?? 0) |
    ((bytes[from + 1] ?? 0) << 8) |
    ((bytes[from + 2] ?? 0) << 16) |
    ((bytes[from + 3] ?? 0) << 24);
  const end = begin + length;
  if (length < minHeaderLength || length > maxHeaderLength || end > bytes.length) return undefined;
  try {
    return { header: parseJsonObject(bytes.subarray(begin, end)), end };
  } catch {
    return undefined; // the decoder, which is given it next, says why
  }
}

/**
 * Whether a connection that begins with `bytes` begins with a frame of at most `longest` bytes whose header begins with
 * `beginning`, which is ASCII; undefined while that is open. So a first frame is told from a file of the plain wire
 * before it is here as a whole.
 */
export function beginsWith(bytes: Uint8Array, beginning: string, longest: number): boolean | undefined {
  const known = Math.min(bytes.length, prefixLength);
  const length = bytes.slice(0, known).reduce((sum, byte, at) => sum + byte * 2 ** (8 * at), 0);
  if (length > longest) return false;
  const whole = prefixLength + beginning.length;
  for (let at = prefixLength; at < Math.min(bytes.length, whole); at++)
    if (bytes[at] !== beginning.charCodeAt(at - prefixLength)) return false;
  return bytes.length >= whole ? true : undefined;
}

/** The cause of a `bad-frame` where the peer has ended in the middle of a header, which may be no fault of its own. */
export const cutOff = new Error('FIN in the middle of a header');

/**
 * Finds one header after another in bytes that arrive in pieces of any size. Knows no socket and no payload: once
 * `header` is there, the caller takes the payload itself and calls `reset` before the next header. After it has thrown,
 * nobody knows where the next frame begins: it throws the same again, until it is dropped.
 */
export class HeaderDecoder {
  readonly #prefix = Buffer.alloc(prefixLength);
  #arrived = 0; // bytes of the current length and header together
  #body: Uint8Array | undefined; // allocated only after the length was found legal
  #header: JsonObject | undefined;
  #failure: TransferError | undefined;

  /** The current header, once all of it has arrived. */
  get header(): JsonObject | undefined {
    return this.#header;
  }

  /** Whether at least one byte of the current header has arrived. */
  get started(): boolean {
    return this.#arrived > 0;
  }

  /**
   * Takes bytes off the front, never past the header's end.
   * @returns how many were taken; the rest is payload, or the next frame. 0 while a complete header waits for `reset`.
   * @throws TransferError `bad-frame`; for a bad length as soon as its 4th byte is in.
   */
  push(bytes: Uint8Array): number {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      return this.#take(bytes);
    } catch (error) {
      if (error instanceof TransferError) this.#failure = error;
      this.#body = undefined;
      throw error;
    }
  }

  /**
   * The peer sent FIN.
   * @throws TransferError `bad-frame` if that was in the middle of a length or of a header.
   */
  finish(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (!this.started || this.#header !== undefined) return;
    if (this.#arrived < prefixLength) {
      throw new TransferError(
        'bad-frame',
        `The connection ended after ${this.#arrived} of the 4 bytes of a header's length.`,
        { cause: cutOff },
      );
    }
    throw new TransferError(
      'bad-frame',
      `The connection ended after ${this.#arrived - prefixLength} of a header's ${this.#length} bytes.`,
      { cause: cutOff },
    );
  }

  /** Ready for the next header. */
  reset(): void {
    this.#arrived = 0;
    this.#body = undefined;
    this.#header = undefined;
  }

  get #length(): number {
    return this.#prefix.readInt32LE(0);
  }

  #take(bytes: Uint8Array): number {
    let taken = 0;
    while (this.#arrived < prefixLength) {
      const byte = bytes[taken];
      if (byte === undefined) return taken;
      this.#prefix[this.#arrived] = byte;
      this.#arrived += 1;
      taken += 1;
      if (this.#arrived === prefixLength) checkLength(this.#prefix);
    }
    const filled = this.#arrived - prefixLength;
    const piece = bytes.subarray(taken, taken + this.#length - filled);
    this.#arrived += piece.length;
    if (piece.length === this.#length) {
      this.#header = parseJsonObject(piece); // the usual case, all in one piece: no copy
    } else if (piece.length > 0) {
      this.#body ??= Buffer.allocUnsafe(this.#length);
      this.#body.set(piece, filled);
      if (filled + piece.length === this.#length) {
        this.#header = parseJsonObject(this.#body);
        this.#body = undefined;
      }
    }
    return taken + piece.length;
  }
}

function checkLength(prefix: Buffer): void {
  const length = prefix.readInt32LE(0);
  if (length >= minHeaderLength && length <= maxHeaderLength) return;
  throw new TransferError('bad-frame', explainLength(prefix, length));
}

/** Says what somebody most likely did who sent these four bytes instead of a length. */
function explainLength(prefix: Buffer, length: number): string {
  if (prefix[0] === 0x16 && prefix[1] === 0x03) return 'This is TLS; this port speaks the plain wire here.';
  if (prefix.every(isText)) return 'This looks like text, for instance an HTTP request, not like a frame.';
  const bigEndian = prefix.readInt32BE(0);
  const sentence = `The header's length is ${length}; it must be ${minHeaderLength} to ${maxHeaderLength}.`;
  return bigEndian >= minHeaderLength && bigEndian <= maxHeaderLength
    ? `${sentence} It looks big-endian (${bigEndian}); the wire is little-endian, struct.pack('<i', n).`
    : sentence;
}

function isText(byte: number): boolean {
  return (byte >= 0x20 && byte < 0x7f) || byte === 0x09 || byte === 0x0a || byte === 0x0d;
}
