import type { TransferEvent } from '../lib/index';
import type { HistoryEvent } from './history-events';
import type { HookFailed } from './hook-failed';
import type { KeyEvent } from './key-events';
import type { NearbyEvent } from './nearby-event';
import type { RelayEvent } from './relay-events';
import type { StatusEvent } from './status-event';

/** Characters that JSON leaves alone and a terminal does not: they are legal escapes in JSON too, and mean the same. */
const unprintable = /[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/gu;

/** Nearly all lines are of these alone, and one look finds out. */
const printableAscii = /^[ -~]*$/;

/** Everything that `--json` prints. */
export type PrintedEvent =
  TransferEvent | KeyEvent | NearbyEvent | RelayEvent | HookFailed | HistoryEvent | StatusEvent;

/**
 * One event as one line of JSON, without the line feed, with the time of printing; a snapshot keeps its own. `id` is
 * the transfer of events that do not say it.
 */
export function jsonLine(event: PrintedEvent, id?: string, now = new Date().toISOString()): string {
  // Put together as text: there are two lines for every small file, and another object for each costs more than both.
  const text = JSON.stringify(event);
  const named = nameBegins + event.event.length + 1;
  const isFirst = text.startsWith(event.event, nameBegins) && text.startsWith('{"event":"') && text[named - 1] === '"';
  const time = 'time' in event ? '' : `,"time":"${now}"`;
  const of = id === undefined || ('id' in event && event.id !== undefined) ? '' : `,"id":${JSON.stringify(id)}`;
  const line = isFirst
    ? `${text.slice(0, named)}${time}${of}${text.slice(named)}`
    : `{"event":${JSON.stringify(event.event)}${time}${of}${moreOf(event)}`;
  if (printableAscii.test(text)) return line;
  return line.replace(unprintable, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** Where the name of an event stands in its text. */
const nameBegins = '{"event":"'.length;

/** All but the name of an event, for one whose name does not come first. */
function moreOf(event: PrintedEvent): string {
  const more = JSON.stringify({ ...event, event: undefined }).slice(1);
  return `${more === '}' ? '' : ','}${more}`;
}

/** Prints a single event, at once. */
export function printEvent(stdout: NodeJS.WritableStream, event: PrintedEvent): void {
  stdout.write(`${jsonLine(event)}\n`);
}

/**
 * What --json prints: every event as it comes, one object a line, and nothing else. Events of the same turn of the
 * event loop are written together: for many small files each write of its own would cost more than the file.
 */
export class JsonLines {
  private lines = '';
  /** When the turn of these lines began: they are printed together. */
  private now = '';
  /** The transfer of this command, once an event has said it. */
  private id: string | undefined;

  /** `single`: the command makes one transfer, which all of its events are about. */
  constructor(
    private readonly stdout: NodeJS.WritableStream,
    private readonly single = true,
  ) {}

  show(event: PrintedEvent): void {
    if (this.single && 'id' in event && event.event !== 'authorization') this.id ??= event.id;
    if (this.lines === '') {
      setImmediate(() => this.close());
      this.now = new Date().toISOString();
    }
    this.lines += `${jsonLine(event, this.id, this.now)}\n`;
  }

  /** Writes what is left, before the process ends. */
  close(): void {
    if (this.lines !== '') this.stdout.write(this.lines);
    this.lines = '';
  }
}
