import { TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import { nameOfBytes } from '../../name-bytes';
import type { Digests } from '../../progress';
import { type DigestName, isDigest } from '../../wire/fields';

const listNames = { sha256: 'SHA256SUMS', md5: 'MD5SUMS', blake3: 'B3SUMS' } as const satisfies Record<
  DigestName,
  string
>;

/**
 * What a snapshot keeps for itself beside its files: no file, and nothing else of a backup, may have one of these names
 * at the top.
 */
export const reservedNames: ReadonlySet<string> = new Set(['MANIFEST', ...Object.values(listNames)]);

/** Whether `name` is, or lies below, one of `reservedNames`. */
export function isReservedName(name: EntryName): boolean {
  const end = name.indexOf('/');
  return reservedNames.has(end === -1 ? name : name.slice(0, end));
}

/**
 * The name of the list in a snapshot that the standard tool of `algorithm` checks: `sha256sum -c SHA256SUMS`, `md5sum`,
 * `b3sum`.
 */
export function checksumListName(algorithm: DigestName): 'SHA256SUMS' | 'MD5SUMS' | 'B3SUMS' {
  return listNames[algorithm];
}

/** One line of a list. */
export interface Checksum {
  /** As it stands in the list, unescaped; relative to the list, and whatever someone wrote there. */
  readonly name: string;
  /** Lower-case hex. */
  readonly digest: string;
}

/**
 * One line as the standard tools write it, its line feed included. A name with a backslash, a line feed or a carriage
 * return has these escaped, and a backslash before the whole line says so. The name `-` is written `./-`, since the
 * tools take it alone for standard input.
 */
export function checksumLine({ name, digest }: Checksum): string {
  const spelled = name === '-' ? './-' : name;
  const escaped = spelled.replace(/[\\\n\r]/g, escapeOf);
  return `${escaped === spelled ? '' : '\\'}${digest}  ${escaped}\n`;
}

/** What an entry of a manifest has to do with a list: a file, or a link to one. */
interface Listed {
  readonly type: string;
  readonly name: string;
  readonly target?: string;
  readonly digests?: Digests;
}

/**
 * The lines of the list beside a manifest, in the order of its entries. A hard link has the digest of the file that it
 * is.
 */
export function* checksumLines(entries: Iterable<Listed>, algorithm: DigestName): Generator<string> {
  const files = new Map<string, string>();
  for (const { type, name, digests } of entries) if (type === 'file') files.set(name, digests?.[algorithm] ?? '');
  for (const { type, name, target = '' } of entries) {
    const digest = type === 'file' ? files.get(name) : type === 'link' ? files.get(target) : undefined;
    if (digest !== undefined) yield checksumLine({ name, digest });
  }
}

/**
 * Reads a list as the standard tools write it, with the marker of `sha256sum -b` or without.
 * @throws TransferError `mismatch` for a line that is of another form or of another algorithm, and for one without its
 * end.
 */
export function parseChecksumList(bytes: Uint8Array, algorithm: DigestName): Checksum[] {
  const lines = nameOfBytes(bytes).split('\n');
  if (lines.pop() !== '') throw damaged(`line ${lines.length + 1} is cut off`);
  return lines.map((line, index) => {
    const [, mark, spelled = '', name] = /^(\\?)([0-9a-fA-F]+) [ *]([^\0\r]+)$/.exec(line) ?? [];
    const digest = spelled.toLowerCase();
    const plain = mark === '' ? name : unescaped(name);
    if (!isDigest(digest, algorithm) || plain === undefined)
      throw damaged(`line ${index + 1} is not a digest and a name`);
    return { name: plain === './-' ? '-' : plain, digest };
  });
}

function escapeOf(character: string): string {
  return character === '\\' ? '\\\\' : character === '\n' ? '\\n' : '\\r';
}

/** What was escaped; undefined for a backslash that `escapeOf` cannot have made. */
function unescaped(name: string | undefined): string | undefined {
  let whole = true;
  const plain = name?.replace(/\\([\\nr]?)/g, (_, letter: string) => {
    whole &&= letter !== '';
    return letter === 'n' ? '\n' : letter === 'r' ? '\r' : letter;
  });
  return whole ? plain : undefined;
}

function damaged(why: string): TransferError {
  return new TransferError('mismatch', `A list of checksums cannot be believed: ${printable(why)}.`, {
    hint: 'The manifest beside it has the same digests.',
  });
}
