import { closeSync, existsSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import type { Command, Option } from 'commander';
import { InvalidArgumentError } from 'commander';
import { TransferError, userDirectory } from '../lib/internal';
import { wrongUsage } from './usage';

/** Options that make no sense in a file of defaults. */
const notDefaults: ReadonlySet<string> = new Set(['config', 'version', 'help', 'remove-damaged']);

type Defaults = Readonly<Record<string, unknown>>;

/**
 * The file that is read without being asked for: `$XDG_CONFIG_HOME/sendall/config.json`,
 * `~/.config/sendall/config.json`.
 */
export function defaultConfigFile(env: NodeJS.ProcessEnv = process.env): string {
  const base = env['XDG_CONFIG_HOME'];
  return join(
    base !== undefined && isAbsolute(base) ? base : join(userDirectory(), '.config'),
    'sendall',
    'config.json',
  );
}

/**
 * Fills the options that were not given on the command line with those of a file: a JSON object with global options by
 * their long names (`"json": true`, `"color": false` for --no-color) and with an object for each command (`"send":
 * {"limit": "10M"}`). All of it is checked, also what belongs to another command. `file` undefined means the default
 * file, if there is one. Throws `usage`.
 */
export function applyConfig(
  program: Command,
  running: Command,
  file: string | undefined,
  env?: NodeJS.ProcessEnv,
): void {
  const path = file ?? defaultConfigFile(env);
  if (file === undefined && !existsSync(path)) return;
  const config = readConfig(path);
  for (const [key, value] of Object.entries(config)) {
    if (key === '$schema') continue; // for editors
    const command = program.commands.find((each) => each.name() === key);
    if (!command) apply(program, key, value, path, true);
    else if (!isObject(value)) throw wrongUsage(`${path}: "${key}" must be an object of options.`);
    else
      for (const [name, setting] of Object.entries(value))
        apply(command, name, setting, `${path}: ${key}`, command === running);
  }
}

function readConfig(path: string): Defaults {
  let config: unknown;
  try {
    config = JSON.parse(readOurs(path));
  } catch (error) {
    if (error instanceof TransferError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw wrongUsage(`The configuration file ${path} cannot be read: ${reason}`, { cause: error });
  }
  if (!isObject(config)) throw wrongUsage(`The configuration file ${path} must hold one JSON object.`);
  return config;
}

/**
 * The text of a file whose options we obey, `on-received` among them, which runs a command. It must belong to us or to
 * root, and nobody else may write to it. Throws `usage`.
 */
function readOurs(path: string): string {
  const file = openSync(path, 'r');
  try {
    const { uid, mode } = fstatSync(file);
    const own = process.geteuid?.();
    if (own === undefined) return readFileSync(file, 'utf8'); // a system without such owners
    if (uid !== own && uid !== 0)
      throw wrongUsage(`The configuration file ${path} belongs to another user.`, {
        hint: `Run chown ${String(own)} ${path}`,
      });
    if ((mode & 0o022) !== 0)
      throw wrongUsage(`Other users can write to the configuration file ${path}.`, { hint: `Run chmod go-w ${path}` });
    return readFileSync(file, 'utf8');
  } finally {
    closeSync(file);
  }
}

function apply(command: Command, key: string, value: unknown, where: string, running: boolean): void {
  const option = command.options.find((each) => keyOf(each) === key && !notDefaults.has(key));
  if (!option) throw wrongUsage(`${where}: there is no option "${key}".`);
  const parsed = parse(option, key, value, where);
  const name = option.attributeName();
  const source = command.getOptionValueSource(name);
  if (running && (source === undefined || source === 'default'))
    command.setOptionValueWithSource(name, parsed, 'config');
}

function parse(option: Option, key: string, value: unknown, where: string): unknown {
  if (option.isBoolean() || option.negate) {
    if (typeof value !== 'boolean') throw wrongUsage(`${where}: "${key}" must be true or false.`);
    return value;
  }
  const values: readonly unknown[] = Array.isArray(value) ? value : [value];
  let parsed: unknown;
  for (const each of values) {
    if (typeof each !== 'string' && typeof each !== 'number')
      throw wrongUsage(`${where}: "${key}" must be a string or a number.`);
    try {
      parsed = option.parseArg ? option.parseArg(String(each), parsed) : String(each);
    } catch (error) {
      if (error instanceof InvalidArgumentError)
        throw wrongUsage(`${where}: "${key}" is invalid. ${error.message}`, { cause: error });
      throw error;
    }
  }
  if (Array.isArray(value) && !Array.isArray(parsed)) throw wrongUsage(`${where}: "${key}" takes one value.`);
  return parsed;
}

/** `--no-color` is `color` in the file. */
function keyOf(option: Option): string {
  return option.negate ? option.attributeName() : option.name();
}

function isObject(value: unknown): value is Defaults {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
