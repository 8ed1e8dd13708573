import path from 'node:path';
import { type EntryName, parseEntryName } from '../name';

/** Names that are tried in place of one that is taken. */
const mostNumbers = 10_000;
/** So many of them are compared with what came: reading more would take longer than it is worth. */
const mostCompared = 32;

interface NumberedName {
  readonly name: EntryName;
  /** Without the directory that it is in. */
  readonly base: string;
  /** Whether what is there is to be compared with what came: an earlier transfer may have stored it. */
  readonly isCompared: boolean;
}

/**
 * The names for what does not get its own, in the order in which they are tried: `photo (1).jpg` for `photo.jpg`, and
 * so on. Throws `name` for one that no store takes.
 */
export function* numberedNames(name: string): Generator<NumberedName> {
  const { dir, name: stem, ext } = path.posix.parse(name);
  for (let number = 1; number <= mostNumbers; number++) {
    const base = `${stem} (${String(number)})${ext}`;
    const numbered = parseEntryName(path.posix.join(dir, base), { allowHidden: true, names: 'any' });
    yield { name: numbered, base, isCompared: number <= mostCompared };
  }
}
