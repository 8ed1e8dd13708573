import type { Command } from 'commander';
import type { TransferEvent } from '../../lib/index';
import { describeObjects, type ObjectFlags } from '../object-options';
import type { EventView, Shell, Transfer } from '../run';
import { formatCount, formatSize } from '../size';
import { type SnapshotLocation, snapshotLocation } from '../snapshot-location';
import { tellingAt } from '../store-waiting';
import type { Terminal } from '../terminal';
import { wrongUsage } from '../usage';
import { library } from '../library';

/** The options of `sendall copy`, as commander names them. */
interface CopyFlags extends ObjectFlags {
  readonly name?: string;
}

/** Adds `sendall copy` to the program. */
export function describeCopy(program: Command, shell: Shell): void {
  const command = program
    .command('copy')
    .description(
      'Copies all snapshots from a receive directory into an object store, or back, verified. What is there already stays as it is.',
    )
    .usage('DIR|s3://BUCKET/PREFIX DIR|s3://BUCKET/PREFIX [OPTIONS]')
    .argument('<FROM>', 'a receive directory of this machine, or s3://BUCKET/PREFIX')
    .argument('<TO>', 'the same; a directory must be there')
    .option('--name <NAME>', 'only the snapshots of this backup');
  describeObjects(command)
    .addHelpText(
      'after',
      `
Examples:
  $ sendall copy /srv/backups s3://bucket/backups --endpoint https://s3.example.org
  $ sendall copy s3://bucket/backups /srv/restored --name laptop --credentials keys

Snapshots keep their ids, owners and manifests, and come in their order, the oldest first; each is
complete or not there. A content that is there already is not sent. What an interrupted copy has
brought stays, and the same command goes on with it. A damaged snapshot is named and left out, and
the exit code is 4 then; once a newer one is there, it cannot follow any more: it is named by each
later copy, exit code 6. Where both are object stores, both are at the same endpoint, with the same
keys.`,
    )
    .action(async (from: string, to: string, flags: CopyFlags) => {
      const [source, destination] = await holdersOf([from, to], flags);
      const { runTransfer } = require('../run') as typeof import('../run');
      const audience = (terminal: Terminal): EventView => new CopyView(terminal);
      shell.exit(
        await runTransfer(shell.settings(), audience, (transfer) =>
          copy(tellingAt(source, transfer), tellingAt(destination, transfer), flags, transfer),
        ),
      );
    });
}

type Holder = Exclude<SnapshotLocation, { readonly target: string }>;

/** Throws `usage` for what `copy` cannot be between. */
async function holdersOf(words: readonly [string, string], flags: ObjectFlags): Promise<[Holder, Holder]> {
  const { isObjectUrl } = library();
  if (!words.some(isObjectUrl))
    throw wrongUsage('Neither of the two is an object store.', {
      hint: 'Directories are copied with rsync -aH, and registered with sendall adopt.',
    });
  const holders: Holder[] = [];
  for (const word of words) {
    const location = await snapshotLocation(word, isObjectUrl(word) ? flags : {});
    if ('target' in location)
      throw wrongUsage('Snapshots are copied where they are: from a directory of this machine, or an object store.');
    holders.push(location);
  }
  return holders as [Holder, Holder];
}

async function copy(from: Holder, to: Holder, { name }: CopyFlags, { on, signal, terminal }: Transfer): Promise<void> {
  const { load } = library();
  const { copied, present } = await load.copy().copySnapshots({ from, to, name, on, signal });
  terminal.say(
    `${formatCount(copied, 'snapshot')} copied`,
    present === 0 ? '.' : `, ${formatCount(present, 'was', 'were')} there.`,
  );
}

/** What is said of a copy: each snapshot, and what is damaged. */
class CopyView implements EventView {
  constructor(private readonly terminal: Terminal) {}

  show(event: TransferEvent | { readonly event: 'hook-failed' }): void {
    switch (event.event) {
      case 'failed':
        if (event.code !== 'interrupted') this.terminal.complain(event.message, event.hint);
        return;
      case 'damaged':
        this.terminal.complain(`${event.snapshot}: ${event.path} is damaged (${event.reason}); not copied.`);
        return;
      case 'skipped':
        this.terminal.complain(`${event.file_name} is not copied: ${event.reason}`);
        return;
      case 'snapshot':
        this.terminal.result(
          { style: 'bold', text: event.snapshot },
          `  ${formatCount(event.entries, 'entry', 'entries')}  ${formatSize(event.bytes)}, ${formatSize(event.new_bytes)} of it new  `,
          { style: 'green', text: 'copied' },
        );
        return;
      default:
    }
  }
}
