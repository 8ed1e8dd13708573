import type { FileDone, TransferEvent, Verified } from '../lib/index';
import type { Role } from './role-hints';
import { leastVerified, verdict } from './results';
import { formatCount, formatDuration, formatSize } from './size';
import type { Terminal } from './terminal';
import { View } from './view';

type Complete = TransferEvent & { event: 'snapshot' };

/** What a backup says: what went wrong as it happens, and at the end the snapshot; single files only with --verbose. */
export class BackupView extends View {
  private least: Verified | null | undefined;
  private complete: Complete | undefined;

  protected override readonly role: Role;
  /** How many entries had no room. */
  private withoutRoom = 0;

  /** `role`: `keeper` where it goes to a directory of this machine. */
  constructor(terminal: Terminal, role: 'sender' | 'keeper') {
    super(terminal, { command: 'receive --from', insecurePlain: false });
    this.role = role;
  }

  protected override fail(event: TransferEvent & { event: 'failed' }): void {
    if (['space', 'quota'].includes(event.code) && event.file_name !== undefined) this.withoutRoom++;
    super.fail(event);
  }

  protected override fileDone(file: FileDone): void {
    this.least = leastVerified(this.least, file.verified);
    if (this.terminal.settings.verbose) this.tellFile(file);
  }

  private roomWords(): string {
    return this.withoutRoom === 0 ? '' : ` (no room for ${this.withoutRoom.toLocaleString('en')})`;
  }

  protected override text(): void {
    // Nothing that is backed up is one.
  }

  protected override snapshotDone(snapshot: Complete): void {
    this.complete = snapshot;
  }

  protected override transferDone({ seconds }: TransferEvent & { event: 'summary' }): void {
    const { complete } = this;
    if (!complete) return;
    const { snapshot, entries, bytes, new_bytes: newBytes, missing } = complete;
    const count = this.terminal.narrow ? '' : `  ${formatCount(entries, 'entry', 'entries')}`;
    this.terminal.result(
      { style: 'bold', text: snapshot },
      `${count}  ${formatSize(bytes)}, ${formatSize(newBytes)} of it new`,
      ...(this.least === undefined ? [] : ['  ', verdict(this.least)]),
      `  ${formatDuration(seconds)}`,
      ...(missing === 0
        ? []
        : ['  ', { style: 'red', text: `${missing.toString()} missing${this.roomWords()}` } as const]),
    );
  }
}
