import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { isInstalled, ReceivingProcess } from './receiving-process';

/** One system call, as strace saw it. It began at line `from` of the trace and had ended at line `to`. */
export interface Call {
  readonly name: string;
  /** With the paths of descriptors, as strace -y writes them: `fsync(20</tmp/d>)`. */
  readonly text: string;
  readonly from: number;
  readonly to: number;
}

export const canTrace = isInstalled('strace');

/** Attaching to a running process is a right of its own: root's, or everybody's where Yama is off. */
export const canAttach =
  canTrace && (process.getuid?.() === 0 || tryRead('/proc/sys/kernel/yama/ptrace_scope')?.trim() === '0');

// One thread for asynchronous calls, so that "the first fsync" means something.
const oneThread = { UV_THREADPOOL_SIZE: '1' };
const follow = ['strace', '-f', '-y', '-qq', '-s', '200'];

/** A receiving process whose system calls of the kinds in `kinds` are written down. */
export class TracedProcess extends ReceivingProcess {
  private readonly out: string;

  constructor(kinds: string) {
    const out = path.join(mkdtempSync(path.join(tmpdir(), 'sendall-trace-')), 'trace');
    super([...follow, '--seccomp-bpf', '-o', out, '-e', `trace=${kinds}`], oneThread);
    this.out = out;
  }

  /** Ends the process; resolves with what it called, in order. */
  async calls(): Promise<Call[]> {
    await this.end();
    const text = readFileSync(this.out, 'utf8');
    rmSync(path.dirname(this.out), { recursive: true });
    return parse(text.split('\n'));
  }
}

/** A receiving process whose system calls can be made to fail while it runs. */
export class FaultyProcess extends ReceivingProcess {
  constructor() {
    super([], oneThread);
  }

  /** From now on calls fail, or give back other bytes, as `fault` says: an expression of strace's `-e inject=`. */
  async suffer(fault: string): Promise<void> {
    const kinds = fault.slice(0, fault.indexOf(':'));
    const [file = '', ...words] = [
      ...follow,
      '-p',
      String(this.pid),
      '-o',
      '/dev/null',
      '-e',
      `trace=${kinds}`,
      '-e',
      `inject=${fault}`,
    ];
    spawn(file, words, { stdio: 'inherit' });
    while (this.threads().some((tracer) => tracer === '0')) await pause(5);
  }

  /** Who traces each thread. */
  private threads(): string[] {
    const tasks = `/proc/${this.pid}/task`;
    return readdirSync(tasks).map(
      (task) => /TracerPid:\s+(\d+)/.exec(tryRead(`${tasks}/${task}/status`) ?? '')?.[1] ?? '',
    );
  }
}

function tryRead(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** Joins `unfinished ...` with the `resumed` of the same thread. */
function parse(lines: readonly string[]): Call[] {
  const calls: Call[] = [];
  const unfinished = new Map<string, { readonly text: string; readonly from: number }>();
  for (const [at, line] of lines.entries()) {
    const [, thread = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    if (rest.endsWith('<unfinished ...>')) {
      unfinished.set(thread, { text: rest.replace(/ *<unfinished \.\.\.>$/, ''), from: at });
      continue;
    }
    const before = resumed ? unfinished.get(thread) : undefined;
    const text = (before?.text ?? '') + (resumed?.[1] ?? rest);
    const name = /^\w+/.exec(text)?.[0];
    if (name !== undefined) calls.push({ name, text, from: before?.from ?? at, to: at });
  }
  return calls;
}
