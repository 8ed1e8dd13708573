import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { lstat, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { find, here, run as runProgram, start } from '../../bench/command';
import { eventsOf } from '../../spec/cli/sendall-process';
import { noise } from '../../spec/session/pair';
import { exchange, fileFrame } from '../../spec/send/raw-sender';
import type { Dose, Experiment, Outcome, Surroundings } from '../experiment';
import { Served } from '../served';

/** Until so many swaps were made, and so long at least, in ms. A proof ends as soon as something is found. */
const amounts: Readonly<Record<Dose, { readonly swaps: number; readonly least: number }>> = {
  short: { swaps: 10_000, least: 5_000 },
  long: { swaps: 100_000, least: 60_000 },
  proof: { swaps: 100_000, least: 30_000 },
};
/** So many files go over a plain connection. */
const atOnce = 40;
const kib = 1024;

/** A directory in the receive directory, and the link that it is exchanged with all the time. */
const raced = [
  { directory: 'd', link: 'swapped' },
  { directory: 'x/y', link: 'x/swapped' },
] as const;

/**
 * Everything below a directory, itself included, a line each: any change of it, or of what it held for a moment, shows.
 */
function stateOf(directory: string): string[] {
  const names = ['.', ...readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort()];
  return names.map((name) => {
    const found = lstatSync(join(directory, name), { bigint: true });
    const content = found.isFile()
      ? createHash('md5')
          .update(readFileSync(join(directory, name)))
          .digest('hex')
      : '';
    return [name, found.mode, found.ctimeNs, found.mtimeNs, content].join(' ');
  });
}

/** What is sent under a name: always the same. */
const contentOf = (name: string): Buffer =>
  noise(
    (name.length * 1237 + 5 * (name.charCodeAt(name.length - 1) % 50)) % (96 * kib),
    name.charCodeAt(name.length - 1),
  );

class Race {
  readonly figures = { swaps: 0, stored: 0, refused: 0 };
  private readonly acknowledged = new Set<string>();
  private readonly before: readonly string[];

  constructor(
    private readonly served: Served,
    private readonly outside: string,
  ) {
    this.before = stateOf(outside);
  }

  /** What changed outside: name, mode, times and md5 as they are now. */
  get escaped(): string[] {
    return stateOf(this.outside).filter((state) => !this.before.includes(state));
  }

  /** Small and larger files over one plain connection, into both directories and below them. */
  async plain(turn: number): Promise<void> {
    const names = Array.from(
      { length: atOnce },
      (_, at) => `${at % 2 === 0 ? 'd' : 'x/y'}/${at % 3 === 0 ? 'new/' : ''}p${String((turn * atOnce + at) % 400)}`,
    );
    const answers = await exchange(this.served.port, ...names.map((name) => fileFrame(name, contentOf(name))));
    for (const answer of answers) this.note(answer['type'] === 'receipt', String(answer['file_name']));
  }

  /**
   * A tree with everything that a session brings: directories with modes and times, a large file, small ones, links.
   */
  async session(turn: number): Promise<void> {
    const { served } = this;
    const names = ['d', 'x'].map((name) => served.at('source', name));
    const ended = await served.run([
      'send',
      ...names,
      served.ticket,
      '--json',
      '--connections',
      '2',
      ...(turn % 2 === 0 ? ['--digest', 'sha256'] : []),
    ]);
    if (ended.code === null) throw new Error('A sender did not end.');
    for (const event of eventsOf(ended)) {
      if (event.event === 'sent') this.note(true, event.file_name);
      else if (event.event === 'failed' && event.file_name !== undefined) this.note(false, event.file_name);
    }
  }

  /**
   * A sentence for each file that was acknowledged and does not stand in the directory itself, wherever that is now.
   */
  async lost(): Promise<string[]> {
    const lost: string[] = [];
    for (const name of this.acknowledged) {
      const place = raced.find(({ directory }) => name.startsWith(`${directory}/`));
      if (!place) continue;
      const link = (await lstat(this.served.at('in', place.directory))).isSymbolicLink();
      const found = this.served.received(
        join(link ? place.link : place.directory, name.slice(place.directory.length + 1)),
      );
      const sent = await readFile(this.served.at('source', name)).catch(() => contentOf(name));
      if (!found?.equals(sent)) lost.push(`${name} has a receipt and ${found ? 'other content' : 'is not there'}`);
    }
    return lost;
  }

  private note(stored: boolean, name: string): void {
    this.figures[stored ? 'stored' : 'refused']++;
    if (stored) this.acknowledged.add(name);
  }
}

/** The receive directory with what is raced, what is sent, and what must not be touched. */
async function lay(directory: string): Promise<string> {
  const outside = join(directory, 'outside');
  const source = join(directory, 'source');
  for (const place of [
    outside,
    join(outside, 'new'),
    join(outside, 'sub'),
    join(directory, 'in', 'd'),
    join(directory, 'in', 'x', 'y'),
    join(source, 'd', 'sub'),
    join(source, 'x', 'y', 'sub'),
  ]) {
    await mkdir(place, { recursive: true, mode: 0o755 });
  }
  for (const { link } of raced) await symlink(outside, join(directory, 'in', link));
  for (const place of ['d', 'x/y']) {
    await writeFile(join(source, place, 'large'), noise(1200 * kib));
    for (let at = 0; at < 20; at++)
      await writeFile(join(source, place, at % 4 === 0 ? 'sub' : '.', `s${String(at)}`), contentOf(`s${String(at)}`));
    await symlink('../elsewhere', join(source, place, 'link'));
  }
  // Names that are sent, so that replacing one of them would show too.
  for (const name of ['large', 's1', 'p1', 'sub/s4', 'new/p3']) await writeFile(join(outside, name), 'not yours');
  return outside;
}

async function run({ build, dose, directory, say, random }: Surroundings): Promise<Outcome> {
  const outside = await lay(directory);
  const program = join(directory, 'swap');
  await runProgram('cc', ['-O2', '-o', program, join(__dirname, '..', 'swap.c')]);
  const served = await Served.open({ build, directory }, ['--if-exists', 'replace']);
  const race = new Race(served, outside);
  const swappers = raced.map(({ directory: one, link }) =>
    start(here, program, [served.at('in', one), served.at('in', link)]),
  );
  const said = swappers.map((swapper) => {
    const all: Buffer[] = [];
    swapper.stdout.on('data', (bytes: Buffer) => all.push(bytes));
    swapper.stderr.resume();
    return all;
  });
  const broken: string[] = [];
  const { swaps, least } = amounts[dose];
  const began = performance.now();
  // A swap takes at least as long as the moment between two of them, on average.
  const until = Math.max(least, swaps / 10);
  try {
    const left = (): boolean => performance.now() - began < until && !(dose === 'proof' && race.escaped.length > 0);
    const worker = async (act: (turn: number) => Promise<void>): Promise<void> => {
      for (let turn = 0; left(); turn++) await act(turn);
    };
    await Promise.all([worker((turn) => race.plain(turn)), worker((turn) => race.session(turn))]);
  } finally {
    for (const swapper of swappers) swapper.kill();
    await Promise.all(swappers.map(async (swapper) => swapper.exitCode === null && once(swapper, 'close')));
  }
  try {
    race.figures.swaps = said.reduce((sum, all) => sum + Number(Buffer.concat(all).toString()), 0);
    say(
      `${String(race.figures.swaps)} swaps, ${String(race.figures.stored)} files stored, ${String(race.figures.refused)} refused`,
    );
    if (race.escaped.length > 0)
      broken.push(`outside the receive directory there was written: ${race.escaped.slice(0, 5).join(', ')}`);
    broken.push(...(await race.lost()).slice(0, 10));
    const others = await served.refusesOthers();
    broken.push(...(others === undefined ? [] : [others]), ...(await served.stop()));
    if (race.figures.stored === 0 || race.figures.refused === 0)
      throw new Error('There was no race: nothing was stored, or nothing refused.');
  } finally {
    await served.kill();
  }
  return {
    tries: race.figures.stored + race.figures.refused,
    broken: broken.map((sentence) => `seed ${String(random.seed)}: ${sentence}`),
    figures: race.figures,
  };
}

export const swap: Experiment = {
  name: 'swap',
  promise:
    'Whoever exchanges directories of the receive directory for links at any moment gets nothing written outside.',
  missing: () =>
    process.platform !== 'linux'
      ? 'Only Linux exchanges two names at once.'
      : find('cc') === undefined
        ? 'There is no C compiler, cc.'
        : undefined,
  run,
  sabotages: [
    {
      name: 'paths are checked, and then used by name',
      edits: [
        {
          file: 'lib/store/local/directory.js',
          from: "const byDescriptor = process.platform === 'linux';",
          to: 'const byDescriptor = false;',
        },
      ],
    },
    {
      name: 'links on the way are followed',
      edits: [{ file: 'lib/store/local/directory.js', from: '(follow ? 0 : O_NOFOLLOW)', to: '0' }],
    },
    {
      name: 'groups of small files use paths by name',
      edits: [
        {
          file: 'lib/store/local/open-directories.js',
          from: "const byDescriptor = process.platform === 'linux';",
          to: 'const byDescriptor = false;',
        },
      ],
    },
  ],
};
