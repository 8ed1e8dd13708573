import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkMachine, makeNetwork, type Network } from '../../bench/wan/network';
import { SendallProcess } from '../../spec/cli/sendall-process';
import { ticketOf } from '../../spec/cli/session-run';
import { noise } from '../../spec/session/pair';
import type { Dose, Experiment, Outcome, Surroundings } from '../experiment';
import type { Random } from '../random';
import { endedWithin } from '../served';

/** A link that nobody would call good: 5 % of all packets are lost each way, and an answer takes 200 ms. */
const link = { roundTrip: 200, rate: 100, loss: 5 };
/** One that loses nothing, and is slower than any machine compresses. */
const slowLink = { roundTrip: 20, rate: 20, loss: 0 };
/** Of text, in bytes: enough for a sender to notice what the link carries. */
const textSize = 8 * 2 ** 20;
/** So much of text that becomes three times shorter may cross the slow link: its beginning goes as it is. */
const mostOfText = 0.75;

interface Amounts {
  /** What is sent, in bytes. */
  readonly size: number;
  readonly rounds: number;
  /** How long the link is away in the middle of a transfer, in ms. */
  readonly away: number;
}

const amounts: Readonly<Record<Dose, Amounts>> = {
  short: { size: 2 ** 18, rounds: 1, away: 3_000 },
  long: { size: 4 * 2 ** 20, rounds: 10, away: 60_000 },
  proof: { size: 2 ** 18, rounds: 1, away: 0 },
};
/** A session notices silence after 30 s and dials again; what TCP repeats, it repeats ever later. In ms. */
const within = 300_000;

class PacketTrial {
  private readonly started: SendallProcess[] = [];

  constructor(
    private readonly surroundings: Surroundings,
    private readonly network: Network,
  ) {}

  /** @returns a sentence for each promise that was broken. */
  async session(number: number, away: number): Promise<string[]> {
    const receiver = this.start('far', ['receive', 'in', '--listen', `${this.network.far.host}:0`, '--once', '--json']);
    const sender = this.start('near', [
      'send',
      'file',
      await ticketOf(receiver),
      '--name',
      `session-${String(number)}`,
      '--connections',
      '2',
      '--limit',
      '1M',
    ]);
    return this.judge(`session-${String(number)}`, receiver, sender, away);
  }

  async plain(number: number): Promise<string[]> {
    const receiver = this.start('far', [
      'receive',
      'in',
      '--listen',
      `${this.network.far.host}:0`,
      '--insecure-plain',
      '--once',
      '--json',
    ]);
    const port = new URL(await ticketOf(receiver)).port;
    const sender = this.start('near', [
      'send',
      'file',
      `tcp://${this.network.far.host}:${port}`,
      '--insecure-plain',
      '--name',
      `plain-${String(number)}`,
    ]);
    return this.judge(`plain-${String(number)}`, receiver, sender, 0);
  }

  /** Text over a slow link, which a sender compresses by itself. */
  async text(): Promise<string[]> {
    const receiver = this.start('far', ['receive', 'in', '--listen', `${this.network.far.host}:0`, '--once', '--json']);
    const sender = this.start('near', ['send', 'text', await ticketOf(receiver), '--json']);
    const broken = await this.judge('text', receiver, sender, 0);
    const summary = /"event":"summary".*"bytes_on_wire":(\d+)/.exec((await sender.ended).stdout)?.[1];
    if (Number(summary) <= textSize * mostOfText) return broken;
    return [...broken, `text: of ${String(textSize)} bytes ${summary ?? 'an unknown number'} crossed the slow link`];
  }

  end(): void {
    for (const { child } of this.started) child.kill('SIGKILL');
  }

  private async judge(name: string, receiver: SendallProcess, sender: SendallProcess, away: number): Promise<string[]> {
    if (away > 0) {
      await receiver.says(/"event":"started"/);
      this.network.pause();
      await sleep(away);
      this.network.resume();
    }
    const sent = await endedWithin(sender, within);
    // A receiver whose sender has failed waits for another one.
    const received = await endedWithin(receiver, sent.code === 0 ? within : 1);
    const { directory } = this.surroundings;
    const content = await readFile(join(directory, 'in', name)).catch(() => undefined);
    const source = await readFile(join(directory, name === 'text' ? name : 'file'));
    const same = content?.equals(source) === true;
    if (sent.code === 0 && received.code === 0 && same) return [];
    return [
      `${name}: the sender ended with ${String(sent.code)}, the receiver with ${String(received.code)}, the file is ${same ? 'right' : content ? 'damaged' : 'not there'}: ${sent.stderr}`,
    ];
  }

  private start(side: 'near' | 'far', words: readonly string[]): SendallProcess {
    const { build, directory } = this.surroundings;
    const started = new SendallProcess(words, {
      cwd: directory,
      build,
      env: { SENDALL_TICKET: '' },
      under: this.network[side].enter,
    });
    this.started.push(started);
    return started;
  }
}

/** Lines of numbers, which become a third of what they are. */
function text(size: number, random: Random): string {
  const lines: string[] = [];
  for (let length = 0; length < size; length += lines.at(-1)?.length ?? 0)
    lines.push(`line ${String(lines.length)} has the number ${String(random.between(0, 999_999))}\n`);
  return lines.join('').slice(0, size);
}

async function run(surroundings: Surroundings): Promise<Outcome> {
  const { directory, dose, random, say } = surroundings;
  const amount = amounts[dose];
  await mkdir(join(directory, 'in'), { mode: 0o755 });
  await writeFile(join(directory, 'file'), noise(amount.size, random.between(1, 1000)));
  const network = await makeNetwork(join(directory, 'link'), link, undefined, say);
  const trial = new PacketTrial(surroundings, network);
  const broken: string[] = [];
  let tries = 0;
  try {
    for (let round = 0; round < amount.rounds; round++) {
      broken.push(...(await trial.session(round, round === 0 ? amount.away : 0)), ...(await trial.plain(round)));
      tries += 2;
      if (round > 0) say(`${String(tries)} transfers`);
    }
  } finally {
    trial.end();
    say((await network.stop()).split('\n').join('; '));
  }
  if (dose !== 'proof') {
    await writeFile(join(directory, 'text'), text(textSize, random));
    const slow = await makeNetwork(join(directory, 'slow-link'), slowLink, undefined, say);
    const trial = new PacketTrial(surroundings, slow);
    try {
      broken.push(...(await trial.text()));
      tries++;
    } finally {
      trial.end();
      await slow.stop();
    }
  }
  return { tries, broken: broken.map((sentence) => `seed ${String(random.seed)}, ${sentence}`) };
}

export const packets: Experiment = {
  name: 'packets',
  promise:
    'Over a link that loses 5 % of all packets, takes 200 ms and goes away for a while, everything arrives by itself; over a slow one text is compressed.',
  missing: () => {
    try {
      checkMachine();
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  },
  run,
  sabotages: [
    {
      name: 'a handshake has to be done within 100 ms',
      edits: [{ file: 'lib/session/deadlines.js', from: 'handshakeWithin = 10_000;', to: 'handshakeWithin = 100;' }],
    },
  ],
};
