import { mkdirSync, rmdirSync } from 'node:fs';
import path from 'node:path';
import type { Command } from 'commander';
import { InvalidArgumentError, Option } from 'commander';
import type { Listener, Receiver, ReceiverOptions } from '../../lib/index';
import type { UploadPage } from '../../lib/internal';
import { checkAddresses } from '../address-options';
import { hookWords } from '../hook-failed';
import { type HookCommand, parseHookCommand } from '../hook-command';
import { isJournal, type LogLevel, logLevels } from '../log';
import type { Metrics } from '../metrics';
import type { ReceiverMeets } from '../going-on';
import type { EventView, Shell, Transfer } from '../run';
import type { InvitationOf } from '../view';
import type { OutputSettings, Terminal } from '../terminal';
import { withoutTickets } from '../hide-tickets';
import { describeObjects, type ObjectFlags, objectStoreOf } from '../object-options';
import { telling } from '../store-waiting';
import { codeTyped, resolveTarget } from '../secret';
import type { CodeTyped, Target } from '../secret';
import { parseCodeWords, usualCodeWords } from '../code-words';
import { parseRelayOption, relayPasswordIn, withRelay } from '../relay-option';
import { formatCount, parseDuration, parseSize } from '../size';
import { append, wrongUsage } from '../usage';
import { addWebOptions, checkWebFlags, webEvent, webOptions, type WebReceiveFlags } from '../web-options';
import { library } from '../library';

/** The options of `sendall receive`, as commander names them. */
interface ReceiveFlags extends WebReceiveFlags, ObjectFlags {
  readonly listen?: string;
  readonly address?: readonly string[];
  readonly once?: boolean;
  readonly code?: boolean;
  readonly qr?: boolean;
  readonly announce?: boolean;
  readonly relay?: string;
  readonly relayPasswordFile?: string;
  readonly words?: number;
  readonly from?: string;
  readonly retryFor?: number;
  readonly ifExists: 'refuse' | 'skip' | 'rename' | 'replace';
  readonly metadata?: boolean;
  readonly insecurePlain?: boolean;
  readonly plain: boolean;
  readonly allowHidden?: boolean;
  readonly names?: 'any' | 'portable';
  readonly maxSize?: number;
  readonly quota?: number;
  readonly quotaFiles?: number;
  readonly idleLimit?: number;
  readonly onReceived?: HookCommand;
  readonly hookTimeout: number;
  readonly logLevel?: LogLevel;
  readonly metrics?: string;
}

/** The same with whom to dial in place of what was typed for that. */
type FlagsFrom = Omit<ReceiveFlags, 'from'> & { readonly from: Target | CodeTyped | undefined };

const usualHookTimeout = 300_000; // ms
const longestTimer = 20 * 86_400_000; // a timer takes a little more

const helpText = `
Examples:
  $ sendall receive /srv/incoming
  $ sendall receive /srv/incoming --listen 127.0.0.1:0 --max-size 10G --if-exists rename
  $ sendall receive --once --json --listen unix:/run/sendall.sock
  $ sendall receive /srv/incoming --from sendall://192.168.1.20:8898/TOKEN
  $ sendall receive /srv/incoming --code
  $ sendall receive s3://bucket/incoming --endpoint https://s3.example.org
  $ sendall receive /srv/incoming --on-received "/usr/local/bin/index --json" --hook-timeout 1min

It prints a ticket: whoever has it may send, until this command ends.
sendall authorize makes keys that last.

At a terminal, and with --code, it also prints a code, which is short enough to be said: one sender
on this network, or elsewhere with @HOST behind it, may use it within 15 minutes; after three wrong
tries nobody can. The ticket is as good as before then, but with --code this command ends with exit
code 3, unless something has come.

Senders must reach TCP port 8898 of this machine (--listen chooses another): a firewall has to let
it in, and a router with NAT has to forward it, which --address PUBLIC-HOST:PORT then names. Where
that cannot be had, turn it round: sendall send --listen there, and receive --from here.

The COMMAND of --on-received: white space separates its words, '…' and "…" keep together what is
between them, nothing else is special; or a JSON array of the words. On standard input it gets one
JSON object, as --json prints it, with "absolute_path", where it is. What it prints goes to stderr,
unless --quiet or --json is given.
If it fails or takes too long, that is said, and the transfer is none the worse. Four run at once,
the others wait for their turn, and the receiver ends after the last of them (a second Ctrl-C ends
both at once).`;

