import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(__dirname, '..');

/** The build that people get. */
export const honestBuild = join(root, 'dist');

export interface Edit {
  /** A file of the build: lib/store/read-back.js. */
  readonly file: string;
  /** Stands there exactly once. */
  readonly from: string;
  readonly to: string;
}

/** A way of breaking a promise on purpose. */
export interface Sabotage {
  /** What this build does not do: 'the directory is not synced'. */
  readonly name: string;
  /** What a sentence has to say that finds it, where one of several attacks is meant; absent for any. */
  readonly finds?: string;
  readonly edits: readonly Edit[];
}

/**
 * A copy of a build, the honest one unless said otherwise, broken as told; `remove` takes it away. @throws Error if
 * what an edit replaces does not stand there exactly once.
 */
export function brokenBuild(
  { name, edits }: Sabotage,
  from = honestBuild,
): { readonly build: string; readonly remove: () => void } {
  const place = mkdtempSync(join(tmpdir(), 'sendall-broken-'));
  const build = join(place, 'dist');
  cpSync(from, build, { recursive: true });
  rmSync(join(build, 'bundled'), { recursive: true, force: true }); // so that it runs the modules, which are edited
  cpSync(join(root, 'package.json'), join(place, 'package.json'));
  symlinkSync(join(root, 'node_modules'), join(place, 'node_modules'));
  const remove = (): void => rmSync(place, { recursive: true, force: true });
  for (const { file, from: replaced, to } of edits) {
    const pieces = readFileSync(join(build, file), 'utf8').split(replaced);
    if (pieces.length !== 2) {
      remove();
      throw new Error(`“${name}”: ${file} has ${pieces.length - 1} times what is to be replaced: ${replaced}`);
    }
    writeFileSync(join(build, file), pieces.join(to));
  }
  return { build, remove };
}
