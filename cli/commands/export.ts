import path from 'node:path';
import { type Command, Option } from 'commander';
import type { IfExists } from '../../lib/index';
import { describeObjectStore, type ObjectFlags, objectStoreOf } from '../object-options';
import { telling } from '../store-waiting';
import type { Shell } from '../run';
import { wrongUsage } from '../usage';
import { library } from '../library';

/** The options of `sendall export`, as commander names them. */
interface ExportFlags extends ObjectFlags {
  readonly ifExists: IfExists;
}

/** Adds `sendall export` to the program. */
export function describeExport(program: Command, shell: Shell): void {
  const command = program
    .command('export')
    .description('Makes plain files, or plain keys, of what receivers have stored in an object store, verified.')
    .usage('s3://BUCKET/PREFIX DIR|s3://BUCKET/PREFIX [PATH...] [OPTIONS]')
    .argument('<FROM>', 's3://BUCKET/PREFIX of the store')
    .argument('<TO>', 'a directory, made where it is missing; or s3://BUCKET/PREFIX for keys')
    .argument('[PATH...]', 'what of it: files, directories with all that is below, patterns; default: everything')
    .addOption(
      new Option(
        '--if-exists <WHAT>',
        'what to do if something else has the name already; the same content again is always fine; for keys: refuse or replace',
      )
        .choices(['refuse', 'skip', 'rename', 'replace'])
        .default('refuse'),
    );
  describeObjectStore(command)
    .addHelpText(
      'after',
      `
Examples:
  $ sendall export s3://bucket/incoming ~/incoming --endpoint https://s3.example.org
  $ sendall export s3://bucket/incoming s3://public/files "reports/**/*.pdf"

It is for files that came by sendall receive; a snapshot is brought back by sendall restore.
Everything keeps its name. In a directory, files have their modes and times; a key has content
only, and symbolic links are left out. Both stores are at the same endpoint, with the same keys.
The same command goes on where it was interrupted: what is there with the same content stays.`,
    )
    .action(async (from: string, to: string, paths: string[], flags: ExportFlags) => {
      const { isObjectUrl, parseObjectUrl } = library();
      if (!isObjectUrl(from))
        throw wrongUsage('What is exported is in an object store: s3://BUCKET/PREFIX.', {
          hint: 'Files in a receive directory are plain files already.',
        });
      const objects = objectStoreOf(from, flags);
      const { ifExists } = flags;
      if (isObjectUrl(to) && ifExists !== 'refuse' && ifExists !== 'replace')
        throw wrongUsage('--if-exists is refuse or replace for keys.');
      const target = isObjectUrl(to) ? { address: parseObjectUrl(to) } : { directory: path.resolve(to) };
      const { runTransfer } = require('../run') as typeof import('../run');
      const { ExportView } = require('../view') as typeof import('../view');
      shell.exit(
        await runTransfer(
          shell.settings(),
          (terminal) => new ExportView(terminal, 'address' in target ? to : target.directory),
          async (transfer) => {
            const { on, signal } = transfer;
            const { exportObjects } = library().load.export();
            if (objects)
              await exportObjects({ objects: telling(objects, transfer), to: target, paths, ifExists, on, signal });
          },
        ),
      );
    });
}
