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
  const pieces = piecesOf(pattern);
  if (pieces === undefined) return nothing;
  const matches = compileComponent(pieces);
  return (path) => matches(path.slice(path.lastIndexOf('/') + 1));
}

/** Stands for `**` among the numbers of patterns. */
const anyComponents = -1;

/** A pattern for a whole path. */
function compilePath(pattern: string): Match {
  const pieces = piecesOf(pattern);
  if (pieces === undefined) return nothing;
  const components: PatternPiece[][] = [[]];
  for (const piece of pieces) {
    if (piece.kind === 'text' && piece.text === '/') components.push([]);
    else components.at(-1)?.push(piece);
  }
  // What is alike is compiled, and compared, once.
  const matches: Match[] = [];
  const numbers = new Map<string, number>();
  const wanted = components.map((each) => {
    const [only, another] = each;
    // At the end it takes one component at least: it stands for what is below.
    if (only?.kind === 'run' && only.length > 1 && !another) return anyComponents;
    const key = JSON.stringify(each);
    const number = numbers.get(key) ?? matches.push(compileComponent(each)) - 1;
    numbers.set(key, number);
    return number;
  });
  return (path) => matchComponents(wanted, comparison(matches, wanted.length, path.split('/')));
}

/** Which patterns, by their numbers, match which components of a path. */
interface ComponentMatches {
  readonly length: number;
  readonly isMatch: (pattern: number, at: number) => boolean;
}

/** With so many comparisons at most, what came of them is not noted. */
const fewComparisons = 16_384;

function comparison(matches: readonly Match[], length: number, components: readonly string[]): ComponentMatches {
  const compare = (pattern: number, at: number): boolean => matches[pattern]?.(components[at] ?? '') === true;
  if (length * components.length <= fewComparisons) return { length: components.length, isMatch: compare };
  const numbers = new Map<string, number>();
  const numberOf = Int32Array.from(components, (each) => {
    const number = numbers.get(each) ?? numbers.size;
    numbers.set(each, number);
    return number;
  });
  const results = new Int8Array(matches.length * numbers.size);
  return {
    length: components.length,
    isMatch: (pattern, at) => {
      const cell = pattern * numbers.size + (numberOf[at] ?? 0);
      if (results[cell] === 0) results[cell] = compare(pattern, at) ? 1 : -1;
      return results[cell] === 1;
    },
  };
}

