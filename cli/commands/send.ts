import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { InvalidArgumentError, Option } from 'commander';
import { checkAddresses } from '../address-options';
import type { SendOptions } from '../../lib/index';
import type { Shell } from '../run';
import type { SenderReaches } from '../going-on';
import { withoutTickets } from '../hide-tickets';
import { codeTyped, type CodeTyped, type Target } from '../secret';
import { groupTargets, splitMore, splitWords, type SplitWords, unique, wordOf } from '../targets';
import { parseRelayOption, relayPasswordIn, withRelay } from '../relay-option';
import { parseCodeWords, usualCodeWords } from '../code-words';
import { parseDuration, parseRate } from '../size';
import { type CompressFlags, compressOption } from '../compress-option';
import { addExcludeOptions, type ExcludeFlags, excludeOptions, patternHelp } from '../exclude-options';
import { refuseObjects } from '../snapshot-location';
import { append, wrongUsage } from '../usage';
import { givePage } from '../give-page';
import { addWebOptions, checkWebFlags, type WebFlags } from '../web-options';
import { library } from '../library';

/** The options of `sendall send`, as commander names them. */
interface SendFlags extends WebFlags, ExcludeFlags, CompressFlags {
  readonly once?: boolean;
  readonly name?: string;
  readonly listen?: string;
  readonly toAll?: readonly string[];
  readonly address?: readonly string[];
  readonly code?: boolean;
  readonly words?: number;
  readonly relay?: string;
  readonly relayPasswordFile?: string;
  readonly connections: number | 'auto';
  readonly congestion?: string;
  readonly digest?: 'blake3' | 'sha256' | 'md5';
  readonly text?: string;
  readonly retryFor?: number;
  readonly limit?: number;
  readonly cache: boolean;
  readonly check?: boolean;
  readonly metadata?: boolean;
  readonly plain?: boolean;
}

/** Where a sender with a code waits. */
const everywhere = '[::]:8898';

const helpText = `
With several targets all is read once, and each receiver gets it in a session of its own. Targets
come last: the last word is one if it names one, and so is each word before it, up to the first
that does not, or that is a file here.

Without a TARGET the ticket is SENDALL_TICKET of the environment, or it is asked for. At a terminal
a code does as well, whose words are completed as they are typed.
${patternHelp}
Examples:
  $ sendall send disk.img sendall://192.168.1.20:8898/TOKEN
  $ sendall send photos/ homeserver
  $ sendall send photos/ homeserver office sendall://192.168.1.20:8898/TOKEN
  $ sendall send photos/ --to-all family
  $ sendall send report.pdf tcp://127.0.0.1:8898
  $ sendall send photos/ notes.txt --exclude '*.tmp' unix:/run/sendall.sock
  $ pg_dump shop | sendall send - --name shop.sql tcp://127.0.0.1:8898
  $ sendall send report.pdf --listen 127.0.0.1:0
  $ sendall send report.pdf 4821-crane-velvet@192.168.1.20
  $ sendall send report.pdf --code
  $ sendall send report.pdf photos.zip --web`;

/** Adds `sendall send` to the program. */
export function describeSend(program: Command, shell: Shell): void {
  const command = program
    .command('send')
    .description('Sends files and directories to a receiver, and ends when it has confirmed them.')
    .usage('PATH... TARGET... [OPTIONS]')
    .argument(
      '[PATH...]',
      'files and directories, - for standard input; then the TARGET, or several: a ticket (sendall://…), @FILE with one, a code@HOST, a peer; or one tcp://HOST:PORT or unix:PATH',
    )
    .option(
      '--to-all <GROUP>',
      'send to all peers of a group, which sendall peers join makes; may be given several times',
      append,
    )
    .option('--name <NAME>', 'store a single file, or standard input, under this name')
    .option(
      '--listen <ADDRESS>',
      'wait at HOST:PORT, a port of this machine, or unix:PATH for the receiver to dial in; then there is no TARGET',
    )
    .option(
      '--address <HOST[:PORT]>',
      'with --listen: where the receiver finds this machine; may be given several times',
      append,
    )
    .option('--code', 'wait as with --listen (default [::]:8898), and show a code for the receiver to type')
    .option('--words <N>', 'with --code: how many words it has, 2 to 4; default 2', parseCodeWords)
    .option(
      '--relay <HOST[:PORT]>',
      'with --listen and --code: wait at this relay, too; with a code for a target: dial there; default port 4001',
      parseRelayOption,
    )
    .option('--relay-password-file <FILE>', 'where the password of that relay is, if it has one')
    .option('--text <TEXT>', 'send words for whoever runs the receiver, beside or instead of files')
    .addOption(
      new Option(
        '--digest <WHAT>',
        'what to compute for the receipts, by default blake3; always md5 on the plain wire',
      ).choices(['blake3', 'sha256', 'md5']),
    )
    .option('--connections <N>', 'how many connections to use at once: 1 to 64, or auto', parseConnections, 'auto')
    .option(
      '--congestion <NAME>',
      'the congestion control to use, as the system names it; by default bbr where this user may choose it',
    )
    .addOption(compressOption())
    .option('--limit <RATE>', 'send at most so many bytes per second, for example 10M', parseRate)
    .option(
      '--retry-for <DURATION>',
      'how long to go on trying when the connection is lost: 30s, 2h; default 5min',
      parseDuration,
    );
  addExcludeOptions(command)
    .option(
      '--check',
      'have the receiver read back from its disk what it has already, instead of repeating its receipt',
    )
    .option(
      '--metadata',
      'send owners and extended attributes, too (ACLs and capabilities are among them), to a receiver with --metadata',
    )
    .option('--no-cache', 'hash every file again, even if it has not changed since the last time')
    .option('--insecure-plain', 'allow an unencrypted connection to another machine')
    .option(
      '--plain',
      'with --listen: also serve a receiver of the plain wire on this machine, of the same user or root, without the ticket',
    );
  addWebOptions(command, 'send')
    .option('--once', 'with --web: give each file once, and end when all were fetched')
    .addHelpText('after', helpText)
    .action((words: readonly string[], flags: SendFlags) => runSend(words, flags, shell));
}

