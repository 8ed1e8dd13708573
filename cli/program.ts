import { existsSync } from 'node:fs';
import { Command, CommanderError, Help } from 'commander';
import { asAscii, isAsciiOnly } from './charset';
import { applyConfig, defaultConfigFile } from './config';
import { exitCodeOf } from './exit';
import type { Shell } from './run';
import type { OutputSettings } from './terminal';
import { fromCommander } from './usage';

const widest = 100; // columns of help, however wide the terminal is
const helpIndent = 2; // columns before an option, and between it and what it does

function helpWidth(): number {
  return Math.min(process.stdout.isTTY ? process.stdout.columns || widest : widest, widest);
}

/** An option or a command with what it does beside it, or below it where the terminal is too narrow for that. */
function helpItem(term: string, termWidth: number, description: string, helper: Help): string {
  const { helpWidth: columns = widest, minWidthToWrap } = helper;
  if (description === '' || columns - termWidth - 2 * helpIndent >= minWidthToWrap)
    return Help.prototype.formatItem.call(helper, term, termWidth, description, helper);
  const below = helper.boxWrap(description, columns - 3 * helpIndent).replace(/^/gm, ' '.repeat(3 * helpIndent));
  return `${' '.repeat(helpIndent)}${term}\n${below}`;
}

/** Parses the command line, runs the command, and returns the exit code. Never throws. */
export async function run(argv: readonly string[]): Promise<number> {
  let exitCode = 0;
  const program = new Command('sendall');
  const shell: Shell = {
    settings: () => settingsOf(program),
    exit: (code) => {
      exitCode = code;
    },
  };
  describe(program);
  for (const each of wanted(argv)) commands[each](program, shell);
  program.hook('preAction', (_program, running) =>
    applyConfig(program, running, program.opts<{ config?: string }>().config),
  );
  try {
    await program.parseAsync(argv, { from: 'user' });
    return exitCode;
  } catch (thrown) {
    if (thrown instanceof CommanderError && thrown.exitCode === 0) return 0; // --help and --version
    const { fail, asFailure, sayFailure } = require('./run') as typeof import('./run');
    const { Terminal } = require('./terminal') as typeof import('./terminal');
    const terminal = new Terminal(shell.settings());
    if (!(thrown instanceof CommanderError)) {
      const error = asFailure(thrown);
      fail(terminal, error);
      return exitCodeOf(error.code);
    }
    const path = commandPath(program, argv);
    const asked = thrown.code === 'commander.help' ? askedAbout(path) : undefined;
    const complaint = asked === undefined ? thrown : await complaintAbout(program, [...namesOf(path), asked]);
    const error = fromCommander(complaint ?? thrown, namesOf(path).join(' '), argv);
    // Where in the parser that comes from says nothing to whoever typed it.
    sayFailure(terminal, error);
    if (argv.length === 0) sayFirst();
    return exitCodeOf(error.code);
  }
}

/** The program, the command of the line, and its subcommand, as far as the line was understood. */
function commandPath(program: Command, argv: readonly string[]): readonly Command[] {
  const path = [program];
  for (;;) {
    const { args, commands: below } = path.at(-1) ?? program;
    const next = below.find((each) => each.name() === args[0]);
    if (next) path.push(next);
    // Nothing of a line is understood where an option before the command is wrong.
    else return path.length > 1 ? path : [program, ...below.filter((each) => argv.includes(each.name())).slice(0, 1)];
  }
}

function namesOf(path: readonly Command[]): string[] {
  return path.slice(1).map((command) => command.name());
}

/** `NAME` of `help NAME`, which is no command. */
function askedAbout(path: readonly Command[]): string | undefined {
  const [help, name] = path.at(-1)?.args ?? [];
  return help === 'help' ? name : undefined;
}

/** What commander says of a line that is wrong: the command that it names does not exist. */
async function complaintAbout(program: Command, words: readonly string[]): Promise<CommanderError | undefined> {
  try {
    await program.parseAsync(words, { from: 'user' });
    return undefined;
  } catch (thrown) {
    return thrown instanceof CommanderError ? thrown : undefined;
  }
}

const needed = [
  ['sendall receive inbox', 'where files come to: prints the TICKET'],
  ['sendall send FILE... TICKET', 'where they are'],
  ['sendall backup DIR TICKET --name ME', 'a verified snapshot, there or on a disk'],
] as const;

/** What people need first, for whoever has typed nothing but the name. */
function sayFirst(): void {
  const { columns = 80 } = process.stderr;
  const widest = Math.max(...needed.map(([command]) => command.length));
  const lines = needed.map(([command, what]) => `  ${command.padEnd(widest)}   ${what}`);
  const fits = lines.every((line) => line.length <= columns);
  const shown = fits ? lines : needed.map(([command, what]) => `  ${command}\n      ${what}`);
  process.stderr.write(`\nWhat people need first:\n${shown.join('\n')}\n`);
}

/** The whole program with all of its commands, for what describes it: completions, manual pages, the configuration. */
export function describeProgram(): Command {
  const program = new Command('sendall');
  const shell: Shell = { settings: () => settingsOf(program), exit: () => undefined };
  describe(program);
  for (const add of Object.values(commands)) add(program, shell);
  return program;
}

