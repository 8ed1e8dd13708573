// Runs inputs against the code of one build, in a process of its own that may crash, hang or grow:
//   run.ts '{"build": DIRECTORY, "directory": EMPTY, "seed": N, "models": N, "pure": N, "plain": N, "session": N,
// "senders": N}'
// Says a line of JSON now and then: what it is at, what it found, and at the end what it measured.
import fc from 'fast-check';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { SessionPort } from '../../spec/net/session-port';
import type { TransferEvent } from '../../lib/index';
import { Random } from '../random';
import { encodePart, type Part } from './corpus';
import { modelsOf } from './models';
import { modulesOf } from './modules';
import { mutateBytes, mutateConversation } from './mutate';
import { endsWithin, sayPlain, saySession, withSession } from './peers';
import { PureFuzz, seedsOf } from './pure';

export interface FuzzOptions {
  readonly build: string;
  readonly directory: string;
  readonly seed: number;
  /** Inputs for each model. */
  readonly models: number;
  readonly pure: number;
  readonly plain: number;
  readonly session: number;
  readonly senders: number;
}

export type FuzzLine =
  | { readonly at: string }
  | { readonly found: string }
  | { readonly inputs: number; readonly heap_growth_mib: number; readonly resident_growth_mib: number };

const { build, directory, seed, ...counts } = JSON.parse(process.argv[2] ?? '{}') as FuzzOptions;
const say = (line: FuzzLine): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const modules = modulesOf(build);
const mebi = 2 ** 20;
let inputs = 0;

for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: Error) =>
    say({ found: `${event} with seed ${String(seed)} at input ${String(inputs)}: ${error.stack ?? String(error)}` }),
  );
}

// A descriptor that nobody closed, or listeners that nobody takes away.
process.on('warning', ({ name, message }) => {
  if (/garbage collection|MaxListeners/.test(name + message))
    say({ found: `a warning with seed ${String(seed)} at input ${String(inputs)}: ${message}` });
});

/** Each input has chance of its own, so that one of them can be said again alone. */
const chanceOf = (input: number): Random => new Random(seed + input * 7919);

/** Runs inputs `from` to `count`, some at once. */
async function many(
  what: string,
  [from, count]: readonly [number, number],
  workers: number,
  act: (random: Random) => Promise<string | undefined> | string | undefined,
): Promise<void> {
  let next = from;
  const worker = async (): Promise<void> => {
    for (let input = next++; input < count; input = next++) {
      if (input % 500 === 0) say({ at: `${what} ${String(input)}` });
      const result = act(chanceOf(input));
      const found = result instanceof Promise ? await result : result;
      inputs++;
      if (found !== undefined) say({ found: `${what}, input ${String(input)} of seed ${String(seed)}: ${found}` });
    }
  };
  await Promise.all(Array.from({ length: workers }, worker));
}

function tryModels(): void {
  for (const { name, property } of modelsOf(modules)) {
    say({ at: name });
    const { failed, counterexample, errorInstance } = fc.check(property, { seed, numRuns: counts.models }) as {
      failed: boolean;
      counterexample: unknown;
      errorInstance?: unknown;
    };
    inputs += counts.models;
    if (failed)
      say({
        found: `“${name}” with seed ${String(seed)} does not hold for ${fc.stringify(counterexample).slice(0, 500)}: ${String(errorInstance)}`,
      });
  }
}

type Range = readonly [from: number, to: number];

interface Ranges {
  readonly pure: Range;
  readonly plain: Range;
  readonly session: Range;
  readonly senders: Range;
}

async function tryAll({ pure, plain, session, senders }: Ranges, target: Target): Promise<void> {
  await many('pure', pure, 1, (random) => target.pure.try(random));
  await many('plain', plain, 8, (random) => {
    const bytes = Buffer.concat(mutateConversation(random.oneOf(seeds.plain), random, seeds.plain).map(encodePart));
    return sayPlain(target.port, random.next() < 0.4 ? mutateBytes(bytes, random) : bytes);
  });
  await many('session', session, 8, (random) =>
    saySession(target.ticket, mutateConversation(random.oneOf(seeds.session), random, seeds.session)),
  );
  await many('senders', senders, 4, (random) =>
    random.next() < 0.5 ? trySenderPlain(random, target) : trySenderInSession(random, target),
  );
}

const seeds = {
  plain: seedsOf('plain', 'sender'),
  session: seedsOf('session', 'sender'),
  answersPlain: seedsOf('plain', 'receiver'),
  answers: seedsOf('session', 'receiver'),
};

/** What the inputs are for. */
interface Target {
  readonly pure: PureFuzz;
  readonly port: number;
  readonly ticket: string;
  /** A small file, and a directory with a large one. */
  readonly file: string;
  readonly tree: string;
}

