import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { closeSync, constants, lstatSync, openSync, readdirSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { nameOfBytes } from '../../lib/name-bytes';
import type { EntryStats } from '../../lib/threads/entry-stats';
import { fileCalls, type LinuxFileCalls } from '../../lib/threads/file-calls';
import { Walker } from '../../lib/threads/walker';
import { skipTest } from '../skip-test';

const fields = ['dev', 'ino', 'mode', 'nlink', 'uid', 'gid', 'size', 'blocks', 'mtimeNs', 'ctimeNs'] as const;
const kinds = ['isFile', 'isDirectory', 'isSymbolicLink', 'isFIFO', 'isSocket'] as const;

/** Everything that stats tell, in a form that can be compared. */
function told(stats: EntryStats | undefined): Record<string, unknown> {
  if (!stats) return {};
  return Object.fromEntries([
    ...fields.map((field) => [field, String(stats[field])]),
    ...kinds.map((kind) => [kind, stats[kind]()]),
  ]) as Record<string, unknown>;
}

describe('What an entry is, by statx', () => {
  let directory: string;
  let linux: LinuxFileCalls;
  before(async function () {
    const calls = fileCalls().linux;
    if (!calls) skipTest(this, 'the calls of Linux are not to be had here');
    linux = calls;
    directory = await mkdtemp(path.join(tmpdir(), 'sendall-stats-'));
  });
  after(async () => {
    if (directory) await rm(directory, { recursive: true, force: true });
  });

  function inDirectory<Result>(at: string, work: (fd: number) => Result): Result {
    const fd = openSync(at, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      return work(fd);
    } finally {
      closeSync(fd);
    }
  }

  it('is what lstat says of it, whatever it is', async () => {
    const at = (name: string): string => path.join(directory, name);
    await writeFile(at('file'), 'content');
    await writeFile(at('old'), 'x');
    await utimes(at('old'), new Date(-1_500), new Date(-1_500));
    await writeFile(at('set'), '');
    await chmod(at('set'), 0o6751);
    await writeFile(at('large'), '');
    await truncate(at('large'), 2 ** 40 + 5);
    await mkdir(at('directory'), { mode: 0o1700 });
    await symlink('file', at('link'));
    await symlink('nowhere', at('dangling'));
    execFileSync('mkfifo', [at('pipe')]);
    await writeFile(Buffer.concat([Buffer.from(`${directory}/b`), Buffer.of(0xff, 0x80)]), 'bytes');
    await writeFile(at('ünï 漢字'), 'x');
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(at('socket'), resolve));
    try {
      const names = readdirSync(directory, { encoding: 'buffer' });
      expect(names).to.have.lengthOf(11);
      inDirectory(directory, (fd) => {
        for (const name of names) {
          const lstat = lstatSync(Buffer.concat([Buffer.from(`${directory}/`), name]), { bigint: true });
          expect(told(linux.look(fd, nameOfBytes(name))), name.toString()).to.deep.equal(told(lstat));
        }
      });
    } finally {
      server.close();
    }
  });

  it('is so for devices, and on other disks', () => {
    for (const place of ['/dev', '/proc', '/sys/kernel', '/'])
      inDirectory(place, (fd) => {
        for (const name of readdirSync(place).slice(0, 40)) {
          const lstat = lstatSync(path.join(place, name), { bigint: true, throwIfNoEntry: false });
          const found = linux.look(fd, name);
          expect(found === undefined, name).to.equal(lstat === undefined);
          if (lstat) expect([found?.dev, found?.isFile()], name).to.deep.equal([lstat.dev, lstat.isFile()]);
        }
      });
  });

  it('is nothing where nothing is, and an error where it cannot be looked at', async () => {
    await writeFile(path.join(directory, 'file'), 'content');
    inDirectory(directory, (fd) => {
      expect(linux.look(fd, 'missing')).to.equal(undefined);
      expect(() => linux.look(fd, 'file\0hidden')).to.throw(/EINVAL/);
      expect(() => linux.look(fd, 'x'.repeat(300))).to.throw(/ENAMETOOLONG/);
    });
    const file = openSync(path.join(directory, 'file'), 'r');
    try {
      expect(() => linux.look(file, 'below')).to.throw(/^ENOTDIR/);
    } finally {
      closeSync(file);
    }
  });

  it('is the same for a walker that has looked at few and at many', async () => {
    const place = path.join(directory, 'many');
    await mkdir(path.join(place, 'sub'), { recursive: true });
    await writeFile(path.join(place, 'sub', 'f'), 'content');
    await symlink('sub', path.join(place, 'link'));
    const walker = new Walker(fileCalls);
    const look = (below: string): string => {
      try {
        const found = JSON.stringify(told(walker.look({ path: place, below })));
        if (below === 'sub/f') closeSync(walker.open({ path: place, below }, constants.O_RDONLY));
        return found;
      } catch (error) {
        return String((error as NodeJS.ErrnoException).code);
      }
    };
    const names = ['sub', 'sub/f', 'link', 'link/f', 'missing', 'sub/missing', 'sub/f/below'];
    try {
      const few = names.map(look);
      for (let count = 0; count < 600; count++) look('sub/f');
      expect(names.map(look)).to.deep.equal(few);
      expect(few[3]).to.equal('ENOTDIR');
      expect(few[4]).to.equal('{}');
      expect(() => walker.open({ path: place, below: 'link' }, constants.O_RDONLY)).to.throw(/^ELOOP/);
      expect(() => walker.open({ path: place, below: 'missing' }, constants.O_RDONLY)).to.throw(/^ENOENT/);
    } finally {
      walker.close();
    }
  });
});
