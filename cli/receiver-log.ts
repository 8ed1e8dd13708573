import type { TransferEvent } from '../lib/index';
import { type HookFailed, hookWords } from './hook-failed';
import { type LineKind, LineBudget, type LinesLeftOut } from './line-budget';
import type { LogLevel } from './log';
import { addAlready, fileLine, leastVerified, type Outcome, shrunkSentence, summaryLine } from './results';
import { reasonOfLoss, sentenceOf } from './failures';
import type { ReceiverMeets } from './going-on';
import { roleHint } from './role-hints';
import type { EventView } from './run';
import { formatCount, formatSize } from './size';
import type { Piece, Terminal } from './terminal';
import { endsTransfer } from './tally';

/** The first files of a transfer, up to this many, have lines at `info` and `warn`; the others at `debug`. */
const few = 8;

/** What was seen of a transfer that has not ended. */
interface Seen {
  readonly verified: Outcome['verified'];
  readonly already: Outcome['already'];
  readonly files: number;
  readonly failed: number;
  readonly skipped: number;
  readonly from: string | undefined;
}

const unseen: Seen = {
  verified: undefined,
  already: { files: 0, bytes: 0 },
  files: 0,
  failed: 0,
  skipped: 0,
  from: undefined,
};

/**
 * What a receiver that runs for long writes into its log: one line for each event that is worth one, with the first
 * digits of the transfer's id. Never a ticket: whoever reads a log may not be whoever may send. Nor is it filled by
 * peers: what has no room in `LineBudget` has its line at `debug`, and is counted.
 */
export class ReceiverLog implements EventView {
  private readonly transfers = new Map<string, Seen>();
  private readonly budget = new LineBudget();
  /** Tells what had no room, once its window is over. */
  private telling: NodeJS.Timeout | undefined;

  constructor(
    private readonly terminal: Terminal,
    private readonly meets: ReceiverMeets = 'listens',
  ) {}

  show(event: TransferEvent | HookFailed): void {
    if (event.event === 'hook-failed') {
      this.write({ level: 'error', pieces: [hookWords(event)], kind: 'hook' });
      return;
    }
    const { id = '' } = event;
    const seen = after(this.transfers.get(id) ?? unseen, event);
    if (endsTransfer(event)) this.transfers.delete(id);
    else if (id !== '') this.transfers.set(id, seen);
    const line = lineOf(event, seen);
    if (line) this.write({ ...line, pieces: [id === '' ? '' : `[${id.slice(0, 8)}] `, ...line.pieces] });
  }

  close(): void {
    clearTimeout(this.telling);
    this.tell(this.budget.takeLeftOut());
  }

  private write({ level, pieces, kind }: Line): void {
    const now = performance.now();
    this.tell(this.budget.renew(now));
    const isBound = kind !== undefined && level !== 'debug' && this.terminal.logs(level);
    const hasRoom = !isBound || this.budget.takes(kind, lengthOf(pieces));
    this.terminal.log(hasRoom ? level : 'debug', ...pieces);
    const within = this.budget.tellsIn(now);
    if (within !== undefined)
      this.telling ??= setTimeout(() => {
        this.telling = undefined;
        this.tell(this.budget.renew(performance.now()));
      }, within + 1).unref();
  }

  private tell(leftOut: readonly LinesLeftOut[]): void {
    for (const { kind, count } of leftOut) {
      const { level, one, several = `${one}s` } = moreOf[kind];
      this.terminal.log(level, `And ${formatCount(count, `more ${one}`, `more ${several}`)} within a minute.`);
    }
  }

  hintFor({ code, hint }: Parameters<NonNullable<EventView['hintFor']>>[0], file?: string): string | undefined {
    return roleHint('receiver', { code, hint, file, meets: this.meets });
  }
}

interface Line {
  readonly level: LogLevel;
  readonly pieces: readonly Piece[];
  /** What of the budget it takes; undefined for what nobody else causes. */
  readonly kind?: LineKind;
}

/** How lines that had no room are called. */
const moreOf: Readonly<
  Record<LineKind, { readonly level: LogLevel; readonly one: string; readonly several?: string }>
> = {
  stored: { level: 'info', one: 'line of what is stored', several: 'lines of what is stored' },
  refused: { level: 'warn', one: 'refusal' },
  strangers: { level: 'warn', one: 'refusal of somebody without a key', several: 'refusals of somebody without a key' },
  broken: { level: 'error', one: 'failure' },
  hook: { level: 'error', one: 'failure of --on-received', several: 'failures of --on-received' },
  text: { level: 'info', one: 'text' },
  lost: { level: 'warn', one: 'line of connections and losses', several: 'lines of connections and losses' },
  shrunk: { level: 'warn', one: 'source that has shrunk', several: 'sources that have shrunk' },
};

