import type { SingleBar } from 'cli-progress';
import type { TransferEvent } from '../lib/index';
import { barLine } from './bar-line';
import { Tally } from './tally';
import type { Curtain, Terminal } from './terminal';

const patience = 300; // ms before a bar is worth loading and drawing: small files are through by then
const refresh = 100; // ms between redraws
/**
 * Columns that stay free: a terminal shows ^C behind the bar, twice at most, and what it breaks into two lines stays.
 */
const spare = 5;

/** Something that shows how far a transfer is. */
export interface Progress {
  show(event: TransferEvent): void;
  /** Erases what is temporary and stops all timers; what comes after it begins anew. */
  stop(): void;
  /** The same for good: nothing is drawn any more. */
  close(): void;
}

/**
 * One bar at the bottom of the terminal: of the file, or of the whole transfer once there are more. Only for a
 * terminal. Lines that are written meanwhile gather for up to 100 ms and appear above it.
 */
export class ProgressBar implements Progress, Curtain {
  private readonly tally = new Tally();
  private began: number | undefined;
  private bar: SingleBar | undefined;
  private timer: NodeJS.Timeout | undefined;
  private waiting: (() => void)[] = [];
  private closed = false;

  constructor(
    private readonly terminal: Terminal,
    private readonly now: () => number = Date.now,
  ) {}

  show(event: TransferEvent): void {
    const now = this.now();
    const ends = this.tally.ends(event);
    this.tally.note(event, now);
    if (this.tally.busy) this.began ??= now;
    else if (ends) this.stop();
    if (!this.bar && !this.closed && this.tally.busy && now - (this.began ?? now) >= patience) this.draw();
  }

  lift(write: () => void): void {
    this.waiting.push(write);
  }

  stop(): void {
    clearInterval(this.timer);
    this.bar?.stop();
    this.bar = undefined;
    this.terminal.hang(undefined);
    this.flush();
    this.began = undefined;
    this.tally.reset();
  }

  close(): void {
    this.closed = true;
    this.stop();
  }

  private draw(): void {
    const { SingleBar } = require('cli-progress') as typeof import('cli-progress');
    this.bar = new SingleBar({
      stream: this.terminal.stderr,
      format: (_options, { maxWidth }) => barLine(this.tally.at(this.now()), maxWidth - spare, this.terminal.isAscii),
      fps: 1000 / refresh,
      clearOnComplete: true,
      gracefulExit: false, // it would swallow the first Ctrl-C
      linewrap: true, // the line is made to fit, so the terminal's own setting can stay
    });
    this.bar.start(1, 0);
    this.terminal.hang(this);
    this.timer = setInterval(() => this.step(), refresh);
  }

  /** A bar remembers where on the screen it began, so it must be away while the screen scrolls. */
  private step(): void {
    if (this.waiting.length === 0) return;
    this.bar?.stop();
    this.flush();
    this.bar?.start(1, 0);
  }

  private flush(): void {
    for (const write of this.waiting.splice(0)) write();
  }
}
