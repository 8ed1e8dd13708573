import type { TransferEvent } from '../lib/index';
import { filesDone, stillness } from './bar-line';
import type { Progress } from './progress-bar';
import { formatDuration, formatRate, formatSize } from './size';
import { Tally } from './tally';
import type { Terminal } from './terminal';

const interval = 5000; // ms between lines: enough for a log, and a file that takes less needs none

/** Progress without a terminal, for logs: now and then a plain line. */
export class ProgressLines implements Progress {
  private readonly tally = new Tally();
  private last: number | undefined;

  constructor(
    private readonly terminal: Terminal,
    private readonly now: () => number = Date.now,
  ) {}

  show(event: TransferEvent): void {
    const now = this.now();
    const ends = this.tally.ends(event);
    this.tally.note(event, now);
    if (!this.tally.busy) {
      if (ends) this.stop();
      return;
    }
    this.last ??= now;
    if (now - this.last < interval) return;
    this.last = now;
    const { phase, name, files, ofFiles, done, total, moved, rate, eta, still } = this.tally.at(now);
    const percent = `${Math.floor((done / total) * 100).toString()} % of ${formatSize(total)}`;
    const pieces = [
      files === undefined ? '' : filesDone(files, ofFiles),
      name ?? '',
      `${phase} ${total > 0 ? percent : formatSize(moved)}`,
      still === undefined ? formatRate(rate) : stillness(still),
      eta === undefined ? '' : `ETA ${formatDuration(eta)}`,
    ];
    this.terminal.say(pieces.filter((piece) => piece !== '').join('  '));
  }

  close(): void {
    this.stop();
  }

  stop(): void {
    this.last = undefined;
    this.tally.reset();
  }
}
