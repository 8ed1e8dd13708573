import { TransferError } from '../errors';
import { printable } from '../name';

/** A header as it was read: own keys are whatever the peer wrote, so read them with `ownValue` only. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** How deep objects and arrays may stand in one another, the header itself counted. */
export const maxDepth = 32;

/** Most keys of a header, those of nested objects counted. Bounds the work that colliding keys can cause. */
export const maxKeys = 1024;

const [quote, backslash, colon, openBrace, closeBrace, openBracket, closeBracket] = [
  0x22, 0x5c, 0x3a, 0x7b, 0x7d, 0x5b, 0x5d,
];
const byteOrderMark = '\ufeff';

// ignoreBOM keeps a byte order mark in the text, where it can be seen and refused, instead of dropping it.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads `bytes` as exactly one JSON object (RFC 8259) in UTF-8: no byte order mark, no key twice in one object
 * (compared after unescaping), at most `maxDepth` levels and `mostKeys` keys. Takes time linear in the bytes.
 * @throws TransferError `bad-frame`; the sentence never repeats the input, but for one shortened, escaped key.
 */
export function parseJsonObject(bytes: Uint8Array, mostKeys = maxKeys): JsonObject {
  const text = decodeText(bytes);
  if (text.startsWith(byteOrderMark)) throw new TransferError('bad-frame', 'The header begins with a byte order mark.');
  const keys = countKeys(text, mostKeys);
  let root: unknown;
  try {
    root = parseText(text, bytes.length);
  } catch (error) {
    refuseTwice(text); // what is no JSON either is told as that
    throw error;
  }
  if (keysOf(root) !== keys) refuseTwice(text);
  if (root === null || typeof root !== 'object' || Array.isArray(root)) {
    throw new TransferError('bad-frame', `The header is ${quoted(root)}, not a JSON object.`);
  }
  return root as JsonObject;
}

/** The value under `key` if the peer wrote that key, else undefined: never something inherited. */
export function ownValue(object: JsonObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

/** What a message may show of a value off the wire: its kind, or its beginning, escaped. */
export function quoted(value: unknown): string {
  if (typeof value === 'string') {
    return value.length > 40 ? `"${printable(value.slice(0, 40))}…"` : `"${printable(value)}"`;
  }
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'object' && value !== null) return 'an object';
  return Object.is(value, -0) ? '-0' : String(value);
}

function decodeText(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new TransferError('bad-frame', 'The header is not valid UTF-8.', { cause });
  }
}

function parseText(text: string, length: number): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // No cause: the engine's message quotes the input raw.
    throw new TransferError('bad-frame', `The header's ${length} bytes are not exactly one JSON object.`, {
      hint: 'The length counts the bytes of the UTF-8 JSON, not its characters, and not the payload.',
    });
  }
}

/**
 * How many keys a header has. Refuses what JSON.parse would take: too deep, too many keys. Runs before it, on text that
 * need not be JSON at all: for JSON its verdict is exact, and anything else is refused in any case.
 */
function countKeys(text: string, mostKeys: number): number {
  let [keys, depth] = [0, 0];
  for (let at = 0; at < text.length; at += 1) {
    switch (text.charCodeAt(at)) {
      case quote:
        at = endOfString(text, at) - 1;
        break;
      case colon:
        keys += 1;
        if (keys > mostKeys) throw new TransferError('bad-frame', `The header has more than ${mostKeys} keys.`);
        break;
      case openBrace:
      case openBracket:
        depth += 1;
        if (depth > maxDepth)
          throw new TransferError('bad-frame', `The header is nested more than ${maxDepth} levels deep.`);
        break;
      case closeBrace:
      case closeBracket:
        depth -= 1;
        break;
      default:
    }
  }
  return keys;
}

/** How many keys were parsed, those of nested objects counted: fewer than were written where one came twice. */
function keysOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  const isList = Array.isArray(value);
  let keys = 0;
  for (const key in value) {
    if (!isList) keys += 1;
    const nested = (value as JsonObject)[key];
    if (typeof nested === 'object') keys += keysOf(nested);
  }
  return keys;
}

/** Throws for a key that stands twice in one object. */
function refuseTwice(text: string): void {
  const open: Set<string>[] = []; // the keys of each open object; of each open array none
  let [start, end] = [0, 0]; // the last string seen; before a colon it is a key
  for (let at = 0; at < text.length; at += 1) {
    switch (text.charCodeAt(at)) {
      case quote:
        start = at;
        end = endOfString(text, at);
        at = end - 1;
        break;
      case colon:
        addKey(open.at(-1), text.slice(start, end), text.length);
        break;
      case openBrace:
      case openBracket:
        open.push(new Set());
        break;
      case closeBrace:
      case closeBracket:
        open.pop();
        break;
      default:
    }
  }
}

function addKey(keys: Set<string> | undefined, string: string, length: number): void {
  if (keys === undefined) return;
  const key = string.includes('\\') ? String(parseText(string, length)) : string.slice(1, -1);
  if (keys.has(key)) throw new TransferError('bad-frame', `The header has the key ${quoted(key)} twice.`);
  keys.add(key);
}

/** The offset after the closing quote of the string that begins at `start`, or the text's end if nothing closes it. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text.charCodeAt(before) === backslash) before -= 1;
    if ((end - before) % 2 === 1) return end + 1; // every other backslash is itself escaped
  }
  return text.length;
}
