// Starts one of the programs beside it: npm run example -- PROGRAM COMMAND [--option value]... [word...] A program
// exports its commands as functions, and as `options` what can be set, with the usual values. What would be the same in
// every program is here: reading the command line, saying where a server listens, and making of any failure one line
// and exit code 1.
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { printable, type Serving, TransferError } from '../lib/index';

type Options = Readonly<Record<string, string | number | boolean>>;
type Command = (options: Options, ...words: string[]) => Promise<Serving | void>;
type Program = Readonly<Record<string, Command | Options>>;

const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const files = readdirSync(__dirname).map((file) => basename(file).replace(/\.[jt]s$/, ''));
const programs = files.filter((name) => !/^(run|first-transfer|README)/.test(name));

function load(name: string): { commands: ReadonlyMap<string, Command>; usual: Options } {
  if (!programs.includes(name)) throw new TransferError('usage', `There is no program ${name}; there are ${programs.join(', ')}.`);
  const exported = Object.entries(require(join(__dirname, name)) as Program);
  return {
    commands: new Map(exported.flatMap(([key, value]) => (typeof value === 'function' ? [[kebab(key), value]] : []))),
    usual: Object.fromEntries(exported.flatMap(([, value]) => (typeof value === 'object' ? Object.entries(value) : []))),
  };
}

/** The options as they were given, checked and of the type of their usual values. */
function settle(usual: Options, given: Readonly<Record<string, string | boolean | undefined>>): Options {
  const settled = Object.entries(usual).map(([name, value]) => {
    const [first = value, ...others] = typeof value === 'string' ? value.split('|') : []; // 'this|that': one of these, usually the first
    const text = given[name] ?? first;
    if (others.length > 0 && ![first, ...others].includes(String(text))) throw new TransferError('usage', `--${name} is one of ${value}.`);
    if (typeof value === 'number' && !/^\d{1,9}$/.test(String(text))) throw new TransferError('usage', `--${name} is a whole number.`);
    return [name, typeof value === 'number' ? Number(text) : text];
  });
  return Object.fromEntries(settled) as Options;
}

async function run([name = '', command = '', ...rest]: readonly string[]): Promise<void> {
  const { commands, usual } = load(name);
  const chosen = commands.get(command);
  if (!chosen) throw new TransferError('usage', `${name} has the commands ${[...commands.keys()].join(', ')}.`);
  const type = (value: unknown): 'boolean' | 'string' => (typeof value === 'boolean' ? 'boolean' : 'string');
  const kinds = Object.entries(usual).map(([option, value]) => [option, { type: type(value) }] as const);
  const { values, positionals } = parseArgs({ args: rest, options: Object.fromEntries(kinds), allowPositionals: true });
  const serving = await chosen(settle(usual, values), ...positionals);
  if (!serving) return;
  console.log(`listening on ${serving.address}`);
  await serving.ended;
}

function sentence(error: unknown): string {
  if (error instanceof TransferError) return `${error.message} ${error.hint ?? ''}`.trim();
  return error instanceof Error ? error.message : String(error);
}

run(process.argv.slice(2)).then(
  () => process.exit(),
  (error: unknown) => {
    console.error(printable(sentence(error)));
    process.exit(1);
  },
);
