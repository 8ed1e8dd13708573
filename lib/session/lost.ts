// What of the metadata of a session's entries did not come to be, counted so that it is said once.
import { printable } from '../name';
import type { TransferEvent } from '../progress';
import type { LostPart as Lost } from '../wire/session-list';

const reasons: Readonly<Record<Lost, string>> = {
  mode: 'another mode: the disk does not hold theirs',
  mtime: 'another time: the disk does not hold theirs, or they are not ours',
  special: 'no setuid, setgid or sticky bit: they were not to be given, or could not',
  owner: 'another owner: giving files away is for root, on a disk that has owners',
  xattrs:
    'not all of their ACLs, capabilities and other extended attributes: the disk, or the system, does not take them',
  link: 'a file of its own in place of a hard link: the disk has none, or no more of that file',
};

/** Told of each entry, and in the end of all of them. */
export class LostCount {
  private readonly found = new Map<Lost, { readonly first: string; entries: number }>();

  add(name: string, lost: readonly Lost[] = []): void {
    for (const what of new Set(lost)) {
      const found = this.found.get(what);
      if (found) found.entries++;
      else this.found.set(what, { first: name, entries: 1 });
    }
  }

  /** What was added since it was asked for last. */
  events(): TransferEvent[] {
    const events = [...this.found].map(([what, { first, entries }]): TransferEvent => ({
      event: 'lost',
      what,
      entries,
      file_name: first,
      message: `${entries === 1 ? printable(first) : `${String(entries)} entries (the first: ${printable(first)})`} got ${reasons[what]}.`,
    }));
    this.found.clear();
    return events;
  }
}