/** Adds `sendall receive` to the program. */
export function describeReceive(program: Command, shell: Shell): void {
  const command = program
    .command('receive')
    .description(
      'Receives files into a directory, until it is stopped. A file appears there once it is whole and verified.',
    )
    .usage('[DIR] [CODE] [OPTIONS]')
    .argument('[DIR]', 'where to; made where it is missing; or s3://BUCKET/PREFIX', '.')
    .argument('[CODE]', 'dial a sender that shows this code: 4821-crane-velvet@HOST')
    .addOption(
      new Option(
        '--listen <ADDRESS>',
        'HOST:PORT, a port alone, or unix:PATH; default [::]:8898, port 0 takes a free one',
      ).conflicts('from'),
    )
    .addOption(
      new Option(
        '--address <HOST[:PORT]>',
        'where others find this machine, for the ticket; may be given several times; default: the addresses of its interfaces, that of the default route first',
      )
        .argParser(append)
        .conflicts('from'),
    )
    .option(
      '--code',
      'show a code, too, which one sender may type instead of the ticket, and end if nobody can use it any more; at a terminal one is shown anyway',
    )
    .option('--no-code', 'show none at a terminal either')
    .option('--qr', 'draw the ticket as a QR code, too, or with --web the address of the page')
    .option('--words <N>', 'with --code: how many words it has, 2 to 4; default 2', parseCodeWords)
    .option(
      '--announce',
      'let machines on this network find this receiver, as sendall nearby shows it; with --code it is so anyway',
    )
    .option(
      '--relay <HOST[:PORT]>',
      'wait at this relay, too, where the other side cannot reach this machine; with a CODE: dial there; default port 4001',
      parseRelayOption,
    )
    .option('--relay-password-file <FILE>', 'where the password of that relay is, if it has one')
    .option('--once', 'exit after the first transfer, with its exit code')
    .option(
      '--from <TICKET>',
      'dial a sender that listens, instead of listening: its ticket, @FILE with one, its code@HOST, a peer, tcp://HOST:PORT or unix:PATH',
    )
    .option(
      '--retry-for <DURATION>',
      'with --from: how long to go on trying when the connection is lost: 30s, 2h; default 5min',
      parseDuration,
    )
    .addOption(
      new Option(
        '--if-exists <WHAT>',
        'what to do if something else has the name already; the same content again is always fine',
      )
        .choices(['refuse', 'skip', 'rename', 'replace'])
        .default('refuse'),
    )
    .option(
      '--metadata',
      'give what arrives from send --metadata its owner (root only), ACLs and other extended attributes, setuid and setgid',
    )
    .option(
      '--insecure-plain',
      'allow unencrypted connections from and to other machines, and from other users of this one',
    )
    .addOption(
      new Option('--no-plain', 'take nothing without a ticket or a key, not from this machine either').conflicts(
        'insecurePlain',
      ),
    )
    .option('--allow-hidden', 'take names that start with a dot from the plain wire too')
    .addOption(
      new Option(
        '--names <WHICH>',
        'any: every name that this disk can have; portable: only those that Windows and macOS can have too; default: any in sessions, portable on the plain wire',
      ).choices(['any', 'portable']),
    )
    .option('--max-size <SIZE>', 'take no file larger than this, for example 10G', parseSize)
    .option('--quota <SIZE>', 'keep no more than this in the directory', parseSize)
    .option('--quota-files <NUMBER>', 'keep no more files, directories and links than this in it', parseCount)
    .addOption(
      new Option(
        '--idle-limit <DURATION>',
        'end a session in which nothing but signs of life came for so long: 30s, 5min, 2h',
      )
        .argParser(parseTimer)
        .default(3_600_000, '1h'),
    )
    .option(
      '--on-received <COMMAND>',
      'run this, without a shell, for each file and snapshot that is committed; its receipt is on standard input',
      parseHookCommand,
    )
    .addOption(
      new Option('--hook-timeout <DURATION>', 'how long one run of that command may take: 30s, 5min, 2h')
        .argParser(parseTimer)
        .default(usualHookTimeout, '5min'),
    )
    .addOption(
      new Option(
        '--log-level <LEVEL>',
        'write a log to stderr, one line an event with its time, and never a ticket; default under journald: info',
      ).choices(logLevels),
    )
    .option(
      '--metrics <ADDRESS>',
      'serve figures for Prometheus at http://HOST:PORT/metrics; a port alone is one of 127.0.0.1',
    );
  describeObjects(addWebOptions(command, 'receive'))
    .addHelpText('after', helpText)
    .action((first: string, second: string | undefined, flags: ReceiveFlags) =>
      runReceive(first, second, flags, shell),
    );
}

