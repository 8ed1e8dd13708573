import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import type { AdoptEvent } from '../../lib/index';
import { withoutTickets } from '../hide-tickets';
import type { Shell, Transfer } from '../run';
import { formatCount, formatSize } from '../size';
import { refuseObjects } from '../snapshot-location';
import type { Terminal } from '../terminal';
import { wrongUsage } from '../usage';
import { library } from '../library';

/** The options of `sendall adopt`, as commander names them. */
interface AdoptFlags {
  readonly name?: string;
  readonly owner?: string;
  readonly damaged?: boolean;
}

/** Adds `sendall adopt` to the program. */
export function describeAdopt(program: Command, shell: Shell): void {
  program
    .command('adopt')
    .description(
      'Registers snapshots that this receiver has not made: reads them back, and compares them with their manifests.',
    )
    .usage('DIR [OPTIONS]')
    .argument('<DIR>', 'the receive directory on this machine')
    .option(
      '--name <NAME>',
      'this backup only; if it is registered, also what else lies under its name. Default: all that are not registered',
    )
    .option(
      '--owner <KEY>',
      'whose they are from now on: a key as sendall authorize named it, ticket, or local for this machine',
    )
    .option('--damaged', 'register also what is damaged: it can be restored and verified, and no backup links to it')
    .addHelpText(
      'after',
      `
Examples:
  $ sendall adopt /srv/backups
  $ sendall adopt /mnt/moved --name laptop --owner laptop

Only what is registered is a snapshot: it is what the other commands see, and what backups build
on. A receiver registers what it makes. This is for a disk from another machine, for a lost
.sendall, and for directories of versions that kept no register. Only the owner of a backup makes
snapshots of it; --owner hands it over. What is registered and gone is taken off the register.`,
    )
    .action(async (directory: string, flags: AdoptFlags) => {
      refuseObjects(directory, 'adopt');
      if (!existsSync(directory)) throw wrongUsage(`There is no directory ${withoutTickets(directory)} here.`);
      const { runTransfer } = require('../run') as typeof import('../run');
      const { VerifyView } = require('../verify-view') as typeof import('../verify-view');
      shell.exit(
        await runTransfer(
          shell.settings(),
          (terminal) => new VerifyView(terminal),
          (transfer) => adoptAt(directory, flags, transfer),
        ),
      );
    });
}

async function adoptAt(
  directory: string,
  { name, owner, damaged = false }: AdoptFlags,
  { on, terminal, signal }: Transfer,
): Promise<void> {
  const { AuthorizedKeys } = library().load.keys();
  const { adopt } = library().load.adopt();
  const { printEvent } = require('../progress-json') as typeof import('../progress-json');
  const keys = await new AuthorizedKeys().list();
  const chosen = owner === undefined ? {} : { owner: ownerOf(owner, keys) };
  let count = 0;
  await adopt({
    directory,
    damaged,
    signal,
    ...chosen,
    ...(name === undefined ? {} : { name }),
    on: (event) => {
      if (!isAdoptEvent(event)) return on(event);
      count++;
      if (terminal.settings.json) printEvent(terminal.stdout, event);
      else tell(event, terminal, keys);
    },
  });
  if (count === 0) terminal.say('There is no backup to register.');
}

function isAdoptEvent(event: { readonly event: string }): event is AdoptEvent {
  return ['adopted', 'not-adopted', 'forgotten', 'registered'].includes(event.event);
}

function tell(event: AdoptEvent, terminal: Terminal, keys: readonly Known[]): void {
  switch (event.event) {
    case 'adopted':
      terminal.result(
        { style: 'bold', text: 'adopted      ' },
        `${event.snapshot}  ${formatCount(event.entries, 'entry', 'entries')}  ${formatSize(event.bytes)}`,
        event.damaged === true ? { style: 'red', text: '  damaged' } : '',
      );
      return;
    case 'not-adopted':
      terminal.result({ style: 'red', text: 'not adopted  ' }, `${event.snapshot}  ${event.reason}`);
      return;
    case 'forgotten':
      terminal.result('forgotten    ', `${event.snapshot}  It is not there any more.`);
      return;
    case 'registered':
      terminal.say(`${event.name}: ${formatCount(event.snapshots, 'snapshot')}, of ${wordsOf(event.owner, keys)}`);
  }
}

interface Known {
  readonly name: string;
  readonly id: string;
}

/** The id under which the register knows an owner. Throws `usage` for who is nobody. */
function ownerOf(word: string, keys: readonly Known[]): string {
  const key = keys.find(({ name }) => name === word);
  if (key) return key.id;
  if (word === 'ticket' || word === 'local') return word;
  throw wrongUsage(`Nobody is authorized as ${word}.`, {
    hint: 'sendall authorize --list names the keys that there are; besides there are ticket and local.',
  });
}

function wordsOf(owner: string, keys: readonly Known[]): string {
  if (owner === 'local') return 'this machine';
  if (owner === 'ticket') return 'whoever has the ticket of the receiver';
  const key = keys.find(({ id }) => id === owner);
  return key ? `the key ${key.name}` : `a key that is not authorized here (id ${owner.slice(0, 8)})`;
}
