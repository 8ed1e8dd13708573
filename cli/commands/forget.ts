import type { Command } from 'commander';
import type { ForgetEvent } from '../../lib/index';
import type { EventView, Shell, Transfer } from '../run';
import { formatCount, formatSize } from '../size';
import { machineArgument, refuseObjects, type SnapshotLocation, snapshotLocation } from '../snapshot-location';
import type { Terminal } from '../terminal';
import { library } from '../library';

interface ForgetFlags {
  readonly name?: string;
  readonly dryRun?: boolean;
}

/** Adds `sendall forget` to the program. */
export function describeForget(program: Command, shell: Shell): void {
  program
    .command('forget')
    .description('Takes a path out of all snapshots, with everything below it. It cannot be had back.')
    .usage('DIR|TARGET PATTERN [OPTIONS]')
    .argument('<DIR|TARGET>', machineArgument)
    .argument('<PATTERN>', 'a name, at any depth; with a slash, a path from the top; *, ? and ** as in .gitignore')
    .option('--name <NAME>', 'out of the snapshots of one backup only')
    .option('-n, --dry-run', 'tell what would be done, and change nothing')
    .addHelpText(
      'after',
      `
Examples:
  $ sendall forget /srv/backups home/eve/secret.key --dry-run
  $ sendall forget homeserver-admin 'node_modules/' --name laptop

Manifests and lists of digests are made anew. Other names of the same file stay,
unless they match too. The next backup brings it again, unless it is excluded
there. On another machine it takes a key with the right admin.`,
    )
    .action(async (given: string, pattern: string, flags: ForgetFlags) => {
      refuseObjects(given, 'forget');
      const location = await snapshotLocation(given);
      const { runTransfer } = require('../run') as typeof import('../run');
      shell.exit(
        await runTransfer(shell.settings(), complaints, (transfer) => forgetAt(location, pattern, flags, transfer)),
      );
    });
}

async function forgetAt(
  location: SnapshotLocation,
  pattern: string,
  { name, dryRun = false }: ForgetFlags,
  { on, terminal, signal }: Transfer,
): Promise<void> {
  const { load, TransferError } = library();
  const { printEvent } = require('../progress-json') as typeof import('../progress-json');
  const { forget } = load.snapshots();
  const tell = (event: ForgetEvent): void => {
    if (event.event === 'failed') on(event);
    else if (terminal.settings.json) printEvent(terminal.stdout, event);
    else show(terminal, event);
  };
  const taken = await forget({
    ...location,
    pattern,
    dryRun,
    signal,
    on: tell,
    ...(name === undefined ? {} : { name }),
  });
  if (taken.length === 0)
    throw new TransferError('usage', `Nothing in these snapshots is called ${pattern}.`, {
      hint: 'A pattern with a slash counts from the top of the snapshot: "**/photos/*.jpg".',
    });
}

function show(terminal: Terminal, event: Exclude<ForgetEvent, { event: 'failed' }>): void {
  const { snapshot, path, entries, bytes, freed_bytes: freed } = event;
  const others = entries === 1 ? '' : ` and ${formatCount(entries - 1, 'more entry', 'more entries')}`;
  terminal.result(
    event.dry_run ? 'would take out  ' : 'taken out  ',
    { style: 'bold', text: snapshot },
    `  ${path}${others}  ${formatSize(bytes)}${freed === undefined ? '' : `, ${formatSize(freed)} freed`}`,
  );
}

/** Of a snapshot that cannot be believed while others can. */
function complaints(terminal: Terminal): EventView {
  return {
    show: (event) => {
      if (event.event === 'failed') terminal.complain(event.message, event.hint);
    },
  };
}
