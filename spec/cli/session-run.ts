import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TransferEvent } from '../../lib/index';
import { type Ended, SendallProcess } from './sendall-process';

/** A directory with a receive directory `in`, and the commands that run there; `end` ends and removes all of it. */
export class SessionRun {
  readonly directory = mkdtempSync(join(tmpdir(), 'sendall-session-'));
  private readonly processes: SendallProcess[] = [];

  constructor(files: Readonly<Record<string, string | Uint8Array>> = {}) {
    mkdirSync(this.at('in'), { mode: 0o755 });
    for (const [name, content] of Object.entries(files)) writeFileSync(this.at(name), content);
  }

  at(...names: readonly string[]): string {
    return join(this.directory, ...names);
  }

  start(words: readonly string[], env: NodeJS.ProcessEnv = {}): SendallProcess {
    const started = new SendallProcess(words, { cwd: this.directory, env: { SENDALL_TICKET: '', ...env } });
    this.processes.push(started);
    return started;
  }

  run(
    words: readonly string[],
    { input = '', env = {} }: { readonly input?: string; readonly env?: NodeJS.ProcessEnv } = {},
  ): Promise<Ended> {
    const started = this.start(words, env);
    started.child.stdin?.on('error', () => undefined).end(input);
    return started.ended;
  }

  /** A receiver into `in` at a free port of loopback, and its ticket. */
  async receive(
    words: readonly string[] = [],
    env: NodeJS.ProcessEnv = {},
  ): Promise<{ readonly receiver: SendallProcess; readonly ticket: string }> {
    const receiver = this.start(
      ['receive', 'in', ...(words.includes('--listen') ? [] : ['--listen', '127.0.0.1:0']), ...words],
      env,
    );
    return { receiver, ticket: await ticketOf(receiver) };
  }

  /** What is visible in the receive directory. */
  received(): string[] {
    return readdirSync(this.at('in')).filter((name) => !name.startsWith('.'));
  }

  read(name: string): Buffer {
    return readFileSync(this.at('in', name));
  }

  async end(): Promise<void> {
    for (const { child, ended } of this.processes) {
      child.kill('SIGKILL');
      await ended;
    }
    rmSync(this.directory, { recursive: true });
  }
}

/** The ticket that a listener prints, for people or as JSON. */
export async function ticketOf(listener: SendallProcess): Promise<string> {
  return (await listener.says(/sendall:\/\/[^\s"]+/))[0];
}

/** Waits until `look` finds something. */
export async function eventually<T>(look: () => T | undefined): Promise<T> {
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** The last event of that kind. */
export function lastOf<Name extends TransferEvent['event']>(
  events: readonly TransferEvent[],
  name: Name,
): Extract<TransferEvent, { readonly event: Name }> {
  const found = events.findLast(
    (event): event is Extract<TransferEvent, { readonly event: Name }> => event.event === name,
  );
  if (!found) throw new Error(`There is no event ${name} among ${JSON.stringify(events)}.`);
  return found;
}
