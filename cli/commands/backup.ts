import { existsSync, statSync } from 'node:fs';
import type { Command } from 'commander';
import { Option } from 'commander';
import type { BackupOptions, TransferEvent } from '../../lib/index';
import { describeObjects, type ObjectFlags, objectStoreOf } from '../object-options';
import { telling } from '../store-waiting';
import type { Shell } from '../run';
import type { Terminal } from '../terminal';
import { noSuchLocation } from '../snapshot-location';
import { hasTicketInEnvironment, resolveTarget, splitTarget } from '../secret';
import { parseDuration, parseRate } from '../size';
import { type CompressFlags, compressOption } from '../compress-option';
import { addExcludeOptions, type ExcludeFlags, excludeOptions, patternHelp } from '../exclude-options';
import { wrongUsage } from '../usage';
import { parseConnections } from './send';
import { library } from '../library';

/** The options of `sendall backup`, as commander names them. */
interface BackupFlags extends ExcludeFlags, ObjectFlags, CompressFlags {
  readonly name: string;
  readonly stdinName?: string;
  readonly checksum?: boolean;
  readonly allowShrink?: boolean;
  readonly digest?: 'sha256' | 'md5' | 'blake3';
  readonly connections: number | 'auto';
  readonly limit?: number;
  readonly retryFor?: number;
}

/** Adds `sendall backup` to the program. */
export function describeBackup(program: Command, shell: Shell): void {
  const command = program
    .command('backup')
    .description('Makes one verified snapshot of files and directories: plain files, which sha256sum -c can check.')
    .usage('PATH... TARGET --name NAME [OPTIONS]')
    .argument(
      '[PATH...]',
      'files and directories, - for standard input; then the TARGET: a ticket (sendall://…), @FILE with one, a peer, a directory of this machine, or s3://BUCKET/PREFIX',
    )
    .requiredOption('--name <NAME>', 'what the backup is called; its snapshots are NAME/2026-11-20T101233Z')
    .option('--stdin-name <NAME>', 'what standard input is called in the snapshot; by default stdin')
    .option(
      '--checksum',
      'read every file, also where size and times say that it has not changed, and tell of those that have',
    )
    .option('--allow-shrink', 'a source may be empty, or have lost most of its entries, since the snapshot before')
    .addOption(
      new Option('--digest <WHAT>', 'what SHA256SUMS, MD5SUMS or B3SUMS is made of; by default sha256').choices([
        'sha256',
        'md5',
        'blake3',
      ]),
    );
  addExcludeOptions(command)
    .option('--connections <N>', 'how many connections to use at once: 1 to 64, or auto', parseConnections, 'auto')
    .addOption(compressOption())
    .option('--limit <RATE>', 'send at most so many bytes per second, for example 10M', parseRate)
    .option(
      '--retry-for <DURATION>',
      'how long to go on trying when the connection is lost: 30s, 2h; default 5min',
      parseDuration,
    );
  describeObjects(command)
    .addHelpText(
      'after',
      `
Files whose size, times and inode are as in the snapshot before are not read, and share their room
with it.
Without a TARGET the ticket is SENDALL_TICKET of the environment, or it is asked for.
${patternHelp}
Examples:
  $ sendall backup /home/eve homeserver --name laptop
  $ sendall backup /etc /srv /mnt/usb/backups --name server --exclude '*.tmp'
  $ sendall backup photos/ homeserver --name photos --checksum
  $ sendall backup photos/ s3://bucket/backups --endpoint https://s3.example.org --name photos
  $ pg_dump shop | sendall backup - homeserver --name shop --stdin-name shop.sql`,
    )
    .action(async (words: readonly string[], flags: BackupFlags) => {
      const options = await backupOptions(words, flags);
      const { runTransfer } = require('../run') as typeof import('../run');
      const { BackupView } = require('../backup-view') as typeof import('../backup-view');
      const { backup } = library().load.backup();
      shell.exit(
        await runTransfer(
          shell.settings(),
          (terminal) => new BackupView(terminal, options.directory === undefined ? 'sender' : 'keeper'),
          async (transfer) => {
            const { on, signal, terminal } = transfer;
            const objects = options.objects && telling(options.objects, transfer);
            let isMade = false;
            const note = (event: TransferEvent): void => {
              isMade ||= event.event === 'snapshot';
              on(event);
            };
            try {
              await backup({ ...options, objects, on: note, signal });
            } finally {
              // Also of one in which something is missing: its content may be damaged as any other.
              if (isMade) await rememberSources(options, terminal);
            }
          },
        ),
      );
    });
}

/** For whoever repairs it one day; who cannot have it noted says it then. */
async function rememberSources({ name, paths }: BackupOptions, terminal: Terminal): Promise<void> {
  const { BackedUp } = library();
  await new BackedUp()
    .remember(
      name,
      paths.filter((each) => each !== '-'),
    )
    .catch((error: unknown) =>
      terminal.say(
        `What was backed up is not noted for a repair: ${error instanceof Error ? error.message : String(error)}`,
      ),
    );
}

async function backupOptions(words: readonly string[], flags: BackupFlags): Promise<BackupOptions> {
  const { paths, ...where } = await split(words, flags);
  const { name, stdinName, checksum = false, allowShrink = false, digest } = flags;
  const { connections, compress, limit, retryFor } = flags;
  return {
    paths,
    ...where,
    name,
    checksum,
    allowShrink,
    ...excludeOptions(flags),
    connections,
    ...(stdinName === undefined ? {} : { inputName: stdinName }),
    ...(digest === undefined ? {} : { digest }),
    ...(compress === undefined ? {} : { compress }),
    ...(limit === undefined ? {} : { limit }),
    ...(retryFor === undefined ? {} : { retryFor }),
  };
}

/** The last word is the target, if it names one; a directory is one where no ticket is in the environment. */
async function split(
  words: readonly string[],
  flags: ObjectFlags,
): Promise<Pick<BackupOptions, 'paths' | 'target' | 'directory' | 'objects'>> {
  const last = words.at(-1) ?? '';
  const objects = objectStoreOf(last, flags);
  if (objects) return { paths: words.slice(0, -1), objects };
  const named = await resolveTarget(last);
  if (named?.kind === 'plain')
    throw wrongUsage('The plain wire carries no backups.', {
      hint: 'Take the ticket that sendall receive prints, a peer, or a directory.',
    });
  if (named) return { paths: words.slice(0, -1), target: named.ticket };
  const mayBeDirectory = !hasTicketInEnvironment() && words.length > 1;
  if (mayBeDirectory && statSync(last, { throwIfNoEntry: false })?.isDirectory() === true)
    return { paths: words.slice(0, -1), directory: last };
  const { paths, target } = await splitTarget(words);
  if (target?.kind === 'ticket') return { paths, target: target.ticket };
  if (words.length > 1 && !existsSync(last)) throw noSuchLocation(last, true);
  throw wrongUsage('The target is missing.', {
    hint: 'It comes last: a ticket, the name of a peer, or a directory that exists.',
  });
}
