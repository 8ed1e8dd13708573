import type { FileDone, TransferEvent, Verified } from '../lib/index';
import { type HookFailed, hookWords } from './hook-failed';
import { codeLine, invitationLines, invites, isLocal, quoted, waitsAtRelay } from './invitation';
import type { Invitation } from './invitation';
import { ProgressBar } from './progress-bar';
import type { Progress } from './progress-bar';
import { ProgressLines } from './progress-lines';
import { addAlready, fileLine, heldBack, leastVerified, shrunkSentence, type Side, summaryLine } from './results';
import { type Failed, Failures, reasonOfLoss, sentenceOf } from './failures';
import { cutShort, goingOn, receiverGoesOn, type ReceiverMeets, type SenderReaches } from './going-on';
import { type Role, roleHint } from './role-hints';
import { formatDuration, formatSize } from './size';
import type { Piece, Terminal } from './terminal';

/** Up to this many files are listed one by one in the result of a sender. */
const few = 8;

/** What of a listener's invitation the command knows; the rest comes with the event. */
export type InvitationOf = Pick<Invitation, 'command' | 'insecurePlain' | 'plain' | 'qr'>;

/** A file as an event tells of it. */
type FileOfEvent = FileDone & { readonly id?: string; readonly directory?: string };

type FailedAt = Pick<Failed, 'code' | 'file_name'> & { readonly hint?: string | undefined };

/** Turns the events of one command into words: what both roles have in common. */
export abstract class View {
  private readonly progress: Progress;
  protected readonly role: Role = 'sender';
  /** Of a receiver. */
  protected readonly meets: ReceiverMeets = 'listens';
  protected skipped = 0;
  protected already = { files: 0, bytes: 0 };
  protected readonly failures = new Failures();

  constructor(
    protected readonly terminal: Terminal,
    private readonly invitation: InvitationOf,
  ) {
    this.progress = terminal.drawsBars ? new ProgressBar(terminal) : new ProgressLines(terminal);
  }

  show(event: TransferEvent | HookFailed): void {
    switch (event.event) {
      case 'listening':
        this.invite({ ...this.invitation, ...event }, event.ticket);
        break;
      case 'web':
        this.terminal.say('In a browser:');
        this.terminal.say('    ', { style: 'bold', text: event.url });
        if (event.certificate_sha256 !== undefined) this.fingerprint(event.certificate_sha256);
        this.drawPage(event.url);
        break;
      case 'sent':
      case 'received':
        this.already = addAlready(this.already, event);
        if (event.source_grew) this.tellGrown(event);
        this.fileDone(event);
        break;
      case 'text':
        this.text(event.text);
        break;
      case 'skipped':
        this.skipped += 1;
        if (this.skipped <= few || this.terminal.settings.verbose)
          this.terminal.say({ style: 'bold', text: event.file_name }, `  skipped: ${event.reason}`);
        break;
      case 'lost':
        this.terminal.complain(event.message);
        break;
      case 'failed':
        this.fail(event);
        break;
      case 'connection':
        this.connectionChanged(event);
        break;
      case 'hook-failed':
        this.terminal.complain(hookWords(event));
        return;
      case 'snapshot':
        this.snapshotDone(event);
        return;
      case 'shrunk':
        this.terminal.complain(shrunkSentence(event));
        return;
      case 'summary':
        this.progress.show(event);
        this.failures.tellRest(this.terminal);
        this.transferDone(event);
        this.failures.forget();
        this.skipped = 0;
        this.already = { files: 0, bytes: 0 };
        return;
      case 'started':
        if (event.resumed !== undefined) this.resumed(event.file_name, event.resumed, event.file_size);
        break;
      case 'progress':
      case 'damaged':
      case 'foreign':
      case 'drill':
      case 'repaired':
        break;
    }
    this.progress.show(event);
  }

  /** As browsers show it, in two lines. */
  private fingerprint(sha256: string): void {
    this.terminal.say('The browser warns of its certificate, which nobody vouches for.');
    this.terminal.say('Go on only where it shows this SHA-256 fingerprint:');
    const pairs = sha256.toUpperCase().match(/../g) ?? [];
    for (const half of [pairs.slice(0, 16), pairs.slice(16)]) this.terminal.say('    ', half.join(':'));
  }

  /** Takes everything temporary off the screen. */
  close(): void {
    this.progress.close();
    this.failures.tellRest(this.terminal);
  }

  /** Tells of a failure; of those of one kind only the first few, and how many there were at the end. */
  protected fail(event: Failed): void {
    if (event.code === 'interrupted') return; // whoever interrupted knows
    const isReported = this.failures.take(event) || this.terminal.settings.verbose;
    if (isReported) this.terminal.complain(sentenceOf(event), this.hintFor(event));
  }

