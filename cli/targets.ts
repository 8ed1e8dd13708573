// Which words of `send PATH... TARGET...` are paths, and which are receivers.
import { existsSync } from 'node:fs';
import { withoutTickets } from './hide-tickets';
import { codeTyped, resolveTarget, splitTarget, type CodeTyped, type Target } from './secret';
import { wrongUsage } from './usage';
import { library } from './library';

/** A receiver that was named, and what people call it. */
export interface NamedTarget {
  readonly name: string;
  readonly target: Target | CodeTyped;
}

/** The words of a command line, told apart. */
export interface SplitWords {
  readonly paths: readonly string[];
  /** None where it was left out. */
  readonly targets: readonly NamedTarget[];
}

/**
 * Targets come last. The last word is one if it names one, whatever files there are; each word before it as well, as
 * far as only targets follow, and unless a file here is called so. Rejects with `usage` where a target stands before a
 * path, and for a ticket that makes no sense.
 */
export async function splitWords(words: readonly string[]): Promise<SplitWords> {
  const lastWord = words.at(-1);
  const code = codeTyped(lastWord);
  const { paths, target } = code
    ? { paths: words.slice(0, -1), target: code }
    : await splitTarget(words, { codes: true });
  if (!target) return { paths: await withoutTargets(paths), targets: [] };
  const { left, targets } = await targetsAtEnd(paths);
  const isTyped = paths.length === words.length;
  const last: NamedTarget = { name: nameOf(isTyped ? undefined : lastWord, target), target };
  return { paths: await withoutTargets(left), targets: unique([...targets, last]) };
}

/** The same where the receivers are known otherwise: there need not be any among the words. */
export async function splitMore(words: readonly string[]): Promise<SplitWords> {
  const { left, targets } = await targetsAtEnd(words);
  return { paths: await withoutTargets(left), targets };
}

/** The receivers of a group. Rejects with `usage` where nobody is in it. */
export async function groupTargets(group: string): Promise<NamedTarget[]> {
  const { formatTicket, Peers } = library();
  const known = new Peers();
  const peers = await known.inGroup(group);
  if (peers.length > 0)
    return peers.map(({ name, ticket }) => ({ name, target: { kind: 'ticket', ticket: formatTicket(ticket) } }));
  const groups = await known.groups();
  throw wrongUsage(`There is no group ${group}.`, {
    hint:
      groups.length === 0
        ? `sendall peers join ${group} NAME... puts peers into it.`
        : `There ${groups.length === 1 ? 'is' : 'are'} ${groups.join(', ')}; sendall peers join puts peers into one.`,
  });
}

/** Each receiver once, with a name of its own. */
export function unique(targets: readonly NamedTarget[]): NamedTarget[] {
  const seen = new Map<string, NamedTarget>();
  for (const each of targets) {
    const word = wordOf(each.target);
    if (!seen.has(word)) seen.set(word, each);
  }
  const names = new Map<string, number>();
  return [...seen.values()].map(({ name, target }) => {
    const before = names.get(name) ?? 0;
    names.set(name, before + 1);
    return { name: before === 0 ? name : `${name} (${String(before + 1)})`, target };
  });
}

/** A target as the library takes it. */
export function wordOf(target: Target | CodeTyped): string {
  switch (target.kind) {
    case 'ticket':
      return target.ticket;
    case 'plain':
      return target.address;
    case 'code':
      return target.code;
  }
}

async function targetsAtEnd(words: readonly string[]): Promise<{ left: readonly string[]; targets: NamedTarget[] }> {
  const targets: NamedTarget[] = [];
  let end = words.length;
  for (; end > 0; end--) {
    const target = await unlessFile(words[end - 1] ?? '');
    if (!target) break;
    targets.unshift({ name: nameOf(words[end - 1], target), target });
  }
  return { left: words.slice(0, end), targets };
}

/** What a word names that is not the last: a file here goes before whatever else is called so. */
async function unlessFile(word: string): Promise<Target | CodeTyped | undefined> {
  if (word === '' || word === '-' || existsSync(word)) return undefined;
  return codeTyped(word) ?? (await resolveTarget(word));
}

/** The same paths, if none of them is a target. */
async function withoutTargets(paths: readonly string[]): Promise<readonly string[]> {
  for (const [at, word] of paths.entries()) {
    const next = paths[at + 1];
    if (next !== undefined && (await unlessFile(word)))
      throw wrongUsage(`${withoutTickets(word)} is a target, and ${withoutTickets(next)} behind it is none.`, {
        hint: 'Targets come last: sendall send PATH... TARGET...; a file of that name is ./NAME.',
      });
  }
  return paths;
}

/** What people call a receiver: never a key, and no word of a code. */
function nameOf(word: string | undefined, target: Target | CodeTyped): string {
  const { formatAddress, parseTicket } = library();
  switch (target.kind) {
    case 'code':
      return target.code.replace(/^(\d+)[^@]*/, '$1');
    case 'plain':
      return target.address;
    case 'ticket':
      return word === undefined || /^(?:@|sendall:)/.test(word)
        ? formatAddress(parseTicket(target.ticket).address).replace(/^tcp:\/\//, '')
        : word;
  }
}
