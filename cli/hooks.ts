import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { TransferEvent } from '../lib/index';
import { ignored, isObjectUrl } from '../lib/internal';
import { HookBacklog } from './hook-backlog';
import type { HookCommand } from './hook-command';
import type { HookFailed } from './hook-failed';
import { jsonLine } from './progress-json';
import { formatDuration } from './size';

/** What a command is run for, by the names of the events. */
const hooked: ReadonlySet<string> = new Set(['received', 'snapshot']);
const mostAtOnce = 4;
const longestLine = 1000; // characters of output
const lastWords = 1000; // ms that the output of a command that has ended may still take

/** What the program around the hooks does for them. */
export interface HookSurroundings {
  readonly command: HookCommand;
  /** The receive directory, as an absolute path. */
  readonly directory: string;
  /** How long one run may take, in ms. */
  readonly timeout: number;
  readonly failed: (event: HookFailed) => void;
  /** Takes a line that a command printed, on either of its outputs. */
  readonly printed: (line: string) => void;
}

/**
 * Runs a command for each file and each snapshot that was committed: without a shell, the event as one line of JSON on
 * its standard input, nothing of it in its arguments. A few run at once and all others wait; the receiver waits for
 * none of them.
 */
export class Hooks {
  private readonly backlog = new HookBacklog();
  private readonly running = new Set<ChildProcess>();
  private count = 0;
  private whenIdle: (() => void) | undefined;
  private readonly kill = (): void => {
    for (const child of this.running) killGroup(child);
  };

  constructor(private readonly surroundings: HookSurroundings) {
    process.on('exit', this.kill); // whoever leaves at once leaves nothing running
  }

  /** Runs the command for the event, now or as soon as its turn comes, if it is one that hooks are for. */
  note(event: TransferEvent): void {
    if (!hooked.has(event.event)) return;
    this.backlog.push(jsonLine({ ...event, ...absolutePathOf(event, this.surroundings.directory) }));
    this.startNext();
  }

  /** How many run or wait. */
  get left(): number {
    return this.count + this.backlog.length;
  }

  /** Waits until the command has run for everything that was noted. There must be no `note` after it. */
  async close(): Promise<void> {
    if (this.left > 0) await new Promise<void>((resolve) => (this.whenIdle = resolve));
    process.off('exit', this.kill);
  }

  private startNext(): void {
    while (this.count < mostAtOnce) {
      const line = this.next();
      if (line === undefined) break;
      this.count += 1;
      void this.run(line).then((fault) => {
        this.count -= 1;
        if (fault !== undefined) this.fail(line, fault);
        this.startNext();
      });
    }
    if (this.left === 0) this.whenIdle?.();
  }

  private next(): string | undefined {
    try {
      return this.backlog.shift();
    } catch (error) {
      this.surroundings.failed({
        event: 'hook-failed',
        message: `Of the runs of --on-received, ${error instanceof Error ? error.message : String(error)}.`,
      });
      return undefined;
    }
  }

  private fail(line: string, fault: string): void {
    const { file_name, snapshot } = JSON.parse(line) as { readonly file_name?: string; readonly snapshot?: string };
    const about = {
      ...(file_name === undefined ? {} : { file_name }),
      ...(snapshot === undefined ? {} : { snapshot }),
    };
    this.surroundings.failed({ event: 'hook-failed', ...about, message: `The command of --on-received ${fault}.` });
  }

  /** Runs the command once; what was wrong with it, or undefined. */
  private async run(line: string): Promise<string | undefined> {
    const { command, timeout, printed } = this.surroundings;
    try {
      const child = start(command);
      this.running.add(child);
      const gone = new Promise((resolve) => child.once('close', resolve));
      let late = false;
      const limit = setTimeout(() => {
        late = true;
        killGroup(child);
      }, timeout);
      for (const output of [child.stdout, child.stderr]) eachLine(output, printed);
      child.stdin?.on('error', () => undefined).end(`${line}\n`); // a command need not read it
      const fault = await ended(child);
      clearTimeout(limit);
      this.running.delete(child);
      // What it left running may hold them open.
      const hush = setTimeout(() => [child.stdout, child.stderr].forEach((output) => output?.destroy()), lastWords);
      if (child.pid !== undefined) await gone;
      clearTimeout(hush);
      return late ? `took longer than ${formatDuration(timeout / 1000)} and was killed` : fault;
    } catch (error) {
      return notStarted(error);
    }
  }
}

/** Where what an event tells of is, whatever the working directory of a hook. */
function absolutePathOf(event: TransferEvent, directory: string): { readonly absolute_path?: string } {
  if (event.event === 'snapshot') return { absolute_path: join(directory, event.snapshot) };
  if (event.event !== 'received') return {};
  // An object store has records and no paths.
  if (isObjectUrl(event.directory ?? directory)) return {};
  return { absolute_path: join(event.directory ?? directory, event.path ?? event.file_name) };
}

function start({ program, words }: HookCommand): ChildProcess {
  const { SENDALL_TICKET: _secret, ...env } = process.env;
  // A group of its own: Ctrl-C is for us, and the limit for all that it started.
  return spawn(program, words, { env, stdio: 'pipe', detached: process.platform !== 'win32', windowsHide: true });
}

/** Waits for the end of a command; what was wrong with it, or undefined. */
function ended(child: ChildProcess): Promise<string | undefined> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve(notStarted(error)));
    child.once('exit', (code, signal) => {
      if (code === 0) resolve(undefined);
      else resolve(signal === null ? `ended with code ${String(code)}` : `was ended by ${signal}`);
    });
  });
}

function notStarted(error: unknown): string {
  return `could not be run (${error instanceof Error ? error.message : String(error)})`;
}

/** Ends a command that still runs, and everything in its group. */
function killGroup(child: ChildProcess): void {
  // Its number may be that of another by now.
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    child.kill('SIGKILL'); // no groups on this system
  }
}

/** Hands over each line of an output, also a last one without a line feed, and very long ones in pieces. */
function eachLine(output: Readable | null, take: (line: string) => void): void {
  let text = '';
  const flush = (): void => {
    if (text !== '') take(text);
    text = '';
  };
  output?.setEncoding('utf8').on('data', (more: string) => {
    for (const piece of more.split(/(?<=\n)/)) {
      text += piece;
      if (text.endsWith('\n')) {
        take(text.slice(0, -1));
        text = '';
      } else if (text.length >= longestLine) flush();
    }
  });
  output
    ?.on('error', ignored('what a hook printed is shown as far as it came, and its end says how it went'))
    .on('close', flush);
}
