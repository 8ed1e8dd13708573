// What is in a receive directory, for who may read it.
import { constants } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
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

/** A path within the directory, '' for itself. Throws `name` for what leads out of it, and for what is ours in there. */
export function pathWithin(text: string): EntryName | '' {
  return text === '' ? '' : parseEntryName(text, { allowHidden: true, names: 'any' });
}

/**
 * Regular files and directories in a directory, by name; links and everything else are left out, and never followed.
 * Rejects with `name`, and `source-unreadable` where there is no such directory.
 */
export async function listFiles(
  directory: string,
  path: string,
): Promise<{ readonly entries: ListedFile[]; readonly more: boolean }> {
  const below = pathWithin(path);
  const { O_DIRECTORY = 0, O_RDONLY } = constants;
  const handle = await openLocated({ path: directory, below }, O_RDONLY | O_DIRECTORY).catch((error: unknown) => {
    throw new TransferError('source-unreadable', 'There is no such directory.', { cause: error });
  });
  try {
    const place = process.platform === 'linux' ? `/proc/self/fd/${String(handle.fd)}` : `${directory}/${below}`;
    const names = (await readdir(place, { encoding: 'buffer' })).map(nameOfBytes).sort();
    const found: ListedFile[] = [];
    for (const name of names) {
      if (found.length >= mostListed) break;
      if (below === '' && name === stagingName) continue;
      const stat = await lstat(Buffer.concat([Buffer.from(`${place}/`), bytesOfName(name)])).catch(
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
    return { entries: found, more: found.length >= mostListed };
  } catch (error) {
    throw asTransferError(error, 'disk', 'The directory cannot be read');
  } finally {
    await handle.close();
  }
}