/** The earliest place behind a `**` is as good as any later one, so it is enough to think over the last `**`. */
function matchComponents(wanted: readonly number[], { length, isMatch }: ComponentMatches): boolean {
  let next = 0;
  let at = 0;
  let again: { readonly next: number; at: number } | undefined;
  while (at < length) {
    const pattern = wanted[next];
    if (pattern === anyComponents) {
      again = { next: ++next, at };
    } else if (pattern !== undefined && isMatch(pattern, at)) {
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

/** What a pattern is made of: `run` is asterisks, `any` a question mark, `set` what stands in brackets. */
type PatternPiece =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'any' }
  | { readonly kind: 'run'; readonly length: number }
  | { readonly kind: 'set'; readonly negated: boolean; readonly members: readonly SetMember[] };

/** What stands in brackets: a class by its name, or one character, and whether a backslash is before it. */
type SetMember = { readonly name: string } | { readonly character: string; readonly escaped: boolean };

/**
 * Undefined for what makes no sense: a bracket that is never closed, or a backslash at the end. Takes time in
 * proportion to the length of the pattern, whatever is in it: patterns come from peers.
 */
function piecesOf(pattern: string): readonly PatternPiece[] | undefined {
  const pieces: PatternPiece[] = [];
  const classEnd = classEnds(pattern);
  for (let at = 0; at < pattern.length;) {
    const character = characterAt(pattern, at);
    if (character === '\\') {
      const text = characterAt(pattern, at + 1);
      if (text === '') return undefined;
      pieces.push({ kind: 'text', text });
      at += 1 + text.length;
    } else if (character === '*') {
      const from = at;
      while (pattern[at] === '*') at++;
      pieces.push({ kind: 'run', length: at - from });
    } else if (character === '[') {
      const set = setAt(pattern, at, classEnd);
      if (set === undefined) return undefined;
      pieces.push(set.piece);
      at = set.end;
    } else {
      pieces.push(character === '?' ? { kind: 'any' } : { kind: 'text', text: character });
      at += character.length;
    }
  }
  return pieces;
}

/** One code point; '' behind the end. */
function characterAt(text: string, at: number): string {
  const code = text.codePointAt(at);
  return code === undefined ? '' : String.fromCodePoint(code);
}

/** For ascending places: where the `[:name:]` ends that begins there; undefined where none does. */
function classEnds(pattern: string): (at: number) => number | undefined {
  let bracket = 0;
  return (at) => {
    if (pattern[at] !== '[' || pattern[at + 1] !== ':') return undefined;
    if (bracket < at + 2) bracket = pattern.indexOf(']', at + 2);
    if (bracket === -1) bracket = Infinity;
    return bracket >= at + 3 && pattern[bracket - 1] === ':' ? bracket + 1 : undefined;
  };
}

/**
 * The set that begins at a bracket, and where it ends; undefined if it is never closed. A bracket closes it only from
 * its second member on; but `[!]` is closed where nothing else closes it.
 */
function setAt(
  pattern: string,
  from: number,
  classEnd: (at: number) => number | undefined,
): { readonly piece: PatternPiece; readonly end: number } | undefined {
  const negated = pattern[from + 1] === '!' || pattern[from + 1] === '^';
  const members: SetMember[] = [];
  const first = from + (negated ? 2 : 1);
  for (let at = first; at < pattern.length;) {
    const character = characterAt(pattern, at);
    if (character === ']' && at > first) return { piece: { kind: 'set', negated, members }, end: at + 1 };
    const end = classEnd(at);
    if (end !== undefined) {
      members.push({ name: pattern.slice(at + 2, end - 2) });
      at = end;
    } else {
      const escaped = character === '\\';
      const taken = escaped ? characterAt(pattern, at + 1) : character;
      if (taken === '') return undefined;
      members.push({ character: taken, escaped });
      at += taken.length + (escaped ? 1 : 0);
    }
  }
  const closed = negated && pattern[first] === ']';
  return closed ? { piece: { kind: 'set', negated, members: [] }, end: first + 1 } : undefined;
}

// What a component must have next, where that is not one code point.
const [anyText, anyCharacter, oneOfSet] = [-1, -2, -3];

/**
 * The earliest place behind an asterisk is as good as any later one, so it is enough to think over the last: no name
 * takes long, whatever the pattern.
 */
function compileComponent(pieces: readonly PatternPiece[]): Match {
  if (pieces.every((each) => each.kind === 'text')) {
    const text = pieces.map((each) => each.text).join('');
    return (component) => component === text;
  }
  const sets = pieces.map((each) => (each.kind === 'set' ? translateSet(each.negated, each.members) : undefined));
  if (sets.includes(senseless)) return nothing;
  const expressions = new Map<string, RegExp>();
  const setAt = sets.map((source) => {
    if (typeof source !== 'string') return undefined;
    const expression = expressions.get(source) ?? new RegExp(source, 'su');
    expressions.set(source, expression);
    return expression;
  });
  const wanted = Int32Array.from(pieces, wantedOf);
  return (component) => matchCharacters(wanted, setAt, component);
}

function wantedOf(piece: PatternPiece): number {
  switch (piece.kind) {
    case 'text':
      return piece.text.codePointAt(0) ?? anyCharacter;
    case 'any':
      return anyCharacter;
    case 'run':
      return anyText;
    case 'set':
      return oneOfSet;
  }
}

function matchCharacters(wanted: Int32Array, sets: readonly (RegExp | undefined)[], text: string): boolean {
  let next = 0;
  let at = 0;
  let again: { readonly next: number; at: number } | undefined;
  while (at < text.length) {
    const code = text.codePointAt(at) ?? 0;
    const want = wanted[next];
    if (want === anyText) {
      again = { next: ++next, at };
      if (next === wanted.length) return true;
    } else if (want === code || want === anyCharacter || (want === oneOfSet && isIn(sets[next], code))) {
      next++;
      at += width(code);
    } else {
      if (again === undefined) return false;
      next = again.next;
      again.at += width(text.codePointAt(again.at) ?? 0);
      ({ at } = again);
    }
  }
  while (wanted[next] === anyText) next++;
  return next === wanted.length;
}

function isIn(set: RegExp | undefined, code: number): boolean {
  return set?.test(String.fromCodePoint(code)) === true;
}

/** In units of UTF-16. */
function width(code: number): number {
  return code > 0xffff ? 2 : 1;
}

const senseless = Symbol('senseless');

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

function translateSet(negated: boolean, members: readonly SetMember[]): string | typeof senseless {
  let source = '';
  for (let at = 0; at < members.length; at++) {
    const member = members[at];
    if (member === undefined) break;
    if ('name' in member) {
      if (!Object.hasOwn(classes, member.name)) return senseless;
      source += classes[member.name] ?? '';
      continue;
    }
    const from = member.character;
    const [dash, end] = [members[at + 1], members[at + 2]];
    const isRange = dash && 'character' in dash && dash.character === '-' && !dash.escaped;
    source += escape(from);
    if (!isRange || !end || !('character' in end)) continue;
    const to = end.character;
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
