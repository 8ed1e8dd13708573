import { statSync } from 'node:fs';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Option } from 'commander';
import type { Authorization, Rights } from '../../lib/index';
import { printable } from '../../lib/internal';
import { parseExpiry } from '../expiry';
import { quoted } from '../invitation';
import type { KeyEvent, KeyWords } from '../key-events';
import type { Shell } from '../run';
import { formatSize, parseSize } from '../size';
import type { Terminal } from '../terminal';
import { append, wrongUsage } from '../usage';
import { library } from '../library';

/** The options of `sendall authorize`, as commander names them. */
interface AuthorizeFlags {
  readonly dir?: string;
  readonly rights: Rights;
  readonly quota?: number;
  readonly expires?: Date;
  readonly address?: readonly string[];
  readonly list?: boolean;
  readonly remove?: string;
}

const ofNewKeys = ['dir', 'rights', 'quota', 'expires', 'address'];

/** Adds `sendall authorize` to the program. */
export function describeAuthorize(program: Command, shell: Shell): void {
  program
    .command('authorize')
    .description(
      'Lets another machine connect for good: makes a key for it, and prints the ticket that it needs, this once.',
    )
    .usage('NAME [OPTIONS]')
    .argument('[NAME]', 'what to call the machine that the key is for')
    .option(
      '--dir <DIR>',
      'where its files go, instead of the directory of the receiver; s3://BUCKET/PREFIX for one that stores there',
    )
    .addOption(
      new Option('--rights <WHAT>', 'write: add files; read: also read what is there; admin: also replace and delete')
        .choices(['write', 'read', 'admin'])
        .default('write'),
    )
    .option('--quota <SIZE>', 'keep no more than this of its files', parseSize)
    .option(
      '--expires <WHEN>',
      'when the key ends: a day as 2027-01-31, a time as 2027-01-31T18:00, or a span as 90d',
      (text) => parseExpiry(text),
    )
    .option(
      '--address <HOST[:PORT]>',
      'where it finds this machine; may be given several times; default: the addresses of its interfaces, and port 8898',
      append,
    )
    .addOption(new Option('--list', 'show who may connect').conflicts(['remove', ...ofNewKeys]))
    .addOption(
      new Option('--remove <NAME>', 'take a key away: from now on it opens no connection').conflicts(ofNewKeys),
    )
    .addHelpText(
      'after',
      `
Examples:
  $ sendall authorize laptop
  $ sendall authorize nightly --dir /srv/backups --quota 500G --expires 1y --address nas.example.org
  $ sendall authorize --list
  $ sendall authorize --remove laptop`,
    )
    .action(async (name: string | undefined, flags: AuthorizeFlags) => {
      const { Terminal } = require('../terminal') as typeof import('../terminal');
      const terminal = new Terminal(shell.settings());
      if (flags.list !== true && flags.remove === undefined) return authorize(name, flags, terminal);
      if (name !== undefined)
        throw wrongUsage('There is a NAME too many.', {
          hint: 'It is sendall authorize NAME, --list, or --remove NAME.',
        });
      return flags.remove === undefined ? list(terminal) : remove(flags.remove, terminal);
    });
}

async function authorize(name: string | undefined, flags: AuthorizeFlags, terminal: Terminal): Promise<void> {
  if (name === undefined)
    throw wrongUsage('The name is missing.', { hint: 'For whom is the key? sendall authorize NAME' });
  const { formatTicket, isObjectUrl, load } = library();
  const { AuthorizedKeys } = load.keys();
  if (flags.dir !== undefined) checkDirectory(flags.dir);
  const { defaultPort, dialable } = library();
  const [address, ...others] = await dialable({ kind: 'tcp', host: '::', port: defaultPort }, flags.address);
  const made = await new AuthorizedKeys().authorize({
    name,
    rights: flags.rights,
    ...(flags.dir === undefined ? {} : { directory: isObjectUrl(flags.dir) ? flags.dir : resolve(flags.dir) }),
    ...(flags.quota === undefined ? {} : { quota: flags.quota }),
    ...(flags.expires === undefined ? {} : { expires: flags.expires }),
  });
  const ticket = formatTicket({
    address,
    ...(others.length === 0 ? {} : { others }),
    id: made.id,
    key: made.key,
  });
  if (terminal.settings.json) return tell(terminal, { event: 'authorized', ...described(made), ticket });
  const called = ownName(flags.address?.[0]);
  terminal.say(`${words(made)}. On the other machine, and paste the ticket when it is asked for:`);
  terminal.say('    ', { style: 'bold', text: `sendall peers add ${called}` });
  terminal.say('or, where nobody else can read the history of the shell:');
  terminal.say('    ', { style: 'bold', text: `sendall peers add ${called} ${quoted(ticket)}` });
  terminal.say('The ticket, which is never shown again:');
  terminal.stdout.write(`${ticket}\n`); // with --quiet as well: the key is of no use without it
}

/** Throws `usage` for one that no receiver could use: whoever has the key would be the first to know. */
function checkDirectory(directory: string): void {
  const { isObjectUrl, parseObjectUrl } = library();
  if (isObjectUrl(directory)) return void parseObjectUrl(directory);
  const found = statSync(directory, { throwIfNoEntry: false });
  if (found?.isDirectory() === true) return;
  if (found) throw wrongUsage(`${printable(directory)} is not a directory.`);
  throw wrongUsage(`${printable(directory)} does not exist.`, { hint: `mkdir -m 700 ${quoted(directory)}` });
}

async function list(terminal: Terminal): Promise<void> {
  const { AuthorizedKeys } = library().load.keys();
  const keys = await new AuthorizedKeys().list();
  if (keys.length === 0) terminal.say('Nobody is authorized.');
  for (const each of keys) {
    if (terminal.settings.json) tell(terminal, { event: 'authorization', ...described(each) });
    else terminal.result(`${words(each)}  id ${each.id.slice(0, 8)}`);
  }
}

async function remove(name: string, terminal: Terminal): Promise<void> {
  const { AuthorizedKeys } = library().load.keys();
  await new AuthorizedKeys().revoke(name);
  if (terminal.settings.json) tell(terminal, { event: 'revoked', name });
  else terminal.say(`The key of ${name} is gone. Connections that are open stay so until they end.`);
}

/** Everything about a key that may be known. */
function described({ name, rights, directory, quota, expires, id }: Authorization): KeyWords {
  return { name, rights, directory, quota, expires: expires?.toISOString(), id };
}

function words({ name, rights, directory, quota, expires }: Authorization): string {
  const until =
    expires === undefined
      ? []
      : [`${expires <= new Date() ? 'expired' : 'expires'} ${expires.toISOString().replace(/\.\d+Z$/, 'Z')}`];
  return [
    name,
    rights,
    ...(directory === undefined ? [] : [directory]),
    ...(quota === undefined ? [] : [formatSize(quota)]),
    ...until,
  ].join('  ');
}

/** What the other machine might call this one: as in the name that it is reached by, else as it calls itself. */
function ownName(address = ''): string {
  const named = /^[a-z][\w.-]*(?::\d+)?$/i.test(address) && !/^localhost\b/i.test(address) ? address : hostname();
  const name = (named.split(/[.:]/)[0] ?? '')
    .replace(/[^\w-]+/g, '-')
    .replace(/^-+/, '')
    .slice(0, 64);
  return name === '' ? 'receiver' : name;
}

function tell(terminal: Terminal, event: KeyEvent): void {
  const { printEvent } = require('../progress-json') as typeof import('../progress-json');
  printEvent(terminal.stdout, event);
}
