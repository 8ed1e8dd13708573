import { TransferError } from './errors';
import { bytesOfName, isSoundName, isWellFormed } from './name-bytes';

declare const brand: unique symbol;

/**
 * A relative path with `/` between its components that is safe to create below a directory. Only `parseEntryName` makes
 * one.
 */
export type EntryName = string & { readonly [brand]: true };

/** `any`: every name that a disk of Unix can hold; `portable`: those that every system can. */
export type NamesTaken = 'any' | 'portable';

export interface NameRules {
  /** Default `portable`. */
  readonly names?: NamesTaken | undefined;
  /** Also take components that start with a dot; `.`, `..` and the staging directory stay refused. Default false. */
  readonly allowHidden?: boolean;
}

const longestComponent = 255; // UTF-8 bytes: what most disks take
const longestName = 4096; // UTF-8 bytes: Linux's PATH_MAX
const longestUnit = 3; // UTF-8 bytes that one unit of UTF-16 becomes at most

/** A byte that is no UTF-8, as `nameOfBytes` has it. */
const strayByte = /[\uDC80-\uDCFF]/u;

/** What no name may contain, wherever it stands. */
const refusedCharacters: readonly (readonly [RegExp, string])[] = [
  [/\p{Cc}/u, 'a control character'], // C0, DEL, C1: NUL, line feed, escape, …
  [/\p{Bidi_Control}/u, 'a character that changes the direction of text'],
  [/[\p{Zl}\p{Zp}]/u, 'a line separator'],
  [/\p{Cs}/u, 'half of a surrogate pair'],
  [/\\/u, 'a backslash'],
  [/:/u, 'a colon'],
];

/** What no disk takes in a name. */
const refusedAnywhere: readonly (readonly [RegExp, string])[] = [[/\0/u, 'a control character']];

/** Names of nothing but these contain none of them: nearly all names are such, and one look finds out. */
const harmless = /^[ -9;-[\]-~]+$/;

/** The stem ends at the first dot, and Windows ignores spaces before it: `nul .tar.gz` is the device NUL as well. */
const deviceName = /^(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\.|$)/i;

/** What Windows' 8.3 short names make of the staging directory's name. */
const shortStagingName = /^sendal~[0-9]+$/i;
/** The staging directory's name in ASCII, which folds by case alone. */
const plainStagingName = /^(?:\.sendall|sendal~[0-9]+)$/i;

/**
 * Turns hostile text into a name that may be created below a directory; unless `names` is `any`, on every system alike.
 *
 * `/` separates, leading slashes are dropped. Refused with `TransferError('name')`: an empty name or component, `.` and
 * `..`, a trailing slash, over 255 UTF-8 bytes a component or 4,096 in all, control and escape characters, marks and
 * overrides of text direction, line separators, lone surrogates, backslash, `:`, trailing dots and spaces, Windows
 * device names with any extension, the staging directory `.sendall` however it is spelled, and components that start
 * with a dot unless `allowHidden`.
 *
 * With `any`, bytes that are not UTF-8 are lone surrogates as `nameOfBytes` makes them, and only these are refused: an
 * empty name or component, `.` and `..`, a trailing slash, the same lengths in bytes, NUL, other lone surrogates, the
 * staging directory, and components that start with a dot unless `allowHidden`. PROTOCOL.md 8.3 and 8.7.
 *
 * Windows refuses `*`, `?`, `"`, `<`, `>` and `|` too. They stay allowed: no system takes them for anything else than a
 * character, so such a file merely cannot be created there, whereas refusing them would keep files of everyone else
 * from being sent.
 */
export function parseEntryName(text: string, rules: NameRules = {}): EntryName {
  const name = text.startsWith('/') ? text.replace(/^\/+/, '') : text;
  if (name === '') throw refusal(text, 'names no file');
  const isHarmless = harmless.test(name);
  if (!isHarmless && rules.names === 'any' && !isSoundName(name))
    throw refusal(text, 'contains half of a surrogate pair');
  if (isLonger(name, longestName)) throw refusal(text, `is longer than ${longestName} bytes`);
  if (!isHarmless) refuseCharacters(text, name, rules.names === 'any' ? refusedAnywhere : refusedCharacters);
  if (name.endsWith('/')) throw refusal(text, 'ends in a slash');
  // An offer has thousands of names: nothing is made for each but its components.
  for (let from = 0, end = 0; end < name.length; from = end + 1) {
    const slash = name.indexOf('/', from);
    end = slash === -1 ? name.length : slash;
    const flaw = flawOf(name.slice(from, end), rules);
    if (flaw !== undefined) throw refusal(text, flaw);
  }
  return name as EntryName;
}

