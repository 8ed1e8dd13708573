import { TransferError } from '../lib/internal';
import type { TransferEvent } from '../lib/index';
import { exitCodeOf, exitInterrupted, exitUnexpected, exitVerified } from './exit';
import type { HookFailed } from './hook-failed';
import { JsonLines, printEvent } from './progress-json';
import { Terminal } from './terminal';
import type { OutputSettings } from './terminal';

/** What a command knows of the program around it: the global options, and where its exit code goes. */
export interface Shell {
  settings(): OutputSettings;
  exit(code: number): void;
}

/** Whatever shows events to the user: words, or JSON. */
export interface EventView {
  show(event: TransferEvent | HookFailed): void;
  close?(): void;
  /** What helps against a failure, for the role of the command; default: what the failure says. */
  hintFor?(failure: Pick<TransferError, 'code' | 'hint'>): string | undefined;
}

export interface Transfer {
  readonly on: (event: TransferEvent | HookFailed) => void;
  readonly terminal: Terminal;
  /** Aborted by the first Ctrl-C or SIGTERM, and where one transfer is all, when its results cannot be written. */
  readonly signal: AbortSignal;
}

type Failed = TransferEvent & { event: 'failed' };

/**
 * Runs one command from the first event to the exit code. Failures are shown once, whether they come as events or as a
 * rejection; the first signal stops cleanly, the second at once.
 */
export async function runTransfer(
  settings: OutputSettings,
  people: (terminal: Terminal) => EventView,
  work: (transfer: Transfer) => Promise<void>,
  transfers: 'one' | 'several' | 'many' = 'one',
): Promise<number> {
  const terminal = new Terminal(settings);
  const audience: EventView = settings.json ? new JsonLines(process.stdout, transfers === 'one') : people(terminal);
  const failures: Failed[] = [];
  const abort = new AbortController();
  const leave = (code: number): never => {
    audience.close?.();
    // Whoever presses Ctrl-C once more, because a thread hangs in a call of the system, ends the process by that.
    process.removeAllListeners('SIGINT').removeAllListeners('SIGTERM');
    process.exit(code);
  };
  const interrupt = (): void => {
    if (abort.signal.aborted) leave(exitInterrupted);
    abort.abort();
    if (settings.log) terminal.log('info', 'Stopping.');
    else terminal.complainAnew('Stopping. Press Ctrl-C again to stop at once.');
  };
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  process.on('uncaughtException', (error) => {
    audience.close?.();
    fail(terminal, asFailure(error));
    leave(exitUnexpected);
  });
  let unwritten = false;
  process.stdout.removeAllListeners('error').on('error', (error: NodeJS.ErrnoException) => {
    const unread = error.code === 'EPIPE'; // nobody reads the results any more: end quietly
    const serves = transfers === 'many';
    if (!unwritten && (serves || !unread) && !abort.signal.aborted)
      terminal.complain(`The results cannot be written${serves ? ' any more' : ''}: ${error.message}.`);
    unwritten = true;
    // Whoever serves others is not stopped by that.
    if (!serves) abort.abort();
  });
  process.stderr.on('error', () => undefined); // nobody reads the words any more: that is no reason to stop

  const on = (event: TransferEvent | HookFailed): void => {
    if (event.event === 'failed') failures.push(event);
    audience.show(event);
  };
  try {
    await work({ on, terminal, signal: abort.signal });
    audience.close?.();
    return abort.signal.aborted ? exitInterrupted : exitVerified;
  } catch (thrown) {
    audience.close?.();
    const error = asFailure(thrown);
    const same = ({ code, message }: Failed): boolean => error.code === code && error.message === message;
    const reported = failures.some((failure) => error.code === 'some-failed' || same(failure));
    if (reported) terminal.trace(error);
    else if (!abort.signal.aborted || settings.json)
      fail(terminal, error, audience.hintFor ? audience.hintFor(error) : error.hint);
    return abort.signal.aborted ? exitInterrupted : exitCodeOf(error.code);
  }
}

/** Shows a failure that no event has told of; with --verbose, also where it comes from. */
export function fail(terminal: Terminal, error: TransferError, hint = error.hint): void {
  sayFailure(terminal, error, hint);
  terminal.trace(error);
}

/** Shows a failure without where it comes from. */
export function sayFailure(terminal: Terminal, error: TransferError, hint = error.hint): void {
  const { code, message, fileName } = error;
  if (terminal.settings.json) {
    const about = {
      ...(fileName === undefined ? {} : { file_name: fileName }),
      ...(hint === undefined ? {} : { hint }),
    };
    printEvent(terminal.stdout, { event: 'failed', code, message, ...about });
  }
  if (!(code === 'interrupted' && terminal.settings.json)) terminal.complain(message, hint);
}

/** Anything thrown as the error that it is, or as `unexpected`. */
export function asFailure(thrown: unknown): TransferError {
  if (thrown instanceof TransferError) return thrown;
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  return new TransferError('unexpected', reason, {
    cause: thrown,
    hint: 'This should not happen. --verbose shows where it comes from.',
  });
}
