import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { TransferEvent } from '../lib/index';
import { type Ended, eventsOf, SendallProcess } from '../spec/cli/sendall-process';
import { type Delivery, type Sources, wordsOfReceiver, wordsOfSender } from './deliveries';
import { type Call, callsIn, type CallKind, type Fault, type FaultError } from './faulty-calls';

/** What goes wrong while something is delivered, and in which process. */
export interface Mishap {
  readonly delivery: Delivery;
  readonly victim: 'receiver' | 'sender';
  /** The kinds of calls that are counted, and which of them it is; 0 for none. */
  readonly kinds: readonly CallKind[];
  readonly at: number;
  /** What the call fails with; without it the process ends there. */
  readonly error?: FaultError;
  readonly torn?: boolean;
  /** The process ends so many ms after it was started, whatever it does then. */
  readonly killedAfter?: number;
}

export interface TrialOutcome {
  /** A sentence for each promise that did not hold. */
  readonly broken: readonly string[];
  /** What was called on the files of each side during the delivery with the mishap. */
  readonly calls: Readonly<Record<Mishap['victim'], readonly Call[]>>;
  /** The exit code of the sender in that delivery; undefined where it was never started. */
  readonly code: number | null | undefined;
  /** The codes of the failures that were told of. */
  readonly failures: readonly string[];
  /** How long that delivery took, in ms. */
  readonly took: number;
  /** What was left of ours when everything had ended. */
  readonly left: readonly string[];
}

/** Where trials take place. */
export interface Ground {
  readonly build: string;
  readonly sources: Sources;
  readonly faulty: (fault: Fault) => NodeJS.ProcessEnv;
}

/** No process takes so long, in ms: what has not ended by then hangs. */
const longest = 60_000;

class Stuck extends Error {}

/**
 * One delivery in which something goes wrong, and then the same commands again. What is under final names must be whole
 * at any time; what was acknowledged must be there; the second time must succeed, and leave nothing behind but what
 * `left` of an undisturbed trial says.
 */
export class Trial {
  private readonly broken: string[] = [];
  private readonly failures: string[] = [];
  private readonly processes: SendallProcess[] = [];
  private receiver: SendallProcess | undefined;
  private code: number | null | undefined;
  private took = 0;
  private calls: TrialOutcome['calls'] | undefined;

  constructor(
    private readonly ground: Ground,
    private readonly mishap: Mishap,
    /** Made for this trial and removed after it. */
    private readonly directory: string,
    private readonly mayBeLeft: readonly string[] | undefined,
  ) {}

  async run(): Promise<TrialOutcome> {
    const { delivery, error, victim } = this.mishap;
    mkdirSync(this.directory);
    this.ground.sources.place(delivery, this.into);
    try {
      await this.deliverBadly();
      await this.deliverAgain(this.receiver ? 'the same receiver' : 'a new receiver');
      // What a receiver in which a call has failed leaves behind is for the next one to collect.
      if (error !== undefined && (victim === 'receiver' || delivery.wire === 'none'))
        await this.deliverAgain('a new receiver');
      const leftovers = this.left().filter((name) => this.mayBeLeft?.includes(name) === false);
      if (leftovers.length > 0) this.broken.push(`In the end there is left: ${leftovers.join(', ')}.`);
    } catch (stuck) {
      if (!(stuck instanceof Stuck)) throw stuck;
      this.broken.push(stuck.message);
    } finally {
      for (const { child, ended } of this.processes) {
        child.kill('SIGKILL');
        await ended;
      }
    }
    const { broken, failures, code, took } = this;
    const outcome = { broken, calls: this.calls ?? this.readCalls(), code, failures, took, left: this.left() };
    rmSync(this.directory, { recursive: true, force: true });
    return outcome;
  }

  private async deliverBadly(): Promise<void> {
    const { delivery, victim, error } = this.mishap;
    const began = performance.now();
    const target = await this.listen(true);
    if (target !== undefined) {
      const ended = await this.send(target, true);
      this.code = ended.code;
      this.look(ended, 'The sender', victim === 'sender');
      if (ended.code === 0) this.say(this.ground.sources.undelivered(delivery, this.into), 'The sender ended with 0');
    }
    this.took = performance.now() - began;
    // A receiver that outlives its own failed call has to be as good as before; one that has not met it yet meets it
    // now.
    const outlived = error !== undefined && callsIn(this.log('receiver')).some(({ struck }) => struck);
    if (victim === 'receiver' && !outlived) await this.stop();
    const { receiver } = this;
    if (receiver && (receiver.child.exitCode ?? receiver.child.signalCode) !== null) await this.stop();
    this.calls = this.readCalls();
    this.say(this.ground.sources.broken(delivery, this.into), 'After the mishap');
  }

  /** Once more from the start, with nothing that goes wrong. */
  private async deliverAgain(by: string): Promise<void> {
    const { delivery } = this.mishap;
    const target = await this.listen(false);
    if (target === undefined) {
      this.broken.push('Afterwards the receiver could not be started.');
      return;
    }
    const { code, stdout, stderr } = await this.send(target, false);
    if (code !== 0)
      this.broken.push(
        `The same command again, with ${by}, ended with ${String(code)}: ${stderr.trim() || stdout.slice(-600)}`,
      );
    else this.say(this.ground.sources.undelivered(delivery, this.into), `After the same command again, with ${by}`);
    await this.stop();
  }

