import type { FileDone, TransferEvent, Verified } from '../lib/index';
import { type HookFailed, hookWords } from './hook-failed';
import { invitationLines, invites, quoted } from './invitation';
import type { Invitation } from './invitation';
import { ProgressBar } from './progress-bar';
import type { Progress } from './progress-bar';
import { ProgressLines } from './progress-lines';
import { fileLine, heldBack, leastVerified, summaryLine } from './results';
import { formatSize } from './size';
import type { Piece, Terminal } from './terminal';

/** Up to this many files are listed one by one in the result of a sender. */
const few = 8;

/** What of a listener's invitation the command knows; the rest comes with the event. */
export type InvitationOf = Pick<Invitation, 'command' | 'insecurePlain' | 'plain'>;

/** Turns the events of one command into words: what both roles have in common. */
export abstract class View {
  private readonly progress: Progress;
  protected skipped = 0;
  protected failed: string[] = [];

  constructor(
    protected readonly terminal: Terminal,
    private readonly invitation: InvitationOf,
  ) {
    this.progress = terminal.drawsBars ? new ProgressBar(terminal) : new ProgressLines(terminal);
  }

  show(event: TransferEvent | HookFailed): void {
    switch (event.event) {
      case 'listening':
        this.invite({ ...this.invitation, address: event.address }, event.ticket);
        break;
      case 'sent':
      case 'received':
        this.fileDone(event);
        break;
      case 'text':
        this.text(event.text);
        break;
      case 'skipped':
        this.skipped += 1;
        this.terminal.say({ style: 'bold', text: event.file_name }, `  skipped: ${event.reason}`);
        break;
      case 'failed':
        this.failed.push(sentence(event));
        if (event.code !== 'interrupted') this.terminal.complain(sentence(event), event.hint); // whoever interrupted knows
        break;
      case 'hook-failed':
        this.terminal.complain(hookWords(event));
        return;
      case 'snapshot':
        this.snapshotDone(event);
        return;
      case 'summary':
        this.progress.show(event);
        this.transferDone(event);
        return;
      case 'started':
      case 'progress':
      case 'damaged':
      case 'foreign':
      case 'drill':
      case 'repaired':
        break;
    }
    this.progress.show(event);
  }

  /** Takes everything temporary off the screen. */
  close(): void {
    this.progress.stop();
  }

  protected abstract fileDone(file: FileDone): void;
  protected abstract text(text: string): void;
  /** A snapshot is complete. */
  protected snapshotDone({ snapshot, bytes, new_bytes: newBytes }: TransferEvent & { event: 'snapshot' }): void {
    this.terminal.result({ style: 'bold', text: snapshot }, `  ${formatSize(bytes)}, ${formatSize(newBytes)} of it new  complete`);
  }

  protected tellFile(file: FileDone): void {
    this.terminal.say(...fileLine(file, this.detail('short')));
  }

  protected abstract transferDone(summary: TransferEvent & { event: 'summary' }): void;

  /** How much to tell of a file: everything with --verbose. */
  protected detail<Otherwise extends 'short' | 'usual'>(otherwise: Otherwise): Otherwise | 'exact' {
    return this.terminal.settings.verbose ? 'exact' : otherwise;
  }

  private invite(invitation: Invitation, ticket: string): void {
    this.terminal.say(`Listening on ${invitation.address}. On the other machine:`);
    this.terminal.say('    ', { style: 'bold', text: `sendall ${invitation.command} ${quoted(ticket)}` });
    if (invitation.plain === false) return;
    this.terminal.say(where[invites(invitation)]);
    for (const line of invitationLines(invitation)) this.terminal.say('    ', { style: 'bold', text: line });
  }
}

const where = {
  others: 'Without encryption, from any machine:',
  'this machine': 'Without encryption, on this machine only, by the same user or root:',
  loopback: 'Without encryption, on this machine, by the same user or root:',
};

/** Messages that do not name their file by themselves get it in front. */
function sentence({ file_name: name, message }: TransferEvent & { event: 'failed' }): string {
  return name === undefined || message.includes(name) ? message : `${name}: ${message}`;
}

/** What a sender says: results at the end, and lines for the single files on the way if they turn out to be many. */
export class SenderView extends View {
  private readonly held: FileDone[] = [];
  private many = false;
  private least: Verified | null | undefined;

  protected override fileDone(file: FileDone): void {
    this.least = this.least === undefined ? file.verified : leastVerified([file, { ...file, verified: this.least }]);
    if (this.many) return this.tellFile(file);
    this.held.push(file);
    if (this.held.length <= few) return;
    this.many = true;
    for (const each of this.held.splice(0)) this.tellFile(each);
  }

  protected override transferDone(summary: TransferEvent & { event: 'summary' }): void {
    const whole = summaryLine({ summary, verified: this.least, skipped: this.skipped, failed: this.failed.length });
    const [first, ...others] = this.held;
    if (first && others.length === 0 && this.failed.length === 0 && this.skipped === 0) {
      this.print(first, heldBack(summary));
      return;
    }
    for (const file of this.held) this.print(file);
    if (this.many || this.held.length + this.failed.length + this.skipped > 1) this.terminal.result(...whole);
    if (this.many && this.terminal.drawsBars) for (const failure of this.failed) this.terminal.complain(failure); // scrolled away by now
  }

  protected override text(text: string): void {
    this.terminal.result(`text of ${String(text.length)} characters  `, { style: 'green', text: 'received' });
  }

  private print(file: FileDone, ...more: Piece[]): void {
    this.terminal.result(...fileLine(file, this.detail('usual')), ...more);
  }
}

/** What a receiver says: each file when it is there, since there may be no end. */
export class ReceiverView extends View {
  private files = 0;
  private least: Verified | null | undefined;

  protected override fileDone(file: FileDone): void {
    this.files += 1;
    this.least = this.least === undefined ? file.verified : leastVerified([file, { ...file, verified: this.least }]);
    this.terminal.result(...fileLine(file, this.detail('usual')));
  }

  /** What somebody else wrote: on its own line, escaped, and marked as such. */
  protected override text(text: string): void {
    this.terminal.result({ style: 'dim', text: 'text: ' }, text);
  }

  protected override transferDone(summary: TransferEvent & { event: 'summary' }): void {
    if (this.files + this.failed.length + this.skipped > 1) {
      this.terminal.say(...summaryLine({ summary, verified: this.least, skipped: this.skipped, failed: this.failed.length }));
    }
    this.files = this.skipped = 0;
    this.failed = [];
    this.least = undefined;
  }
}
