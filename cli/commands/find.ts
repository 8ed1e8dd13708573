import type { Command } from 'commander';
import type { EventView, Shell } from '../run';
import { describeObjectStore, type ObjectFlags } from '../object-options';
import { locationArgument, snapshotLocation } from '../snapshot-location';
import { tellingAt } from '../store-waiting';
import { library } from '../library';

/** Reading tells of nothing on the way. */
const silence: EventView = { show: () => undefined };

/** Adds `sendall find` to the program. */
export function describeFind(program: Command, shell: Shell): void {
  const command = program
    .command('find')
    .description('Says in which snapshots a file is, and which of its versions differ. Reads no file of a backup.')
    .usage('DIR|TARGET PATTERN [OPTIONS]')
    .argument('<DIR|TARGET>', locationArgument)
    .argument('<PATTERN>', 'a name, at any depth; with a slash, a path from the top; *, ? and ** as in .gitignore')
    .option('--name <NAME>', 'in the snapshots of one backup only');
  describeObjectStore(command)
    .addHelpText(
      'after',
      `
Examples:
  $ sendall find /srv/backups taxes.ods
  $ sendall find homeserver "home/eve/**/*.key" --name laptop

v1 is the first content that a path had, v2 the next that differs, and so on. What is to come
back: sendall restore DIR|TARGET SNAPSHOT DEST PATH.`,
    )
    .action(async (given: string, pattern: string, flags: ObjectFlags & { readonly name?: string }) => {
      const { name } = flags;
      const location = await snapshotLocation(given, flags);
      const { runTransfer } = require('../run') as typeof import('../run');
      shell.exit(
        await runTransfer(
          shell.settings(),
          () => silence,
          async (transfer) => {
            const { terminal, signal } = transfer;
            const { load, TransferError } = library();
            const { FoundView } = require('../found-view') as typeof import('../found-view');
            const { findEntries } = load.snapshots();
            const view = new FoundView(terminal, true);
            const on = view.show.bind(view);
            const where = tellingAt(location, transfer);
            await findEntries({ ...where, pattern, signal, on, ...(name === undefined ? {} : { name }) });
            if (view.count === 0)
              throw new TransferError('usage', `Nothing in these snapshots is called ${pattern}.`, {
                hint: 'A pattern with a slash counts from the top of the snapshot: "**/photos/*.jpg".',
              });
          },
        ),
      );
    });
}
