import { styleText } from 'node:util';
import { printable } from '../lib/internal';
import { asAscii, isAsciiOnly, wordsAsAscii } from './charset';
import { withoutTickets } from './hide-tickets';
import type { Piece } from './piece';
import { rowsOf } from './rows';
import { isLogged, type LogLevel, logPrefix, type LogSettings } from './log';

export type { Piece } from './piece';

const narrowBelow = 90; // columns

/** What the user chose for all output. */
export interface OutputSettings {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  /** false: never colour; true: where the stream is a terminal and NO_COLOR is not set. */
  readonly color: boolean;
  /** Everything for people is a log: one line for each thing, with its time. */
  readonly log?: LogSettings;
}

/** Something drawn below the text that must step aside while a line is written. */
export interface Curtain {
  lift(write: () => void): void;
}

/** Where all words for people go: stderr, and results to stdout. Nothing reaches a terminal unescaped. */
export class Terminal {
  private curtain: Curtain | undefined;
  private outputTaken = false;
  private readonly hints = new Set<string>();

  constructor(
    readonly settings: OutputSettings,
    readonly stdout: NodeJS.WriteStream = process.stdout,
    readonly stderr: NodeJS.WriteStream = process.stderr,
    private readonly env: NodeJS.ProcessEnv = process.env,
  ) {}

  /** Standard output is for the content of a file: results go where words for people go. */
  takeOutput(): void {
    this.outputTaken = true;
  }

  /** Whether there is a log, and lines of this level are written to it. */
  logs(level: LogLevel): boolean {
    const { log } = this.settings;
    return log !== undefined && isLogged(level, log);
  }

  /** One line of a log, on stderr. */
  log(level: LogLevel, ...pieces: Piece[]): void {
    const { log } = this.settings;
    if (log && this.logs(level)) this.write(this.stderr, [logPrefix(level, log), ...pieces]);
  }

  /** A result, on stdout. Silent with --quiet and with --json. */
  result(...pieces: Piece[]): void {
    if (this.settings.log) return this.log('info', ...pieces);
    if (!this.silent) this.write(this.outputTaken ? this.stderr : this.stdout, pieces);
  }

  /** Something for people, on stderr. Silent with --quiet and with --json. */
  say(...pieces: Piece[]): void {
    if (this.settings.log) return this.log('info', ...pieces);
    if (!this.silent) this.write(this.stderr, pieces);
  }

  /** As `say`, but only with --verbose. */
  detail(...pieces: Piece[]): void {
    if (this.settings.verbose) this.say(...pieces);
  }

  /** What went wrong and what to do about it, on stderr, always. The same advice is given once. */
  complain(message: string, hint?: string): void {
    if (this.settings.log) return this.log('error', hint === undefined ? message : `${message} ${hint}`);
    this.write(this.stderr, [{ style: 'red', text: 'sendall: ' }, message]);
    if (hint === undefined || this.hints.has(hint)) return;
    this.hints.add(hint);
    this.write(this.stderr, [{ style: 'dim', text: 'hint: ' }, hint]);
  }

  /** As `complain`, after Ctrl-C: what the terminal shows of that is overwritten. */
  complainAnew(message: string): void {
    if (this.drawsBars && !this.curtain) this.stderr.write('\r\u001b[K');
    this.complain(message);
  }

  /** The causes of a failure and where it came from; only with --verbose. */
  trace(error: Error): void {
    if (this.settings.log ? !this.logs('debug') : !this.settings.verbose) return;
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
      // What a peer wrote stands in the message: it stays one line, and none of it looks like one of ours.
      const { name, message, stack = '' } = cause;
      const [, ...frames] = stack.slice(stack.indexOf(message) + message.length).split('\n');
      for (const line of [`${name}: ${message}`, ...frames].map(withoutTickets))
        if (this.settings.log) this.log('debug', line);
        else this.write(this.stderr, [{ style: 'dim', text: line }]);
    }
  }

  /** Whether a bar may be drawn: never without a terminal that can erase it. */
  get drawsBars(): boolean {
    return !this.silent && this.stderr.isTTY && this.env['TERM'] !== 'dumb';
  }

  /** Whether what is drawn on it has nothing but ASCII. */
  get isAscii(): boolean {
    return isAsciiOnly(this.env, this.stderr.isTTY);
  }

  /** From now on `curtain` is asked to lift itself for each line; undefined for none. */
  hang(curtain: Curtain | undefined): void {
    this.curtain = curtain;
  }

  /** How `text` looks as a part of a result. */
  asResult(text: string): string {
    return this.shownOn(this.outputTaken ? this.stderr : this.stdout, text);
  }

  private get silent(): boolean {
    return this.settings.quiet || this.settings.json;
  }

  /** Whether results go to a terminal on which only what matters most is in one row. */
  get narrow(): boolean {
    const { isTTY, columns } = this.outputTaken ? this.stderr : this.stdout;
    return isTTY && columns > 0 && columns < narrowBelow;
  }

  /** Of the terminal that words go to; undefined where that is none. */
  get size(): { readonly columns: number | undefined; readonly rows: number | undefined } {
    const { isTTY, columns, rows } = this.stderr;
    return isTTY ? { columns: columns || undefined, rows: rows || undefined } : { columns: undefined, rows: undefined };
  }

  private write(stream: NodeJS.WriteStream, pieces: readonly Piece[]): void {
    const shown = pieces.map((piece) => this.escaped(stream, piece));
    const rows = stream.isTTY && stream.columns ? rowsOf(shown, stream.columns) : [shown];
    const text = rows.map((row) => `${row.map((piece) => this.paint(stream, piece)).join('')}\n`).join('');
    const write = (): void => void stream.write(text);
    if (this.curtain && stream.isTTY) this.curtain.lift(write);
    else write();
  }

  private escaped(stream: NodeJS.WriteStream, piece: Piece): Piece {
    return typeof piece === 'string'
      ? this.shownOn(stream, piece)
      : { ...piece, text: this.shownOn(stream, piece.text) };
  }

  /** Nothing reaches a terminal unescaped, and no more than ASCII one that has no more. */
  private shownOn({ isTTY }: NodeJS.WriteStream, text: string): string {
    const shown = printable(text);
    if (!isAsciiOnly(this.env, isTTY)) return shown;
    return isTTY ? asAscii(shown) : wordsAsAscii(shown);
  }

  private paint(stream: NodeJS.WriteStream, piece: Piece): string {
    if (typeof piece === 'string') return piece;
    const colored = this.settings.color && stream.isTTY && !this.env['NO_COLOR'] && this.env['TERM'] !== 'dumb';
    return colored ? styleText([piece.style].flat(), piece.text, { validateStream: false }) : piece.text;
  }
}
