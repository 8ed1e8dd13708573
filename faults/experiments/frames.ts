import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '../../lib/index';
import { noise } from '../../spec/session/pair';
import { piece, RawSession, sha256 } from '../../spec/session/raw-session';
import { exchange, fileFrame } from '../../spec/send/raw-sender';
import type { Dose, Experiment, Outcome, Surroundings } from '../experiment';
import type { Random } from '../random';
import { Served } from '../served';

const rounds: Readonly<Record<Dose, number>> = { short: 4, long: 300, proof: 2 };
/** So long a receipt may take that has to come, and so long one is waited for that must not, in ms. */
const patience = 60_000;
const moment = 1_500;

type Frame = (raw: RawSession) => Promise<void>;

function shuffled<Item>(items: readonly Item[], random: Random): Item[] {
  const left = [...items];
  return items.map(() => left.splice(random.between(0, left.length - 1), 1)[0] as Item);
}

class FrameTrial {
  private names = 0;

  constructor(
    private readonly served: Served,
    private readonly random: Random,
  ) {}

  /** Pieces in any order, some twice, and the close among them: all of that is in order, and there is a receipt. */
  async pieces(): Promise<string[]> {
    const content = this.content();
    const pieces = this.pieceFrames(content);
    const twice = pieces.filter(() => this.random.next() < 0.4);
    const close: Frame = (raw) => raw.close(0, content);
    return this.settle(
      'pieces in another order, some of them twice',
      shuffled([...pieces, ...twice, close], this.random),
      content,
      true,
    );
  }

  /** One piece is not what the close says it is: nothing may be stored. */
  async damaged(): Promise<string[]> {
    const content = this.content();
    const wrong = Buffer.from(content);
    const at = this.random.between(0, wrong.length - 1);
    wrong[at] = (wrong[at] ?? 0) ^ 1;
    return this.settle(
      `a byte that is wrong at ${String(at)}`,
      [...shuffled(this.pieceFrames(wrong), this.random), (raw) => raw.close(0, content)],
      content,
      false,
    );
  }

  /** One piece never comes. */
  async missing(): Promise<string[]> {
    const content = this.content();
    const pieces = shuffled(this.pieceFrames(content), this.random).slice(1);
    return this.settle(
      'a piece that is missing',
      shuffled([...pieces, ...pieces, (raw: RawSession) => raw.close(0, content)], this.random),
      content,
      false,
    );
  }

  /** A bundle twice, and its files in another order than they were offered. */
  async bundles(): Promise<string[]> {
    const contents = [0, 1, 2].map((seed) => noise(this.random.between(0, 3000), seed + 1));
    const names = contents.map(() => this.name());
    const raw = await RawSession.open(this.served.ticket);
    await raw.offer(Object.fromEntries(contents.map(({ length }, at): [string, number] => [names[at] ?? '', length])));
    await raw.wanted(2);
    const files = contents.map((content, file) => [file, content] as const);
    for (let times = 0; times < 2; times++) await raw.bundle(shuffled(files, this.random));
    const done = await within(
      raw.finish().then(() => true),
      patience,
    );
    const flaws = contents.flatMap((content, at) =>
      this.served.received(names[at] ?? '')?.equals(content) === true
        ? []
        : [`${names[at] ?? ''} is not what was sent`],
    );
    raw.hangUp();
    return [...flaws, ...(done === undefined ? ['the session did not end'] : [])].map(
      (flaw) => `a bundle twice: ${flaw}`,
    );
  }

