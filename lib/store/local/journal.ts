import { createHash, randomBytes } from 'node:crypto';
import { type FileHandle, open, readFile, rename, rm } from 'node:fs/promises';
import { errnoOf } from '../../errors';
import { segmentCountOf } from '../../wire/segment';

/**
 * Which segments of which offer are in a partial file. A hint of where to look: what it names is read back, and
 * compared with the source, before any of it is kept.
 */
export interface Journal {
  /** Who sent it: the id of a key. */
  readonly peer: string;
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Of the source, in ns since 1970. */
  readonly mtime: bigint;
  /** The numbers of the segments, ascending. */
  readonly segments: readonly number[];
}

/** Of how a journal is written; one of another version is as good as none. */
const version = 2;

/**
 * Writes a journal beside its partial file, in place of the one before: a head with a checksum of its own, to which
 * `JournalEnd` adds. `durable` where it is to survive a power cut; the data must be by then.
 */
export async function writeJournal(path: string, journal: Journal, durable = true): Promise<void> {
  const body = `${JSON.stringify({ version, ...journal, mtime: String(journal.mtime), segments: runsOf(journal.segments) })}\n`;
  const draft = `${path}.${randomBytes(8).toString('hex')}.new`;
  try {
    const handle = await open(draft, 'wx', 0o600);
    try {
      await handle.writeFile(`${body}${checksum(body)}\n`);
      if (durable) await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

/**
 * The journal at `path`, with what was added to it; undefined where there is none, or its head is bad: "a bad journal
 * is thrown away".
 */
export async function readJournal(path: string): Promise<Journal | undefined> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  });
  const [, body, sum, added = ''] = /^([^\n]*\n)([0-9a-f]{64})\n([^]*)$/.exec(text) ?? [];
  if (body === undefined || sum !== checksum(body)) return undefined;
  const { version: found, peer, name, size, mtime, segments } = JSON.parse(body) as Written;
  if (found !== version) return undefined;
  return {
    peer,
    name,
    size,
    mtime: BigInt(mtime),
    segments: numbersIn([...segments, ...runsAdded(added, segmentCountOf(size))]),
  };
}

/** A journal as it is written: the time as a decimal string, and runs of segments. */
interface Written extends Omit<Journal, 'mtime' | 'segments'> {
  readonly version: number;
  readonly mtime: string;
  readonly segments: readonly (readonly [number, number])[];
}

/** The end of a journal, to which segments are added as they are written, in the order of the calls. */
export class JournalEnd {
  private constructor(private readonly handle: FileHandle) {}

  /** Of the journal that `writeJournal` wrote at `path`. */
  static async of(path: string): Promise<JournalEnd> {
    return new JournalEnd(await open(path, 'a'));
  }

  /** Once this resolves, they survive the end of this process; a power cut only after `sync`. */
  async add(segments: readonly number[]): Promise<void> {
    await this.handle.appendFile(
      runsOf(segments)
        .map(([first, count]) => `${String(first)} ${String(count)}\n`)
        .join(''),
    );
  }

  sync(): Promise<void> {
    return this.handle.datasync();
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}

/** What was added; nothing from the first line on that is not whole, which was being written when the process ended. */
function runsAdded(text: string, most: number): [number, number][] {
  const runs: [number, number][] = [];
  for (const line of text.split('\n').slice(0, -1)) {
    const [, first, count] = /^(\d{1,5}) (\d{1,5})$/.exec(line) ?? [];
    if (first === undefined || count === undefined || Number(first) + Number(count) > most) break;
    runs.push([Number(first), Number(count)]);
  }
  return runs;
}

function numbersIn(runs: readonly (readonly [number, number])[]): number[] {
  const numbers = new Set(runs.flatMap(([first, count]) => Array.from({ length: count }, (_, at) => first + at)));
  return [...numbers].sort((a, b) => a - b);
}

/** `[0, 1, 2, 7]` as `[[0, 3], [7, 1]]`. */
export function runsOf(numbers: readonly number[]): [number, number][] {
  const runs: [number, number][] = [];
  for (const number of numbers) {
    const last = runs.at(-1);
    if (last && last[0] + last[1] === number) last[1]++;
    else runs.push([number, 1]);
  }
  return runs;
}

function checksum(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}
