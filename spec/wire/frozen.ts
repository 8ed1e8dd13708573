import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

// Vectors are a promise to whoever wrote a peer by them: they are only ever added (docs/compatibility.md). `npm run
// freeze` adds the digests of new ones to fixtures/vectors/frozen.json, and removes none.

const directory = path.join(__dirname, '..', '..', 'fixtures', 'vectors');
const list = path.join(directory, 'frozen.json');

/** The digests of the vectors of each file, by its name relative to fixtures/vectors. */
export type Frozen = Readonly<Record<string, readonly string[]>>;

/** What is frozen. */
export function frozen(): Frozen {
  return (JSON.parse(readFileSync(list, 'utf8')) as { files: Frozen }).files;
}

/** What there is: 64 bits of a digest of each vector, which does not depend on how its JSON is laid out. */
export function vectors(): Frozen {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter(
    (name) => name.endsWith('.json') && name !== path.basename(list),
  );
  return Object.fromEntries(
    names
      .sort()
      .map((name) => [
        name.replaceAll('\\', '/'),
        digestsOf(JSON.parse(readFileSync(path.join(directory, name), 'utf8'))),
      ]),
  );
}

/**
 * Each element of an array at the top of a file is one vector, and so is each other value there but for what it is
 * about. One that was withdrawn stays frozen as what it was.
 */
function digestsOf(file: unknown): string[] {
  const values = Object.entries(file as Record<string, unknown>)
    .filter(([key]) => key !== 'about')
    .flatMap(([key, value]) =>
      Array.isArray(value)
        ? value.map((each: unknown) => [key === 'withdrawn' ? 'vectors' : key, each])
        : [[key, value]],
    );
  return [
    ...new Set(
      values.map((value) =>
        createHash('sha256')
          .update(JSON.stringify(sorted(value)))
          .digest('hex')
          .slice(0, 16),
      ),
    ),
  ].sort();
}

/** The same with the keys of all objects in their order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, each]) => [key, sorted(each)]),
  );
}

if (require.main === module) {
  const before = frozen();
  const now = vectors();
  const files = Object.fromEntries(
    [...new Set([...Object.keys(before), ...Object.keys(now)])]
      .sort()
      .map((name) => [name, [...new Set([...(before[name] ?? []), ...(now[name] ?? [])])].sort()]),
  );
  writeFileSync(
    list,
    `${JSON.stringify({ about: 'A digest of every vector. They are only ever added: docs/compatibility.md.', files }, null, 1)}\n`,
  );
}
