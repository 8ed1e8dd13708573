import { spawn, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ticketOf } from '../../spec/cli/session-run';
import type { Dose, Experiment, Outcome, Surroundings } from '../experiment';
import { encodePart } from '../fuzz/corpus';
import { mutateBytes, mutateConversation } from '../fuzz/mutate';
import { sayPlain, saySession } from '../fuzz/peers';
import { seedsOf } from '../fuzz/pure';
import type { FuzzLine, FuzzOptions } from '../fuzz/run';
import { Random } from '../random';
import { endedWithin, Served } from '../served';

interface Amounts extends Omit<FuzzOptions, 'build' | 'directory' | 'seed'> {
  /** Said to the real command: on the plain wire, in sessions, and to senders that listen. */
  readonly real: { readonly plain: number; readonly session: number; readonly listening: number };
}

/** The long dose is a million and some. */
const amounts: Readonly<Record<Dose, Amounts>> = {
  short: {
    models: 100,
    pure: 10_000,
    plain: 200,
    session: 30,
    senders: 10,
    real: { plain: 50, session: 10, listening: 1 },
  },
  long: {
    models: 5_000,
    pure: 900_000,
    plain: 30_000,
    session: 5_000,
    senders: 1_000,
    real: { plain: 4_000, session: 1_000, listening: 50 },
  },
  proof: { models: 100, pure: 1_000, plain: 100, session: 0, senders: 0, real: { plain: 0, session: 0, listening: 0 } },
};
/** Threads that come and go leave memory to the system's allocator that it does not give back at once, in MiB. */
const mostGrowth = { heap: 48, resident: 256 };
/** So long the process may say nothing at all, in ms: a single input that takes longer is a hang. */
const silentFor = 120_000;

/** Runs the inputs within one process. @returns what was found, and its last words. */
async function within(
  { build, random, directory, say, dose }: Surroundings,
  counts: Omit<FuzzOptions, 'build' | 'directory' | 'seed'>,
): Promise<{ broken: string[]; last: Extract<FuzzLine, { inputs: number }> | undefined }> {
  // Files of hostile names by the thousand need no disk: what disks do is tried elsewhere.
  const place = await mkdtemp(join(existsSync('/dev/shm') ? '/dev/shm' : directory, 'sendall-fuzz-'));
  const options: FuzzOptions = { ...counts, build, directory: place, seed: random.seed };
  const words = [
    '--expose-gc',
    '-r',
    join(__dirname, '..', '..', 'spec', 'typescript.js'),
    join(__dirname, '..', 'fuzz', 'run.ts'),
    JSON.stringify(options),
  ];
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'pipe'], cwd: place });
  const broken: string[] = [];
  let errors = '';
  let at = 'its beginning';
  let told = performance.now();
  let last: Extract<FuzzLine, { inputs: number }> | undefined;
  child.stderr.on('data', (bytes: Buffer) => (errors = (errors + bytes.toString()).slice(-2000)));
  const over = new Promise<number | null>((resolve) => child.once('close', resolve));
  createInterface(child.stdout).on('line', (text) => {
    const line = JSON.parse(text) as FuzzLine;
    told = performance.now();
    if ('at' in line) at = line.at;
    else if ('found' in line) broken.push(line.found);
    else last = line;
    if ('at' in line && line.at.endsWith('00000')) say(line.at);
  });
  const enough = dose === 'proof' ? 1 : 20;
  const watch = setInterval(() => {
    if (performance.now() - told < silentFor && broken.length < enough) return;
    if (broken.length < enough) broken.push(`it hangs after ${at} of seed ${String(random.seed)}`);
    child.kill('SIGKILL');
  }, 500);
  const code = await over;
  clearInterval(watch);
  removeDeep(place);
  if (code !== 0 && broken.length === 0)
    broken.push(`it ended with ${String(code)} after ${at} of seed ${String(random.seed)}: ${errors}`);
  return { broken, last };
}

