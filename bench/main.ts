// Measures sendall against the tools that people use instead, on this machine, in one run.
//   npm run bench [-- --scenario NAME,NAME|all --size 256M --files 20000 --reps 3 --congestion cubic|default --dir DIR
// --json FILE]
// On the plain wire: file, tiny, tree, memory, crowd. In a session: session, session-tree, session-again,
// session-inplace, session-memory. The page of --web in Chromium: page. Backups: backup, backup-again, backup-insert,
// backup-verify, backup-restore, against restic, borg and rsync --link-dest, as far as they are here. Into an object
// store: store, against rclone and restic, which wants root, radosgw and rclone. Over a wide-area link between two
// network namespaces: compression, wan50, wan100, which want root, ip, /dev/net/tun and a C compiler; where one is
// missing they are left out, of `all` too. Whoever takes more than 20 s takes part in three rounds, more than 60 s in
// one. Timings mean something only as ratios within one run, on an otherwise idle machine. DIR has to be on the disk to
// be measured.
import { existsSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { print, save } from './report';
import { startRsyncd } from './rsyncd';
import { scenarios } from './scenarios/index';
import type { Amounts, Outcome, Scenario } from './scenarios/settings';
import { startSshd } from './sshd';

// With it, every Node reads all certificates of the system before it begins: three times as long as it takes to start,
// for what is used by nothing here.
delete process.env['NODE_EXTRA_CA_CERTS'];

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

function parseScenarios(text: string): [string, Scenario][] {
  if (text === 'all') return Object.entries(scenarios);
  return text.split(',').map((wanted) => {
    const found = Object.entries(scenarios).find(([name]) => name === wanted);
    if (found === undefined)
      throw new Error(`Not a scenario: ${wanted}. There are ${Object.keys(scenarios).join(', ')}, all.`);
    return found;
  });
}

/** Every run of every peer has its copy, until its scenario is over, and those of many files until all is over. */
async function checkSpace(
  directory: string,
  chosen: readonly (readonly [string, Scenario])[],
  amounts: Amounts,
): Promise<void> {
  let [kept, largest] = [0, 0];
  for (const [, scenario] of chosen) {
    const space = scenario.space(amounts);
    if (scenario.manyFiles === true) kept += space;
    else largest = Math.max(largest, space);
  }
  const { bavail, bsize } = await statfs(directory);
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(0)} GiB`;
  const needed = 2 ** 30 + kept + largest;
  if (bavail * bsize < needed) {
    throw new Error(
      `${directory} has ${gib(bavail * bsize)} left, and this needs ${gib(needed)}: take a smaller --size, fewer --reps, or another --dir.`,
    );
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      scenario: { type: 'string', default: 'file' },
      size: { type: 'string', default: '1G' },
      files: { type: 'string', default: '20000' },
      reps: { type: 'string', default: '5' },
      congestion: { type: 'string', default: 'cubic' },
      dir: { type: 'string', default: existsSync('/var/tmp') ? '/var/tmp' : tmpdir() },
      json: {
        type: 'string',
        default: join(__dirname, 'results', `${new Date().toISOString().replaceAll(':', '.')}.json`),
      },
    },
  });
  const chosen = parseScenarios(values.scenario);
  const amounts = { size: parseSize(values.size), files: parseCount(values.files), reps: parseCount(values.reps) };
  const congestion = values.congestion === 'default' ? undefined : values.congestion;
  await mkdir(values.dir, { recursive: true });
  await checkSpace(values.dir, chosen, amounts);
  const directory = await mkdtemp(join(resolve(values.dir), 'sendall-bench-'));
  process.once('SIGINT', () => {
    rmSync(directory, { recursive: true, force: true });
    process.exit(130);
  });
  const [rsyncd, sshd] = [await startRsyncd(directory, say), await startSshd(directory, say)];
  const outcomes: Outcome[] = [];
  try {
    for (const [name, scenario] of chosen) {
      say(`${name}:`);
      const outcome = await scenario.run({ ...amounts, directory, servers: { rsyncd, sshd }, congestion, say });
      if (outcome !== undefined) {
        outcomes.push(outcome);
        process.stdout.write(print(outcome));
        await save(values.json, outcomes, amounts);
      }
      if (scenario.manyFiles !== true) await rm(join(directory, name), { recursive: true, force: true });
    }
  } finally {
    await Promise.all([rsyncd?.stop(), sshd?.stop()]);
    await rm(directory, { recursive: true, force: true });
  }
  if (outcomes.length > 0) process.stdout.write(`\n${values.json}\n`);
  if (outcomes.some(({ rows }) => rows.some(({ failure }) => failure !== undefined))) process.exitCode = 1;
}

void main().catch((error: unknown) => {
  process.stderr.write(`${String(error)}\n`);
  process.exitCode = 1;
});
