// Tries to break every promise, and to be found out when a promise is broken on purpose.
//   npm run faults [-- --dose short|long --experiment NAME,NAME --part K/N --seed N --json FILE
//                   --only WORD --broken all|one --at-once N]
// Each experiment runs once on the real build, where nothing may be found, and once on each build broken on purpose,
// where something must be found. What a machine lacks (root, strace, mkfs.xfs) leaves an experiment out, and that is
// said.
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { brokenBuild, honestBuild, type Sabotage } from './build';
import type { Dose, Experiment, Outcome, Part, Surroundings } from './experiment';
import { experiments } from './experiments/index';
import { withLoans } from './loans';
import { Random } from './random';

/** What came of one experiment, as it is kept. */
interface Finding {
  readonly name: string;
  readonly promise: string;
  readonly seconds: number;
  /** Why it did not run. */
  readonly missing?: string;
  readonly tries?: number;
  readonly broken?: readonly string[];
  readonly figures?: Readonly<Record<string, number>>;
  /** For each build broken on purpose, the first thing that was found, or undefined. */
  readonly found?: readonly { readonly sabotage: string; readonly first: string | undefined }[];
}

/** How many passed and failed, for whoever counts. */
const countFile = join(__dirname, 'results', 'count.json');
const say = (text: string): boolean => process.stderr.write(`${text}\n`);

async function attempt(experiment: Experiment, surroundings: Omit<Surroundings, 'directory'>): Promise<Outcome> {
  return withLoans(async (loans) => {
    const directory = mkdtempSync(join(existsSync('/var/tmp') ? '/var/tmp' : tmpdir(), 'sendall-faults-'));
    loans.take(() => rmSync(directory, { recursive: true, force: true }));
    return experiment.run({ ...surroundings, directory });
  });
}

/** The same on a build that is broken on purpose. */
async function attemptBroken(
  sabotage: Sabotage,
  experiment: Experiment,
  surroundings: Omit<Surroundings, 'directory' | 'build'>,
): Promise<Outcome> {
  return withLoans(async (loans) => {
    const { build, remove } = brokenBuild(sabotage);
    loans.take(remove);
    return attempt(experiment, { ...surroundings, build });
  });
}

/** How a run is to be: what was said on the command line. */
interface Course {
  readonly dose: Dose;
  readonly seed: number;
  readonly part: Part;
  readonly only: string | undefined;
  /** Every build that is broken on purpose, or one for each experiment: which one, the seed says. */
  readonly broken: 'all' | 'one';
}

async function conduct(experiment: Experiment, { dose, seed, part, only, broken: builds }: Course): Promise<Finding> {
  const { name, promise } = experiment;
  const sabotages =
    builds === 'all' ? experiment.sabotages : [experiment.sabotages[seed % experiment.sabotages.length]];
  const missing = experiment.missing?.();
  if (missing !== undefined) return { name, promise, seconds: 0, missing };
  const began = performance.now();
  const tell = (text: string): void => void say(`  ${name}: ${text}`);
  const { tries, broken, figures } = await attempt(experiment, {
    build: honestBuild,
    dose,
    part,
    only,
    random: new Random(seed),
    say: tell,
  });
  const found: { sabotage: string; first: string | undefined }[] = [];
  // With the first part is enough.
  for (const sabotage of part.number === 1 ? sabotages : []) {
    if (!sabotage) continue;
    const outcome = await attemptBroken(sabotage, experiment, {
      dose: 'proof',
      part: { number: 1, of: 1 },
      random: new Random(seed),
      say: tell,
    });
    const first = outcome.broken.find((sentence) => sentence.includes(sabotage.finds ?? ''));
    found.push({ sabotage: sabotage.name, first });
  }
  const seconds = Math.round((performance.now() - began) / 100) / 10;
  return { name, promise, seconds, tries, broken, ...(figures && { figures }), found };
}

const holds = ({ broken = [], found = [] }: Finding): boolean =>
  broken.length === 0 && found.every(({ first }) => first !== undefined);

