import { statfsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { TransferEvent } from '../../lib/index';
import type { Shell, Transfer } from '../run';
import { formatCount, formatDuration, formatMoment, formatSize, parseDuration } from '../size';
import { machineArgument, refuseObjects, type SnapshotLocation, snapshotLocation } from '../snapshot-location';
import { type Checks, type LastReceived, type ReceiverStatus } from '../status-file';
import type { StatusEvent } from '../status-event';
import type { Terminal } from '../terminal';
import { library } from '../library';

interface StatusFlags {
  readonly maxAge?: number;
}

/** Adds `sendall status` to the program. */
export function describeStatus(program: Command, shell: Shell): void {
  program
    .command('status')
    .description(
      'Says what a receiver does, what came last, how much room is left, and how old and how well checked each backup is.',
    )
    .usage('[DIR|TARGET] [OPTIONS]')
    .argument('[DIR|TARGET]', machineArgument, '.')
    .option('--max-age <DURATION>', 'a problem where the newest snapshot of a backup is older: 36h, 8d', parseDuration)
    .addHelpText(
      'after',
      `
Examples:
  $ sendall status /srv/backups --max-age 36h
  $ sendall status homeserver --max-age 8d --json

The exit code is 1 where a backup is older than --max-age, or damage is known: by a verification, by
a drill, or since a manifest cannot be believed. From afar, with a key that may read, it knows of
the backups alone.`,
    )
    .action(async (given: string, { maxAge }: StatusFlags) => {
      refuseObjects(given, 'status');
      const location = await snapshotLocation(given);
      const { runTransfer } = require('../run') as typeof import('../run');
      let problems = 0;
      const ended = await runTransfer(
        shell.settings(),
        () => ({ show: () => undefined }),
        async (transfer) => {
          const status = await statusOf(location, maxAge, transfer);
          problems = status.problems.length;
          show(status, location, transfer.terminal);
        },
      );
      shell.exit(ended === 0 && problems > 0 ? 1 : ended);
    });
}

async function statusOf(
  location: SnapshotLocation,
  maxAge: number | undefined,
  { signal }: Transfer,
): Promise<StatusEvent> {
  const { load } = library();
  const { isRunning, readChecks, readStatus } = require('../status-file') as typeof import('../status-file');
  const { listSnapshots } = load.snapshots();
  const listed = await listSnapshots({ ...location, signal });
  const here = 'directory' in location ? resolve(location.directory) : undefined;
  const status: ReceiverStatus | undefined = here === undefined ? undefined : readStatus(here);
  const checks: Checks = here === undefined ? {} : readChecks(here);
  const backups = new Map<string, StatusEvent['backups'][number]>();
  const problems: string[] = [];
  for (const each of listed) {
    if (each.event === 'damaged') problems.push(`${each.snapshot} cannot be believed: its manifest is damaged.`);
    if (each.event !== 'snapshot') continue;
    const name = each.snapshot.replace(/\/.*$/, '');
    const before = backups.get(name);
    const newer = before === undefined || before.newest < each.time;
    backups.set(name, {
      name,
      snapshots: (before?.snapshots ?? 0) + 1,
      newest: newer ? each.time : before.newest,
      verified_at: newer ? each.verified_at : before.verified_at,
      drill: checks.drills?.[name] ?? null,
    });
  }
  for (const { name, newest, drill } of backups.values()) {
    const age = Date.now() - Date.parse(newest);
    if (maxAge !== undefined && age > maxAge)
      problems.push(`The newest snapshot of ${name} is ${formatDuration(age / 1000)} old.`);
    if (drill && drill.failures > 0)
      problems.push(`In the last drill of ${name}, ${formatCount(drill.failures, 'file')} did not come back.`);
  }
  if (maxAge !== undefined && backups.size === 0) problems.push(`There is no snapshot at all.${unregistered(listed)}`);
  if (checks.verify && checks.verify.damaged > 0)
    problems.push(`${damageFound} ${formatCount(checks.verify.damaged, 'damaged name')}.`);
  return {
    event: 'status',
    receiver: status && isRunning(status) ? receiverOf(status) : null,
    last_received: status?.last_received ?? null,
    free: here === undefined ? null : freeIn(here),
    verified: checks.verify ?? null,
    backups: [...backups.values()],
    problems,
  };
}

/** What looks like a backup and is not registered, where there is any. */
function unregistered(listed: readonly TransferEvent[]): string {
  const { foreignWords } = require('../verify-view') as typeof import('../verify-view');
  const backups = listed.flatMap((each) => (each.event === 'foreign' && !each.path.includes('/') ? [each.path] : []));
  return backups.map((name) => ` ${foreignWords(name)}`).join('');
}

function receiverOf({ pid, since, address, quota, transfers }: ReceiverStatus): StatusEvent['receiver'] {
  return { pid, since, address, quota, transfers };
}

const damageFound = 'The last verification found';

function freeIn(directory: string): number {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
}

function show(status: StatusEvent, location: SnapshotLocation, terminal: Terminal): void {
  if (terminal.settings.json) {
    const { printEvent } = require('../progress-json') as typeof import('../progress-json');
    return printEvent(terminal.stdout, status);
  }
  const { alignedLines, tableLines } = require('../table') as typeof import('../table');
  const shown = (text: string): string => terminal.asResult(text);
  const { receiver, last_received: last, free, verified, backups, problems } = status;
  const rows: string[][] = [];
  if ('directory' in location) {
    rows.push(['directory', resolve(location.directory)]);
    rows.push([
      'receiver',
      receiver ? `runs since ${formatMoment(receiver.since)}, at ${String(receiver.address)}` : 'does not run',
    ]);
    for (const { from, files, bytes, file_name: name, done, total } of receiver?.transfers ?? [])
      rows.push([
        `  ${from ?? 'ticket'}`,
        [
          `${formatCount(files, 'file')}, ${formatSize(bytes)} so far`,
          ...(name === null || total === 0
            ? []
            : [`${name} ${String(Math.floor((done / total) * 100))} % of ${formatSize(total)}`]),
        ].join('; '),
      ]);
    rows.push(['last received', last ? lastWords(last) : 'nothing']);
    const quota = receiver?.quota;
    rows.push(['free', `${formatSize(free ?? 0)}${quota ? `; quota ${formatSize(quota)}` : ''}`]);
    rows.push([
      'verified',
      verified
        ? `${formatMoment(verified.at)}, ${verified.damaged === 0 ? 'no damage' : `${String(verified.damaged)} damaged`}`
        : 'not as a whole',
    ]);
    for (const line of alignedLines(rows, shown)) terminal.result(line);
  }
  if (backups.length > 0) {
    const cells = backups.map(({ name, snapshots, newest, verified_at: at, drill }) => [
      name,
      { right: String(snapshots) },
      formatMoment(newest),
      at === null ? 'when stored' : formatMoment(at),
      drill === null ? 'none' : `${formatMoment(drill.at)}${drill.failures === 0 ? '' : ', failed'}`,
    ]);
    const head = ['BACKUP', { right: 'SNAPSHOTS' }, 'NEWEST', 'VERIFIED', 'DRILL'];
    for (const line of tableLines(head, cells, shown)) terminal.result(line);
  }
  for (const problem of problems)
    terminal.complain(
      problem,
      problem.startsWith(damageFound) ? 'sendall verify names it, and says what can be done.' : undefined,
    );
}

function lastWords({ file_name: name, from, at }: LastReceived): string {
  return `${name}, ${formatMoment(at)}${from === null ? '' : `, from ${from}`}`;
}
