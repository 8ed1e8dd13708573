// A real receiver that has to go on serving whatever its other peers do, and what it holds.
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Ended, SendallProcess } from '../spec/cli/sendall-process';
import { ticketOf } from '../spec/cli/session-run';
import type { Surroundings } from './experiment';

/** So long a command may take that needs a second, in ms: the machine may be busy. */
const patience = 60_000;

/**
 * A receiver into a directory of its own, at a free port of loopback, with whatever is sent to it by the real command.
 */
export class Served {
  private others = 0;

  private constructor(
    private readonly build: string,
    /** Where its directory `in` is, and whatever is sent. */
    readonly directory: string,
    readonly receiver: SendallProcess,
    readonly ticket: string,
  ) {}

  static async open(
    { build, directory }: Pick<Surroundings, 'build' | 'directory'>,
    words: readonly string[] = [],
    env: NodeJS.ProcessEnv = {},
  ): Promise<Served> {
    await mkdir(join(directory, 'in'), { mode: 0o755, recursive: true });
    await writeFile(join(directory, 'bystander'), 'still served');
    const receiver = new SendallProcess(['receive', 'in', '--listen', '127.0.0.1:0', ...words], {
      cwd: directory,
      build,
      env,
    });
    return new Served(build, directory, receiver, await ticketOf(receiver));
  }

  get port(): number {
    return Number(new URL(this.ticket).port);
  }

  at(...names: readonly string[]): string {
    return join(this.directory, ...names);
  }

  start(words: readonly string[], env: NodeJS.ProcessEnv = {}): SendallProcess {
    return new SendallProcess(words, { cwd: this.directory, build: this.build, env: { SENDALL_TICKET: '', ...env } });
  }

  /** Runs a command to its end, or kills it after `within` ms, which counts as no exit code. */
  async run(words: readonly string[], within = patience, env: NodeJS.ProcessEnv = {}): Promise<Ended> {
    return endedWithin(this.start(words, env), within);
  }

  /** What stands under a name in the receive directory; undefined for nothing. */
  received(name: string): Buffer | undefined {
    try {
      return readFileSync(this.at('in', name));
    } catch {
      return undefined;
    }
  }

  /** Takes away what stands under a name, as its owner may. */
  async removeReceived(name: string): Promise<void> {
    await rm(this.at('in', name));
  }

  /** A sentence if somebody who does nothing wrong is not served any more. */
  async refusesOthers(): Promise<string | undefined> {
    if (this.receiver.child.exitCode !== null)
      return `the receiver has ended: ${(await this.receiver.ended).stderr.slice(-500)}`;
    const name = `bystander-${String(this.others++)}`;
    const { code, stderr } = await this.run(['send', 'bystander', this.ticket, '--name', name]);
    if (code === 0 && this.received(name)?.toString() === 'still served') return undefined;
    return `somebody else is not served any more: exit code ${String(code)}, ${stderr.trim()}`;
  }

  /**
   * Stops the receiver as a user does. @returns a sentence for each thing that is left over, or is not as a stop should
   * be.
   */
  async stop(): Promise<string[]> {
    const { child } = this.receiver;
    const alive = child.exitCode === null;
    child.kill('SIGINT');
    const { code, stderr } = await endedWithin(this.receiver, patience);
    const flaws = alive && code === 130 ? [] : [`the receiver ended with ${String(code)}: ${stderr.slice(-500)}`];
    return [...flaws, ...this.leftovers().map((name) => `left over: ${name}`)];
  }

  async kill(): Promise<void> {
    this.receiver.child.kill('SIGKILL');
    await this.receiver.ended;
  }

  /** What is in the staging directory, but for the remembered receipts and what sendall status reads. */
  private leftovers(): string[] {
    return readdirSync(this.at('in', '.sendall'), { recursive: true, encoding: 'utf8' }).filter(
      (name) => name !== 'receipts' && !/^(?:status|checks)\.json(?:\.new)?$/.test(name),
    );
  }
}

/** What a command came to; one that takes longer is killed. */
export async function endedWithin(command: SendallProcess, ms: number): Promise<Ended> {
  const late = new AbortController();
  void sleep(ms, undefined, { signal: late.signal }).then(
    () => command.child.kill('SIGKILL'),
    () => undefined,
  );
  try {
    return await command.ended;
  } finally {
    late.abort();
  }
}
