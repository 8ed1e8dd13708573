// What is in a receive directory, for who may read it.
import { constants } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { asTransferError, TransferError } from '../errors';
import { type EntryName, parseEntryName } from '../name';
import { bytesOfName, nameOfBytes } from '../name-bytes';
import { stagingName } from '../store/local/receive-directory';
import { openLocated } from '../threads/walker';
import { ignored } from '../trace';

/** What a page is told of something in a directory. */
export interface ListedFile {
  readonly name: string;
  readonly type: 'file' | 'directory';
  readonly size: number;
  /** In ms since 1970. */
  readonly mtime: number;
}

const mostListed = 2_000;
/** Entries of a directory that are read in one go. */
const readAtOnce = 512;

/**
 * A path within the directory, '' for itself. Throws `name` for what leads out of it, and for what is ours in there.
 */
export function pathWithin(text: string): EntryName | '' {
  return text === '' ? '' : parseEntryName(text, { allowHidden: true, names: 'any' });
}

/**
 * Regular files and directories in a directory, the first 2,000 by name; links and everything else are left out, and
 * never followed. Rejects with `name`, with `source-unreadable` where there is no such directory, and with
 * `connection-lost` once `gone` is true of whoever has asked.
 */
export async function listFiles(
  directory: string,
  path: string,
  gone: () => boolean,
): Promise<{ readonly entries: ListedFile[]; readonly more: boolean }> {
  const below = pathWithin(path);
  const { O_DIRECTORY = 0, O_RDONLY } = constants;
  const handle = await openLocated({ path: directory, below }, O_RDONLY | O_DIRECTORY).catch((error: unknown) => {
    throw new TransferError('source-unreadable', 'There is no such directory.', { cause: error });
  });
  try {
    const pathname = process.platform === 'linux' ? `/proc/self/fd/${String(handle.fd)}` : `${directory}/${below}`;
    const names = await firstNames(pathname, below === '' ? stagingName : undefined, gone);
    const found: ListedFile[] = [];
    for (const name of names.slice(0, mostListed)) {
      if (gone()) throw hungUp();
      const stat = await lstat(Buffer.concat([Buffer.from(`${pathname}/`), bytesOfName(name)])).catch(
        ignored('gone since'),
      );
      if (stat?.isFile() === true || stat?.isDirectory() === true)
        found.push({
          name,
          type: stat.isFile() ? 'file' : 'directory',
          size: stat.isFile() ? stat.size : 0,
          mtime: Math.trunc(stat.mtimeMs),
        });
    }
    return { entries: found, more: names.length > mostListed };
  } catch (error) {
    throw asTransferError(error, 'disk', 'The directory cannot be read');
  } finally {
    await handle.close();
  }
}

/**
 * The first names of a directory, one more than are listed, without `left`: however many there are, only so many are in
 * memory, and sorted, at a time.
 */
async function firstNames(pathname: string, left: string | undefined, gone: () => boolean): Promise<string[]> {
  let names: string[] = [];
  // One letter for each byte.
  for await (const entry of await opendir(pathname, { encoding: 'latin1', bufferSize: readAtOnce })) {
    if (entry.isSymbolicLink()) continue;
    const name = nameOfBytes(Buffer.from(entry.name, 'latin1'));
    if (name === left) continue;
    if (names.push(name) < 2 * mostListed) continue;
    if (gone()) throw hungUp();
    names = names.sort().slice(0, mostListed + 1);
  }
  return names.sort().slice(0, mostListed + 1);
}

function hungUp(): TransferError {
  return new TransferError('connection-lost', 'Whoever has asked has hung up.');
}
