// What is written from the program's own description: docs/config.md, the schema of the configuration file for editors,
// and the manual pages. So no text stands in two places, and none is out of date.
import type { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Command, Option } from 'commander';
import { describeProgram } from '../cli/program';
import { append } from '../cli/usage';
import { roffOf } from './roff';

const root = path.join(__dirname, '..');
/** Options that make no sense in a file of defaults. */
const notDefaults: ReadonlySet<string> = new Set(['config', 'version', 'help', 'remove-damaged']);

/** The files that belong into the repository, by their names below its root. */
export function referenceFiles(): Readonly<Record<string, string>> {
  const program = describeProgram();
  return {
    'docs/config.md': configDocument(program),
    'fixtures/config.schema.json': `${JSON.stringify(configSchema(program), null, 2)}\n`,
  };
}

/** The manual pages, by their file names: section 1 for each command, 5 for files, 7 for the promises. */
export function manualPages(): Readonly<Record<string, string>> {
  const program = describeProgram();
  const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string };
  const page = (name: string, section: number, about: string, body: string): [string, string] => [
    `${name}.${String(section)}`,
    `.TH ${name.toUpperCase()} ${String(section)} "" "sendall ${version}"\n.SH NAME\n${name} \\- ${about}\n${body}`,
  ];
  const commands = program.commands.filter((each) => each.name() !== 'help');
  return Object.fromEntries([
    page('sendall', 1, 'send files, and know that they arrived', commandBody(program)),
    ...commands.map((each) => page(`sendall-${each.name()}`, 1, firstSentence(each.description()), commandBody(each))),
    page('sendall-config', 5, 'defaults for all options of sendall', roffOf(configDocument(program))),
    page('sendall-ticket', 5, 'what a ticket of sendall is', roffOf(paragraphs('PROTOCOL.md', /^\*\*11\.[69]\*\*/))),
    page('sendall-promises', 7, 'what "verified" means', roffOf(sectionOf('README.md', 'What it promises'))),
  ]);
}

function configDocument(program: Command): string {
  const tables = [program, ...withOptions(program)].map((command) => {
    const rows = keysOf(command).map(
      (option) => `| \`${keyOf(option)}\` | ${valueOf(option)} | ${cell(option, twinOf(option, command))} |`,
    );
    const title = command === program ? 'For all commands' : `\`"${command.name()}"\``;
    return `## ${title}\n\n| key | value | |\n|---|---|---|\n${rows.join('\n')}\n`;
  });
  return `# The configuration file

Defaults for all options: \`~/.config/sendall/config.json\` (or \`$XDG_CONFIG_HOME/sendall/config.json\`), or what \`--config FILE\` names. It is one JSON
object: global options by their long names, and an object for each command. What stands on the command line goes before it. It must
belong to its user or to root, and nobody else may write to it: \`on-received\` runs a command. All of it is checked, also what belongs to
another command; a mistake ends every command with exit code 2.

\`\`\`json
{
  "$schema": "https://sendall.invalid/config.schema.json",
  "quiet": true,
  "send": { "limit": "10M", "exclude": ["*.tmp", ".cache/"] },
  "receive": { "listen": "[::]:8898", "quota": "500G", "if-exists": "rename" }
}
\`\`\`

[\`fixtures/config.schema.json\`](../fixtures/config.schema.json) is a JSON Schema of it, for editors. This page is written by \`npm run reference\`.

${tables.join('\n')}`;
}

function configSchema(program: Command): object {
  const properties = (command: Command): Record<string, object> =>
    Object.fromEntries(keysOf(command).map((option) => [keyOf(option), schemaOf(option, twinOf(option, command))]));
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    $id: 'https://sendall.invalid/config.schema.json',
    title: 'The configuration file of sendall',
    type: 'object',
    properties: {
      $schema: { type: 'string' },
      ...properties(program),
      ...Object.fromEntries(
        withOptions(program).map((command) => [
          command.name(),
          {
            description: command.description(),
            type: 'object',
            properties: properties(command),
            additionalProperties: false,
          },
        ]),
      ),
    },
    additionalProperties: false,
  };
}

function schemaOf(option: Option, twin: Option | undefined): object {
  const description = twin ? `${option.description}; false: ${twin.description}` : option.description;
  if (option.isBoolean() || option.negate) return { description, type: 'boolean' };
  if (option.argChoices) return { description, enum: option.argChoices };
  const one = { type: ['string', 'number'] };
  return isRepeated(option) ? { description, oneOf: [one, { type: 'array', items: one }] } : { description, ...one };
}

