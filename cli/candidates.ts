// What a shell may complete a command line with: a pure function of the program's own description, and of the names
// that the command looks up for it.
import type { Argument, Command, Option } from 'commander';

/** What can stand there, and what it is. */
export interface Candidate {
  readonly word: string;
  readonly about: string;
}

export interface Completion {
  readonly candidates: readonly Candidate[];
  /** Whether the name of a file can stand there as well. */
  readonly files: boolean;
  /** What is to be looked up besides. */
  readonly look: 'peers' | 'groups' | 'snapshots' | undefined;
}

const none: Completion = { candidates: [], files: false, look: undefined };
/** Options whose value is a snapshot. */
const snapshotOptions: ReadonlySet<string> = new Set(['snapshot', 'diff']);

/** What may stand in place of the last of `words`, which are those after `sendall`. */
export function completionOf(program: Command, words: readonly string[]): Completion {
  const before = words.slice(0, -1);
  const partial = words.at(-1) ?? '';
  const command = commandOf(program, before);
  const options = [...command.options, ...(command === program ? [] : program.options)];
  const asked = options.find((option) => takesValue(option) && isCalled(option, before.at(-1) ?? ''));
  if (asked) return valuesOf(asked);
  if (partial.startsWith('-'))
    return {
      ...none,
      candidates: options.map((option) => ({
        word: option.long ?? option.short ?? '',
        about: firstWords(option.description),
      })),
    };
  if (command.commands.length > 0)
    return {
      ...none,
      candidates: command.commands.map((each) => ({ word: each.name(), about: firstWords(each.description()) })),
    };
  return valuesFor(command, positional(command, options, before));
}

/** The command that the words before have chosen, as deep as they go. */
function commandOf(program: Command, words: readonly string[]): Command {
  let command = program;
  for (const word of words) command = command.commands.find((each) => each.name() === word) ?? command;
  return command;
}

/** How many words before are neither options nor their values, after the command's own. */
function positional(command: Command, options: readonly Option[], words: readonly string[]): number {
  let count = 0;
  for (let at = words.lastIndexOf(command.name()) + 1; at < words.length; at++) {
    const option = options.find((each) => isCalled(each, words[at] ?? ''));
    if (option) at += takesValue(option) ? 1 : 0;
    else if (!words[at]?.startsWith('-')) count++;
  }
  return count;
}

function valuesFor(command: Command, at: number): Completion {
  const argument: Argument | undefined = command.registeredArguments[at] ?? command.registeredArguments.at(-1);
  if (!argument || (at >= command.registeredArguments.length && !argument.variadic)) return none;
  const candidates = (argument.argChoices ?? []).map((word) => ({ word, about: '' }));
  const name = argument.name();
  if (name === 'SNAPSHOT') return { candidates, files: false, look: 'snapshots' };
  if (name === 'GROUP') return { ...none, look: 'groups' };
  if (name === 'NAME')
    return command.parent?.name() === 'peers' && command.name() !== 'add' ? { ...none, look: 'peers' } : none;
  const isPeer = /TARGET|PATH/.test(name);
  return { candidates, files: candidates.length === 0, look: isPeer ? 'peers' : undefined };
}

function valuesOf(option: Option): Completion {
  const candidates = (option.argChoices ?? []).map((word) => ({ word, about: '' }));
  const isPath = /FILE|DIR|PATH|COMMAND|ADDRESS/.test(option.flags);
  const look = lookOf(option.name());
  return { candidates, files: candidates.length === 0 && isPath, look };
}

function lookOf(option: string): Completion['look'] {
  if (snapshotOptions.has(option)) return 'snapshots';
  return option === 'from' ? 'peers' : option === 'to-all' ? 'groups' : undefined;
}

function takesValue(option: Option): boolean {
  return option.required || option.optional;
}

function isCalled(option: Option, word: string): boolean {
  return word !== '' && (option.long === word || option.short === word);
}

/** As much of a description as fits beside a candidate. */
function firstWords(text: string): string {
  return text.split(/[;:.]/)[0]?.slice(0, 60) ?? '';
}