function refuseCharacters(text: string, name: string, refused: typeof refusedCharacters): void {
  const stray = refused === refusedCharacters ? strayByte.exec(name)?.[0] : undefined;
  if (stray !== undefined)
    throw refusal(
      text,
      `contains the byte ${(stray.charCodeAt(0) & 0xff).toString(16).toUpperCase()}, which is no UTF-8`,
      {
        hint: 'With a ticket every name goes, unless the receiver has --names portable; or rename it on the sending side.',
      },
    );
  for (const [pattern, what] of refused) {
    const found = pattern.exec(name);
    if (found) throw refusal(text, `contains ${what} (${codePoint(found[0])})`);
  }
}

function flawOf(component: string, rules: NameRules): string | undefined {
  if (component === '') return 'has an empty component';
  if (component === '.') return 'has a component "."';
  if (component === '..') return 'has a component "..", which would leave the directory';
  if (isLonger(component, longestComponent)) return `has a component of more than ${longestComponent} bytes`;
  if (isStagingName(component)) return `has a component "${component}", which sendall keeps for itself`;
  if (rules.names !== 'any') {
    if (component.endsWith('.')) return 'has a component that ends in a dot';
    if (component.endsWith(' ')) return 'has a component that ends in a space';
    if (deviceName.test(component)) return `has a component "${component}", which is a device on Windows`;
  }
  if (component.startsWith('.') && rules.allowHidden !== true) return `has a component "${component}", which is hidden`;
  return undefined;
}

/** `text` in at most `most` bytes, by default those of the longest name: of a longer one its beginning and its end. */
export function shortened(text: string, most: number = longestName): string {
  if (!isLonger(text, most)) return text;
  const half = Math.floor((most / longestUnit - 1) / 2);
  const [begin, end] = [text.slice(0, half), text.slice(-half)];
  // No half of a surrogate pair is left of one that is cut.
  return `${begin.replace(/[\uD800-\uDBFF]$/, '')}…${end.replace(/^[\uDC00-\uDFFF]/, '')}`;
}

/** Whether it has more than `most` bytes on a disk. */
function isLonger(text: string, most: number): boolean {
  if (text.length * longestUnit <= most) return false;
  return (isWellFormed(text) || !isSoundName(text) ? Buffer.byteLength(text) : bytesOfName(text).length) > most;
}

/** Compatibility forms count here (`.ｓendall`): nobody needs such a name, and some disk may fold it. */
function isStagingName(component: string): boolean {
  // ASCII folds by case alone; trees are full of it, and the long way takes longer than all other rules together.
  if (/^[ -~]*$/.test(component)) return plainStagingName.test(component);
  return collationKey(component.normalize('NFKC')) === stagingKey || shortStagingName.test(component);
}

function refusal(text: string, flaw: string, about: { readonly hint?: string } = {}): TransferError {
  const characters = [...text.slice(0, 200)];
  const shown = text.length > 200 || characters.length > 100 ? `${characters.slice(0, 100).join('')}…` : text;
  return new TransferError('name', printable(`The name "${shown}" ${flaw}.`), about);
}

/**
 * Names with equal keys may be one and the same file on a disk that folds case or Unicode form.
 *
 * This is Unicode's canonical caseless match (The Unicode Standard, 3.13, D145): NFD, full case folding, NFD, and
 * without the characters that are ignorable by default, which is how ext4 and f2fs with case folding, APFS and HFS+
 * compare, give or take; NTFS, FAT and exFAT fold less. Not NFKC: only ZFS can be told to fold `x²` to `x2` or `①` to
 * `1`, and everywhere else these are two files. The key is for comparing only; its form may change between versions.
 */
export function collationKey(name: string): string {
  return name
    .normalize('NFD')
    .replace(/\p{Default_Ignorable_Code_Point}+/gu, '')
    .replace(/[^ı]+/g, foldCase)
    .normalize('NFD');
}

/**
 * Lower case unites K (Kelvin) and ẞ with k and ß; upper case then ſ, ς and ß with s, σ and ss. Dotless ı alone folds
 * to itself.
 */
function foldCase(text: string): string {
  return text.toLowerCase().toUpperCase();
}

const stagingKey = collationKey('.sendall');

/**
 * Text that a terminal or a log shows in one line as it is: control and escape characters, line separators, marks and
 * overrides of text direction and lone surrogates become `\u` and four hexadecimal digits. Printable text, backslashes
 * included, is left alone, so that doing it twice does no harm.
 */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}\p{Cs}]/gu, (character) => `\\u${hex(character)}`);
}

function codePoint(character: string): string {
  return `U+${hex(character).toUpperCase()}`;
}

/** Everything that is escaped or refused lies in the basic plane, where four digits are enough. */
function hex(character: string): string {
  return character.charCodeAt(0).toString(16).padStart(4, '0');
}