/** From what was typed to the exit code. Throws `usage`. */
async function runReceive(first: string, second: string | undefined, flags: ReceiveFlags, shell: Shell): Promise<void> {
  const { directory, typed } = whereAndFrom(first, second, flags);
  checkWebFlags(flags, typed !== undefined ? 'a sender to dial' : flags.once ? '--once' : undefined);
  const from = typed === undefined ? undefined : await senderAt(typed);
  const settings = logging(shell.settings(), flags.logLevel);
  if (settings.log && flags.code) throw wrongUsage('--code has nobody to read it: a log shows no codes.');
  checkAddresses(flags);
  const metrics = flags.metrics === undefined ? undefined : metricsAt(flags.metrics);
  const objects = objectStoreOf(directory, flags);
  if (objects !== undefined && flags.web !== undefined)
    throw wrongUsage('--web shows a directory: an object store has no page.');
  const made = objects === undefined && makeDirectory(directory);
  const code = showsCode(flags, typed, settings);
  const work = async (transfer: Transfer): Promise<void> => {
    const store = objects && { ...telling(objects, transfer), signal: transfer.signal };
    try {
      const options = { ...receiverOptions(directory, { ...flags, code }), objects: store };
      await receive(options, { ...flags, from }, transfer, metrics);
    } catch (error) {
      if (made) leaveNothing(directory);
      throw error;
    }
  };
  const { runTransfer } = require('../run') as typeof import('../run');
  const view = (terminal: Terminal): EventView => viewOf(terminal, { ...flags, from }, objects === undefined);
  shell.exit(await runTransfer(settings, view, work, from === undefined ? 'many' : 'one'));
}

/** Whom to dial instead of listening. Throws `usage` for what names nobody. */
async function senderAt(typed: string): Promise<Target | CodeTyped> {
  const from = codeTyped(typed) ?? (await resolveTarget(typed));
  if (from !== undefined) return from;
  throw wrongUsage(`"${withoutTickets(typed)}" is neither a ticket nor the address of a sender.`, {
    hint: 'It looks like sendall://HOST:PORT/TOKEN (a ticket), 4821-crane-velvet@HOST (a code), tcp://HOST:PORT or unix:PATH, or is @FILE with a ticket in it or the name of a peer: see sendall peers.',
  });
}

/** A log where one is wanted, else words for people. */
function viewOf(terminal: Terminal, flags: FlagsFrom, intoDirectory: boolean): EventView {
  const meets = meetsHow(flags);
  if (terminal.settings.log) {
    const { ReceiverLog } = require('../receiver-log') as typeof import('../receiver-log');
    return new ReceiverLog(terminal, meets);
  }
  const { ReceiverView } = require('../view') as typeof import('../view');
  const invitation: InvitationOf = {
    command: 'send FILE',
    insecurePlain: flags.insecurePlain ?? false,
    plain: flags.plain && intoDirectory,
    ...(flags.qr ? { qr: flags.web === undefined ? 'ticket' : 'page' } : {}),
  };
  return new ReceiverView(terminal, invitation, meets);
}

function meetsHow({ from, once }: FlagsFrom): ReceiverMeets {
  if (from === undefined) return once ? 'listens-once' : 'listens';
  return from.kind === 'plain' ? 'dials-plain' : 'dials';
}

