import { join } from 'node:path';
import type { Listener } from '../lib/index';
import { SendallProcess } from '../spec/cli/sendall-process';
import type { Surroundings } from './experiment';
import type { Loans } from './loans';
import { backupName } from './promised';
import { Receipts } from './receipts';

const patience = 120_000; // ms

/** The ways by which files get into a receive directory. */
export type Wire = 'plain' | 'session' | 'backup' | 'local backup';

export const isBackup = (wire: Wire): boolean => wire === 'backup' || wire === 'local backup';

/** A receiver that is running. */
export interface Receiver {
  readonly receipts: Receipts;
  /** Where it is reached. */
  readonly targets: Readonly<Record<Exclude<Wire, 'local backup'>, string>>;
  /** Resolves when the process is gone. */
  readonly end: (signal?: NodeJS.Signals) => Promise<void>;
}

/** What a receiver, or a sender, is started with besides. */
export interface Started {
  /** Where it runs; the receive directory is `in` there. */
  readonly cwd: string;
  readonly words?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Told of every event. */
  readonly heard?: Listener;
}

/** The real commands of one build, which end at the latest with the experiment. */
export class Commands {
  constructor(
    private readonly surroundings: Pick<Surroundings, 'build' | 'directory'>,
    private readonly loans: Loans,
  ) {}

  /**
   * One that does not end by itself within two minutes is killed, so that its code is null; receivers have as long as
   * they want.
   */
  start(words: readonly string[], { cwd, env }: Started): SendallProcess {
    const { build, directory } = this.surroundings;
    const started = new SendallProcess(words, {
      build,
      cwd,
      env: { SENDALL_TICKET: '', XDG_CACHE_HOME: join(directory, 'cache'), ...env },
    });
    const kill = this.loans.take(() => started.child.kill('SIGKILL'));
    const late = words[0] === 'receive' ? undefined : killLater(started);
    void started.ended.then(() => {
      clearTimeout(late);
      kill();
    });
    return started;
  }

  /** Resolves when it listens. Rejects if it ends before. */
  async receive(started: Started): Promise<Receiver> {
    const receiver = this.start(
      ['receive', 'in', '--listen', '127.0.0.1:0', '--json', ...(started.words ?? [])],
      started,
    );
    const receipts = new Receipts(receiver, started.heard);
    const [, port, ticket = ''] = await receiver.says(/"port":(\d+),"ticket":"([^"]+)"/);
    return {
      receipts,
      targets: { plain: `tcp://127.0.0.1:${port}`, session: ticket, backup: ticket },
      end: async (signal = 'SIGKILL') => {
        receiver.child.kill(signal);
        const late = killLater(receiver);
        await receiver.ended;
        clearTimeout(late);
      },
    };
  }

  /** Brings `source` into `in`, to a `receiver` unless it is a local backup. */
  send(
    wire: Wire,
    source: string,
    receiver: Receiver | undefined,
    started: Started,
  ): { readonly sender: SendallProcess; readonly receipts: Receipts } {
    const target = wire === 'local backup' ? 'in' : (receiver?.targets[wire] ?? '');
    const kind = isBackup(wire)
      ? ['backup', '--name', backupName]
      : ['send', ...(wire === 'session' ? ['--digest', 'sha256'] : [])];
    const sender = this.start([...kind, source, target, '--json', ...(started.words ?? [])], started);
    return { sender, receipts: new Receipts(sender, started.heard) };
  }
}

function killLater({ child }: SendallProcess): NodeJS.Timeout {
  return setTimeout(() => child.kill('SIGKILL'), patience);
}