/** The same, said to the command that people run. */
async function real({ build, directory, random, say }: Surroundings, counts: Amounts['real']): Promise<string[]> {
  const broken: string[] = [];
  const outside = join(directory, 'outside');
  await mkdir(outside);
  await writeFile(join(outside, 'file'), 'not yours');
  const served = await Served.open({ build, directory }, ['--if-exists', 'replace']);
  const [plain, session, answers] = [
    seedsOf('plain', 'sender'),
    seedsOf('session', 'sender'),
    seedsOf('session', 'receiver'),
  ];
  const chanceOf = (input: number): Random => new Random(random.seed + 100_000_007 + input * 7919);
  const note = (what: string, input: number, found: string | undefined): void => {
    if (found !== undefined)
      broken.push(`${what} to the real command, input ${String(input)} of seed ${String(random.seed)}: ${found}`);
  };
  try {
    for (let input = 0; input < counts.plain && broken.length < 20; input++) {
      const chance = chanceOf(input);
      const bytes = Buffer.concat(mutateConversation(chance.oneOf(plain), chance, plain).map(encodePart));
      note('plain', input, await sayPlain(served.port, chance.next() < 0.4 ? mutateBytes(bytes, chance) : bytes));
      if (input % 1000 === 999) say(`plain, real command: ${String(input + 1)}`);
    }
    for (let input = 0; input < counts.session && broken.length < 20; input++) {
      const chance = chanceOf(input);
      note(
        'session',
        input,
        await saySession(served.ticket, mutateConversation(chance.oneOf(session), chance, session)),
      );
    }
    for (let input = 0; input < counts.listening && broken.length < 20; input++) {
      const chance = chanceOf(input);
      const sender = served.start(['send', 'bystander', '--listen', '127.0.0.1:0', '--retry-for', '0s']);
      note(
        'to a sender',
        input,
        await saySession(await ticketOf(sender), mutateConversation(chance.oneOf(answers), chance, answers)),
      );
      sender.child.kill('SIGINT');
      const { code, stderr } = await endedWithin(sender, 30_000);
      if (code === null || /^\s+at /m.test(stderr))
        note('to a sender', input, `it ended with ${String(code)}: ${stderr.slice(-500)}`);
    }
    const others = await served.refusesOthers();
    broken.push(...(others === undefined ? [] : [others]));
    const { stderr } = await (async () => {
      broken.push(...(await served.stop()).filter((flaw) => !flaw.startsWith('left over')));
      return served.receiver.ended;
    })();
    if (/^\s+at |Warning: Closing file descriptor/m.test(stderr))
      broken.push(`the receiver said: ${stderr.slice(-1000)}`);
  } finally {
    await served.kill();
    removeDeep(served.at('in'));
  }
  return broken;
}

/** A name can be so deep that no path leads there; rm goes step by step. */
function removeDeep(directory: string): void {
  spawnSync('rm', ['-rf', directory]);
}

async function run(surroundings: Surroundings): Promise<Outcome> {
  const { real: counts, ...others } = amounts[surroundings.dose];
  const { broken, last } = await within(surroundings, others);
  if (last && last.heap_growth_mib > mostGrowth.heap)
    broken.push(`seed ${String(surroundings.random.seed)}: the heap grew by ${String(last.heap_growth_mib)} MiB`);
  if (last && last.resident_growth_mib > mostGrowth.resident)
    broken.push(
      `seed ${String(surroundings.random.seed)}: resident memory grew by ${String(last.resident_growth_mib)} MiB`,
    );
  if (counts.plain > 0) broken.push(...(await real(surroundings, counts)));
  const { inputs = 0, ...growth } = last ?? {};
  return { tries: inputs + counts.plain + counts.session + counts.listening, broken, figures: growth };
}

export const fuzz: Experiment = {
  name: 'fuzz',
  promise: 'No input makes a receiver or a sender crash, hang, grow, or take what is not in order.',
  run,
  sabotages: [
    {
      name: 'any length of a header is taken',
      edits: [{ file: 'lib/wire/frame.js', from: 'length <= exports.maxHeaderLength)', to: 'true)' }],
    },
    {
      name: 'names are not looked at',
      edits: [{ file: 'lib/name.js', from: 'if (flaw !== undefined)', to: 'if (false)' }],
    },
    {
      name: 'keys may stand twice',
      edits: [{ file: 'lib/wire/json-object.js', from: 'if (keysOf(root) !== keys)', to: 'if (false)' }],
    },
    {
      name: 'lists may be of any length and depth',
      edits: [
        { file: 'lib/wire/json-list.js', from: 'new Extent().count(bytes, 0, bytes.length);', to: '' },
        {
          file: 'lib/wire/json-list.js',
          from: 'at = extent.count(bytes, at, at + countedAtOnce);',
          to: 'at += countedAtOnce;',
        },
      ],
    },
    {
      name: 'the md5 of what arrived is not compared',
      edits: [
        { file: 'lib/store/gathered-files.js', from: 'if (actual !== file.digest)', to: 'if (false)' },
        { file: 'lib/store/local/staged-batch.js', from: 'if (found !== expected)', to: 'if (false)' },
        { file: 'lib/store/local/partial-bytes.js', from: 'if (different !== undefined)', to: 'if (false)' },
      ],
    },
    {
      name: 'a failure within a session is nobody’s business',
      edits: [
        { file: 'lib/wire/session-list.js', from: 'if (Array.isArray(value) && value.length === 3)', to: 'if (true)' },
      ],
    },
  ],
};
