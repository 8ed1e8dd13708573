/** Which names the paths of a restore choose, as far as that can be told without the manifest. PROTOCOL.md 23.5. */
import { matcher } from '../../scan/exclude';
import type { AskedFor } from '../../receive/rules';

/** Directories whose answers are remembered: entries come in the order of a walk, so few are needed at once. */
const mostRemembered = 4096;

/** A path as it stands in a snapshot: without `./`, and without slashes at its ends. */
export function plainPath(path: string): string {
  return path.replace(/^(\.?\/+)+/, '').replace(/\/+$/, '');
}

/** Whether a path can be a pattern. */
export function isPattern(path: string): boolean {
  return /[*?[\\]/.test(path);
}

/**
 * Holds what a receiver sends against the paths that it was asked for. A path chooses the entry of its name and what is
 * below it, and as a pattern whatever it matches and what is below that; no paths choose everything.
 */
export class AskedNames implements AskedFor {
  /** By its plain form, as it was given. */
  private readonly paths: ReadonlyMap<string, string>;
  private readonly patterns: readonly { readonly path: string; readonly matches: (name: string) => boolean }[];
  private readonly everything: boolean;
  /** Plain forms of what something came for. */
  private readonly answered = new Set<string>();
  /** Directories, and whether they are chosen. */
  private readonly remembered = new Map<string, boolean>();

  constructor(paths: readonly string[]) {
    this.paths = new Map(paths.map((path) => [plainPath(path), path]));
    this.everything = paths.length === 0 || this.paths.has('') || this.paths.has('.');
    this.patterns = [...this.paths.keys()].filter(isPattern).map((path) => {
      const matches = matcher([`/${path}`]);
      return { path, matches: (name) => matches(name, true) };
    });
  }

  /** Whether an entry of this name was asked for; if so, its path is not unanswered any more. */
  chosen(name: string): boolean {
    // Both are asked: each may answer another path.
    const [itself, above] = [this.isChosen(name), this.isBelow(name)];
    return itself || above || this.everything;
  }

  /** The paths for which nothing came, as they were given. */
  unanswered(): string[] {
    return [...this.paths].flatMap(([path, given]) =>
      path === '' || path === '.' || this.answered.has(path) ? [] : [given],
    );
  }

  private isChosen(name: string): boolean {
    const literally = this.paths.has(name);
    if (literally) this.answered.add(name);
    const matching = this.patterns.filter(({ matches }) => matches(name));
    for (const { path } of matching) this.answered.add(path);
    return literally || matching.length > 0;
  }

  private isBelow(name: string): boolean {
    const end = name.lastIndexOf('/');
    if (end === -1) return false;
    const directory = name.slice(0, end);
    const before = this.remembered.get(directory);
    if (before !== undefined) return before;
    const [itself, above] = [this.isChosen(directory), this.isBelow(directory)];
    if (this.remembered.size >= mostRemembered) this.remembered.clear();
    this.remembered.set(directory, itself || above);
    return itself || above;
  }
}
