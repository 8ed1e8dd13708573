import { createHash, randomBytes } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { errnoOf } from '../../errors';

/** Which segments of which offer are durable in a partial file. */
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
const version = 1;

/**
 * Writes the journal beside its partial file, in place of the one before. The data must be durable by then: "written after
 * their fsync, with a checksum of its own".
 */
export async function writeJournal(path: string, journal: Journal): Promise<void> {
  const body = `${JSON.stringify({ version, ...journal, mtime: String(journal.mtime), segments: runsOf(journal.segments) })}\n`;
  const draft = `${path}.${randomBytes(8).toString('hex')}.new`;
  try {
    const handle = await open(draft, 'wx', 0o600);
    try {
      await handle.writeFile(`${body}${checksum(body)}\n`);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

/** The journal at `path`; undefined where there is none, or a bad one: "a bad journal is thrown away". */
export async function readJournal(path: string): Promise<Journal | undefined> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  });
  const [, body, sum] = /^([^\n]*\n)([0-9a-f]{64})\n$/.exec(text) ?? [];
  if (body === undefined || sum !== checksum(body)) return undefined;
  const { version: found, peer, name, size, mtime, segments } = JSON.parse(body) as Written;
  if (found !== version) return undefined;
  return { peer, name, size, mtime: BigInt(mtime), segments: segments.flatMap(([first, count]) => Array.from({ length: count }, (_, at) => first + at)) };
}

/** A journal as it is written: the time as a decimal string, and runs of segments. */
interface Written extends Omit<Journal, 'mtime' | 'segments'> {
  readonly version: number;
  readonly mtime: string;
  readonly segments: readonly (readonly [number, number])[];
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
