import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type { DamageReason, Summary, TransferEvent } from '../../lib/index';
import { printable } from '../../lib/internal';
import type { Shell, Transfer } from '../run';
import { formatCount, formatDuration, formatRate, formatSize } from '../size';
import { describeObjectStore, type ObjectFlags } from '../object-options';
import { locationArgument, type SnapshotLocation, snapshotLocation } from '../snapshot-location';
import { tellingAt } from '../store-waiting';
import type { Piece } from '../terminal';
import { noteVerified } from '../status-file';
import { append, wrongUsage } from '../usage';
import { library } from '../library';

/** The options of `sendall verify`, as commander names them. */
interface VerifyFlags extends ObjectFlags {
  readonly sample?: number;
  readonly snapshot?: string;
  readonly repair?: boolean;
  readonly source?: readonly string[];
}

/** Adds `sendall verify` to the program. */
export function describeVerify(program: Command, shell: Shell): void {
  const command = program
    .command('verify')
    .description('Reads snapshots back from the disk, and finds what is not as it was when it was stored.')
    .usage('DIR|TARGET [OPTIONS]')
    .argument('<DIR|TARGET>', locationArgument)
    .option(
      '--sample <PERCENT>',
      'read only about this share of the files, those that were read longest ago: 5%',
      parsePercent,
    )
    .option(
      '--snapshot <SNAPSHOT>',
      'only NAME/ID or NAME/latest, or with NAME all snapshots of one backup; default: all of all',
    )
    .option(
      '--repair',
      'mend what the manifests alone make right again, and bring damaged pieces of files from this machine, where it still has that content',
    )
    .option(
      '--source <PATH>',
      'with --repair: what was backed up; may be given several times. Default: as it was named to the last sendall backup here',
      append,
    );
  describeObjectStore(command)
    .addHelpText(
      'after',
      `
Examples:
  $ sendall verify /srv/backups
  $ sendall verify homeserver --repair
  $ sendall verify /srv/backups --sample 5%
  $ sendall verify /srv/backups --snapshot laptop/latest --json

A file that several snapshots share is read once, and its damage named for each of them. Names,
sizes, times and modes are compared in any case. Interrupted, it goes on where it stopped.
Each 5% begins where the one before ended: after 20 of them, everything was read.

What can be damaged:${damages.map(([reason, what]) => `\n  ${reason.padEnd(12)}${what}`).join('')}`,
    )
    .action(async (given: string, flags: VerifyFlags) => {
      const location = await snapshotLocation(given, flags);
      if (flags.source && flags.repair !== true) throw wrongUsage('--source is for --repair only.');
      const absent = flags.source?.find((source) => !existsSync(source));
      if (absent !== undefined) throw wrongUsage(printable(`The source ${absent} is not there.`));
      const { runTransfer } = require('../run') as typeof import('../run');
      const { VerifyView } = require('../verify-view') as typeof import('../verify-view');
      shell.exit(
        await runTransfer(
          shell.settings(),
          (terminal) => new VerifyView(terminal),
          (transfer) => verifyAt(tellingAt(location, transfer), flags, transfer),
        ),
      );
    });
}

const damages: readonly (readonly [reason: DamageReason, what: string])[] = [
  ['manifest', 'the manifest is missing or was changed, so that nothing vouches for the files'],
  ['missing', 'it is not there'],
  ['unreadable', 'the disk or the system does not give it out'],
  ['truncated', 'the file is shorter than it was'],
  ['changed', 'the content is another one'],
  ['metadata', 'the mode, the time, or of what it is another name, is another one'],
  ['foreign', 'it is there, and was not backed up'],
];

async function verifyAt(
  location: SnapshotLocation,
  { sample, snapshot, repair: repairs, source }: VerifyFlags,
  { on, terminal, signal }: Transfer,
): Promise<void> {
  const { repair } = library().load.repair();
  const { verify } = library().load.snapshots();
  const { BackedUp } = library();
  const which = snapshot === undefined ? {} : snapshot.includes('/') ? { snapshot } : { name: snapshot };
  let [damaged, foreign] = [0, 0];
  let summary: Summary | undefined;
  const note = (event: TransferEvent): void => {
    if (event.event === 'damaged' && event.reason === 'foreign') foreign += 1;
    else if (event.event === 'damaged') damaged += 1;
    if (event.event === 'summary') summary = event;
    on(event);
  };
  try {
    const options = { ...location, ...which, ...(sample === undefined ? {} : { sample }), on: note, signal };
    if (repairs === true) {
      const sources = source ?? (await new BackedUp().paths(snapshot?.split('/')[0]));
      const { repaired, bytes_on_wire: moved } = await repair({ ...options, sources });
      if (repaired > 0)
        terminal.say(`${formatCount(repaired, 'damaged name')} whole again; ${formatSize(moved)} were brought.`);
      return;
    }
    const { continued } = await verify(options).finally(() => {
      const all = sample === undefined && snapshot === undefined && !signal.aborted && summary !== undefined;
      if (all && 'directory' in location) noteVerified(location.directory, damaged + foreign);
    });
    if (continued !== undefined) terminal.say(`It went on with the verification that began at ${continued}.`);
  } finally {
    if (summary && !signal.aborted) terminal.result(...closing(summary, damaged, foreign));
    else if (summary) terminal.say('The same command goes on from here.');
  }
}

/** `2,000 files  1.2 GiB  read back from the device  2.3 s  530 MiB/s  no damage found` */
function closing({ files, bytes, seconds, verified }: Summary, damaged: number, foreign: number): Piece[] {
  return [
    { style: 'bold', text: formatCount(files, 'file') },
    `  ${formatSize(bytes)}  `,
    verified === 'device'
      ? { style: 'green', text: 'read back from the device' }
      : verified === 'store'
        ? { style: 'green', text: 'read back from the store' }
        : { style: 'yellow', text: 'read back (page cache only)' },
    `  ${formatDuration(seconds)}${bytes < 1024 ** 2 || seconds === 0 ? '' : `  ${formatRate(bytes / seconds)}`}  `,
    damaged === 0 ? 'no damage found' : { style: 'red', text: `${String(damaged)} damaged` },
    ...(foreign === 0 ? [] : [{ style: 'yellow', text: `  ${String(foreign)} foreign` } as const]),
  ];
}

/** Reads a share: `5%`, `0.5%` or `5`. Throws commander's InvalidArgumentError. */
function parsePercent(text: string): number {
  const share = /^\d{1,3}(\.\d{1,6})? ?%?$/.test(text) ? parseFloat(text) / 100 : NaN;
  if (!(share > 0 && share <= 1)) throw new InvalidArgumentError('It looks like 5%, and is at most 100%.');
  return share;
}
