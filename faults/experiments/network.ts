import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Ended } from '../../spec/cli/sendall-process';
import { ticketOf } from '../../spec/cli/session-run';
import { noise } from '../../spec/session/pair';
import { Relay } from '../../spec/session/relay';
import { brokenBuild } from '../build';
import type { Experiment, Outcome, Surroundings } from '../experiment';
import { crossing, type NetworkCase, networkCases } from '../network-cases';
import { endedWithin, Served } from '../served';

/** So many cases at once: most of them wait for a deadline. */
const together = 8;
/** A thirtieth of what people get, so that a silence is noticed while somebody waits for the experiment. */
const hasty = {
  name: 'deadlines are short',
  edits: [
    {
      file: 'lib/session/deadlines.js',
      from: '{ heartbeat: 5_000, silence: 30_000 }',
      to: '{ heartbeat: 500, silence: 3_000 }',
    },
    { file: 'lib/net/connection.js', from: 'exports.usualStall = 30_000;', to: 'exports.usualStall = 3_000;' },
    { file: 'lib/session/deadlines.js', from: 'answerWithin = 60_000', to: 'answerWithin = 6_000' },
  ],
};
/**
 * What every transfer ends within once nothing is heard, in ms: the deadline of 12.10, another attempt, and a busy
 * machine.
 */
const limits = { long: 120_000, short: 60_000, proof: 15_000 };

/** What a transfer sends: its names below the directory of the case, and their content. */
function contents(): ReadonlyMap<string, Buffer> {
  const content = noise(crossing, 7);
  const files = new Map([['large', content]]);
  for (let at = 0; at < 30; at++) files.set(`small/${String(at)}`, content.subarray(at * 1000, at * 1000 + at * 333));
  return files;
}

const files = contents();

class NetworkTrial {
  constructor(
    private readonly served: Served,
    private readonly limit: number,
  ) {}

  /** @returns a sentence for each promise that was broken. */
  async run(which: NetworkCase, number: number): Promise<string[]> {
    const name = `case-${String(number)}`;
    await this.lay(name);
    const { ended, lines } = which.listening ? await this.receiveFrom(which, name) : await this.send(which, name);
    const broken: string[] = [];
    const { damaged, missing } = this.look(name);
    const said = `exit code ${String(ended.code)}, “${ended.stderr.trim().slice(-300)}”`;
    broken.push(...damaged.map((file) => `${file} is stored and is not what was sent; ${said}`));
    if (ended.code === null) broken.push(`it did not end within ${String(this.limit / 1000)} s`);
    if (ended.code === 0 && missing.length > 0)
      broken.push(`success was said, and these are missing: ${missing.slice(0, 5).join(', ')}`);
    else if (ended.code !== 0 && which.wants === 'done') broken.push(`it did not go on by itself; ${said}`);
    if (ended.code !== 0) broken.push(...(await this.again(name)));
    return broken.map(
      (sentence) =>
        `“${which.name}” (${name}, ${JSON.stringify(which.traps)}, ${String(lines)} connections): ${sentence}`,
    );
  }

  private async lay(name: string): Promise<void> {
    await mkdir(this.served.at(name, 'small'), { recursive: true });
    for (const [file, content] of files) await writeFile(this.served.at(name, file), content);
  }

  private async send(which: NetworkCase, name: string): Promise<{ ended: Ended; lines: number }> {
    const { served, limit } = this;
    const { relay, ended } = await over(which, served.port, async (relay) => {
      const target = which.wire === 'session' ? relay.through(served.ticket) : `tcp://127.0.0.1:${String(relay.port)}`;
      const words = which.wire === 'session' ? ['--connections', '3'] : [];
      return endedWithin(served.start(['send', name, target, ...words, ...(which.words ?? [])]), limit);
    });
    return { ended, lines: relay.lines.length };
  }

  private async receiveFrom(which: NetworkCase, name: string): Promise<{ ended: Ended; lines: number }> {
    const { served, limit } = this;
    const sender = served.start(['send', name, '--listen', '127.0.0.1:0', '--connections', '3']);
    const ticket = await ticketOf(sender);
    await mkdir(served.at(`in-${name}`), { mode: 0o755 });
    const { relay, ended } = await over(which, Number(new URL(ticket).port), async (relay) => {
      const receiving = endedWithin(served.start(['receive', `in-${name}`, '--from', relay.through(ticket)]), limit);
      const [sent, received] = await Promise.all([endedWithin(sender, limit), receiving]);
      return sent.code === 0 ? received : sent;
    });
    return { ended, lines: relay.lines.length };
  }

