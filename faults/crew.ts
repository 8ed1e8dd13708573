// Several receivers before one object store, as real processes, of which one after the other is killed or stopped.
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AuthorizedKeys, formatTicket, parseTicket } from '../lib/index';
import { SendallProcess } from '../spec/cli/sendall-process';
import type { ObjectServer } from '../spec/store/object/servers';
import type { Surroundings } from './experiment';

/** One of them: dead and alive again at the same address. */
interface Member {
  readonly port: number;
  process: SendallProcess;
  /** Until it listens again after it was killed, or goes on after it was stopped. */
  starting: Promise<unknown>;
}

export class Crew {
  killed = 0;
  stopped = 0;
  private readonly members: Member[] = [];
  private readonly authorized: AuthorizedKeys;
  private disturbing: Promise<void> = Promise.resolve();
  private readonly over = new AbortController();

  private constructor(
    private readonly surroundings: Pick<Surroundings, 'build' | 'directory' | 'random'>,
    /** `s3://BUCKET/PREFIX`, and what comes behind it on a command line. */
    readonly place: readonly string[],
    /** The keys of the bucket. */
    private readonly env: NodeJS.ProcessEnv,
  ) {
    this.authorized = new AuthorizedKeys(join(surroundings.directory, 'config', 'sendall', 'authorized.json'));
  }

  static async start(surroundings: Surroundings, server: ObjectServer, count: number): Promise<Crew> {
    const { endpoint, bucket, prefix, keys } = server.options();
    const env = { AWS_ACCESS_KEY_ID: keys.accessKey, AWS_SECRET_ACCESS_KEY: keys.secretKey };
    const place = [`s3://${bucket}/${prefix.slice(0, -1)}`, '--endpoint', endpoint.href];
    const crew = new Crew(surroundings, place, env);
    for (let one = 0; one < count; one++) {
      const process = crew.receive(0);
      const [, port] = await process.says(/"port":(\d+)/);
      crew.members.push({ port: Number(port), process, starting: Promise.resolve() });
    }
    return crew;
  }

  /** For each member a ticket with one and the same key: whoever has it may go on at any of them. */
  async keyFor(name: string): Promise<string[]> {
    const key = await this.authorized.authorize({ name, rights: 'write' });
    return this.members.map(({ port }) => {
      const { address } = parseTicket(`sendall://127.0.0.1:${String(port)}/${'A'.repeat(64)}`);
      return formatTicket({ ...key, address });
    });
  }

  start(words: readonly string[], cwd = this.surroundings.directory): SendallProcess {
    const { build, directory } = this.surroundings;
    const homes = { XDG_CONFIG_HOME: join(directory, 'config'), XDG_CACHE_HOME: join(directory, 'cache') };
    return new SendallProcess(words, { build, cwd, env: { SENDALL_TICKET: '', ...this.env, ...homes } });
  }

  /**
   * From here on every `every` ms one of them, in turn, is killed with SIGKILL, and is there again at once or later;
   * or, one time in three, stopped, and goes on later with whatever it was about to do.
   */
  disturbOneEvery(every: number): void {
    const { random } = this.surroundings;
    this.disturbing = (async () => {
      for (let turn = 0; ; turn++) {
        await sleep(every, undefined, { signal: this.over.signal });
        const member = this.members[turn % this.members.length] as Member;
        await member.starting;
        if (random.next() < 1 / 3) {
          member.process.child.kill('SIGSTOP');
          this.stopped++;
          member.starting = sleep((0.5 + 2 * random.next()) * every).then(
            () => void member.process.child.kill('SIGCONT'),
          );
          continue;
        }
        member.process.child.kill('SIGKILL');
        await member.process.ended;
        this.killed++;
        const pause = random.next() < 0.5 ? 0 : random.next() * every;
        member.starting = sleep(pause).then(() => this.revive(member));
      }
    })().catch((error: unknown) => {
      if (!this.over.signal.aborted) throw error;
    });
  }

  /** Nobody is killed or stopped any more, and all of them are there. */
  async spare(): Promise<void> {
    this.over.abort();
    await this.disturbing;
    await Promise.all(this.members.map(({ starting }) => starting));
  }

  /** Kills all of them. */
  async end(): Promise<void> {
    await this.spare();
    for (const { process } of this.members) process.child.kill('SIGKILL');
    await Promise.all(this.members.map(({ process }) => process.ended));
  }

  private async revive(member: Member): Promise<void> {
    member.process = this.receive(member.port);
    await member.process.says(/"port":(\d+)/);
  }

  private receive(port: number): SendallProcess {
    return this.start(['receive', ...this.place, '--listen', `127.0.0.1:${String(port)}`, '--json']);
  }
}
