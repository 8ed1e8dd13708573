import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import * as ts from 'typescript';
import type { Answer, Order } from './receiving';

const root = path.join(__dirname, '..', '..', '..');
let programs: string | undefined;

/**
 * The path of a program of this directory as JavaScript, with what it imports: made once for each spec from the sources
 * as they are, since a process that compiles takes seconds to start and more memory than is measured.
 */
export function compiled(program: string): string {
  programs ??= compile();
  return path.join(programs, `${program}.js`);
}

function compile(): string {
  const out = mkdtempSync(path.join(tmpdir(), 'sendall-receiving-'));
  process.on('exit', () => rmSync(out, { recursive: true, force: true }));
  const sources = readdirSync(path.join(root, 'lib'), { recursive: true, encoding: 'utf8' }).map((name) =>
    path.join('lib', name),
  );
  const beside = readdirSync(path.dirname(__dirname), { recursive: true, encoding: 'utf8' }).filter(
    (name) => !name.endsWith('.spec.ts'),
  );
  for (const source of [...sources, ...beside.map((name) => path.join('spec', 'store', name))]) {
    if (!source.endsWith('.ts')) continue;
    const target = path.join(out, source.replace(/\.ts$/, '.js'));
    mkdirSync(path.dirname(target), { recursive: true });
    const compilerOptions = { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.CommonJS };
    writeFileSync(
      target,
      ts.transpileModule(readFileSync(path.join(root, source), 'utf8'), { compilerOptions }).outputText,
    );
  }
  symlinkSync(path.join(root, 'node_modules'), path.join(out, 'node_modules'));
  return path.join(out, 'spec', 'store', 'local');
}

/** A store in a process of its own; `command` stands before it, for instance strace. */
export class ReceivingProcess {
  readonly child: ChildProcess;
  private readonly answers: AsyncIterator<string>;

  constructor(command: readonly string[] = [], env: NodeJS.ProcessEnv = {}) {
    const [file = '', ...words] = [...command, process.execPath, compiled('receiving')];
    this.child = spawn(file, words, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, NODE_V8_COVERAGE: '', ...env },
    });
    this.answers = createInterface({ input: this.child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]();
    this.child.stdin?.on('error', () => undefined);
  }

  get pid(): number {
    return this.child.pid as number;
  }

  /** Gives an order; resolves with its answer, or rejects if the process ends before. */
  async ask(order: Order): Promise<Answer> {
    this.child.stdin?.write(`${JSON.stringify(order)}\n`);
    const answer = await this.answers.next();
    if (answer.done === true) throw new Error('the receiving process has ended');
    return JSON.parse(answer.value) as Answer;
  }

  open(directory: string): Promise<Answer> {
    return this.ask({ order: 'open', directory });
  }

  receive(name: string, size: number, options: Partial<Extract<Order, { order: 'receive' }>> = {}): Promise<Answer> {
    return this.ask({ order: 'receive', name, size, seed: 1, ifExists: 'refuse', ...options });
  }

  /** Ends it as a power cut would, and waits until it is gone. */
  async kill(): Promise<void> {
    const gone = this.gone();
    this.child.kill('SIGKILL');
    await gone;
  }

  /** Lets it end by itself. */
  async end(): Promise<void> {
    const gone = this.gone();
    this.child.stdin?.end();
    await gone;
  }

  private async gone(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    await new Promise((resolve) => this.child.once('close', resolve));
  }
}

/** Whether a program can be run here. */
export function isInstalled(name: string): boolean {
  try {
    execFileSync('which', [name], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
