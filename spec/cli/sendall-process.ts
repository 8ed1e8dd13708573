import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020';
import type { TransferEvent } from '../../lib/index';

const ownBuild = join(__dirname, '..', '..', 'dist');

export interface Ended {
  /** Null if a signal ended it. */
  readonly code: number | null;
  readonly signal?: NodeJS.Signals;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProcessOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** The directory of another build than the one in dist. */
  readonly build?: string;
  /** The single executable, in place of a build. */
  readonly executable?: string | undefined;
  /** A program and its arguments that run the command: ['strace', '-f']. */
  readonly under?: readonly string[];
}

/** The built command, running. The file of defaults of whoever runs the tests is out of its sight. */
export class SendallProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  private stdout = '';
  private stderr = '';
  private readonly watchers = new Set<() => void>();

  constructor(
    words: readonly string[],
    { cwd, env: own, build = ownBuild, executable, under = [] }: ProcessOptions = {},
  ) {
    const env = { ...process.env, XDG_CONFIG_HOME: '/nonexistent', XDG_CACHE_HOME: cwd ?? '/nonexistent', ...own };
    const [program = process.execPath, ...others] = [
      ...under,
      ...(executable === undefined ? [process.execPath, join(build, 'cli', 'main.js')] : [executable]),
      ...words,
    ];
    this.child = spawn(program, others, { ...(cwd !== undefined && { cwd }), env, stdio: ['pipe', 'pipe', 'pipe'] });
    this.child.stdout?.on('data', (bytes: Buffer) => this.heard((this.stdout += bytes.toString())));
    this.child.stderr?.on('data', (bytes: Buffer) => this.heard((this.stderr += bytes.toString())));
    this.ended = new Promise((resolve, reject) => {
      this.child.once('close', (code, signal) => {
        this.heard('');
        const refused = build === ownBuild && words.includes('--json') ? refusedBySchema(this.stdout) : [];
        if (refused.length > 0)
          reject(new Error(`The schema of --json refuses what was printed:\n${refused.join('\n')}`));
        resolve({ code, ...(signal !== null && { signal }), stdout: this.stdout, stderr: this.stderr });
      });
    });
  }

  /** Waits until `pattern` was printed on stdout or stderr, and returns the match. */
  async says(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.stdout) ?? pattern.exec(this.stderr);
      if (match) return match;
      if (this.child.exitCode !== null || this.child.signalCode !== null)
        throw new Error(`It ended without saying ${String(pattern)}:\n${this.stdout}${this.stderr}`);
      await new Promise<void>((resolve) => this.watchers.add(resolve));
    }
  }

  /** Waits for the address to paste, as printed for people. */
  async address(): Promise<string> {
    return (await this.says(/(tcp:\/\/\S+|unix:\S+)\n/))[1] ?? '';
  }

  private heard(_text: string): void {
    for (const watcher of this.watchers) watcher();
    this.watchers.clear();
  }
}

const schemaFile = join(__dirname, '..', '..', 'fixtures', 'json-events.schema.json');
let compiled: ValidateFunction | undefined;

/** The published schema of --json. */
function schema(): ValidateFunction {
  const options = { strict: true, allowUnionTypes: true, allErrors: true };
  return (compiled ??= new Ajv2020(options).compile(JSON.parse(readFileSync(schemaFile, 'utf8')) as object));
}

/** Whether the published schema of --json takes it. */
export function isEvent(event: unknown): boolean {
  return schema()(event);
}

/** Throws with what the published schema of --json has against it. */
export function expectEvent(event: unknown): void {
  if (!isEvent(event)) throw new Error(`The schema of --json: ${JSON.stringify([event, schema().errors])}`);
}

/** Lines of JSON that the published schema refuses, as they were printed. */
function refusedBySchema(stdout: string): string[] {
  const lines = stdout.split('\n').slice(0, -1);
  return lines.filter((line) => line.startsWith('{') && !isEvent(JSON.parse(line)));
}

/** Runs the built command to its end, with `input` on its standard input. */
export async function sendall(
  words: readonly string[],
  { cwd, input = '' }: { cwd: string; input?: string },
): Promise<Ended> {
  const running = new SendallProcess(words, { cwd });
  running.child.stdin?.on('error', () => undefined).end(input);
  return running.ended;
}

/**
 * The events of `--json`, each line parsed, without the time, the id of the transfer and the directory, which differ
 * from run to run. A snapshot's time and a key's id and directory are their own.
 */
export function eventsOf(ended: Ended): TransferEvent[] {
  return printedEventsOf(ended).map(({ id, time, directory, ...event }) => ({
    ...event,
    ...(/^(?:peer|authoriz)/.test(event.event) ? { id } : {}),
    ...(event.event === 'snapshot' ? { time } : {}),
    ...(/^authoriz/.test(event.event) && directory !== undefined ? { directory } : {}),
  })) as TransferEvent[];
}

/** The same as they were printed. */
export function printedEventsOf({ stdout }: Ended): (TransferEvent & PrintedWith)[] {
  return stdout
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as TransferEvent & PrintedWith);
}

interface PrintedWith {
  readonly time: string;
  readonly directory?: string;
}
