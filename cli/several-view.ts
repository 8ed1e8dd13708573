import type { FileDone, TransferEvent, Verified } from '../lib/index';
import { printable } from '../lib/internal';
import { barLine } from './bar-line';
import { type Failed, Failures, reasonOfLoss, sentenceOf } from './failures';
import { addAlready, leastVerified, summaryLine } from './results';
import { roleHint } from './role-hints';
import { formatCount, formatDuration, formatSize } from './size';
import { Tally, type TransferState } from './tally';
import type { Curtain, Terminal } from './terminal';

/** Up to this many receivers have a line each in the results; of more, only those that failed have one. */
const fewReceivers = 16;
/** Failures that are told one by one; of the others their number, unless --verbose. */
const mostReported = 12;
const patience = 300; // ms before anything is drawn: what is small is through by then
const refresh = 200; // ms between redraws
const interval = 5000; // ms between lines where nothing can be drawn
/** Rows that stay free for what is written above, and for the prompt. */
const freeRows = 3;
const usualRows = 24;

const newTicketOfStopped = '; one that was stopped has a new ticket or code when it runs again (a key stays as it is)';

type Summary = TransferEvent & { event: 'summary' };

/** What is known of one receiver. */
interface Line {
  readonly name: string;
  readonly tally: Tally;
  state: 'going' | 'done' | 'failed';
  least: Verified | null | undefined;
  already: { readonly files: number; readonly bytes: number };
  skipped: number;
  failed: number;
  readonly failures: Failures;
}

/** What a sender to several receivers says: a line for each while it goes on, and what became of them. */
export class SeveralView implements Curtain {
  private readonly lines: ReadonlyMap<string, Line>;
  private readonly began = Date.now();
  private timer: NodeJS.Timeout | undefined;
  /** Rows on the screen that are ours, above the cursor. */
  private drawn = 0;
  private untold = 0;
  private reported = 0;
  private oneWasStopped = false;
  private lastLine = Date.now();

  constructor(
    private readonly terminal: Terminal,
    names: readonly string[],
  ) {
    this.lines = new Map(
      names.map((name) => [
        name,
        {
          name,
          tally: new Tally(),
          state: 'going',
          least: undefined,
          already: { files: 0, bytes: 0 },
          skipped: 0,
          failed: 0,
          failures: new Failures(),
        } satisfies Line as Line,
      ]),
    );
    if (terminal.drawsBars) {
      terminal.hang(this);
      this.timer = setInterval(() => this.redraw(), refresh);
    } else {
      this.timer = setInterval(() => this.sayNow(), interval);
    }
    this.timer.unref();
  }

  show(event: TransferEvent | { readonly event: 'hook-failed' }): void {
    if (event.event === 'hook-failed') return;
    const line = this.lines.get(event.receiver ?? '');
    if (!line) {
      if (event.event === 'summary') this.end(event);
      return;
    }
    line.tally.note(event, Date.now());
    switch (event.event) {
      case 'sent':
        this.fileDone(line, event);
        break;
      case 'skipped':
        line.skipped++;
        break;
      case 'failed':
        this.fail(line, event);
        break;
      case 'lost':
        this.complain(`${line.name}: ${event.message}`);
        break;
      case 'connection':
        this.terminal.detail(
          event.state === 'back'
            ? `${line.name}: the connection is there again.`
            : `${line.name}: connection lost, trying again for ${formatDuration(event.retry_for)}.${reasonOfLoss(event.message)}`,
        );
        break;
      case 'summary':
        this.receiverDone(line, event);
        break;
      default:
        break;
    }
  }

  close(): void {
    clearInterval(this.timer);
    this.erase();
    this.terminal.hang(undefined);
  }

  hintFor({ code, hint }: { readonly code: Failed['code']; readonly hint?: string | undefined }): string | undefined {
    return roleHint('sender', { code, hint });
  }

  lift(write: () => void): void {
    this.erase();
    write();
    this.redraw();
  }

  private fileDone(line: Line, file: FileDone): void {
    line.already = addAlready(line.already, file);
    line.least = leastVerified(line.least, file.verified);
  }

  private fail(line: Line, event: Failed): void {
    line.failed++;
    this.oneWasStopped ||= event.code === 'stopped';
    if (event.code === 'interrupted') return; // whoever interrupted knows
    if (line.failures.take(event) || this.terminal.settings.verbose)
      this.complain(`${line.name}: ${sentenceOf(event)}`, this.hintFor(event));
  }