function valueOf(option: Option): string {
  if (option.isBoolean() || option.negate) return '`true` or `false`';
  if (option.argChoices) return option.argChoices.map((each) => `\`"${each}"\``).join(', ');
  const [, what = 'VALUE'] = /<([^>]+)>/.exec(option.flags) ?? [];
  return `${what.replace('...', '')}${isRepeated(option) ? ', or an array of them' : ''}`;
}

function cell(option: Option, twin: Option | undefined): string {
  const negated = (each: Option): string => `\`false\`: ${each.description}`;
  const text = option.negate ? negated(option) : [option.description, ...(twin ? [negated(twin)] : [])].join('; ');
  return text.replaceAll('|', '\\|');
}

/** Whether the option may be given several times. */
function isRepeated(option: Option): boolean {
  return option.variadic || option.parseArg === append;
}

function keysOf(command: Command): Option[] {
  const positive = new Set(command.options.filter(({ negate }) => !negate).map(keyOf));
  return command.options.filter(
    (option) => !notDefaults.has(keyOf(option)) && !(option.negate && positive.has(keyOf(option))),
  );
}

/** `--no-code` of `--code`: both are one key of the file. */
function twinOf(option: Option, command: Command): Option | undefined {
  return command.options.find((each) => each.negate && each !== option && keyOf(each) === keyOf(option));
}

function withOptions(program: Command): Command[] {
  return program.commands.filter((command) => keysOf(command).length > 0);
}

/** `--no-color` is `color` in the file. */
function keyOf(option: Option): string {
  return option.negate ? option.attributeName() : option.name();
}

/** All sections of a command's page after its name: what its help says, in the order of a manual. */
function commandBody(command: Command): string {
  const help = command.createHelp();
  const item = (term: string, text: string): string => `.TP\n.B ${escaped(term)}\n${escaped(text)}\n`;
  const options = help.visibleOptions(command).map((each) => item(help.optionTerm(each), help.optionDescription(each)));
  const inner = help.visibleCommands(command).map((each) => item(each.name(), help.subcommandDescription(each)));
  const given = command.registeredArguments.map((each) => item(each.name(), each.description));
  const global = command.parent ? help.visibleGlobalOptions(command) : [];
  return [
    `.SH SYNOPSIS\n.B ${escaped(help.commandUsage(command))}\n`,
    `.SH DESCRIPTION\n${escaped(command.description())}\n`,
    section('ARGUMENTS', given),
    section('COMMANDS', inner),
    section('OPTIONS', options),
    section(
      'GLOBAL OPTIONS',
      global.map((each) => item(help.optionTerm(each), help.optionDescription(each))),
    ),
    `.SH MORE\n.nf\n${escaped(textAfter(command))}\n.fi\n`,
    '.SH SEE ALSO\n.BR sendall (1),\n.BR sendall-config (5),\n.BR sendall-ticket (5),\n.BR sendall-promises (7)\n',
  ].join('');
}

/** What stands behind the options in the help: examples and remarks. */
function textAfter(command: Command): string {
  let text = '';
  (command as unknown as EventEmitter).emit('afterHelp', {
    error: false,
    command,
    write: (more: string) => (text += more),
  });
  return text.trim();
}

function section(title: string, items: readonly string[]): string {
  return items.length === 0 ? '' : `.SH ${title}\n${items.join('')}`;
}

function firstSentence(text: string): string {
  return escaped(text.split(/\.(?: |$)/)[0] ?? text).replace(/^[A-Z]/, (letter) => letter.toLowerCase());
}

function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(
      /[^\0-\x7f]/gu,
      (letter) => `\\[u${(letter.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`,
    )
    .replace(/^([.'])/gm, '\\&$1');
}

/** What stands under a heading of the second order. */
function sectionOf(document: string, heading: string): string {
  const text = readFileSync(path.join(root, document), 'utf8');
  const from = text.indexOf(`## ${heading}\n`);
  const end = text.indexOf('\n## ', from + 1);
  if (from < 0) throw new Error(`There is no "${heading}" in ${document}.`);
  return text.slice(from, end);
}

/** The paragraphs of a document that begin so. */
function paragraphs(document: string, beginning: RegExp): string {
  const all = readFileSync(path.join(root, document), 'utf8').split('\n\n');
  return all.filter((each) => beginning.test(each)).join('\n\n');
}