function describe(finding: Finding): string {
  const { name, promise, seconds, missing, tries = 0, broken = [], figures = {}, found = [] } = finding;
  if (missing !== undefined) return `- ${name}: left out. ${missing}\n`;
  const lines = [
    `${holds(finding) ? '✓' : '✗'} ${name}: ${promise} ${tries} tries, ${broken.length} times broken, ${seconds} s`,
  ];
  const measured = Object.entries(figures).map(([figure, value]) => `${figure} ${value}`);
  if (measured.length > 0) lines.push(`    ${measured.join(', ')}`);
  lines.push(...broken.slice(0, 20).map((sentence) => `    broken: ${sentence}`));
  for (const { sabotage, first } of found)
    lines.push(`    where ${sabotage}: ${first === undefined ? 'NOTHING was found' : `found, ${first}`}`);
  return `${lines.join('\n')}\n`;
}

function choose(names: string | undefined, dose: Dose): readonly Experiment[] {
  if (names === undefined) return experiments.filter(({ longOnly }) => dose === 'long' || longOnly !== true);
  return names.split(',').map((wanted) => {
    const found = experiments.find(({ name }) => name === wanted);
    if (found === undefined)
      throw new Error(`Not an experiment: ${wanted}. There are ${experiments.map(({ name }) => name).join(', ')}.`);
    return found;
  });
}

function parsePart(words: string): Part {
  const [number = NaN, of = NaN] = words.split('/').map(Number);
  if (!Number.isSafeInteger(number) || !Number.isSafeInteger(of) || number < 1 || number > of)
    throw new Error(`Not a part: ${words}. The second of eight is 2/8.`);
  return { number, of };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      dose: { type: 'string', default: 'long' },
      experiment: { type: 'string' },
      part: { type: 'string', default: '1/1' },
      only: { type: 'string' },
      broken: { type: 'string', default: 'all' },
      'at-once': { type: 'string', default: '1' },
      seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
      json: {
        type: 'string',
        default: join(__dirname, 'results', `${new Date().toISOString().replaceAll(':', '.')}.json`),
      },
    },
  });
  const { dose } = values;
  if (dose !== 'short' && dose !== 'long') throw new Error(`Not a dose: ${dose}. There are short and long.`);
  const seed = Number(values.seed);
  if (!Number.isSafeInteger(seed)) throw new Error(`Not a seed: ${values.seed}.`);
  const part = parsePart(values.part);
  const { broken } = values;
  if (broken !== 'all' && broken !== 'one') throw new Error(`Not a choice of broken builds: ${broken}. all or one.`);
  const atOnce = Number(values['at-once']);
  if (!Number.isSafeInteger(atOnce) || atOnce < 1)
    throw new Error(`Not a number of experiments: ${values['at-once']}.`);
  say(`dose ${dose}, part ${values.part}, seed ${seed}`);
  for (const place of [values.json, countFile]) mkdirSync(dirname(place), { recursive: true });
  rmSync(countFile, { force: true });
  const findings: Finding[] = [];
  const carryOut = async (experiment: Experiment): Promise<void> => {
    const finding = await conduct(experiment, { dose, seed, part, only: values.only, broken });
    findings.push(finding);
    process.stdout.write(describe(finding));
    writeFileSync(
      values.json,
      `${JSON.stringify({ dose, part: values.part, seed, date: new Date().toISOString(), node: process.version, findings }, undefined, 2)}\n`,
    );
  };
  const chosen = choose(values.experiment, dose);
  const together = atOnce > 1 ? chosen.filter(({ alone }) => alone !== true) : [];
  const waiting = [...together];
  const carryOn = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) await carryOut(next);
  };
  await Promise.all(Array.from({ length: atOnce }, carryOn));
  for (const experiment of chosen) if (!together.includes(experiment)) await carryOut(experiment);
  const left = findings.filter(({ missing }) => missing !== undefined).length;
  const failed = findings.filter((finding) => !holds(finding)).length;
  const count = { passed: findings.length - left - failed, failed, skipped: left };
  writeFileSync(countFile, JSON.stringify(count));
  process.stdout.write(`\n${count.passed} passed, ${failed} failed${left > 0 ? `, ${left} skipped` : ''}\n`);
  if (failed > 0) process.exitCode = 1;
}

void main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exitCode = 1;
});