  /** The same command, over a network without a fault. */
  private async again(name: string): Promise<string[]> {
    const { code, stderr } = await this.served.run(['send', name, this.served.ticket]);
    const { damaged, missing } = this.look(name);
    if (code === 0 && damaged.length + missing.length === 0) return [];
    return [
      `sent again, it ended with ${String(code)}, ${String(damaged.length)} damaged, ${String(missing.length)} missing: ${stderr.trim()}`,
    ];
  }

  private look(name: string): { damaged: string[]; missing: string[] } {
    const [damaged, missing]: [string[], string[]] = [[], []];
    for (const [file, content] of files) {
      const found =
        this.served.received(join(name, file)) ?? this.served.received(join('..', `in-${name}`, name, file));
      if (found === undefined) missing.push(file);
      else if (!found.equals(content)) damaged.push(file);
    }
    return { damaged, missing };
  }
}

/** Runs `work` over a network that does what the case says. */
async function over(
  which: NetworkCase,
  port: number,
  work: (relay: Relay) => Promise<Ended>,
): Promise<{ relay: Relay; ended: Ended }> {
  const relay = await Relay.to(port, { delay: which.delay ?? 0 });
  relay.onLine = (line, number) => {
    const trap = which.traps[number];
    if (trap) line.set(trap);
  };
  const during = which.during?.(relay);
  try {
    const ended = await work(relay);
    // What was to happen on the way and never could is not waited for.
    if (ended.code !== null) await during;
    return { relay, ended };
  } finally {
    await relay.close();
  }
}

async function run({ build, dose, random, directory, say }: Surroundings): Promise<Outcome> {
  const own = dose === 'long' ? undefined : brokenBuild(hasty, build);
  const served = await Served.open({ build: own?.build ?? build, directory });
  const broken: string[] = [];
  try {
    const trial = new NetworkTrial(served, limits[dose]);
    const all = networkCases({ random, away: dose === 'long' ? 60_000 : 3_000, rounds: dose === 'long' ? 6 : 1 });
    const chosen = dose === 'proof' ? all.filter(({ name }) => proofs.includes(name)) : all;
    let next = 0;
    const worker = async (): Promise<void> => {
      for (let number = next++; number < chosen.length; number = next++) {
        const which = chosen[number];
        if (which) broken.push(...(await trial.run(which, number)));
        if (number % 20 === 19) say(`${String(number + 1)} of ${String(chosen.length)} transfers`);
      }
    };
    await Promise.all(Array.from({ length: together }, worker));
    const others = await served.refusesOthers();
    broken.push(...(others === undefined ? [] : [others]), ...(await served.stop()));
    return { tries: chosen.length, broken: broken.map((sentence) => `seed ${String(random.seed)}, ${sentence}`) };
  } finally {
    await served.kill();
    own?.remove();
  }
}

/** Enough for every build broken below. */
const proofs = ['session, reset there', 'session, swallow back', 'plain, flip there', 'plain, a flip in the name'];

export const network: Experiment = {
  name: 'network',
  promise:
    'Whatever the network does, no transfer says done that is not, none hangs, a session goes on when it can, and others are served.',
  run,
  sabotages: [
    {
      name: 'the md5 of what arrived is not compared',
      edits: [
        { file: 'lib/store/gathered-files.js', from: 'if (actual !== file.digest)', to: 'if (false)' },
        { file: 'lib/store/local/staged-batch.js', from: 'if (found !== expected)', to: 'if (false)' },
        { file: 'lib/store/local/partial-bytes.js', from: 'if (different !== undefined)', to: 'if (false)' },
      ],
    },
    {
      name: 'a receipt is taken for any name',
      edits: [{ file: 'lib/send/plain-answers.js', from: 'reply.file_name !== file.name', to: 'false' }],
    },
    {
      name: 'silence has no deadline',
      edits: [
        {
          file: 'lib/session/link.js',
          from: 'readHeader({ silence, whole: silence })',
          to: 'readHeader({ silence: null, whole: silence })',
        },
      ],
    },
    {
      name: 'a lost connection is the end',
      edits: [
        {
          file: 'lib/send/session-sender.js',
          from: "code === 'connection-lost' || code === 'timeout' || code === 'cannot-connect'",
          to: 'false',
        },
      ],
    },
  ],
};
