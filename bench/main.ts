// Measures sendall against the tools that people use instead, on this machine, in one run.
//   npm run bench [-- --scenario file,tiny,tree,memory,crowd|all --size 256M --files 20000 --reps 3 --dir DIR --json FILE]
// Timings mean something only as ratios within one run, on an otherwise idle machine. DIR has to be on the disk to be measured.
import { existsSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { print, save } from './report';
import { startRsyncd } from './rsyncd';
import { scenarios, type Outcome, type Scenario } from './scenarios';
import { startSshd } from './sshd';

const say = (text: string): boolean => process.stderr.write(`${text}\n`);

function parseSize(text: string): number {
  const match = /^(\d+)([KMGT]?)$/i.exec(text);
  if (match === null) throw new Error(`Not a size: ${text}`);
  return Number(match[1]) * 1024 ** ' KMGT'.indexOf((match[2] || ' ').toUpperCase());
}

function parseCount(text: string): number {
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`Not a count: ${text}`);
  return Number(text);
}

function parseScenarios(text: string): Scenario[] {
  const all = Object.keys(scenarios) as Scenario[];
  if (text === 'all') return all;
  return text.split(',').map((name) => {
    const found = all.find((scenario) => scenario === name);
    if (found === undefined) throw new Error(`Not a scenario: ${name}. There are ${all.join(', ')}, all.`);
    return found;
  });
}

/** Since nothing is deleted before the end, every run of every peer has its copy. */
async function checkSpace(directory: string, names: readonly Scenario[], size: number, reps: number): Promise<void> {
  const peers = 8;
  const needed = 2 ** 30 + (names.includes('file') ? peers * (reps + 1) * size : 0) + (names.includes('memory') ? 10 * size : 0);
  const { bavail, bsize } = await statfs(directory);
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(0)} GiB`;
  if (bavail * bsize < needed) {
    throw new Error(`${directory} has ${gib(bavail * bsize)} left, and this needs ${gib(needed)}: take a smaller --size, fewer --reps, or another --dir.`);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      scenario: { type: 'string', default: 'file' },
      size: { type: 'string', default: '1G' },
      files: { type: 'string', default: '20000' },
      reps: { type: 'string', default: '5' },
      dir: { type: 'string', default: existsSync('/var/tmp') ? '/var/tmp' : tmpdir() },
      json: { type: 'string', default: join(__dirname, 'results', `${new Date().toISOString().replaceAll(':', '.')}.json`) },
    },
  });
  const [names, size, files, reps] = [parseScenarios(values.scenario), parseSize(values.size), parseCount(values.files), parseCount(values.reps)];
  await mkdir(values.dir, { recursive: true });
  await checkSpace(values.dir, names, size, reps);
  const directory = await mkdtemp(join(resolve(values.dir), 'sendall-bench-'));
  process.once('SIGINT', () => {
    rmSync(directory, { recursive: true, force: true });
    process.exit(130);
  });
  const [rsyncd, sshd] = [await startRsyncd(directory, say), await startSshd(directory, say)];
  const outcomes: Outcome[] = [];
  try {
    for (const name of names) {
      say(`${name}:`);
      outcomes.push(await scenarios[name]({ size, files, reps, directory, servers: { rsyncd, sshd }, say }));
    }
  } finally {
    await Promise.all([rsyncd?.stop(), sshd?.stop()]);
    await rm(directory, { recursive: true, force: true });
  }
  for (const outcome of outcomes) process.stdout.write(print(outcome));
  await save(values.json, outcomes, { size, reps });
  process.stdout.write(`\n${values.json}\n`);
  if (outcomes.some(({ rows }) => rows.some(({ failure }) => failure !== undefined))) process.exitCode = 1;
}

void main().catch((error: unknown) => {
  process.stderr.write(`${String(error)}\n`);
  process.exitCode = 1;
});