  /** Which side of a transfer this command is on. */
  protected get side(): Side {
    return this.role === 'receiver' || this.role === 'restorer' ? 'receiver' : 'sender';
  }

  /** What helps against a failure, for the role of this command. */
  hintFor({ code, hint, file_name: file }: FailedAt): string | undefined {
    return roleHint(this.role, { code, hint, file, meets: this.meets });
  }

  /** A file goes on where an earlier try ended. */
  private resumed(name: string, bytes: number, size: number): void {
    this.terminal.say(
      { style: 'bold', text: name },
      `  goes on after ${formatSize(bytes)} of ${formatSize(size)} that came by an earlier try`,
    );
  }

  protected connectionChanged(event: TransferEvent & { event: 'connection' }): void {
    if (event.state === 'back') this.terminal.say('The connection is there again; going on.');
    else
      this.terminal.say(
        { style: 'yellow', text: `Connection lost, trying again for ${formatDuration(event.retry_for)}.` },
        reasonOfLoss(event.message),
      );
  }

  protected abstract fileDone(file: FileOfEvent): void;
  protected abstract text(text: string): void;
  /** A snapshot is complete. */
  protected snapshotDone({ snapshot, bytes, new_bytes: newBytes }: TransferEvent & { event: 'snapshot' }): void {
    this.terminal.result(
      { style: 'bold', text: snapshot },
      `  ${formatSize(bytes)}, ${formatSize(newBytes)} of it new  complete`,
    );
  }

  /** A file and what follows it, without digests where the terminal is narrow. */
  protected lineOf(file: FileDone, more: readonly Piece[] = []): Piece[] {
    return [...fileLine(file, this.detail(this.terminal.narrow ? 'short' : 'usual')), ...more];
  }

  protected tellFile(file: FileDone): void {
    this.terminal.say(...fileLine(file, this.detail('short')));
  }

  protected tellRoute({ route }: TransferEvent & { event: 'summary' }): void {
    if (route !== undefined) this.terminal.say(`through the ${route}`);
  }

  private tellGrown({ file_name: name, file_size: size }: FileDone): void {
    const [amount, style] = [formatSize(size), 'bold'] as const;
    this.terminal.say({ style, text: name }, ` grew while it was read: its first ${amount} were taken.`);
  }

  protected abstract transferDone(summary: TransferEvent & { event: 'summary' }): void;

  /** How much to tell of a file: everything with --verbose. */
  protected detail<Otherwise extends 'short' | 'usual'>(otherwise: Otherwise): Otherwise | 'exact' {
    return this.terminal.settings.verbose ? 'exact' : otherwise;
  }

  private invite(invitation: Invitation, ticket: string): void {
    const { address, addresses } = invitation;
    const relayed = waitsAtRelay(ticket);
    const here = invites(invitation) === 'loopback' && !relayed;
    this.terminal.say(`Listening on ${address}. On ${here ? 'this' : 'the other'} machine:`);
    if (invitation.code !== undefined) {
      if (!here) this.terminal.say('    ', { style: 'bold', text: codeLine({ ...invitation, addresses: [] }, ticket) });
      if (!here && !relayed) this.terminal.say('or, where that does not find this machine:');
      if (!relayed) this.terminal.say('    ', { style: 'bold', text: codeLine(invitation) });
      this.terminal.say('That code is good once, and for 15 minutes. As long as this command runs:');
    }
    this.terminal.say('    ', { style: 'bold', text: `sendall ${invitation.command} ${quoted(ticket)}` });
    if (invitation.qr === 'ticket') this.draw(({ ticketAsQr }, rows) => ticketAsQr(ticket, rows));
    if (!here)
      this.terminal.say(
        {
          style: 'dim',
          text: `That finds this machine at ${addresses.map((each) => each.replace('tcp://', '')).join(', ')}`,
        },
        {
          style: 'dim',
          text: ` (--address HOST for another), if a firewall lets it in${relayed ? ', or at the relay' : ''}.`,
        },
      );
    if (invitation.plain === false || invitation.code !== undefined) return;
    this.terminal.say(where[invites(invitation)]);
    for (const line of invitationLines(invitation)) this.terminal.say('    ', { style: 'bold', text: line });
  }

  /** For a phone: where nobody asked for it, only what reaches this machine from another, and fits. */
  private drawPage(url: string): void {
    const { terminal } = this;
    if (this.invitation.qr === 'page') return this.draw(({ asQr }) => asQr(url));
    if (!terminal.drawsBars || terminal.isAscii || isLocal(new URL(url).hostname)) return;
    const { columns = Infinity, rows = Infinity } = terminal.size;
    const { asQr } = require('./qr') as typeof import('./qr');
    const lines = asQr(url);
    if ((lines[0]?.length ?? 0) <= columns && lines.length < rows) this.draw(() => lines);
  }

