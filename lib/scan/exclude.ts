/** Whether `path` is left out. It counts from the top of the tree, with `/` between its components. */
export type Matcher = (path: string, isDirectory: boolean) => boolean;

/** What one pattern says of a path: true for out, false for in after all, undefined for nothing. */
export type Rule = (path: string, isDirectory: boolean) => boolean | undefined;

/**
 * Patterns of what is left out of a tree, in the manner of gitignore(5): `*` and `?` stay within a component, `**` as a
 * whole component is any number of them; `[abc]`, `[!a-z]` and `[[:digit:]]` are one character, a backslash takes the
 * next one as it is. A pattern with a slash before its end counts from the top of the tree, one without matches at any
 * depth, and a trailing slash matches directories only. After `!` it takes back in what an earlier one left out: the
 * last that matches decides. Unlike there, `?` and `[…]` are one character and not one byte. What makes no sense, such
 * as `[a`, matches nothing.
 */
export function matcher(patterns: readonly string[]): Matcher {
  const rules = patterns.map(parseRule);
  return (path, isDirectory) => lastWord(rules, path, isDirectory) ?? false;
}

/** What the last of the rules that says anything says. */
export function lastWord(rules: readonly Rule[], path: string, isDirectory: boolean): boolean | undefined {
  for (let at = rules.length - 1; at >= 0; at--) {
    const word = rules[at]?.(path, isDirectory);
    if (word !== undefined) return word;
  }
  return undefined;
}

/** One pattern, as described at `matcher`. */
export function parseRule(pattern: string): Rule {
  const excludes = !pattern.startsWith('!');
  const positive = excludes ? pattern : pattern.slice(1);
  const directoriesOnly = positive.endsWith('/');
  const trimmed = directoriesOnly ? positive.slice(0, -1) : positive;
  const matches = trimmed.includes('/') ? compilePath(trimmed.replace(/^\//, '')) : compileName(trimmed);
  return (path, isDirectory) => ((isDirectory || !directoriesOnly) && matches(path) ? excludes : undefined);
}

type Match = (text: string) => boolean;

const nothing: Match = () => false;

/** A pattern without a slash: for the last component of a path. */
function compileName(pattern: string): Match {
  const matches = compileComponent(piecesOf(pattern));
  return (path) => matches(path.slice(path.lastIndexOf('/') + 1));
}

const anyComponents = Symbol('**');

/** A pattern for a whole path. */
function compilePath(pattern: string): Match {
  const components: string[][] = [[]];
  for (const piece of piecesOf(pattern)) {
    if (piece === '/' || piece === '\\/') components.push([]);
    else components.at(-1)?.push(piece);
  }
  // At the end it takes one component at least: it stands for what is below.
  const wanted = components.map((pieces) =>
    pieces.length === 1 && pieces[0]?.startsWith('**') === true ? anyComponents : compileComponent(pieces),
  );
  return (path) => matchComponents(wanted, path.split('/'));
}

/** The earliest place behind a `**` is as good as any later one, so it is enough to think over the last `**`. */
function matchComponents(wanted: readonly (Match | typeof anyComponents)[], components: readonly string[]): boolean {
  let next = 0;
  let at = 0;
  let again: { readonly next: number; at: number } | undefined;
  while (at < components.length) {
    const match = wanted[next];
    if (match === anyComponents) {
      again = { next: ++next, at };
    } else if (match?.(components[at] ?? '') === true) {
      next++;
      at++;
    } else {
      if (again === undefined) return false;
      next = again.next;
      at = ++again.at;
    }
  }
  return next === wanted.length;
}

const named = String.raw`\[:[^\]]*:\]`;
const member = String.raw`${named}|\\.|(?!${named})`;
/**
 * An escaped character, a run of asterisks, a set, or any other character. A bracket may close a set only from its
 * second member on.
 */
const piece = new RegExp(String.raw`\\.|\*+|\[[!^]?(?:${member}[^\\])(?:${member}[^\\\]])*\]|.`, 'gsu');

function piecesOf(pattern: string): readonly string[] {
  return pattern.match(piece) ?? [];
}

/**
 * Text between asterisks is looked for at its earliest place and nowhere else: no name takes long, whatever the
 * pattern.
 */
function compileComponent(pieces: readonly string[]): Match {
  if (pieces.every((each) => each.length === 1 && !'*?[\\'.includes(each))) {
    const text = pieces.join('');
    return (component) => component === text;
  }
  const runs = [''];
  for (const each of pieces) {
    const source = each.startsWith('*') ? undefined : translate(each);
    if (source === senseless) return nothing;
    if (source === undefined) runs.push('');
    else runs.push(`${runs.pop() ?? ''}${source}`);
  }
  const [first = '', ...others] = runs;
  const last = others.pop();
  const between = others.map((run, at) => `(?=(.*?${run}))\\${at + 1}`).join('');
  const expression = new RegExp(`^${first}${last === undefined ? '' : `${between}.*${last}`}$`, 'su');
  return (component) => expression.test(component);
}

const senseless = Symbol('senseless');

/** A piece as a regular expression. */
function translate(each: string): string | typeof senseless {
  if (each === '?') return '.';
  if (each === '[' || each === '\\') return senseless; // never closed, or nothing behind it
  if (each.startsWith('[')) return translateSet(each);
  return escape(each.startsWith('\\') ? each.slice(1) : each);
}

const classes: Readonly<Record<string, string>> = {
  alnum: 'A-Za-z0-9',
  alpha: 'A-Za-z',
  blank: ' \\t',
  cntrl: '\\0-\\x1f\\x7f',
  digit: '0-9',
  graph: '!-~',
  lower: 'a-z',
  print: ' -~',
  punct: '!-\\/:-@\\[-`\\{-~',
  space: '\\s',
  upper: 'A-Z',
  xdigit: 'A-Fa-f0-9',
};

function translateSet(set: string): string | typeof senseless {
  const negated = /^\[[!^]/.test(set);
  const members = [...set.slice(negated ? 2 : 1, -1).matchAll(/\[:([^\]]*):\]|\\(.)|(.)/gsu)];
  let source = '';
  for (let at = 0; at < members.length; at++) {
    const [, name, escaped, plain = ''] = members[at] ?? [];
    if (name !== undefined) {
      if (!Object.hasOwn(classes, name)) return senseless;
      source += classes[name];
      continue;
    }
    const from = escaped ?? plain;
    const [dash, end] = members.slice(at + 1, at + 3);
    const to = dash?.[3] === '-' ? (end?.[2] ?? end?.[3]) : undefined;
    source += escape(from);
    if (to === undefined) continue;
    // A backward range is nothing but its start, for git as well.
    if ((from.codePointAt(0) ?? 0) <= (to.codePointAt(0) ?? 0)) source += `-${escape(to)}`;
    at += 2;
  }
  return `[${negated ? '^' : ''}${source}]`;
}

/** By its number: what needs a backslash differs inside and outside of brackets. */
function escape(character: string): string {
  return /^\w$/.test(character) ? character : `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}
