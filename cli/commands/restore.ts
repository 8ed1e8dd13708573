import path from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { DrillReport, IfExists, Restored, TransferEvent } from '../../lib/index';
import type { EventView, Shell, Transfer } from '../run';
import { formatCount, formatDuration, formatSize, parseDuration } from '../size';
import type { Terminal } from '../terminal';
import { describeObjectStore, type ObjectFlags } from '../object-options';
import { locationArgument, type SnapshotLocation, snapshotLocation } from '../snapshot-location';
import { tellingAt } from '../store-waiting';
import { wrongUsage } from '../usage';
import { library } from '../library';

/** The options of `sendall restore`, as commander names them. */
interface RestoreFlags extends ObjectFlags {
  readonly ifExists: IfExists;
  readonly owner?: 'none' | 'name' | 'number';
  /** False with --no-xattrs. */
  readonly xattrs: boolean;
  /** A share, above 0 and up to 1. */
  readonly drill?: number;
  readonly scratch?: string;
  /** ms */
  readonly retryFor?: number;
}

/** Adds `sendall restore` to the program. */
export function describeRestore(program: Command, shell: Shell): void {
  const command = program
    .command('restore')
    .description(
      'Brings a snapshot back, or some of it, to another place. What is there in the end was read back and is what the manifest says.',
    )
    .usage(
      'DIR|TARGET SNAPSHOT DEST [PATH...] [OPTIONS]\n       sendall restore DIR SNAPSHOT --drill PERCENT [--scratch DIR]',
    )
    .argument('<DIR|TARGET>', locationArgument)
    .argument('<SNAPSHOT>', 'NAME/2026-11-20T101233Z or NAME/latest; sendall snapshots lists them')
    .argument('[DEST]', 'where to; made where it is missing; - writes one file to standard output')
    .argument('[PATH...]', 'what of it: files, directories with all that is below, patterns; default: everything')
    .addOption(
      new Option(
        '--if-exists <WHAT>',
        'what to do if something else has the name already; the same content again is always fine',
      )
        .choices(['refuse', 'skip', 'rename', 'replace'])
        .default('refuse'),
    )
    .addOption(
      new Option(
        '--owner <HOW>',
        'whose files they become: by name where this machine has such a one, else by number; default: name for root',
      ).choices(['none', 'name', 'number']),
    )
    .option('--no-xattrs', 'leave out extended attributes: POSIX ACLs and capabilities are among them')
    .option(
      '--drill <PERCENT>',
      'restore a random sample to a scratch directory, compare it with the manifest, remove it, and report',
      parseShare,
    )
    .option(
      '--scratch <DIR>',
      'with --drill: where the scratch directory is made; default: the one for temporary files',
    )
    .option(
      '--retry-for <DURATION>',
      'from another machine: how long to go on trying when the connection is lost: 30s, 2h; default 5min',
      parseDuration,
    );
  describeObjectStore(command)
    .addHelpText(
      'after',
      `
Examples:
  $ sendall restore homeserver laptop/latest ~/restored
  $ sendall restore /srv/backups laptop/2026-11-20T101233Z ~/restored home/photos "home/**/*.txt"
  $ sendall restore homeserver shop/latest - shop.sql | psql shop
  $ sendall restore /srv/backups laptop/latest --drill 1% --json

Everything keeps the name that it has in the snapshot, below DEST. In a pattern, * and ? stay
within a component, and ** is any number of them. What an interrupted restore has brought is
kept in DEST/.sendall, and the same command goes on with it. With - the file is written once it
is whole and verified in a directory for temporary files (TMPDIR).`,
    )
    .action(
      async (
        given: string,
        snapshot: string,
        destination: string | undefined,
        paths: string[],
        flags: RestoreFlags,
      ) => {
        if (destination === '-') checkOutput(paths, shell.settings().json);
        const work = workOf({ location: await snapshotLocation(given, flags), snapshot, destination, paths }, flags);
        const { runTransfer } = require('../run') as typeof import('../run');
        const { RestoreView } = require('../view') as typeof import('../view');
        const audience = (terminal: Terminal): EventView => {
          if (destination === '-') terminal.takeOutput();
          if (flags.drill !== undefined) return new DrillView(terminal);
          const known = destination !== undefined && destination !== '-';
          return new RestoreView(
            terminal,
            known ? path.resolve(destination) : undefined,
            given.startsWith('sendall://') ? 'ticket' : 'lasts',
          );
        };
        shell.exit(await runTransfer(shell.settings(), audience, work));
      },
    );
}

