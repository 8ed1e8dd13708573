// The tree that specs of snapshots in an object store send.
import { randomBytes } from 'node:crypto';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';

/** Makes `root/src` with `a`, `sub/b` and `sub/c` of 3,000 random bytes, `big`, and `link` to `a`. Returns its path. */
export function makeSmallSource(root: string, bytesOfBig = 100_000): string {
  const source = path.join(root, 'src');
  mkdirSync(path.join(source, 'sub'), { recursive: true });
  for (const name of ['a', 'sub/b', 'sub/c']) writeFileSync(path.join(source, name), randomBytes(3000));
  writeFileSync(path.join(source, 'big'), randomBytes(bytesOfBig), { mode: 0o640 });
  symlinkSync('a', path.join(source, 'link'));
  return source;
}