/** With a log where one is wanted, or where journald would have it. Throws `usage` for a log and JSON at once. */
function logging(settings: OutputSettings, wanted: LogLevel | undefined): OutputSettings {
  if (settings.json && wanted !== undefined)
    throw wrongUsage('--log-level and --json exclude each other: each of them says everything in its own form.');
  const journal = isJournal();
  if (settings.json || (wanted === undefined && !journal)) return settings;
  const level = wanted ?? (settings.quiet ? 'error' : settings.verbose ? 'debug' : 'info');
  return { ...settings, log: { level, journal } };
}

/** The figures that `receive` keeps, and where they are to be served. */
interface ServedMetrics {
  readonly metrics: Metrics;
  readonly address: string;
}

/** The figures that are served at `address`. */
function metricsAt(address: string): ServedMetrics {
  const { Metrics } = require('../metrics') as typeof import('../metrics');
  return { metrics: new Metrics(), address };
}

/** Which directory is meant, and whom to dial instead of listening: a code may stand there alone. */
function whereAndFrom(
  first: string,
  second: string | undefined,
  flags: ReceiveFlags,
): { directory: string; typed: string | undefined } {
  if (flags.words !== undefined && flags.code !== true) throw wrongUsage('--words goes with --code.');
  const alone = second === undefined && codeTyped(first) !== undefined;
  const code = alone ? first : second;
  if (flags.from !== undefined && flags.code === true) throw wrongUsage('--from and --code exclude each other.');
  if (code !== undefined && (flags.from !== undefined || flags.code === true || flags.listen !== undefined))
    throw wrongUsage('There is both a code to dial and a way to meet somebody else.', {
      hint: 'With a CODE leave out --from, --code and --listen.',
    });
  if (second !== undefined && codeTyped(second) === undefined)
    throw wrongUsage('Too many arguments: behind the directory stands nothing but a code.', {
      hint: 'A code looks like 4821-crane-velvet@HOST. See sendall receive --help.',
    });
  return { directory: alone ? '.' : first, typed: code ?? flags.from };
}

/** Where nobody said so: to whoever sits at a terminal, and listens where other machines may come. */
function showsCode(
  { code, listen = '' }: Pick<ReceiveFlags, 'code' | 'listen'>,
  typed: string | undefined,
  { json, quiet, log }: OutputSettings,
): boolean {
  return (
    code ?? (process.stderr.isTTY && typed === undefined && !listen.startsWith('unix:') && !json && !quiet && !log)
  );
}

/**
 * Makes a receive directory that is missing, for its owner alone, and says whether it did; what cannot be made is said
 * by whoever opens it.
 */