/** A sender of the library that has to do with a receiver that says anything. */
async function trySenderPlain(random: Random, { file }: Target): Promise<string | undefined> {
  const said = Buffer.concat(
    mutateConversation(random.oneOf(seeds.answersPlain), random, seeds.answersPlain).map(encodePart),
  );
  const server = createServer((socket) =>
    socket
      .on('error', () => undefined)
      .resume()
      .end(said),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await trySender(file, `tcp://127.0.0.1:${String((server.address() as AddressInfo).port)}`);
  } finally {
    server.close();
  }
}

async function trySenderInSession(random: Random, { file, tree }: Target): Promise<string | undefined> {
  const key = modules.index.createKey();
  const port = await SessionPort.open(key);
  const parts = mutateConversation(random.oneOf(seeds.answers), random, seeds.answers);
  void answer(port, parts).catch(() => undefined);
  try {
    return await trySender(random.next() < 0.5 ? tree : file, modules.index.formatTicket(port.ticket(key)));
  } finally {
    await port.close();
  }
}

async function answer(port: SessionPort, parts: readonly Part[]): Promise<void> {
  const { stream } = await port.nextOpened();
  await stream.more();
  // Its hello repeats the session of the one that it answers.
  const asked = /"session":"([0-9a-f]{32})"/.exec(Buffer.from(stream.peek()).toString())?.[1] ?? '';
  for (const part of parts) await stream.write(withSession(encodePart(part), asked));
  await stream.finish();
  do stream.take(stream.peek().length);
  while (await stream.more());
}

async function trySender(file: string, target: string): Promise<string | undefined> {
  const signal = AbortSignal.timeout(endsWithin);
  try {
    await modules.index.send({
      paths: [file],
      target,
      connections: 1,
      digest: target.startsWith('tcp') ? 'md5' : 'blake3',
      retryFor: 0,
      useCache: false,
      signal,
    });
  } catch (error) {
    if (signal.aborted) return 'it did not end';
    // What its receiver calls unexpected is so for the sender too.
    if (!(error instanceof modules.errors.TransferError)) return String(error);
  }
  return undefined;
}

async function main(): Promise<void> {
  tryModels();
  const [place, file, tree] = ['in', 'a.txt', 'tree'].map((name) => join(directory, name)) as [string, string, string];
  mkdirSync(place, { mode: 0o755 });
  mkdirSync(tree);
  writeFileSync(file, 'hello');
  writeFileSync(join(tree, 'large'), Buffer.alloc(100_000, 'a'));
  const on = (event: TransferEvent): void => {
    if (event.event === 'failed' && event.code === 'unexpected')
      say({ found: `the receiver tells of what nobody thought of: ${JSON.stringify(event)}` });
  };
  const receiver = await modules.index.createReceiver({ directory: place, ifExists: 'replace', on, deadlines: hurry });
  const { port, ticket } = await receiver.listen('127.0.0.1:0');
  const target = { pure: new PureFuzz(modules), port: port ?? 0, ticket, file, tree };
  // What is only kept once, code and threads and memory for use later, is there after a part of the inputs.
  const part = (count: number): number => Math.ceil(count * 0.3);
  const split = (which: (count: number) => Range): Ranges => ({
    pure: which(counts.pure),
    plain: which(counts.plain),
    session: which(counts.session),
    senders: which(counts.senders),
  });
  await tryAll(
    split((count) => [0, part(count)]),
    target,
  );
  const before = collect();
  await tryAll(
    split((count) => [part(count), count]),
    target,
  );
  const after = collect();
  const flaw = await sayPlain(target.port, Buffer.concat((seeds.plain[0]?.parts ?? []).map(encodePart)));
  if (flaw !== undefined) say({ found: `nobody is served any more: ${flaw}` });
  await receiver.close({ now: true });
  collect();
  await new Promise((resolve) => setImmediate(resolve));
  const grown = (which: 'heapUsed' | 'rss'): number => Math.round(((after[which] - before[which]) / mebi) * 10) / 10;
  say({ inputs, heap_growth_mib: grown('heapUsed'), resident_growth_mib: grown('rss') });
}

/** Deadlines under which a peer that says nothing more does not hold up the others for long. */
const hurry = {
  first: { silence: 0, whole: 3000 },
  later: { silence: 3000, whole: 3000 },
  stall: 2000,
  link: { heartbeat: 500, silence: 3000 },
};

function collect(): NodeJS.MemoryUsage {
  (globalThis as { gc?: () => void }).gc?.();
  return process.memoryUsage();
}

void main().then(
  () => process.exit(0),
  (error: unknown) => {
    say({ found: `it broke off: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}` });
    process.exit(1);
  },
);
