// The users and groups of this machine, as far as its own files tell: passwd(5), group(5).
import { readFileSync } from 'node:fs';

/** Names by numbers, and numbers by names. */
export interface Accounts {
  readonly users: Names;
  readonly groups: Names;
}

export interface Names {
  readonly nameOf: ReadonlyMap<number, string>;
  readonly idOf: ReadonlyMap<string, number>;
}

let known: Accounts | undefined;

/** Read once for this thread; empty where there are no such files. */
export function accounts(): Accounts {
  known ??= { users: namesIn('/etc/passwd'), groups: namesIn('/etc/group') };
  return known;
}

/** Lines of `name:password:number:…`. The first line of a number, and of a name, counts. */
function namesIn(pathname: string): Names {
  const nameOf = new Map<number, string>();
  const idOf = new Map<string, number>();
  let text = '';
  try {
    text = readFileSync(pathname, 'utf8');
  } catch {
    // A container may have none: numbers are all there is then.
  }
  for (const line of text.split('\n')) {
    const [name = '', , number = ''] = line.split(':');
    if (name === '' || !/^\d{1,10}$/.test(number)) continue;
    const id = Number(number);
    if (!nameOf.has(id)) nameOf.set(id, name);
    if (!idOf.has(name)) idOf.set(name, id);
  }
  return { nameOf, idOf };
}