function makeDirectory(directory: string): boolean {
  try {
    mkdirSync(directory, { mode: 0o700 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw wrongUsage(`${directory} cannot be made: ${(error as Error).message}.`, {
      hint: 'Make the directory above it, or name another one.',
    });
  }
}

/** Removes a directory that this command made and put nothing into. */
function leaveNothing(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    const { ignored } = library();
    ignored('something came before the failure, and stays')(error);
  }
}

async function receive(
  options: ReceiverOptions,
  flags: FlagsFrom,
  transfer: Transfer,
  served: ServedMetrics | undefined,
): Promise<void> {
  const { signal } = transfer;
  const { listen, address, once, from, retryFor } = flags;
  const pathname = options.objects === undefined ? path.resolve(options.directory) : options.directory;
  const hooks = hooksOf(flags, pathname, transfer);
  const { AuthorizedKeys } = library().load.keys();
  const { createReceiver } = library().load.receiver();
  const { shareFreeMemory } = library();
  shareFreeMemory();
  const { StatusFile } = require('../status-file') as typeof import('../status-file');
  const status = options.objects === undefined ? new StatusFile(options.directory, options.quota) : undefined;
  const listener = hooks?.on ?? transfer.on;
  let begun = false;
  let page: UploadPage | undefined;
  const on: Listener = (event) => {
    begun ||= event.event === 'started' || event.event === 'received';
    status?.note(event);
    page?.note(event);
    served?.metrics.note(event);
    listener(event);
  };
  const receiver = await createReceiver({ ...options, authorized: new AuthorizedKeys(), on });
  try {
    if (flags.web !== undefined) page = await serveUploadPage(receiver, flags, on);
    transfer.terminal.say('Receiving into ', { style: 'bold', text: pathname }, '.');
    if (served) transfer.terminal.say(`Metrics at ${await served.metrics.listen(served.address)}.`);
    if (from !== undefined) {
      const where =
        from.kind === 'ticket' ? from.ticket : from.kind === 'code' ? withRelay(from.code, flags.relay) : from.address;
      await receiver.dial(where, {
        signal,
        ...(retryFor === undefined ? {} : { retryFor }),
      });
      return;
    }
    const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    if (page) on(webEvent(page));
    await receiver.listen(listen, address);
    // Whoever came with the ticket is not cut off because somebody else guesses, or nobody needs the code any more; nor
    // is whoever asked for no code.
    const codeOver = receiver.codeOver().catch((error: unknown) => {
      if (!begun && flags.code === true) throw error;
      transfer.terminal.say('The code cannot be used any more; the ticket can.');
      return stopped;
    });
    const ends = [stopped, codeOver, ...(once === true ? [receiver.once()] : [])];
    if (!signal.aborted) await Promise.race(ends);
  } finally {
    await page?.close();
    await receiver.close();
    status?.close();
    await served?.metrics.close();
    await hooks?.ended();
  }
}

/** The page of a receiver. */
async function serveUploadPage(
  receiver: Receiver,
  flags: Omit<ReceiveFlags, 'from'>,
  on: Listener,
): Promise<UploadPage> {
  return library()
    .load.webReceive()
    .serveUploads({
      ...webOptions(flags),
      uploads: receiver.uploads(),
      read: flags.webRead,
      version: (require('sendall/package.json') as { version: string }).version,
      maxSize: flags.maxSize,
      quota: flags.quota,
      on,
    });
}

/** The transfer's listener with the hooks behind it, and their end; undefined where none are wanted. */
function hooksOf(
  { onReceived, hookTimeout }: Pick<ReceiveFlags, 'onReceived' | 'hookTimeout'>,
  directory: string,
  { on, terminal }: Transfer,
): { readonly on: Listener; readonly ended: () => Promise<void> } | undefined {
  if (onReceived === undefined) return undefined;
  const { Hooks } = require('../hooks') as typeof import('../hooks');
  const hooks = new Hooks({
    command: onReceived,
    timeout: hookTimeout,
    directory,
    failed: (event) => {
      on(event);
      if (terminal.settings.json) terminal.complain(hookWords(event)); // on stderr as well
    },
    printed: (line) => terminal.say({ style: 'dim', text: 'hook: ' }, line),
  });
  return {
    on: (event) => {
      on(event);
      hooks.note(event);
    },
    ended: async () => {
      if (hooks.left > 0)
        terminal.say(`Waiting for the command of --on-received, ${formatCount(hooks.left, 'run')} left.`);
      await hooks.close();
    },
  };
}

function parseCount(text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It is a whole number above 0.');
}

/** Longer than no time, and no longer than a timer can be. */
function parseTimer(text: string): number {
  const timeout = parseDuration(text);
  if (timeout >= 1000 && timeout <= longestTimer) return timeout;
  throw new InvalidArgumentError('It must be 1s to 20d.');
}

/** What the flags ask the library for. */
function receiverOptions(directory: string, flags: ReceiveFlags): ReceiverOptions {
  return {
    directory,
    ...(flags.announce ? { announce: true } : {}),
    ...(flags.relay === undefined ? {} : { relayAt: flags.relay }),
    ...(flags.relayPasswordFile === undefined ? {} : { relayPassword: relayPasswordIn(flags.relayPasswordFile) }),
    ...(flags.code ? { codeWords: flags.words ?? usualCodeWords } : {}),
    ifExists: flags.ifExists,
    ...(flags.metadata ? { metadata: { owner: 'name', xattrs: true, setIds: true } } : {}),
    allowHidden: flags.allowHidden ?? false,
    insecurePlain: flags.insecurePlain ?? false,
    plain: flags.plain,
    ...(flags.names === undefined ? {} : { names: flags.names }),
    ...(flags.maxSize === undefined ? {} : { maxSize: flags.maxSize }),
    ...(flags.quota === undefined ? {} : { quota: flags.quota }),
    ...(flags.quotaFiles === undefined ? {} : { quotaFiles: flags.quotaFiles }),
    ...(flags.idleLimit === undefined ? {} : { idleLimit: flags.idleLimit }),
  };
}
