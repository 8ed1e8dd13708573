import type { Command } from 'commander';
import type { Peer } from '../../lib/internal';
import type { Shell } from '../run';
import { demandTicket } from '../secret';
import type { Terminal } from '../terminal';
import { library } from '../library';

/** Adds `sendall peers add`, `list`, `join`, `leave` and `remove` to the program. */
export function describePeers(program: Command, shell: Shell): void {
  const open = (): Terminal => {
    const { Terminal } = require('../terminal') as typeof import('../terminal');
    return new Terminal(shell.settings());
  };
  const peers = program
    .command('peers')
    .description('Names for other machines, so that a transfer needs the name only.')
    .usage('add|list|join|leave|remove [OPTIONS]')
    .helpCommand('help [COMMAND]', 'print the help of a command')
    .addHelpText(
      'after',
      `
Examples:
  $ sendall peers add backup
  $ sendall send photos/ backup
  $ sendall peers join family backup laptop
  $ sendall send photos/ --to-all family
  $ sendall peers list`,
    );
  peers
    .command('add')
    .description('Gives the machine that made a ticket a name. The ticket is asked for, unseen, unless it is given.')
    .usage('NAME [TICKET]')
    .argument('<NAME>', 'what to call it')
    .argument(
      '[TICKET]',
      'sendall://… as sendall authorize printed it, or @FILE for a file with it; default: SENDALL_TICKET, or ask',
    )
    .addHelpText(
      'after',
      `
Examples:
  $ sendall peers add backup
  $ sendall peers add backup @ticket.txt
  $ ssh backup sendall authorize laptop --quiet | sendall peers add backup`,
    )
    .action((name: string, ticket: string | undefined) => add(name, ticket, open()));
  peers
    .command('list')
    .description('Shows the machines that have a name, and where they are; never a key.')
    .usage('[OPTIONS]')
    .addHelpText('after', '\nExample:\n  $ sendall peers list --json')
    .action(() => list(open()));
  peers
    .command('join')
    .description('Puts peers into a group, which sendall send --to-all sends to. The first one makes it.')
    .usage('GROUP NAME...')
    .argument('<GROUP>', 'what the group is called')
    .argument('<NAME...>', 'peers')
    .addHelpText('after', '\nExample:\n  $ sendall peers join family backup laptop')
    .action((group: string, names: readonly string[]) => join(group, names, open()));
  peers
    .command('leave')
    .description('Takes peers out of a group, which goes with its last one.')
    .usage('GROUP NAME...')
    .argument('<GROUP>', 'what the group is called')
    .argument('<NAME...>', 'peers')
    .addHelpText('after', '\nExample:\n  $ sendall peers leave family laptop')
    .action((group: string, names: readonly string[]) => leave(group, names, open()));
  peers
    .command('remove')
    .description('Forgets a machine and its ticket. Over there, sendall authorize --remove takes the key away.')
    .usage('NAME')
    .argument('<NAME>', 'what it is called')
    .addHelpText('after', '\nExample:\n  $ sendall peers remove backup')
    .action((name: string) => remove(name, open()));
}

async function add(name: string, word: string | undefined, terminal: Terminal): Promise<void> {
  const { parseTicket, checkKeyName, Peers } = library();
  checkKeyName(name); // before a ticket is typed for nothing
  const ticket = parseTicket(await demandTicket(word));
  await new Peers().add(name, ticket);
  if (terminal.settings.json) tell({ name, ticket }, terminal);
  else terminal.say(`Known from now on: ${words({ name, ticket })}`);
}

async function list(terminal: Terminal): Promise<void> {
  const { Peers } = library();
  const peers = await new Peers().list();
  if (peers.length === 0) terminal.say('No machine has a name yet.');
  for (const peer of peers) {
    if (terminal.settings.json) tell(peer, terminal);
    else terminal.result(words(peer));
  }
}

async function join(group: string, names: readonly string[], terminal: Terminal): Promise<void> {
  const { Peers } = library();
  const known = new Peers();
  await known.join(group, names);
  await tellGroup(group, known, terminal);
}

async function leave(group: string, names: readonly string[], terminal: Terminal): Promise<void> {
  const { Peers } = library();
  const known = new Peers();
  await known.leave(group, names);
  await tellGroup(group, known, terminal);
}

/** Who is in a group now. */
async function tellGroup(group: string, known: import('../../lib/internal').Peers, terminal: Terminal): Promise<void> {
  const names = (await known.inGroup(group)).map(({ name }) => name);
  const { printEvent } = require('../progress-json') as typeof import('../progress-json');
  if (terminal.settings.json) printEvent(terminal.stdout, { event: 'group', name: group, peers: names });
  else terminal.say(names.length === 0 ? `Nobody is in ${group} any more.` : `In ${group}: ${names.join(', ')}`);
}

async function remove(name: string, terminal: Terminal): Promise<void> {
  const { Peers } = library();
  await new Peers().remove(name);
  const { printEvent } = require('../progress-json') as typeof import('../progress-json');
  if (terminal.settings.json) printEvent(terminal.stdout, { event: 'removed', name });
  else terminal.say(`${name} is forgotten.`);
}

function tell({ name, ticket, groups = [] }: Peer, terminal: Terminal): void {
  const { printEvent } = require('../progress-json') as typeof import('../progress-json');
  const { formatAddress } = library();
  printEvent(terminal.stdout, {
    event: 'peer',
    name,
    address: formatAddress(ticket.address),
    id: ticket.id,
    ...(groups.length === 0 ? {} : { groups }),
  });
}

function words({ name, ticket, groups = [] }: Peer): string {
  const { addressesIn, formatAddress } = library();
  return `${name}  ${addressesIn(ticket).map(formatAddress).join(', ')}  id ${ticket.id.slice(0, 8)}${groups.length === 0 ? '' : `  in ${groups.join(', ')}`}`;
}
