// What of the extended attributes of a sender's entries does not travel, counted so that it is said once.
import { printable } from '../name';
import type { TransferEvent } from '../progress';
import type { LeftOut } from '../scan/metadata-reader';

/** Told of each entry, and in the end of all of them: once for each reason. */
export class LeftOutCount {
  private readonly found = new Map<string, { readonly first: string; readonly shown: string; entries: number }>();

  add(name: string, { attribute, reason }: LeftOut): void {
    const found = this.found.get(reason);
    if (found) found.entries++;
    else this.found.set(reason, { first: name, shown: `${name}${attribute ? `, ${attribute}` : ''}`, entries: 1 });
  }

  events(): (TransferEvent & { readonly event: 'lost' })[] {
    return [...this.found].map(([reason, { first, shown, entries }]) => {
      const those =
        entries === 1 ? `of ${printable(shown)}` : `of ${String(entries)} entries (the first: ${printable(shown)})`;
      return {
        event: 'lost',
        what: 'xattrs',
        entries,
        file_name: first,
        message: `Extended attributes ${those} are left out: ${reason}.`,
      };
    });
  }
}