/** Each command by its name, loaded when it may be the one. In the order of the help. */
const commands = {
  receive: (program: Command, shell: Shell) =>
    (require('./commands/receive') as typeof import('./commands/receive')).describeReceive(program, shell),
  send: (program: Command, shell: Shell) =>
    (require('./commands/send') as typeof import('./commands/send')).describeSend(program, shell),
  backup: (program: Command, shell: Shell) =>
    (require('./commands/backup') as typeof import('./commands/backup')).describeBackup(program, shell),
  authorize: (program: Command, shell: Shell) =>
    (require('./commands/authorize') as typeof import('./commands/authorize')).describeAuthorize(program, shell),
  peers: (program: Command, shell: Shell) =>
    (require('./commands/peers') as typeof import('./commands/peers')).describePeers(program, shell),
  snapshots: (program: Command, shell: Shell) =>
    (require('./commands/snapshots') as typeof import('./commands/snapshots')).describeSnapshots(program, shell),
  nearby: (program: Command, shell: Shell) =>
    (require('./commands/nearby') as typeof import('./commands/nearby')).describeNearby(program, shell),
  relay: (program: Command, shell: Shell) =>
    (require('./commands/relay') as typeof import('./commands/relay')).describeRelay(program, shell),
  find: (program: Command, shell: Shell) =>
    (require('./commands/find') as typeof import('./commands/find')).describeFind(program, shell),
  forget: (program: Command, shell: Shell) =>
    (require('./commands/forget') as typeof import('./commands/forget')).describeForget(program, shell),
  restore: (program: Command, shell: Shell) =>
    (require('./commands/restore') as typeof import('./commands/restore')).describeRestore(program, shell),
  prune: (program: Command, shell: Shell) =>
    (require('./commands/prune') as typeof import('./commands/prune')).describePrune(program, shell),
  verify: (program: Command, shell: Shell) =>
    (require('./commands/verify') as typeof import('./commands/verify')).describeVerify(program, shell),
  status: (program: Command, shell: Shell) =>
    (require('./commands/status') as typeof import('./commands/status')).describeStatus(program, shell),
  adopt: (program: Command, shell: Shell) =>
    (require('./commands/adopt') as typeof import('./commands/adopt')).describeAdopt(program, shell),
  copy: (program: Command, shell: Shell) =>
    (require('./commands/copy') as typeof import('./commands/copy')).describeCopy(program, shell),
  export: (program: Command, shell: Shell) =>
    (require('./commands/export') as typeof import('./commands/export')).describeExport(program, shell),
  completion: (program: Command, shell: Shell) =>
    (require('./commands/completion') as typeof import('./commands/completion')).describeCompletion(program, shell),
} as const;

type CommandName = keyof typeof commands;

/**
 * The commands that a line may mean: those whose names are in it, or all. A file of defaults is checked as a whole, so
 * it needs all.
 */
function wanted(argv: readonly string[]): readonly CommandName[] {
  const all = Object.keys(commands) as CommandName[];
  const named = all.filter((name) => argv.includes(name));
  const isConfigured = argv.some((word) => word.startsWith('--config')) || existsSync(defaultConfigFile());
  return named.length === 0 || argv.includes('help') || argv[0] === 'completion' || isConfigured ? all : named;
}

function describe(program: Command): void {
  const { version } = require('sendall/package.json') as { version: string };
  program
    .description(
      'Moves files. "Verified" means: read back from the receiver\'s disk, matching, and safe from a power cut.',
    )
    .usage('COMMAND [OPTIONS]')
    .exitOverride()
    .configureOutput({
      outputError: () => undefined, // failures are shown by `run`, all alike
      writeOut: (text) => {
        const { filled } = require('./rows') as typeof import('./rows');
        const fitting = filled(text, helpWidth());
        process.stdout.write(isAsciiOnly(process.env, process.stdout.isTTY) ? asAscii(fitting) : fitting);
      },
      writeErr: () => undefined,
      getOutHelpWidth: helpWidth,
    })
    .configureHelp({
      showGlobalOptions: true,
      minWidthToWrap: 20,
      formatItem: helpItem,
      subcommandTerm: (command) => (command.name() === 'help' ? 'help [COMMAND]' : command.name()),
    })
    .option('--json', 'print one JSON object a line on stdout, and nothing else there')
    .option('-q, --quiet', 'print errors only')
    .option('-v, --verbose', 'print details and timing of each file, and the causes of errors')
    .option('--no-color', 'no colours; NO_COLOR in the environment does the same')
    .option('--config <FILE>', 'JSON file with defaults for all options (default: ~/.config/sendall/config.json)')
    .version(version, '--version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [COMMAND]', 'print the help of a command')
    .addHelpText(
      'after',
      `
Example, first on the receiving side, then on the sending one:
  $ sendall receive /srv/incoming
  $ sendall send report.pdf photos/ 'sendall://192.168.1.20:8898/…'    (the ticket that it prints)

Exit codes:
  0 verified · 1 unexpected · 2 wrong usage · 3 cannot connect or not authorized
  4 does not match · 5 source changed · 6 refused by the receiver · 7 sent, not confirmed
  8 some of several failed · 130 interrupted`,
    );
}

/**
 * Known as soon as anything can go wrong: commander collects the global options of the whole line before it looks at
 * the command's.
 */
function settingsOf(program: Command): OutputSettings {
  const { json = false, quiet = false, verbose = false, color = true } = program.opts<Partial<OutputSettings>>();
  return { json, quiet, verbose, color };
}
