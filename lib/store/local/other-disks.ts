// Other file systems below a receive directory. Nothing is renamed or linked from one to another, so nothing that is
// staged on the disk of the receive directory can get a name on them.
import { readFile, readlink } from 'node:fs/promises';
import { TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import { nameOfBytes } from '../../name-bytes';
import { trace } from '../../trace';
import type { Directory } from './directory';

/**
 * The names below an open directory at which something is mounted, its own disk once more (`mount --bind`) included.
 * None where the system does not tell: only Linux does.
 */
export async function mountsBelow(root: Directory): Promise<ReadonlySet<string>> {
  if (process.platform !== 'linux') return new Set();
  try {
    const path = nameOfBytes(await readlink(root.at('.').replace(/\/\.$/, ''), { encoding: 'buffer' }));
    const above = path === '/' ? path : `${path}/`;
    return new Set(
      nameOfBytes(await readFile('/proc/self/mountinfo'))
        .split('\n')
        .map((line) => unescaped(line.split(' ')[4] ?? ''))
        .filter((point) => point.startsWith(above) && point !== above)
        .map((point) => point.slice(above.length)),
    );
  } catch (error) {
    trace('what is mounted below the receive directory cannot be found out: %o', error);
    return new Set();
  }
}

/** Why nothing is stored under this name: one of `mounts` is above it. */
export function refuseOtherDisk(name: EntryName, mounts: ReadonlySet<string>): TransferError | undefined {
  if (mounts.size === 0) return undefined;
  for (let end = name.lastIndexOf('/'); end > 0; end = name.lastIndexOf('/', end - 1))
    if (mounts.has(name.slice(0, end))) return onOtherDisk(name, name.slice(0, end));
  return undefined;
}

/** The refusal for a name that is on another file system, which is mounted `at` a name, where that is known. */
export function onOtherDisk(name: string, at?: string, cause?: unknown): TransferError {
  const where = at === undefined ? '' : `, which is mounted at ${printable(at)}`;
  return new TransferError(
    'name',
    `${printable(name)} would be on another file system than the receive directory${where}, and was not stored: ` +
      'start another receiver for that one, or unmount it.',
    { hint: '', cause },
  );
}

/** proc(5): a blank, a tab, a line feed and a backslash are octal there. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}