  private draw(code: (qr: typeof import('./qr'), rows: number) => readonly string[]): void {
    const { columns = Infinity, rows = Infinity } = this.terminal.size;
    const lines = code(require('./qr') as typeof import('./qr'), rows);
    if (this.terminal.isAscii)
      this.terminal.say('This terminal shows no QR code: it takes ASCII alone, by its locale or its TERM.');
    else if ((lines[0]?.length ?? 0) > columns) this.terminal.say('This terminal is too narrow for the QR code.');
    else for (const text of lines) this.terminal.say({ style: ['whiteBright', 'bgBlack'], text });
  }
}

const where = {
  others: 'Without encryption, from any machine:',
  'this machine': 'Without encryption, on this machine only, by the same user or root:',
  loopback: 'Without encryption, on this machine, by the same user or root:',
};

/** Of a transfer in which there was no file. */
function noFiles({ seconds }: TransferEvent & { event: 'summary' }): Piece[] {
  return [{ style: 'bold', text: 'no files' }, `  directories and links only, stored  ${formatDuration(seconds)}`];
}

/** What a sender says: results at the end, and lines for the single files on the way if they turn out to be many. */
export class SenderView extends View {
  private readonly held: FileDone[] = [];
  private many = false;
  private least: Verified | null | undefined;
  /** What ended the transfer before its end. */
  private ending: Failed | undefined;
  /** Whether something was said of this transfer that is no file: a failure, or a text. */
  private saysMore = false;
  /** Whether the connection is lost, and the other side looked for. */
  protected isAway = false;

  /**
   * `receiver` is what people call the other side; undefined where there is none with a directory. What that is called
   * there it tells nobody (SECURITY.md).
   */
  constructor(
    terminal: Terminal,
    invitation: InvitationOf,
    private readonly receiver?: string,
    private readonly reaches: SenderReaches = 'lasts',
  ) {
    super(terminal, invitation);
  }

  protected override fileDone(file: FileDone): void {
    this.least = leastVerified(this.least, file.verified);
    if (this.terminal.settings.verbose && this.many) return this.tellFile(file);
    if (this.many) return;
    this.held.push(file);
    if (this.held.length <= few) return;
    this.many = true;
    const held = this.held.splice(0);
    if (this.terminal.settings.verbose) for (const each of held) this.tellFile(each);
  }

  protected override fail(event: Failed): void {
    this.saysMore = true;
    if (event.code === 'interrupted') this.ending = event;
    if (event.file_name !== undefined || !cutShort.has(event.code)) return super.fail(event);
    this.ending = event;
    // What to do about it is said after the sum.
    const { event: name, code, message } = event;
    super.fail({ event: name, code, message });
  }

  protected override connectionChanged(event: TransferEvent & { event: 'connection' }): void {
    this.isAway = event.state === 'lost';
    super.connectionChanged(event);
  }

  protected override transferDone(summary: TransferEvent & { event: 'summary' }): void {
    this.tellRoute(summary);
    if (this.terminal.settings.verbose && summary.congestion !== undefined)
      this.terminal.say(`congestion control: ${summary.congestion}`);
    const whole = summaryLine({
      summary,
      verified: this.least,
      skipped: this.skipped,
      failed: this.failures.count,
      already: this.already,
      side: this.side,
    });
    const [first, ...others] = this.held;
    if (first && others.length === 0 && this.failures.count === 0 && this.skipped === 0 && !this.ending) {
      this.print(first, heldBack(summary, this.side), ...this.whereOfOne());
      return;
    }
    for (const file of this.held) this.print(file);
    if (!first && !this.many && !this.saysMore)
      this.terminal.result(
        ...(this.skipped === 0 && this.role !== 'exporter' ? noFiles(summary) : whole),
        ...this.where(),
      );
    else if (this.many || this.held.length + this.failures.count + this.skipped > 1)
      this.terminal.result(...whole, ...this.where());
    if (this.ending) this.terminal.say(this.goingOn(this.ending, summary));
  }

  /** What is left after an end before the end, and what to type. */
  protected goingOn(ending: Failed, summary: TransferEvent & { event: 'summary' }): string {
    return goingOn(ending, summary, { reaches: this.reaches, does: 'send', isKept: true, isAway: this.isAway });
  }

  protected override text(text: string): void {
    this.saysMore = true;
    this.terminal.result(`text of ${String(text.length)} characters  `, { style: 'green', text: 'received' });
  }

  /** Where everything is, at the end of a sum. */
  protected where(): Piece[] {
    if (this.receiver === undefined || this.least === undefined) return [];
    const kind = this.least === 'store' || this.least === 'accepted' ? 'object store' : 'receive directory';
    return [`  in the ${kind} of ${this.receiver}`];
  }

