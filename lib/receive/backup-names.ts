import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { TransferError } from '../errors';
import { collationKey, type EntryName, printable } from '../name';
import { stagingName } from '../store/local/receive-directory';

/** Where each backup has a directory of its own, from the moment on that its first snapshot is begun. */
export const snapshotsName = 'snapshots';
/** In there, what a snapshot is made of until it is committed. */
export const stagedName = 'tree';
const snapshotsPath = path.join(stagingName, snapshotsName);
/** A directory that was changed within this time, in ms, may change again without a new time: it is looked at anew. */
const settlesWithin = 100;

/**
 * The names of a receive directory that belong to backups: nothing is received under them but by a backup. One place
 * for both wires (PROTOCOL.md 8.10).
 */
export class BackupNames {
  private names: ReadonlySet<string> = new Set();
  private seen: number | undefined;
  private readonly pathname: string;

  /**
   * `directory` is the path of the receive directory; `foldsNames` says that its disk takes names for one that differ
   * by case or Unicode form.
   */
  constructor(
    directory: string,
    private readonly foldsNames: boolean,
  ) {
    this.pathname = path.join(directory, snapshotsPath);
  }

  /**
   * Learns which names there are by now: other programs begin backups too. Costs one call of the system where nothing
   * has changed.
   */
  look(): void {
    const changed = statSync(this.pathname, { throwIfNoEntry: false })?.mtimeMs;
    if (changed === this.seen && changed === undefined) return;
    if (changed === this.seen && Date.now() - (changed ?? 0) > settlesWithin) return;
    this.seen = changed;
    this.names = new Set(changed === undefined ? [] : readdirSync(this.pathname).map((name) => this.keyOf(name)));
  }

  /** Throws `name` for the name of a backup, and for everything below it. */
  refuse(name: EntryName): void {
    if (this.names.size === 0) return;
    const end = name.indexOf('/');
    const top = end === -1 ? name : name.slice(0, end);
    if (!this.names.has(this.keyOf(top))) return;
    throw new TransferError(
      'name',
      `${printable(top)} is the name of a backup on the receiver, and takes nothing else.`,
      {
        fileName: name,
        hint: 'Send it under another name with --name, or back it up with sendall backup.',
      },
    );
  }

  private keyOf(name: string): string {
    return this.foldsNames ? collationKey(name) : name;
  }
}