  /** A receiver, unless one is running; where to send to, or undefined if it ended before it told. */
  private async listen(badly: boolean): Promise<string | undefined> {
    const { delivery } = this.mishap;
    if (delivery.wire === 'none') return this.into;
    this.receiver ??= this.start('receiver', wordsOfReceiver(delivery, this.into), badly);
    const { receiver } = this;
    const told = receiver.says(delivery.wire === 'plain' ? /tcp:\/\/[^\s"]+/ : /sendall:\/\/[^\s"]+/).then(
      ([target]) => target,
      () => undefined,
    );
    const target = await this.inTime(told, 'The receiver does not start.');
    if (target === undefined) await this.stop();
    return target;
  }

  private send(target: string, badly: boolean): Promise<Ended> {
    return this.inTime(
      this.start('sender', wordsOfSender(this.mishap.delivery, target), badly).ended,
      'The sender does not end.',
    );
  }

  private start(side: Mishap['victim'], words: readonly string[], badly: boolean): SendallProcess {
    const { build, sources, faulty } = this.ground;
    const { victim, kinds, at, error, torn, killedAfter, delivery } = this.mishap;
    const env = { XDG_CACHE_HOME: join(this.directory, 'cache'), SENDALL_TICKET: '' };
    const writes = side === 'receiver' || delivery.wire === 'none' ? [this.into] : [];
    const reads = side === 'sender' ? [sources.directory, join(this.directory, 'cache')] : [];
    const how = { kinds, at: side === victim ? at : 0, ...(error && { error }), ...(torn === true && { torn }) };
    const fault = { ...how, under: [...writes, ...reads, 'socket'], log: this.log(side) };
    const started = new SendallProcess(words, {
      cwd: sources.directory,
      build,
      env: badly ? { ...env, ...faulty(fault) } : env,
    });
    if (badly && side === victim && killedAfter !== undefined) {
      const timer = setTimeout(() => started.child.kill('SIGKILL'), killedAfter);
      void started.ended.then(() => clearTimeout(timer));
    }
    this.processes.push(started);
    return started;
  }

  private async stop(): Promise<void> {
    const { receiver } = this;
    if (!receiver) return;
    receiver.child.kill('SIGINT');
    const ended = await this.inTime(receiver.ended, 'The receiver does not end.');
    this.look(ended, 'The receiver', this.mishap.victim === 'receiver');
    this.receiver = undefined;
  }

  /** Whether what a process acknowledged is there, and whether it ended in an orderly way if it was not killed. */
  private look(ended: Ended, who: string, isVictim: boolean): void {
    const { delivery, error, at, killedAfter } = this.mishap;
    for (const event of eventsOf(ended)) {
      if (event.event === 'failed') this.failures.push(event.code);
      const acknowledged = acknowledgedIn(event, delivery);
      if (acknowledged === undefined || this.ground.sources.keeps(delivery, this.into, acknowledged)) continue;
      this.broken.push(`${who} acknowledged ${acknowledged}, which is not there.`);
    }
    const mayBeKilled = isVictim && error === undefined && (at > 0 || killedAfter !== undefined);
    if (ended.code === null && !mayBeKilled)
      this.broken.push(`${who} crashed by ${String(ended.signal)}: ${ended.stderr.trim().slice(-2_000)}`);
    if (/\n\s+at .+:\d+:\d+/.test(ended.stderr)) this.broken.push(`${who} fell: ${ended.stderr.trim()}`);
  }

  private say(sentences: readonly string[], when: string): void {
    this.broken.push(...sentences.slice(0, 3).map((sentence) => `${when}: ${sentence}`));
  }

  private async inTime<Result>(promise: Promise<Result>, otherwise: string): Promise<Result> {
    const abort = new AbortController();
    const late = pause(longest, undefined, { signal: abort.signal }).then(() => {
      throw new Stuck(otherwise);
    });
    late.catch(() => undefined);
    try {
      return await Promise.race([promise, late]);
    } finally {
      abort.abort();
    }
  }

  private get into(): string {
    return join(this.directory, 'in');
  }

  private readCalls(): TrialOutcome['calls'] {
    return { receiver: callsIn(this.log('receiver')), sender: callsIn(this.log('sender')) };
  }

  private log(side: Mishap['victim']): string {
    return join(this.directory, `${side}.log`);
  }

  /** Our own files in the receive directory, but for those that sendall status reads. */
  private left(): string[] {
    const own = join(this.into, '.sendall');
    return existsSync(own)
      ? ['', ...readdirSync(own, { recursive: true, encoding: 'utf8' })]
          .filter((name) => !/^(?:status|checks)\.json(?:\.new)?$/.test(name))
          .map((name) => join('.sendall', name))
          .sort()
      : [];
  }
}

/**
 * The path of a file, or the snapshot, that is promised to be there from now on. What a backup has sent is promised
 * with its snapshot.
 */
function acknowledgedIn(event: TransferEvent, { backup = false }: Delivery): string | undefined {
  if (backup) return event.event === 'snapshot' ? event.snapshot : undefined;
  if (event.event === 'received' || (event.event === 'sent' && event.verified !== null))
    return event.path ?? event.file_name;
  return undefined;
}
