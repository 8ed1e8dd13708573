import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';

/**
 * What stands in a directory, by relative path: a file as the digest of its bytes, a symbolic link as `-> target`, a
 * directory as `/`.
 */
export type TreeContent = ReadonlyMap<string, string>;

/**
 * Reads all of it but what is ours, `.sendall` at the top, in which somebody may be at work. A directory that is not
 * there has nothing in it.
 */
export function contentOf(directory: string): TreeContent {
  return existsSync(directory) ? new Map(entriesBelow(directory, '')) : new Map();
}

function* entriesBelow(directory: string, below: string): Generator<[string, string]> {
  for (const entry of readdirSync(join(directory, below), { withFileTypes: true })) {
    const name = join(below, entry.name);
    const path = join(directory, name);
    if (name === '.sendall') continue;
    if (entry.isDirectory()) yield [name, '/'];
    if (entry.isDirectory()) yield* entriesBelow(directory, name);
    else if (entry.isSymbolicLink()) yield [name, `-> ${readlinkSync(path)}`];
    else yield [name, createHash('sha256').update(readFileSync(path)).digest('hex')];
  }
}

/** Everything of both, what stands in `over` in place of what had its name. */
export function overlaid(content: TreeContent, over: TreeContent): TreeContent {
  return new Map([...content, ...over]);
}

/**
 * A sentence for each name whose content is neither that of `before` nor that of `after`, and for each that was there
 * and is no more.
 */
export function partsOf(found: TreeContent, before: TreeContent, after: TreeContent): string[] {
  const strange = [...found].filter(([name, content]) => content !== before.get(name) && content !== after.get(name));
  const gone = [...before.keys()].filter((name) => !found.has(name));
  return [
    ...strange.map(([name]) => `${name} is not whole.`),
    ...gone.map((name) => `${name} was there before and is gone.`),
  ];
}

/**
 * A sentence for each name under which something else stands than in `wanted`, nothing, or something that is not
 * wanted.
 */
export function differences(found: TreeContent, wanted: TreeContent): string[] {
  const names = new Set([...found.keys(), ...wanted.keys()]);
  return [...names]
    .filter((name) => found.get(name) !== wanted.get(name))
    .map(
      (name) =>
        `${name} ${!found.has(name) ? 'is missing' : wanted.has(name) ? 'is not what was sent' : 'should not be there'}.`,
    );
}