  /** The same for the line of a single file, where that is told. */
  protected whereOfOne(): Piece[] {
    return [];
  }

  private print(file: FileDone, ...more: Piece[]): void {
    this.terminal.result(...this.lineOf(file, more));
  }
}

/**
 * What is said while a snapshot comes back: results at the end as for a sender, and hints for who has the disk here.
 */
export class RestoreView extends SenderView {
  protected override readonly role: Role = 'restorer';

  /** `destination` is where it comes back to, as an absolute path; undefined for standard output. */
  constructor(
    terminal: Terminal,
    private readonly destination?: string,
    private readonly from: SenderReaches = 'lasts',
  ) {
    super(terminal, { command: 'send FILE', insecurePlain: false });
  }

  protected override goingOn(ending: Failed, summary: TransferEvent & { event: 'summary' }): string {
    return goingOn(ending, summary, {
      reaches: this.from,
      does: 'restore',
      isKept: this.destination !== undefined,
      isAway: this.isAway,
    });
  }

  protected override where(): Piece[] {
    return this.destination === undefined ? [] : [`  in ${this.destination}`];
  }

  protected override whereOfOne(): Piece[] {
    return this.where();
  }
}

/** The same of files that never were in a snapshot. */
export class ExportView extends RestoreView {
  protected override readonly role = 'exporter';
}

/** What a receiver says: a line for each file that is stored, since it may run for good; of a tree only the sum. */
export class ReceiverView extends View {
  protected override readonly role = 'receiver';
  private files = 0;
  /** How many files the transfers that run are known to have, by their id. */
  private readonly expected = new Map<string | undefined, number>();
  private directory: string | undefined;
  /** Sessions that ended because this receiver was stopped. */
  private stoppedIn = 0;
  /** Files of the plain wire that ended because of that: nothing of them is kept. */
  private stoppedFiles = 0;
  private least: Verified | null | undefined;

  constructor(
    terminal: Terminal,
    invitation: InvitationOf,
    protected override readonly meets: ReceiverMeets = 'listens',
  ) {
    super(terminal, invitation);
  }

  override show(event: TransferEvent | HookFailed): void {
    if (event.event === 'progress' && event.files !== undefined) this.expected.set(event.id, event.files);
    super.show(event);
  }

  protected override fileDone(file: FileOfEvent): void {
    this.files += 1;
    this.least = leastVerified(this.least, file.verified);
    this.directory = file.directory;
    const listed = this.files <= few && (this.expected.get(file.id) ?? 0) <= few;
    if (listed || this.terminal.settings.verbose) this.terminal.result(...this.lineOf(file));
  }

  protected override fail(event: Failed): void {
    if (event.code === 'interrupted') {
      if (event.file_name === undefined) this.stoppedIn += 1;
      else this.stoppedFiles += 1;
    }
    super.fail(event);
    if (event.file_name === undefined) this.forget(event.id); // that session has no summary
  }

  override close(): void {
    super.close();
    const [transfers, files] = [this.stoppedIn, this.stoppedFiles];
    [this.stoppedIn, this.stoppedFiles] = [0, 0];
    const goesOn = receiverGoesOn(this.meets, 'interrupted');
    if (transfers > 0)
      this.terminal.say(
        `Stopped in the middle of ${transfers === 1 ? 'a transfer' : `${String(transfers)} transfers`}.`,
        goesOn === undefined ? '' : ` ${goesOn}`,
      );
    if (files > 0)
      this.terminal.say(
        `Stopped in the middle of ${files === 1 ? 'a file' : `${String(files)} files`}, of which nothing is stored.`,
      );
  }

  /** What somebody else wrote: on its own line, escaped, and marked as such. */
  protected override text(text: string): void {
    this.terminal.result({ style: 'dim', text: 'text: ' }, text);
  }

  protected override transferDone(summary: TransferEvent & { event: 'summary' }): void {
    const { files, skipped, failures } = this;
    this.tellRoute(summary);
    if (files + failures.count + skipped > 1) {
      const line = summaryLine({
        summary,
        verified: this.least,
        skipped,
        failed: failures.count,
        already: this.already,
        side: this.side,
      });
      if (this.directory !== undefined) line.push(`  in ${this.directory}`);
      if (files > few) this.terminal.result(...line);
      else this.terminal.say(...line);
    }
    this.forget(summary.id);
  }

  /** The next session counts anew: what failed in one that its sender goes on with is no failure of that. */
  private forget(id: string | undefined): void {
    this.failures.tellRest(this.terminal);
    this.failures.forget();
    this.files = 0;
    this.skipped = 0;
    this.already = { files: 0, bytes: 0 };
    this.least = undefined;
    this.expected.delete(id);
  }
}