/** From what was typed to the exit code. Throws `usage`. */
async function runSend(words: readonly string[], flags: SendFlags, shell: Shell): Promise<void> {
  refuseObjects(words.at(-1) ?? '', 'send');
  const listens = flags.listen !== undefined ? '--listen' : flags.code ? '--code' : undefined;
  checkWebFlags(flags, flags.toAll ? '--to-all' : listens);
  checkAddresses(flags);
  if (flags.web !== undefined) return givePage(words, flags, shell);
  if (flags.once) throw wrongUsage('--once goes with --web.');
  if (flags.qr) throw wrongUsage('--qr goes with --web.');
  const { paths, targets } = await wordsOf(words, flags);
  const options = sendOptions(paths, targets[0]?.target, flags);
  const isSeveral = flags.toAll !== undefined || targets.length > 1;
  shell.exit(
    isSeveral
      ? await toSeveral(shell, options, targets, flags.relay)
      : await toOne(shell, options, flags, {
          name: targets[0]?.name ?? 'the other side',
          reaches: reachesBy(listens, words[paths.length], targets[0]),
        }),
  );
}

/** How the receiver is reached again: this one listens by the flag `listens`, or dialed what `word` names. */
function reachesBy(
  listens: string | undefined,
  word: string | undefined,
  named: SplitWords['targets'][number] | undefined,
): SenderReaches {
  if (listens !== undefined) return 'listens';
  if (named?.target.kind === 'code') return 'code';
  if (named?.target.kind !== 'ticket') return 'lasts';
  return word === undefined || word.startsWith('sendall://') ? 'ticket' : 'lasts';
}

/** Paths and receivers, those of groups as well. */
async function wordsOf(words: readonly string[], { listen, code, toAll }: SendFlags): Promise<SplitWords> {
  if (listen !== undefined || code === true) {
    if (toAll === undefined) return { paths: words, targets: [] };
    throw wrongUsage(`--to-all does not go with ${listen === undefined ? '--code' : '--listen'}.`, {
      hint: 'Each peer of the group is dialed.',
    });
  }
  if (toAll === undefined) return splitWords(words);
  const { paths, targets } = await splitMore(words);
  const groups = await Promise.all(toAll.map(groupTargets));
  return { paths, targets: unique([...groups.flat(), ...targets]) };
}

/** One transfer to one receiver, which people call `name`. Returns the exit code. */
async function toOne(
  shell: Shell,
  options: SendOptions,
  flags: SendFlags,
  { name, reaches }: { readonly name: string; readonly reaches: SenderReaches },
): Promise<number> {
  const { runTransfer } = require('../run') as typeof import('../run');
  const { SenderView } = require('../view') as typeof import('../view');
  const { send } = library().load.send();
  const { insecurePlain = false, plain = insecurePlain } = flags;
  const invitation = { command: 'receive --from', insecurePlain, plain } as const;
  return runTransfer(
    shell.settings(),
    (terminal) => new SenderView(terminal, invitation, name, reaches),
    async ({ on, signal }) => void (await send({ ...options, on, signal })),
  );
}

/** One transfer to several receivers. Returns the exit code. */
async function toSeveral(
  shell: Shell,
  options: SendOptions,
  targets: SplitWords['targets'],
  relay: string | undefined,
): Promise<number> {
  const { runTransfer } = require('../run') as typeof import('../run');
  const { SeveralView } = require('../several-view') as typeof import('../several-view');
  const { sendToSeveral } = library().load.several();
  const { target: _one, ...others } = options;
  const receivers = targets.map(({ name, target }) => ({
    name,
    target: withRelay(wordOf(target), target.kind === 'code' ? relay : undefined),
  }));
  return runTransfer(
    shell.settings(),
    (terminal) =>
      new SeveralView(
        terminal,
        receivers.map(({ name }) => name),
      ),
    async ({ on, signal }) => void (await sendToSeveral({ ...others, receivers, on, signal })),
    'several',
  );
}

