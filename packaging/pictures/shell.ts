// A shell in a terminal, as a person has it: commands are typed, run on a pseudo terminal, and what they print goes
// through a terminal emulator, whose screen is the picture.
import { type ChildProcess, spawn } from 'node:child_process';
import { stripVTControlCharacters } from 'node:util';
import { Terminal } from '@xterm/headless';

/** A run of cells that look alike. */
export interface StyledText {
  readonly column: number;
  readonly text: string;
  readonly bold: boolean;
  readonly dim: boolean;
  /** Of the sixteen of a terminal; undefined for the usual one. */
  readonly color: number | undefined;
}

/** What is on a screen, line by line. */
export interface Shot {
  readonly title: string;
  readonly columns: number;
  readonly lines: readonly (readonly StyledText[])[];
}

export interface ShellOptions {
  readonly title: string;
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  readonly columns: number;
  /** What stands in pictures in place of what is true of one machine only. */
  readonly replaced: readonly (readonly [string | RegExp, string])[];
}

const rows = 40;
const prompt = '\x1b[32m$\x1b[0m ';

export class Shell {
  private printed = '';
  private readonly watchers = new Set<() => void>();
  private readonly running = new Set<ChildProcess>();

  constructor(private readonly options: ShellOptions) {}

  /** Types a command and runs it; `shown` is typed in its place. */
  run(command: string, shown = command): Running {
    const { cwd, env, columns } = this.options;
    this.print(`${prompt}\x1b[1m${shown}\x1b[0m\r\n`);
    const words = `stty cols ${String(columns)} rows ${String(rows)} && exec ${command}`;
    // script(1) has the pseudo terminal that Node has not.
    const child = spawn('script', ['--quiet', '--flush', '--return', '--command', words, '/dev/null'], {
      cwd,
      env: { ...env, TERM: 'xterm-256color', SHELL: '/bin/sh' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.running.add(child);
    child.once('close', () => {
      this.running.delete(child);
      this.look();
    });
    child.stdout.on('data', (bytes: Buffer) => this.print(bytes.toString()));
    return new Running(child, (pattern, isOver) => this.says(pattern, isOver));
  }

  /** The screen at this moment. */
  async shot(): Promise<Shot> {
    const { title, columns, replaced } = this.options;
    const text = replaced.reduce((all, [from, to]) => all.replaceAll(from, to), this.printed);
    const terminal = new Terminal({ cols: columns, rows, scrollback: 1000, allowProposedApi: true });
    await new Promise<void>((resolve) => terminal.write(text, resolve));
    const { active } = terminal.buffer;
    const lines = Array.from({ length: active.length }, (_, at) => styled(active.getLine(at)));
    while (lines.at(-1)?.length === 0) lines.pop();
    return { title, columns, lines };
  }

  /** Ends what still runs in it. */
  close(): void {
    for (const child of this.running) child.kill();
  }

  /** Waits until `pattern` was printed, in whatever style. Rejects when whoever would print it is over. */
  private async says(pattern: RegExp, isOver: () => boolean): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(stripVTControlCharacters(this.printed));
      if (match) return match;
      if (isOver()) throw new Error(`Nobody says ${String(pattern)}:\n${this.printed}`);
      await new Promise<void>((resolve) => this.watchers.add(resolve));
    }
  }

  private print(text: string): void {
    this.printed += text;
    this.look();
  }

  private look(): void {
    for (const watcher of this.watchers) watcher();
    this.watchers.clear();
  }
}

/** A command that runs in a shell. */
export class Running {
  readonly ended: Promise<void>;

  constructor(
    private readonly child: ChildProcess,
    private readonly printed: (pattern: RegExp, isOver: () => boolean) => Promise<RegExpExecArray>,
  ) {
    this.ended = new Promise((resolve) => child.once('close', () => resolve()));
  }

  /** Waits until the shell has printed this; what was printed before counts too. */
  says(pattern: RegExp): Promise<RegExpExecArray> {
    return this.printed(pattern, () => this.child.exitCode !== null);
  }

  /** Ctrl-C, pressed in its terminal. */
  async interrupt(): Promise<void> {
    this.child.stdin?.write('\x03');
    await this.ended;
  }
}

type BufferLine = ReturnType<Terminal['buffer']['active']['getLine']>;

function styled(line: BufferLine): StyledText[] {
  const found: StyledText[] = [];
  for (let column = 0; line && column < line.length; column++) {
    const cell = line.getCell(column);
    if (!cell || cell.getWidth() === 0) continue;
    const look = {
      bold: cell.isBold() !== 0,
      dim: cell.isDim() !== 0,
      color: cell.isFgDefault() ? undefined : cell.getFgColor(),
    };
    const text = cell.getChars() || ' ';
    const last = found.at(-1);
    if (last && last.bold === look.bold && last.dim === look.dim && last.color === look.color)
      found[found.length - 1] = { ...last, text: last.text + text };
    else found.push({ column, text, ...look });
  }
  const last = found.at(-1);
  if (last && last.text.trimEnd() === '') found.pop();
  else if (last) found[found.length - 1] = { ...last, text: last.text.trimEnd() };
  return found;
}
