import { isUtf8 } from 'node:buffer';
import { type Dirent, readdirSync, readlinkSync } from 'node:fs';

// On the disks of Unix a name is bytes. Node decodes them as UTF-8 and puts U+FFFD for what is wrong, which is another name.

/** An entry whose name is not UTF-8. */
export interface BrokenEntry {
  /** The name with `\xff` and the like for all that is not ASCII. */
  readonly escaped: string;
  /** The name with U+FFFD for what is wrong in it. */
  readonly lossy: string;
  readonly isDirectory: boolean;
}

export interface DirectoryContent {
  /** By the code units of their names. */
  readonly sound: readonly Dirent[];
  readonly broken: readonly BrokenEntry[];
}

/** What is in a directory. Throws the errors of the operating system. */
export function readDirectory(place: string): DirectoryContent {
  const entries = readdirSync(place, { withFileTypes: true }).sort((a, b) => compare(a.name, b.name));
  // Names as bytes cost more, and are needed only where something is wrong in one.
  if (!entries.some(({ name }) => name.includes('\ufffd'))) return { sound: entries, broken: [] };
  const raw = readdirSync(place, { withFileTypes: true, encoding: 'buffer' }) as unknown as readonly (Omit<Dirent, 'name'> & { readonly name: Buffer })[];
  const sound = new Set(raw.filter(({ name }) => isUtf8(name)).map(({ name }) => name.toString()));
  const broken = raw
    .filter(({ name }) => !isUtf8(name))
    .map((entry) => ({ escaped: escape(entry.name), lossy: entry.name.toString(), isDirectory: entry.isDirectory() }));
  // A broken name may look like a sound one: each of those is taken once.
  return { sound: entries.filter(({ name }) => sound.delete(name)), broken: broken.sort((a, b) => compare(a.escaped, b.escaped)) };
}

/** Where a symbolic link points; escaped like a name where that is not text. Throws the errors of the operating system. */
export function readTarget(path: string): { readonly text: string; readonly isText: boolean } {
  const target = readlinkSync(path, { encoding: 'buffer' });
  const isText = isUtf8(target);
  return { text: isText ? target.toString() : escape(target), isText };
}

function compare(a: string, b: string): number {
  return a < b ? -1 : 1;
}

function escape(bytes: Buffer): string {
  return bytes.toString('latin1').replace(/[\x80-\xff]/g, (character) => `\\x${character.charCodeAt(0).toString(16)}`);
}
