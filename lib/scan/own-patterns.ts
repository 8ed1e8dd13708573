// Patterns that begin with the path of a source, as people write them: /home/eve/.cache, or photos/raw for photos.
import { lstatSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { TransferError } from '../errors';
import { printable } from '../name';
import { systemPath } from '../name-bytes';
import { parseRule } from './exclude';

/**
 * The caller's patterns for the tree at `pathname`, all of them as `matcher` takes them. One that begins with the
 * absolute path of the tree counts from there. One with a slash that begins with the path by which the caller named it,
 * or with its name, does so too, unless something at the top of the tree is called like the first component of that.
 * @throws TransferError `usage` for one that leaves out the whole tree
 */
export function patternsFor(pathname: string, patterns: readonly string[]): string[] {
  const source = new SourcePath(pathname);
  return patterns.map((pattern) => {
    const [, not = '', positive = ''] = /^(!?)(.*)$/su.exec(pattern) ?? [];
    const rest = source.below(positive);
    if (rest === undefined) return pattern;
    if (rest === '' && not === '')
      throw new TransferError('usage', printable(`--exclude ${pattern} leaves out all of ${pathname}.`), {
        hint: 'Leave out the path itself, or say what is in it: with /* at the end.',
      });
    return rest === '' ? pattern : `${not}/${rest}`;
  });
}

/** The ways to write where a source is, each as its components. */
class SourcePath {
  private readonly absolute: readonly (readonly string[])[];
  private readonly relative: readonly (readonly string[])[];

  constructor(private readonly pathname: string) {
    const whole = path.resolve(pathname);
    this.absolute = [componentsOf(whole), componentsOf(realOf(whole))];
    const given = path.isAbsolute(pathname) ? [] : componentsOf(path.normalize(pathname));
    this.relative = [given, componentsOf(path.basename(whole))].filter(({ length }) => length > 0);
  }

  /** What of a pattern is left below the source; undefined where it does not begin with the path of it. */
  below(pattern: string): string | undefined {
    if (pattern.startsWith('/')) return restOf(pattern.slice(1), this.absolute);
    const plain = pattern.replace(/^(?:\.\/)+/, '');
    if (!plain.replace(/\/$/, '').includes('/')) return undefined;
    if (!plain.startsWith('../') && this.has(plain.slice(0, plain.indexOf('/')))) return undefined;
    return restOf(plain, this.relative);
  }

  /** Whether something in it is called so. */
  private has(component: string): boolean {
    try {
      return lstatSync(systemPath(path.join(this.pathname, component)), { throwIfNoEntry: false }) !== undefined;
    } catch {
      return false; // a file has nothing in it, and what cannot be read is told of by who opens it
    }
  }
}

function restOf(pattern: string, roots: readonly (readonly string[])[]): string | undefined {
  const wanted = pattern.split('/');
  const components = wanted.at(-1) === '' ? wanted.slice(0, -1) : wanted;
  for (const root of roots) {
    if (components.length < root.length || !root.every((each, at) => matches(components[at] ?? '', each))) continue;
    return components.length === root.length ? '' : wanted.slice(root.length).join('/');
  }
  return undefined;
}

function matches(component: string, name: string): boolean {
  // ** is any number of components, and so counts from the top as it always does.
  if (component === '**') return false;
  return component === name || parseRule(component.replace(/^!/, '\\!'))(name, true) === true;
}

function componentsOf(pathname: string): string[] {
  return pathname.split('/').filter((each) => each !== '' && each !== '.');
}

function realOf(pathname: string): string {
  try {
    return realpathSync(systemPath(pathname));
  } catch {
    return pathname; // who opens it says why not
  }
}