  /**
   * The same files twice on the plain wire: again on another connection is success, and again on the same one is
   * refused (PROTOCOL.md 4.7).
   */
  async plain(): Promise<string[]> {
    const files = [0, 1, 2].map((seed) => [this.name(), noise(this.random.between(0, 200_000), seed + 1)] as const);
    const again = shuffled(files, this.random);
    const answered = async (order: typeof files): Promise<string> => {
      const answers = await exchange(this.served.port, ...order.map(([name, content]) => fileFrame(name, content)));
      return answers
        .map((answer, at) =>
          answer['type'] === 'receipt' && answer['file_name'] === order[at]?.[0] ? 'receipt' : String(answer['code']),
        )
        .join(' ');
    };
    const first = await answered([...files, ...again]);
    const other = await answered(again);
    const wrong = files.filter(([name, content]) => this.served.received(name)?.equals(content) !== true).length;
    const right = first === 'receipt receipt receipt name name name' && other === 'receipt receipt receipt';
    return right && wrong === 0
      ? []
      : [`plain, each file twice: ${first}, and on another connection ${other}; ${String(wrong)} files wrong`];
  }

  private async settle(what: string, frames: readonly Frame[], content: Buffer, good: boolean): Promise<string[]> {
    const name = this.name();
    const raw = await RawSession.open(this.served.ticket);
    await raw.offer({ [name]: content.length });
    await raw.wanted(0);
    for (const frame of frames) await frame(raw);
    const outcome = await within(
      raw.outcome(0).catch((error: unknown): JsonObject => ({ code: String(error) })),
      good ? patience : moment,
    );
    raw.hangUp();
    const stored = this.served.received(name);
    const told = `${what} (${name}): ${JSON.stringify(outcome)}`;
    if (good)
      return outcome && 'verified' in outcome && stored?.equals(content) === true
        ? []
        : [`${told} and no receipt, or another content`];
    return (outcome && 'verified' in outcome) || stored ? [`${told}, stored ${sha256(stored ?? Buffer.alloc(0))}`] : [];
  }

  private content(): Buffer {
    return noise(this.random.between(piece + 1, 6 * piece), this.random.between(1, 1000));
  }

  private pieceFrames(content: Buffer): Frame[] {
    return Array.from(
      { length: Math.ceil(content.length / piece) },
      (_, at) => (raw: RawSession) => raw.segment(0, at * piece, content.subarray(at * piece, (at + 1) * piece)),
    );
  }

  private name(): string {
    return `f${String(this.names++)}`;
  }
}

/** Undefined where it takes longer. */
async function within<Result>(work: Promise<Result>, ms: number): Promise<Result | undefined> {
  const late = new AbortController();
  try {
    return await Promise.race([work, sleep(ms, undefined, { signal: late.signal })]);
  } finally {
    late.abort();
  }
}

async function run({ build, directory, dose, random, say }: Surroundings): Promise<Outcome> {
  const served = await Served.open({ build, directory });
  const broken: string[] = [];
  let tries = 0;
  try {
    const trial = new FrameTrial(served, random);
    for (let round = 0; round < rounds[dose]; round++) {
      for (const attempt of [
        () => trial.pieces(),
        () => trial.damaged(),
        () => trial.missing(),
        () => trial.bundles(),
        () => trial.plain(),
      ]) {
        broken.push(...(await attempt()));
        tries++;
      }
      if (round % 50 === 49) say(`${String(tries)} conversations`);
    }
    const others = await served.refusesOthers();
    broken.push(...(others === undefined ? [] : [others]));
    // What is unfinished is kept for its sender, who never comes back here.
    broken.push(...(await served.stop()).filter((flaw) => !/left over: partial(\/|$)/.test(flaw)));
    return { tries, broken: broken.map((sentence) => `seed ${String(random.seed)}, ${sentence}`) };
  } finally {
    await served.kill();
  }
}

export const frames: Experiment = {
  name: 'frames',
  promise: 'Frames in another order, twice, damaged or left out lead to the right file or to none.',
  run,
  sabotages: [
    {
      name: 'what is read back is not compared',
      edits: [{ file: 'lib/store/local/partial-bytes.js', from: 'if (different !== undefined)', to: 'if (false)' }],
    },
    {
      name: 'a file counts as whole when it is closed',
      edits: [{ file: 'lib/wire/segment.js', from: 'return this.covered === this.count;', to: 'return true;' }],
    },
  ],
};
