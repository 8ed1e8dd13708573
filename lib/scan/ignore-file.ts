import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { lastWord, parseRule, type Rule } from './exclude';
import { systemPath } from '../name-bytes';
import { readFlags } from '../threads/walker';

/** Where ignore files are looked for unless the caller says otherwise. */
export const usualIgnoreFile = '.sendallignore';

/** The longest ignore file, in bytes. */
const longest = 1024 * 1024;

/**
 * The text of an ignore file. Throws the errors of the operating system, and an Error for what is too long or not a
 * regular file.
 */
export function readIgnoreFile(path: string | Buffer): string {
  const fd = openSync(typeof path === 'string' ? systemPath(path) : path, readFlags | (constants.O_NOFOLLOW ?? 0));
  try {
    const stats = fstatSync(fd);
    if (!stats.isFile() || stats.size > longest) throw new Error('it is not a regular file of 1 MiB at most');
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

/**
 * What an ignore file says, in the manner of gitignore(5): a pattern a line, as described at `matcher`, relative to the
 * directory of the file. Blank lines and those that start with `#` mean nothing; trailing spaces neither, unless a
 * backslash stands before them.
 */
function parseIgnoreFile(text: string): readonly Rule[] {
  const lines = text.replace(/^\uFEFF/, '').split('\n');
  return lines
    .map((line) => line.replace(/\r$/, ''))
    .filter((line) => !line.startsWith('#'))
    .map(withoutTrailingSpaces)
    .filter((line) => line !== '')
    .map(parseRule);
}

function withoutTrailingSpaces(line: string): string {
  return /^(?:\\.?|[^\\ ]| +(?! |$))*/su.exec(line)?.[0] ?? '';
}

/**
 * What is left out below a directory: by the caller's patterns, then by the ignore file closest to the path, then by
 * those above it; the first that says anything decides. What is below an excluded directory is not asked for, so
 * nothing can bring it back.
 */
export class Exclusion {
  private constructor(
    private readonly wanted: readonly Rule[],
    private readonly levels: readonly { readonly rules: readonly Rule[]; readonly from: number }[],
  ) {}

  /** `patterns` are the caller's; see `matcher`. They count from the top of the tree. */
  static of(patterns: readonly string[]): Exclusion {
    return new Exclusion(patterns.map(parseRule), []);
  }

  /** With the ignore file that lies in `directory`, '' for the top of the tree. */
  with(directory: string, ignoreFile: string): Exclusion {
    const level = { rules: parseIgnoreFile(ignoreFile), from: directory === '' ? 0 : directory.length + 1 };
    return new Exclusion(this.wanted, [level, ...this.levels]);
  }

  /** Whether `path`, which counts from the top of the tree, is left out. */
  excludes(path: string, isDirectory: boolean): boolean {
    const word = lastWord(this.wanted, path, isDirectory);
    if (word !== undefined) return word;
    for (const { rules, from } of this.levels) {
      const said = lastWord(rules, path.slice(from), isDirectory);
      if (said !== undefined) return said;
    }
    return false;
  }
}
