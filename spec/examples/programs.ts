import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import * as ts from 'typescript';

const root = join(__dirname, '..', '..');
const python = join(root, 'fixtures', 'python', 'examples');
const hasPython = spawnSync('python3', ['--version']).status === 0;
let compiled: string | undefined;

/**
 * The examples as plain JavaScript, made once in each process, beside the library that was built: started so, a program
 * is there in a tenth of the time.
 */
function compiledRoot(): string {
  if (compiled !== undefined) return compiled;
  const directory = mkdtempSync(join(tmpdir(), 'sendall-examples-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  const compilerOptions = { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2023, esModuleInterop: true };
  symlinkSync(join(root, 'dist', 'lib'), join(directory, 'lib'));
  const examples = readdirSync(join(root, 'examples'), { recursive: true, encoding: 'utf8' });
  for (const file of examples.filter((name) => name.endsWith('.ts'))) {
    const target = join(directory, 'examples', file.replace(/ts$/, 'js'));
    mkdirSync(dirname(target), { recursive: true });
    const source = readFileSync(join(root, 'examples', file), 'utf8');
    writeFileSync(target, ts.transpileModule(source, { compilerOptions }).outputText);
  }
  compiled = directory;
  return directory;
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** An example or its counterpart in Python, running for real. */
export class Program {
  private static readonly all = new Set<Program>();
  readonly ended: Promise<Ended>;
  private stdout = '';
  private stderr = '';
  private readonly watchers = new Set<() => void>();

  private constructor(private readonly child: ChildProcess) {
    Program.all.add(this);
    child.stdin?.on('error', () => undefined);
    child.stdout?.on('data', (bytes: Buffer) => this.heard((this.stdout += bytes.toString())));
    child.stderr?.on('data', (bytes: Buffer) => this.heard((this.stderr += bytes.toString())));
    this.ended = new Promise((resolve) => {
      child.once('close', (code) => {
        Program.all.delete(this);
        resolve({ code, stdout: this.stdout, stderr: this.stderr });
        this.heard('');
      });
    });
  }

  static example(...words: readonly (string | number)[]): Program {
    const env = {
      ...process.env,
      NODE_PATH: join(root, 'node_modules'),
      NODE_V8_COVERAGE: undefined,
      XDG_CACHE_HOME: '/nonexistent',
      FORCE_COLOR: '1',
    };
    return new Program(
      spawn(process.execPath, [join(compiledRoot(), 'examples', 'run.js'), ...words.map(String)], { env }),
    );
  }

  static python(script: string, ...words: readonly (string | number)[]): Program {
    return new Program(
      spawn('python3', [join(python, script), ...words.map(String)], {
        env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' },
      }),
    );
  }

  /** For `afterEach`: whoever still runs must not outlive the test. */
  static async killAll(): Promise<void> {
    const left = [...Program.all];
    for (const { child } of left) child.kill('SIGKILL');
    await Promise.all(left.map(({ ended }) => ended));
  }

  type(text: string): void {
    this.child.stdin?.write(text);
  }

  endInput(): void {
    this.child.stdin?.end();
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }

  /** Waits until `pattern` was printed on either stream, and returns the match. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.stdout) ?? pattern.exec(this.stderr);
      if (match) return match;
      if (!Program.all.has(this))
        throw new Error(`It ended without saying ${String(pattern)}:\n${this.stdout}${this.stderr}`);
      await new Promise<void>((resolve) => this.watchers.add(resolve));
    }
  }

  /** The port that it says it listens on, in its first line. */
  async port(): Promise<number> {
    return Number((await this.says(/^listening on (?:.*:)?(\d+)\n/))[1]);
  }

  /** Waits for its end in success, and returns what it printed. */
  async succeeds(): Promise<string> {
    const { code, stdout, stderr } = await this.ended;
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    return stdout;
  }

  /** Waits for its end in one clear line on stderr and exit code 1. */
  async fails(line: RegExp): Promise<void> {
    const { code, stderr } = await this.ended;
    expect(stderr).to.match(line);
    expect(stderr.split('\n'), stderr).to.have.lengthOf(2);
    expect(code).to.equal(1);
  }

  private heard(_text: string): void {
    for (const watcher of this.watchers) watcher();
    this.watchers.clear();
  }
}

/** Tests that need python3; without it they are skipped, and say why. */
export function describeWithPython(title: string, tests: () => void): void {
  if (hasPython) describe(title, tests);
  else describe.skip(`${title} (skipped: there is no python3 here)`, tests);
}