function lengthOf(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, piece) => sum + (typeof piece === 'string' ? piece : piece.text).length, 0);
}

function after(seen: Seen, event: TransferEvent): Seen {
  switch (event.event) {
    case 'started':
      return { ...seen, from: event.from };
    case 'received': {
      const least = leastVerified(seen.verified, event.verified);
      return {
        ...seen,
        from: event.from,
        files: seen.files + 1,
        verified: least,
        already: addAlready(seen.already, event),
      };
    }
    case 'failed':
      return event.code === 'interrupted' ? seen : { ...seen, failed: seen.failed + 1 };
    case 'skipped':
      return { ...seen, skipped: seen.skipped + 1 };
    default:
      return seen;
  }
}

function lineOf(event: TransferEvent, seen: Seen): Line | undefined {
  const from = seen.from === undefined ? '' : `  from ${seen.from}`;
  switch (event.event) {
    case 'listening':
      return {
        level: 'info',
        pieces: [`Listening on ${event.address}. sendall authorize makes keys for those who may send.`],
      };
    case 'web':
      return { level: 'info', pieces: [`The page is at ${event.url.replace(/#.*/s, '')}. ${whoseToken()}`] };
    case 'started': {
      const goesOn =
        event.resumed === undefined ? '' : ` after ${formatSize(event.resumed)} that came by an earlier try`;
      const words = `${event.file_name}  ${formatSize(event.file_size)}  begins${goesOn}${from}`;
      return { level: 'debug', pieces: [words] };
    }
    case 'received':
      return {
        level: seen.files <= few ? 'info' : 'debug',
        pieces: [...fileLine(event, 'usual'), from, through(event)],
        kind: 'stored',
      };
    case 'text':
      return { level: 'info', pieces: ['text: ', event.text], kind: 'text' };
    case 'skipped':
      return {
        level: seen.skipped <= few ? 'info' : 'debug',
        pieces: [`${event.file_name}  skipped: ${event.reason}`],
        kind: 'refused',
      };
    case 'failed': {
      const level = gravity(event.code, seen);
      const pieces = [sentenceOf(event), ` (${event.code})`];
      // Without an id, this receiver itself: a relay, or the network on which it is to be found.
      if (event.id === undefined && event.code === 'cannot-connect') return { level, pieces };
      const refused = event.id === undefined ? 'strangers' : 'refused';
      return { level, pieces, kind: level === 'error' ? 'broken' : refused };
    }
    case 'connection':
      return event.state === 'back'
        ? { level: 'info', pieces: ['The connection is there again.'], kind: 'lost' }
        : { level: 'warn', pieces: [`Connection lost, trying again.${reasonOfLoss(event.message)}`], kind: 'lost' };
    case 'lost':
      return { level: 'warn', pieces: [event.message], kind: 'lost' };
    case 'shrunk':
      return { level: 'warn', pieces: [shrunkSentence(event)], kind: 'shrunk' };
    case 'snapshot': {
      const { snapshot, bytes, new_bytes: fresh } = event;
      return {
        level: 'info',
        pieces: [`${snapshot}  ${formatSize(bytes)}, ${formatSize(fresh)} of it new  complete${from}`],
        kind: 'stored',
      };
    }
    case 'summary': {
      const { files, failed, skipped, verified, already } = seen;
      if (files + failed + skipped <= 1) return undefined;
      return {
        level: 'info',
        pieces: [
          ...summaryLine({ summary: event, verified, failed, skipped, already, side: 'receiver' }),
          from,
          through(event),
        ],
        kind: 'stored',
      };
    }
    case 'progress':
    case 'sent':
    case 'damaged':
    case 'foreign':
    case 'repaired':
    case 'drill':
      return undefined;
  }
}

/** Whoever reads a log may not be whoever may upload. */
function whoseToken(): string {
  return process.env['SENDALL_WEB_TOKEN'] === undefined
    ? 'Its token is not logged: set SENDALL_WEB_TOKEN to have one that you know.'
    : 'Its token is the one of SENDALL_WEB_TOKEN.';
}

function through({ route }: { readonly route?: string }): string {
  return route === undefined ? '' : `  through the ${route}`;
}

/** What whoever runs the receiver has to mend is an error; what a sender has to, a warning. */
function gravity(code: (TransferEvent & { event: 'failed' })['code'], { failed }: Seen): LogLevel {
  if (code === 'interrupted') return 'info';
  if (failed > few) return 'debug';
  return code === 'disk' || code === 'directory' || code === 'space' || code === 'unexpected' ? 'error' : 'warn';
}