/** Throws `usage` for what cannot be written to standard output. */
function checkOutput(paths: readonly string[], json: boolean): void {
  if (json) throw wrongUsage('With --json, standard output has events, and no file.');
  if (paths.length !== 1)
    throw wrongUsage('Standard output takes one file.', { hint: 'sendall restore DIR|TARGET SNAPSHOT - PATH' });
}

interface Words {
  readonly location: SnapshotLocation;
  readonly snapshot: string;
  readonly destination: string | undefined;
  readonly paths: readonly string[];
}

function workOf(
  { location, snapshot, destination, paths }: Words,
  { ifExists, owner, xattrs, drill: share, scratch, retryFor }: RestoreFlags,
): (transfer: Transfer) => Promise<void> {
  if (share === undefined) {
    if (destination === undefined)
      throw wrongUsage('Where to restore to is missing.', { hint: 'sendall restore DIR|TARGET SNAPSHOT DEST' });
    if (scratch !== undefined) throw wrongUsage('--scratch is for --drill only.');
    return async (transfer) => {
      const { on, signal } = transfer;
      const { restore } = library().load.snapshots();
      const restoreTo = (into: string): Promise<Restored> =>
        restore({
          ...tellingAt(location, transfer),
          snapshot,
          destination: into,
          paths,
          ifExists,
          owner,
          xattrs,
          on,
          signal,
          ...(retryFor === undefined ? {} : { retryFor }),
        });
      const { restoreToOutput } = require('../restore-output') as typeof import('../restore-output');
      if (destination === '-') await restoreToOutput(paths[0] ?? '', restoreTo, signal);
      else await restoreTo(destination);
    };
  }
  if (destination !== undefined)
    throw wrongUsage('A drill restores to a scratch directory, and to no other.', {
      hint: 'sendall restore DIR SNAPSHOT --drill 1%',
    });
  if ('target' in location)
    throw wrongUsage('A drill is held on the machine that has the snapshots.', {
      hint: 'sendall restore DIR SNAPSHOT --drill 1%',
    });
  return async (transfer) => {
    const { on, signal } = transfer;
    const { drillAt } = library().load.drill();
    const { noteDrill } = require('../status-file') as typeof import('../status-file');
    const report = await drillAt({
      ...tellingAt(location, transfer),
      snapshot,
      share,
      ...(scratch === undefined ? {} : { scratch }),
      on,
      signal,
    });
    if ('directory' in location)
      noteDrill(location.directory, report.snapshot.replace(/\/.*$/, ''), report.failures.length);
    failIfAny(report);
  };
}

/** Throws what stands for all failures of a drill: damage before anything else. */
function failIfAny({ files, failures }: DrillReport): void {
  const { TransferError } = library();
  const [first, ...others] = failures;
  if (!first) return;
  if (others.length === 0) throw new TransferError(first.code, first.message, { hint: '' });
  const { code } = failures.find((failure) => failure.code === 'mismatch') ?? first;
  throw new TransferError(
    code,
    `${String(failures.length)} of ${formatCount(files, 'file')} did not come back as they were.`,
    { hint: '' },
  );
}

function parseShare(text: string): number {
  const share = /^\d+(\.\d+)?%?$/.test(text) ? parseFloat(text) / 100 : NaN;
  if (share > 0 && share <= 1) return share;
  throw new InvalidArgumentError('It is a percentage above 0 and up to 100, for example 1%.');
}

/** What a drill says: its failures as they come, and one line in the end. */
class DrillView implements EventView {
  constructor(private readonly terminal: Terminal) {}

  show(event: TransferEvent | { readonly event: 'hook-failed' }): void {
    if (event.event === 'failed' && event.code !== 'interrupted') this.terminal.complain(event.message, event.hint);
    if (event.event !== 'drill') return;
    const { snapshot, files, bytes, failures, seconds } = event;
    this.terminal.result(
      { style: 'bold', text: snapshot },
      `  ${formatCount(files, 'file')}  ${formatSize(bytes)}  `,
      failures.length === 0
        ? { style: 'green', text: 'came back as they were' }
        : { style: 'red', text: `${String(failures.length)} did not come back as they were` },
      `  ${formatDuration(seconds)}`,
    );
  }
}
