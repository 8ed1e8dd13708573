import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { find, run } from '../bench/command';

/** Calls that leave something behind on the disk, and those that tell the other side something. */
export const changingKinds = [
  'create',
  'write',
  'fsync',
  'syncfs',
  'truncate',
  'chmod',
  'utime',
  'link',
  'symlink',
  'rename',
  'unlink',
  'mkdir',
  'send',
] as const;
export type CallKind = (typeof changingKinds)[number] | 'open' | 'read';
export type FaultError = 'EIO' | 'ENOSPC' | 'EMFILE' | 'EACCES' | 'EROFS';

/** What is to go wrong in one process. */
export interface Fault {
  /**
   * Files and directories without symbolic links; calls on them and on what lies below count. `socket` stands for every
   * socket.
   */
  readonly under: readonly string[];
  readonly kinds: readonly CallKind[];
  /** Which of these calls, from 1 on; 0 for none of them. */
  readonly at: number;
  /** What that call fails with; without it the process ends before the call, as by kill -9. */
  readonly error?: FaultError;
  /** A write before which the process ends has written half of its bytes. */
  readonly torn?: boolean;
  /** The file that gets the list of all calls there. */
  readonly log: string;
}

export interface Call {
  readonly kind: CallKind;
  readonly path: string;
  /** The new name of `link` and `rename`. */
  readonly to: string;
  /** Whether it was this one that went wrong. */
  readonly struck: boolean;
}

/** What it takes to let calls fail, and is not here. */
export function missingForFaultyCalls(): string | undefined {
  if (process.platform !== 'linux') return 'System calls are made to fail on Linux only.';
  return find('cc') === undefined ? 'The program cc is not installed.' : undefined;
}

/**
 * Compiles what stands before the C library into `directory`. @returns the environment that a process needs for a
 * fault.
 */
export async function faultyCalls(directory: string): Promise<(fault: Fault) => NodeJS.ProcessEnv> {
  const library = join(directory, 'faulty-calls.so');
  await run('cc', ['-O1', '-shared', '-fPIC', '-o', library, join(__dirname, 'faulty-calls.c'), '-ldl']);
  return ({ under, kinds, at, error, torn = false, log }) => ({
    LD_PRELOAD: library,
    FAULT_UNDER: under.join(':'),
    FAULT_KINDS: `,${kinds.join(',')},`,
    FAULT_AT: String(at),
    FAULT_ERROR: String(error === undefined ? 0 : constants.errno[error]),
    FAULT_TORN: torn ? 'yes' : '',
    FAULT_LOG: log,
    UV_THREADPOOL_SIZE: '1', // so that the n-th call is nearly always the same one
  });
}

/** The calls in a log, in their order. */
export function callsIn(log: string): Call[] {
  if (!existsSync(log)) return []; // it ended before it called anything
  return readFileSync(log, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const [mark, kind = '', path = '', to = ''] = line.split('\t');
      return { kind: kind as CallKind, path, to, struck: mark === '!' };
    });
}

/** For people: `rename .sendall/stage/… → a`, relative to `directory`. */
export function wordsOf({ kind, path, to }: Call, directory: string): string {
  const shown = [path, to].filter((each) => each !== '').map((each) => each.replace(`${directory}/`, ''));
  return `${kind} ${shown.join(' → ')}`;
}
