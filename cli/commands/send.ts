import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type { SendOptions } from '../../lib/index';
import type { Shell } from '../run';
import { parseRate } from '../size';
import { wrongUsage } from '../usage';

/** The options of `sendall send`, as commander names them. */
interface SendFlags {
  readonly name?: string;
  readonly listen?: string;
  readonly connections: number | 'auto';
  readonly limit?: number;
  readonly exclude?: readonly string[];
  readonly cache: boolean;
  readonly insecurePlain?: boolean;
}

const mostConnections = 64;

/** Adds `sendall send` to the program. */
export function describeSend(program: Command, shell: Shell): void {
  program
    .command('send')
    .description('Sends files and directories to a receiver, and ends when it has confirmed them.')
    .usage('PATH... TARGET [OPTIONS]')
    .argument('<PATH...>', 'files and directories, - for standard input; then the TARGET: tcp://HOST:PORT or unix:PATH')
    .option('--name <NAME>', 'store a single file, or standard input, under this name')
    .option('--listen <ADDRESS>', 'wait at HOST:PORT or unix:PATH for the receiver to dial in; then there is no TARGET')
    .option('--connections <N>', 'how many connections to use at once: 1 to 64, or auto', parseConnections, 'auto')
    .option('--limit <RATE>', 'send at most so many bytes per second, for example 10M', parseRate)
    .option('--exclude <PATTERN>', 'leave out what matches; may be given several times', append)
    .option('--no-cache', 'hash every file again, even if it has not changed since the last time')
    .option('--insecure-plain', 'allow an unencrypted connection to another machine')
    .addHelpText(
      'after',
      `
Examples:
  $ sendall send report.pdf tcp://127.0.0.1:8898
  $ sendall send photos/ notes.txt --exclude '*.tmp' unix:/run/sendall.sock
  $ pg_dump shop | sendall send - --name shop.sql tcp://127.0.0.1:8898
  $ sendall send report.pdf --listen 127.0.0.1:0`,
    )
    .action(async (words: readonly string[], flags: SendFlags) => {
      const options = sendOptions(words, flags);
      const { runTransfer } = require('../run') as typeof import('../run');
      const { SenderView } = require('../view') as typeof import('../view');
      const { send } = require('../../lib/index') as typeof import('../../lib/index');
      const invitation = { command: 'receive --from', insecurePlain: flags.insecurePlain ?? false } as const;
      shell.exit(
        await runTransfer(
          shell.settings(),
          (terminal) => new SenderView(terminal, invitation),
          async ({ on, signal }) => {
            await send({ ...options, on, signal });
          },
        ),
      );
    });
}

/** What the words and flags ask the library for. Throws `usage`, with a hint at what was probably meant. */
export function sendOptions(words: readonly string[], flags: SendFlags): SendOptions {
  const last = words.at(-1) ?? '';
  const target = flags.listen === undefined ? last : undefined;
  if (target !== undefined && !isTarget(target)) throw noTarget(words, target);
  if (target === undefined && isTarget(last)) {
    throw wrongUsage('There is both a target and --listen.', { hint: 'With --listen the receiver dials in: leave out the target.' });
  }
  const paths = target === undefined ? words : words.slice(0, -1);
  if (paths.length === 0) throw wrongUsage('There is nothing to send.', { hint: `Name a file: sendall send FILE ${last}` });
  if (paths.filter((path) => path === '-').length > 1) throw wrongUsage('Standard input can be sent only once.');
  if (paths.includes('-') && flags.name === undefined) {
    throw wrongUsage('Standard input needs a name.', { hint: 'Give it one with --name NAME.' });
  }
  if (flags.name !== undefined && paths.length > 1) throw wrongUsage('--name is for a single file.');
  return {
    paths,
    ...(target === undefined ? {} : { target }),
    ...(flags.listen === undefined ? {} : { listen: flags.listen }),
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(flags.limit === undefined ? {} : { limit: flags.limit }),
    exclude: flags.exclude ?? [],
    connections: flags.connections,
    useCache: flags.cache,
    insecurePlain: flags.insecurePlain ?? false,
  };
}

function isTarget(word: string): boolean {
  return /^(?:tcp:\/\/|unix:)/.test(word);
}

function noTarget(words: readonly string[], last: string): Error {
  const form = 'It looks like tcp://HOST:PORT or unix:PATH.';
  if (existsSync(last) || last === '-') {
    const what = last === '-' ? 'standard input' : 'something to send';
    return wrongUsage(`The target is missing: "${last}" is ${what}.`, { hint: `It comes last. ${form}` });
  }
  if (/^[^/\s]+:\d+$/.test(last)) return wrongUsage(`"${last}" is not a target.`, { hint: `Did you mean tcp://${last}?` });
  if (words.length === 1) return wrongUsage('The target is missing.', { hint: `It comes last. ${form}` });
  return wrongUsage(`"${last}" is not a target.`, { hint: form });
}

function parseConnections(text: string): number | 'auto' {
  if (text === 'auto') return 'auto';
  const connections = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (connections >= 1 && connections <= mostConnections) return connections;
  throw new InvalidArgumentError(`It must be 1 to ${mostConnections.toString()}, or auto.`);
}

function append(pattern: string, patterns: readonly string[] = []): string[] {
  return [...patterns, pattern];
}
