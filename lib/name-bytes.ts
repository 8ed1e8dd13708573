import { isUtf8 } from 'node:buffer';
import { TransferError } from './errors';

// On the disks of Unix a name is bytes, and most are UTF-8. Those that are not travel as text all the same, as in PEP
// 383 ("surrogateescape"): each byte that is no part of well-formed UTF-8 becomes one lone surrogate, U+DC00 plus the
// byte, so U+DC80 to U+DCFF. JSON writes those as `\udc80`.

const escapes = 0xdc00;
/** What the escape of a byte looks like: only bytes from 0x80 on can be wrong. */
const [firstEscape, lastEscape] = [escapes + 0x80, escapes + 0xff];

/** The name with these bytes, as text. `bytesOfName` gives the same bytes again. */
export function nameOfBytes(bytes: Uint8Array): string {
  if (isUtf8(bytes)) return decode(bytes, 0, bytes.length);
  let text = '';
  let sound = 0; // where the well-formed run began
  for (let at = 0; at < bytes.length;) {
    const length = sequenceAt(bytes, at);
    if (length > 0) {
      at += length;
      continue;
    }
    text += decode(bytes, sound, at) + String.fromCharCode(escapes + (bytes[at] ?? 0));
    sound = ++at;
  }
  return text + decode(bytes, sound, bytes.length);
}

/** The bytes of a name on a disk. @throws TransferError `name` for half of a surrogate pair that stands for no byte. */
export function bytesOfName(text: string): Buffer {
  if (isWellFormed(text)) return Buffer.from(text);
  const pieces: Buffer[] = [];
  for (const [run] of text.matchAll(/\p{Cs}|\P{Cs}+/gu)) {
    const unit = run.charCodeAt(0);
    if (run.length > 1 || unit < 0xd800 || unit > 0xdfff) pieces.push(Buffer.from(run));
    else if (unit >= firstEscape && unit <= lastEscape) pieces.push(Buffer.of(unit - escapes));
    else
      throw new TransferError(
        'name',
        `A name contains U+${unit.toString(16).toUpperCase()}, half of a surrogate pair, which stands for no byte.`,
      );
  }
  return Buffer.concat(pieces);
}

/**
 * What the calls of `node:fs` take for a name or path: the text itself where it is well-formed, its bytes otherwise.
 * @throws TransferError `name`, as `bytesOfName`.
 */
export function systemPath(text: string): string | Buffer {
  return isWellFormed(text) ? text : bytesOfName(text);
}

/**
 * Whether `nameOfBytes` could have made this text. Every name has one spelling only: the escapes of bytes that are
 * well-formed UTF-8 together would be a second one, by which two texts could mean one file.
 */
export function isSoundName(text: string): boolean {
  if (isWellFormed(text)) return true;
  try {
    return nameOfBytes(bytesOfName(text)) === text;
  } catch {
    // A lone surrogate that stands for no byte: exactly what is asked here.
    return false;
  }
}

/** Whether there is no lone surrogate in the text. */
export function isWellFormed(text: string): boolean {
  return !/\p{Cs}/u.test(text);
}

function decode(bytes: Uint8Array, from: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + from, end - from).toString('utf8');
}

/** How long the well-formed sequence is that begins there, by table 3-7 of the Unicode Standard; 0 if none does. */
function sequenceAt(bytes: Uint8Array, at: number): number {
  const first = bytes[at] ?? 0;
  if (first < 0x80) return 1;
  const length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  return length > 0 && at + length <= bytes.length && isUtf8(bytes.subarray(at, at + length)) ? length : 0;
}
