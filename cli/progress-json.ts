import type { TransferEvent } from '../lib/index';
import type { HistoryEvent } from './history-events';
import type { HookFailed } from './hook-failed';
import type { KeyEvent } from './key-events';

/** Characters that JSON leaves alone and a terminal does not: they are legal escapes in JSON too, and mean the same. */
const unprintable = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;

/** One event as one line of JSON, without the line feed. */
export function jsonLine(event: TransferEvent | KeyEvent | HookFailed | HistoryEvent): string {
  return JSON.stringify(event).replace(
    unprintable,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Prints a single event, at once. */
export function printEvent(stdout: NodeJS.WritableStream, event: TransferEvent | KeyEvent | HistoryEvent): void {
  stdout.write(`${jsonLine(event)}\n`);
}

/**
 * What --json prints: every event as it comes, one object a line, and nothing else. Events of the same turn of the
 * event loop are
 * written together: for many small files each write of its own would cost more than the file.
 */
export class JsonLines {
  private lines = '';

  constructor(private readonly stdout: NodeJS.WritableStream) {}

  show(event: TransferEvent | KeyEvent | HookFailed | HistoryEvent): void {
    if (this.lines === '') setImmediate(() => this.close());
    this.lines += `${jsonLine(event)}\n`;
  }

  /** Writes what is left, before the process ends. */
  close(): void {
    if (this.lines !== '') this.stdout.write(this.lines);
    this.lines = '';
  }
}
