import { asTransferError, errnoOf } from '../../errors';
import { type EntryName, printable } from '../../name';
import { Directory } from '../../store/local/directory';
import { type LockWords, takeLock } from '../../store/local/lock';
import { openPrivate, removeEmpty, stagingName } from '../../store/local/receive-directory';
import { type Undo, undoAll } from '../../store/local/undo';
import { snapshotsName } from '../register/register';

const mostAttempts = 10;
const releasing = 'The lock of the backup could not be released';

/** A backup that no other process changes until `release`. */
export interface LockedBackup {
  readonly name: EntryName;
  /** The receive directory. */
  readonly root: Directory;
  /** The directory of its snapshots. */
  readonly backupDirectory: Directory;
  /** What is kept for it beside them: `.sendall/snapshots/NAME`. */
  readonly own: Directory;
  /** Unlocks it, and removes the directories of our own that are empty. */
  release(): Promise<void>;
}

/** The words of the refusal while a backup is locked. */
export function lockWordsOf(name: EntryName): LockWords {
  return {
    holder: 'Another run of sendall',
    held: `the backup ${printable(name)}`,
    hint: 'Try again when it is done.',
    path: printable([stagingName, snapshotsName, name, 'lock'].join('/')),
  };
}

/**
 * Locks a backup that has snapshots in the receive directory at `directory`. Rejects with `directory` while another
 * process makes or prunes snapshots of it, and where what is kept there is not ours alone.
 */
export async function lockBackup(directory: string, name: EntryName): Promise<LockedBackup> {
  for (let attempt = 1; ; attempt++) {
    const undo: Undo[] = [];
    try {
      return { ...(await lockStep(directory, name, undo)), release: () => undoAll(undo, releasing) };
    } catch (error) {
      await undoAll(undo, releasing);
      // Whoever was done a moment ago removed the empty directories that we had found.
      if (errnoOf(error) !== 'ENOENT' || attempt === mostAttempts)
        throw asTransferError(error, 'directory', `The backup ${printable(name)} cannot be locked`);
    }
  }
}

/** Adds to `undo` what gives back each thing as soon as it is taken. */
async function lockStep(directory: string, name: EntryName, undo: Undo[]): Promise<Omit<LockedBackup, 'release'>> {
  const opened = async (opening: Promise<Directory>): Promise<Directory> => {
    const found = await opening;
    undo.push(() => found.close());
    return found;
  };
  const ownBelow = async (parent: Directory, each: string): Promise<Directory> => {
    undo.push(() => removeEmpty(parent.at(each)));
    return opened(openPrivate(parent, each));
  };
  const root = await opened(Directory.open(directory, true));
  const backupDirectory = await opened(Directory.open(root.at(name)));
  const own = await ownBelow(await ownBelow(await ownBelow(root, stagingName), snapshotsName), name);
  undo.push(await takeLock(own, lockWordsOf(name)));
  return { name, root, backupDirectory, own };
}
