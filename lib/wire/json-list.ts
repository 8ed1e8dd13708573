import { TransferError } from '../errors';
import { maxDepth } from './json-object';

/** Most elements of a list, as many as a full list of held segments has, and most nested ones. */
const mostElements = 65536;
const mostNested = 4 * mostElements;
/** Of a list that is worked through in parts: bytes of one element, and what it may begin with before its bracket. */
const longestElement = 256 * 1024;
const longestIndent = 1024;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A list as the payload of a message. */
export function encodeList(list: readonly unknown[]): Buffer {
  return Buffer.from(JSON.stringify(list));
}

/** The array in `bytes`. @throws TransferError `bad-frame`, before it takes memory for what is too much. */
export function parseList(bytes: Uint8Array): unknown[] {
  new Extent().count(bytes, 0, bytes.length);
  return arrayIn(textOf(bytes));
}

function textOf(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw notJson();
  }
}

function arrayIn(text: string): unknown[] {
  let list: unknown;
  try {
    list = JSON.parse(text);
  } catch {
    throw notJson();
  }
  if (!Array.isArray(list)) throw new TransferError('bad-frame', 'A list is not a JSON array.');
  return list as unknown[];
}

/** Without a cause: the engine's message quotes the input raw. */
function notJson(): TransferError {
  return new TransferError('bad-frame', 'A list is not JSON in UTF-8.');
}

/** Most elements, and bytes, of one part: work for it takes no noticeable time of the main thread. */
const mostInPart = 128;
const longestPart = 16 * 1024; // bytes; of several elements
/** Bytes that are counted in one go. */
const countedAtOnce = 512 * 1024;

/**
 * The same list in parts, in order: so that whoever works through it can let others have their turn in between;
 * undefined where only that is due. @throws TransferError `bad-frame`, before the first one for what has too much of
 * anything; for what is no JSON, when it gets there.
 */
export function* partsOfList(bytes: Uint8Array): Generator<unknown[] | undefined> {
  const extent = new Extent(longestElement);
  for (let at = 0; at < bytes.length; yield) at = extent.count(bytes, at, at + countedAtOnce);
  const first = bytes.subarray(0, longestIndent).findIndex((byte) => byte !== 0x20 && (byte < 0x09 || byte > 0x0d));
  if (bytes[first] !== 0x5b) throw new TransferError('bad-frame', 'A list is not a JSON array.');
  let from = first;
  for (const cut of extent.cuts) {
    yield partOf(bytes.subarray(from + 1, cut), ']');
    from = cut;
  }
  const rest = bytes.subarray(from + 1);
  yield from === first ? arrayIn(`[${textOf(rest)}`) : partOf(rest, '');
}

/** What stands before or after a comma: there must be something. */
function partOf(bytes: Uint8Array, end: string): unknown[] {
  const part = arrayIn(`[${textOf(bytes)}${end}`);
  if (part.length > 0) return part;
  throw notJson();
}

/**
 * Nesting and elements, counted in bytes that need not be JSON at all: 8 MiB of brackets would become 300 MB of arrays.
 */
class Extent {
  private depth = 0;
  private nested = 0;
  private elements = 1;
  /** Where the element begins that is counted. */
  private element = 0;
  /** The commas at which the list may be cut into parts, and where the last of these parts begins. */
  readonly cuts: number[] = [];
  private part = 0;
  private inPart = 1;

  /** `longest` is what one element may have, in bytes. */
  constructor(private readonly longest = Infinity) {}

  /**
   * From one offset to another, or to the end of the string in which that one lies; there it goes on. @throws
   * TransferError `bad-frame`
   */
  count(bytes: Uint8Array, from: number, to: number): number {
    let at = from;
    for (; at < Math.min(to, bytes.length); at++) {
      switch (bytes[at]) {
        case 0x22: // "
          at = endOfString(bytes, at, this.longest);
          break;
        case 0x2c: // ,
          if (this.depth !== 1) break;
          this.throwIfLong(at);
          this.element = at;
          this.elements++;
          this.cutWhereDue(at);
          break;
        case 0x5b: // [
        case 0x7b: // {
          this.depth++;
          this.nested++;
          if (this.depth > maxDepth || this.nested > mostNested)
            throw new TransferError('bad-frame', 'A list is nested too deep, or too much.');
          break;
        case 0x5d: // ]
        case 0x7d: // }
          this.depth--;
          break;
        default:
      }
    }
    if (this.elements > mostElements)
      throw new TransferError('bad-frame', `A list has more than ${String(mostElements)} elements.`);
    this.throwIfLong(at);
    return at;
  }

  private cutWhereDue(comma: number): void {
    if (this.inPart++ < mostInPart && comma - this.part < longestPart) return;
    this.cuts.push(comma);
    this.part = comma;
    this.inPart = 1;
  }

  private throwIfLong(at: number): void {
    if (at - this.element > this.longest)
      throw new TransferError('bad-frame', `A list has an element of more than ${String(this.longest)} bytes.`);
  }
}

/**
 * Where the string that begins at `start` is closed; the end of `bytes` if nothing closes it, or `most` bytes on where
 * it is longer.
 */
function endOfString(bytes: Uint8Array, start: number, most = bytes.length): number {
  const end = Math.min(bytes.length, start + most + 1);
  for (let at = start + 1; at < end; at++) {
    if (bytes[at] === 0x5c)
      at++; // backslash
    else if (bytes[at] === 0x22) return at;
  }
  return end;
}