/** What the words and flags ask the library for. Throws `usage`, with a hint at what was probably meant. */
function sendOptions(paths: readonly string[], target: Target | CodeTyped | undefined, flags: SendFlags): SendOptions {
  const last = paths.at(-1) ?? '';
  const listen = flags.listen ?? (flags.code ? everywhere : undefined);
  if (target === undefined && listen === undefined) throw noTarget(paths, last);
  if (listen !== undefined && (target !== undefined || isTarget(last) || codeTyped(last) !== undefined)) {
    throw wrongUsage(`There is both a target and ${flags.listen === undefined ? '--code' : '--listen'}.`, {
      hint: 'With --listen and --code the receiver dials in: leave out the target.',
    });
  }
  if (flags.address !== undefined && listen === undefined) throw wrongUsage('--address goes with --listen or --code.');
  if (flags.words !== undefined && flags.code !== true) throw wrongUsage('--words goes with --code.');
  if (flags.plain === true && listen === undefined) throw wrongUsage('--plain goes with --listen.');
  if (paths.length === 0 && flags.text === undefined) {
    throw wrongUsage('There is nothing to send.', {
      hint: `Name a file: sendall send FILE ${target?.kind === 'plain' ? target.address : 'TICKET'}`,
    });
  }
  if (paths.filter((path) => path === '-').length > 1) throw wrongUsage('Standard input can be sent only once.');
  if (paths.includes('-') && flags.name === undefined) {
    throw wrongUsage('Standard input needs a name.', { hint: 'Give it one with --name NAME.' });
  }
  if (flags.name !== undefined && paths.length > 1) throw wrongUsage('--name is for a single file.');
  return {
    paths,
    ...(target === undefined
      ? {}
      : { target: withRelay(wordOf(target), target.kind === 'code' ? flags.relay : undefined) }),
    ...(listen === undefined ? {} : { listen, relayAt: flags.relay }),
    ...(flags.relayPasswordFile === undefined ? {} : { relayPassword: relayPasswordIn(flags.relayPasswordFile) }),
    ...(flags.code ? { codeWords: flags.words ?? usualCodeWords } : {}),
    ...(flags.address === undefined ? {} : { announced: flags.address }),
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(flags.congestion === undefined ? {} : { congestion: flags.congestion }),
    ...(flags.compress === undefined ? {} : { compress: flags.compress }),
    ...(flags.limit === undefined ? {} : { limit: flags.limit }),
    ...(flags.text === undefined ? {} : { text: flags.text }),
    ...(flags.digest === undefined ? {} : { digest: flags.digest }),
    ...(flags.retryFor === undefined ? {} : { retryFor: flags.retryFor }),
    ...excludeOptions(flags),
    connections: flags.connections,
    useCache: flags.cache,
    check: flags.check ?? false,
    metadata: flags.metadata ?? false,
    insecurePlain: flags.insecurePlain ?? false,
    plain: flags.plain ?? false,
  };
}

function isTarget(word: string): boolean {
  return /^(?:sendall:\/\/|tcp:\/\/|unix:)/.test(word);
}

function noTarget(words: readonly string[], last: string): Error {
  const form =
    'It looks like sendall://HOST:PORT/TOKEN (a ticket), 4821-crane-velvet@HOST (a code), tcp://HOST:PORT or unix:PATH, or is @FILE with a ticket in it or the name of a peer.';
  if (existsSync(last) || last === '-') {
    const what = last === '-' ? 'standard input' : 'something to send';
    return wrongUsage(`The target is missing: "${last}" is ${what}.`, { hint: `It comes last. ${form}` });
  }
  if (/^\d+-[^/\s@]*@/.test(last))
    return wrongUsage('That is not a whole code.', {
      hint: 'A code looks like 4821-crane-velvet@HOST: a number and two words.',
    });
  if (/^[^/\s]+:\d+$/.test(last)) {
    const meant = `tcp://${last}`;
    library().parseAddress(meant); // throws what is wrong with the address, if that is not all that is missing
    return wrongUsage(`"${last}" is not a target.`, { hint: `Did you mean ${meant}?` });
  }
  if (words.length <= 1) return wrongUsage('The target is missing.', { hint: `It comes last. ${form}` });
  return wrongUsage(`"${withoutTickets(last)}" is not a target.`, { hint: form });
}

export function parseConnections(text: string): number | 'auto' {
  if (text === 'auto') return 'auto';
  const { mostSessionConnections } = library();
  const connections = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (connections >= 1 && connections <= mostSessionConnections) return connections;
  throw new InvalidArgumentError(`It must be 1 to ${mostSessionConnections.toString()}, or auto.`);
}