  private complain(message: string, hint?: string): void {
    if (this.reported < mostReported || this.terminal.settings.verbose) this.terminal.complain(message, hint);
    else this.untold++;
    this.reported++;
  }

  private receiverDone(line: Line, summary: Summary): void {
    line.state = line.failed > 0 ? 'failed' : 'done';
    line.failures.tellRest(this.terminal, `${line.name}: `);
    if (this.lines.size > fewReceivers && line.failed === 0 && !this.terminal.settings.verbose) return;
    const { least: verified, skipped, failed, already, name } = line;
    this.terminal.result(
      { style: 'bold', text: name },
      '  ',
      ...summaryLine({ summary, verified, skipped, failed, already }),
    );
  }

  private end({ receivers = 0, failed_receivers: failed = 0, bytes, seconds }: Summary): void {
    this.close();
    if (this.untold > 0) this.terminal.complain(`${formatCount(this.untold, 'more failure')}; --verbose shows each.`);
    const whole = receivers - failed;
    this.terminal.result(
      { style: 'bold', text: `${String(whole)} of ${formatCount(receivers, 'receiver')}` },
      ` ${whole === 1 ? 'has' : 'have'} everything  ${formatSize(bytes)} in all  ${formatDuration(seconds)}`,
      ...(failed === 0 ? [] : ['  ', { style: 'red', text: `${String(failed)} failed` } as const]),
    );
    if (failed > 0)
      this.terminal.say(
        `The same command goes on with those that have not got everything${this.oneWasStopped ? newTicketOfStopped : ''}.`,
      );
  }

  /** Where all of them are, for a log. */
  private sayNow(): void {
    const now = Date.now();
    if (now - this.lastLine < interval / 2) return;
    this.lastLine = now;
    const all = [...this.lines.values()];
    const going = all.filter(({ state }) => state === 'going');
    const slowest = going.reduce<{ name: string; ratio: number } | undefined>((least, { name, tally }) => {
      const ratio = ratioOf(tally.at(now));
      return least && least.ratio <= ratio ? least : { name, ratio };
    }, undefined);
    if (!slowest) return;
    const done = all.filter(({ state }) => state === 'done').length;
    this.terminal.say(
      `${String(done)} of ${formatCount(all.length, 'receiver')} done  ${slowest.name} is at ${String(Math.floor(slowest.ratio * 100))} %`,
    );
  }

  private redraw(): void {
    const now = Date.now();
    if (now - this.began < patience) return;
    const { columns = 80, rows = usualRows } = this.terminal.stderr;
    const room = { columns: columns - 1, rows: Math.max(1, (rows || usualRows) - freeRows) };
    const text = receiverLines([...this.lines.values()], now, room, this.terminal.isAscii);
    this.erase();
    if (text.length > 0) this.terminal.stderr.write(text.map((line) => `${line}\n`).join(''));
    this.drawn = text.length;
  }

  private erase(): void {
    if (this.drawn > 0) this.terminal.stderr.write(`\r\u001b[${String(this.drawn)}A\u001b[J`);
    this.drawn = 0;
  }
}

/**
 * A line for each receiver that is not done, at most `rows` in all and `columns` wide; where there are more, the
 * slowest first, and the last line says how many the others are.
 */
export function receiverLines(
  lines: readonly Pick<Line, 'name' | 'tally' | 'state'>[],
  now: number,
  { columns, rows }: { readonly columns: number; readonly rows: number },
  ascii = false,
): string[] {
  const going = lines.filter(({ state }) => state === 'going').map(({ name, tally }) => ({ name, at: tally.at(now) }));
  const fit = going.length <= rows ? going : going.sort((one, other) => ratioOf(one.at) - ratioOf(other.at));
  const shown = going.length <= rows ? fit : fit.slice(0, rows - 1);
  const text = shown.map(({ name, at }) => barLine({ ...at, name: printable(name) }, columns, ascii, 'several'));
  if (going.length <= rows) return text;
  const count = (state: Line['state']): string => String(lines.filter((line) => line.state === state).length);
  return [
    ...text,
    `and ${formatCount(going.length - shown.length, 'receiver')} that are further; ${count('done')} done, ${count('failed')} failed`.slice(
      0,
      columns,
    ),
  ];
}

function ratioOf({ done, total }: TransferState): number {
  return total > 0 ? done / total : 0;
}
