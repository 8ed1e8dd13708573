// The lines of files in a manifest, as they stand there. What has not changed since goes into the next manifest as the
// line that it was: it is neither taken apart nor made again.
import { isUtf8 } from 'node:buffer';
import type { EntryName } from '../../name';
import type { Digests } from '../../progress';
import type { ContentLocation } from '../../store/object/records';
import { type Metadata, metadataKeys } from '../../wire/metadata';
import { type ManifestFile, modeText, type SourceState } from './manifest-entry';

const fileStart = '{"type":"file","name":"';
/** What follows `"digests":{"ALGORITHM":"` in the line of a file that is kept in an object store. */
const restOfFile =
  /([0-9a-f]+)"\},"ctime":"(-?[0-9]+)","inode":"([0-9]+)","content":"([^"\\]+)","offset":(0|[1-9][0-9]{0,15})(.*)\}$/y;

/** Of a digest, in hexadecimal digits. */
const hexLengths: Readonly<Record<keyof Digests, number>> = { md5: 32, sha256: 64, blake3: 64 };

/** A line of a file, and the name in it. */
export interface NamedLine {
  readonly name: EntryName;
  readonly text: string;
}

/**
 * The line without its line feed, if it is one of a file, as this program writes them, with a name in which nothing is
 * escaped; undefined for every other one, which is to be taken apart.
 */
export function fileLine(line: Uint8Array): NamedLine | undefined {
  if (!isUtf8(line)) return undefined;
  const text = Buffer.from(line.buffer, line.byteOffset, line.length).toString();
  if (!text.startsWith(fileStart)) return undefined;
  const name = text.slice(fileStart.length, text.indexOf('"', fileStart.length));
  return name.includes('\\') ? undefined : { name: name as EntryName, text };
}

/**
 * The digest of `algorithm` in the line of an entry, without taking it apart; undefined where none is seen in it so.
 */
export function digestInLine(text: string, algorithm: keyof Digests): string | undefined {
  // In no string, where each quotation mark would have a backslash before it.
  const mark = `"${algorithm}":"`;
  const at = text.indexOf(mark);
  return at === -1 ? undefined : text.slice(at + mark.length, text.indexOf('"', at + mark.length));
}

/** A file as it was found at its source, before it is read. */
export type UnreadFile = Pick<ManifestFile, 'name' | 'size' | 'mode' | 'mtime' | 'source' | 'metadata'>;

/** A file whose line in the next manifest is what it was in the one before. */
export class UnchangedFile implements ManifestFile {
  readonly type = 'file';
  readonly name: EntryName;
  readonly size: number;
  readonly mode: number;
  readonly mtime: bigint;
  readonly source: SourceState;
  readonly metadata: Metadata | undefined;
  readonly #line: string;

  private constructor(
    found: UnreadFile,
    readonly digests: Digests,
    readonly content: ContentLocation,
    line: string,
  ) {
    this.name = found.name;
    this.size = found.size;
    this.mode = found.mode;
    this.mtime = found.mtime;
    this.source = found.source;
    this.metadata = found.metadata;
    this.#line = line;
  }

  /**
   * The file of a line that `fileLine` gave, if all that the line says beside digest and content is as it was `found`
   * now, letter by letter; undefined for everything else, which may be the same file still.
   */
  static of(line: string, found: UnreadFile, algorithm: keyof Digests): UnchangedFile | undefined {
    const { name, size, mode, mtime, source, metadata } = found;
    const start = `${fileStart}${name}","size":${size},"mode":"${modeText(mode)}","mtime":"${mtime}","digests":{"${algorithm}":"`;
    if (!line.startsWith(start)) return undefined;
    restOfFile.lastIndex = start.length;
    const rest = restOfFile.exec(line);
    if (!rest) return undefined;
    const [, digest = '', ctime, inode, key = '', offset, further] = rest;
    const same = ctime === String(source.ctime) && inode === String(source.inode) && further === furtherText(metadata);
    return same && digest.length === hexLengths[algorithm]
      ? new UnchangedFile(found, { [algorithm]: digest }, { key, offset: Number(offset) }, line)
      : undefined;
  }

  /** Not a property of its own: a copy of this with something changed has none. */
  get line(): string {
    return this.#line;
  }
}

/** What follows the content in a line. */
function furtherText(metadata: Metadata | undefined): string {
  const text = metadata ? JSON.stringify(metadataKeys(metadata)).slice(1, -1) : '';
  return text === '' ? '' : `,${text}`;
}
