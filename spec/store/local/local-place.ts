import { constants } from 'node:fs';
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { LocalStore } from '../../../lib/store/local/local';
import { type AnyRule, anyRule } from '../any-rule';
import type { Opened } from '../conformance';

/** An empty directory of our own, below `parent`. */
export function emptyDirectory(parent = tmpdir()): Promise<string> {
  return mkdtemp(path.join(parent, 'sendall-store-'));
}

/** Everything below a directory, sorted; directories end in a slash. Symbolic links are listed, not followed. */
export async function everythingIn(directory: string): Promise<string[]> {
  const found: string[] = [];
  // By hand, since not every Node leaves symbolic links alone when it goes down by itself.
  const walk = async (below: string): Promise<void> => {
    for (const entry of await readdir(path.join(directory, below), { withFileTypes: true })) {
      const name = below + entry.name;
      found.push(entry.isDirectory() ? `${name}/` : name);
      if (entry.isDirectory()) await walk(`${name}/`);
    }
  };
  await walk('');
  return found.sort();
}

/** The tree with what each file contains, to be compared with the same tree later. */
export async function snapshotOf(directory: string): Promise<Map<string, string>> {
  const tree = new Map<string, string>();
  for (const name of await everythingIn(directory)) {
    const place = path.join(directory, name);
    const { mode, size, ino } = await lstat(place);
    const bytes = (mode & constants.S_IFMT) === constants.S_IFREG ? await readFile(place, 'latin1') : '';
    tree.set(name, name.endsWith('/') ? 'directory' : `${ino} ${mode} ${size} ${bytes}`);
  }
  return tree;
}

const visible = (names: readonly string[]): string[] => names.filter((name) => !name.startsWith('.sendall/'));

/** A local store in an empty directory below `parent`. */
export async function openLocal(
  parent?: string,
): Promise<Opened & { readonly store: AnyRule; readonly place: LocalStore; readonly directory: string }> {
  const directory = await emptyDirectory(parent);
  const place = await LocalStore.open(directory);
  const store = anyRule(place);
  return {
    store,
    place,
    directory,
    list: async () => visible(await everythingIn(directory)),
    read: (name) => readFile(path.join(directory, name)),
    plant: async (name, bytes) => {
      await mkdir(path.dirname(path.join(directory, name)), { recursive: true });
      await writeFile(path.join(directory, name), bytes);
    },
    staged: async () => (await readdir(path.join(directory, '.sendall', 'stage')).catch(() => [])).length,
    free: async () => {
      const { bavail, bsize } = await statfs(directory);
      return bavail * bsize;
    },
    remains: () => everythingIn(directory),
    clear: async () => {
      for (const name of await readdir(directory))
        if (name !== '.sendall') await rm(path.join(directory, name), { recursive: true });
    },
    remove: () => rm(directory, { recursive: true, force: true }),
  };
}
