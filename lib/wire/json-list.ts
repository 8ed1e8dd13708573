import { TransferError } from '../errors';
import { maxDepth } from './json-object';

/** What a list may have at most: a full list of held segments is as long, and no honest one is nested so much. */
const mostElements = 65536;
const mostNested = 4 * mostElements;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A list as the payload of a message. */
export function encodeList(list: readonly unknown[]): Buffer {
  return Buffer.from(JSON.stringify(list));
}

/** The array in `bytes`. @throws TransferError `bad-frame`, before it takes memory for what is too much. */
export function parseList(bytes: Uint8Array): unknown[] {
  checkExtent(bytes);
  let list: unknown;
  try {
    list = JSON.parse(decoder.decode(bytes));
  } catch {
    // No cause: the engine's message quotes the input raw.
    throw new TransferError('bad-frame', 'A list is not JSON in UTF-8.');
  }
  if (!Array.isArray(list)) throw new TransferError('bad-frame', 'A list is not a JSON array.');
  return list as unknown[];
}

/** Nesting and elements, counted in bytes that need not be JSON at all: 8 MiB of brackets would become 300 MB of arrays. */
function checkExtent(bytes: Uint8Array): void {
  let depth = 0;
  let nested = 0;
  let elements = 1;
  for (let at = 0; at < bytes.length; at++) {
    switch (bytes[at]) {
      case 0x22: // "
        at = endOfString(bytes, at);
        break;
      case 0x2c: // ,
        if (depth === 1) elements++;
        break;
      case 0x5b: // [
      case 0x7b: // {
        depth++;
        nested++;
        if (depth > maxDepth || nested > mostNested) throw new TransferError('bad-frame', 'A list is nested too deep, or too much.');
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth--;
        break;
      default:
    }
  }
  if (elements > mostElements) throw new TransferError('bad-frame', `A list has more than ${String(mostElements)} elements.`);
}

/** Where the string that begins at `start` is closed, or the end of `bytes` if nothing closes it. */
function endOfString(bytes: Uint8Array, start: number): number {
  for (let at = start + 1; at < bytes.length; at++) {
    if (bytes[at] === 0x5c) at++; // backslash
    else if (bytes[at] === 0x22) return at;
  }
  return bytes.length;
}
