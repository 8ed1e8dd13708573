import { expect } from 'chai';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
} from 'node:fs';
import { symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { DigestCache, cacheDirectory, noDigestCache } from '../../lib/digest/digest-cache';
import type { FileIdentity } from '../../lib/digest/digest-cache';
import { skipTest } from '../skip-test';

const md5 = '8f6fbf8347faa4924a76856701edb0f3';
const otherMd5 = '900150983cd24fb0d6963f7d28e17f72';
const sha256 = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
const day = 24 * 60 * 60 * 1000;

/** A file that nobody touched for an hour when `now` was. */
const now = 1_700_000_000_000;
const hourAgo = BigInt(now - 3_600_000) * 1_000_000n;
const file: FileIdentity = {
  dev: 66_306n,
  ino: 0xffff_ffff_ffffn,
  size: 1n << 20n,
  mtimeNs: hourAgo,
  ctimeNs: hourAgo + 1n,
};

describe('DigestCache', () => {
  let home: string;
  let directory: string;

  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'digest-cache-'));
    directory = join(home, 'cache', 'digests');
  });

  afterEach(() => {
    rmSync(home, { recursive: true, force: true, maxRetries: 5 }); // a sweep may still be under way
  });

  const entries = (): string[] => readdirSync(directory).filter((name) => name !== 'swept');

  /** The path of the only entry. */
  function entry(): string {
    const names = entries();
    expect(names).to.have.lengthOf(1);
    return join(directory, names[0] as string);
  }

  /** Looks up as another process would: with nothing in memory. */
  const lookup = (id = file, algorithm: 'md5' | 'sha256' | 'blake3' = 'md5') =>
    new DigestCache(directory).lookup(id, algorithm);
  const remember = (id = file, digest = md5) => new DigestCache(directory).remember(id, 'md5', digest, now);

  it('knows nothing at first', async () => {
    expect(await lookup()).to.equal(undefined);
  });

  it('remembers the digest of a real file until the file is written to', async () => {
    const path = join(home, 'file');
    writeFileSync(path, Buffer.alloc(1 << 20, 'a'));
    const before = statSync(path, { bigint: true });
    await new DigestCache(directory).remember(before, 'md5', md5, Date.now() + 3000);
    expect(await lookup(statSync(path, { bigint: true }))).to.equal(md5);

    await pause(20); // longer than a tick of the kernel's clock
    writeFileSync(path, Buffer.alloc(1 << 20, 'b'));
    utimesSync(path, Number(before.mtimeMs) / 1000, Number(before.mtimeMs) / 1000); // ctime gives it away
    expect(await lookup(statSync(path, { bigint: true }))).to.equal(undefined);
  });

  for (const key of ['dev', 'ino', 'size', 'mtimeNs', 'ctimeNs'] as const) {
    it(`does not take a file for another one that differs only by ${key}`, async () => {
      await remember();
      expect(await lookup({ ...file, [key]: file[key] + 1n })).to.equal(undefined);
      expect(await lookup()).to.equal(md5);
    });
  }

  it('keeps one digest for each algorithm', async () => {
    const cache = new DigestCache(directory);
    await cache.remember(file, 'md5', md5, now);
    await cache.remember(file, 'sha256', sha256, now);
    expect(await lookup(file, 'md5')).to.equal(md5);
    expect(await lookup(file, 'sha256')).to.equal(sha256);
    expect(await lookup(file, 'blake3')).to.equal(undefined);
  });

  it("replaces a file's entry when the file has changed, with none of the old digests", async () => {
    const changed = { ...file, mtimeNs: file.mtimeNs + 5n };
    const cache = new DigestCache(directory);
    await cache.remember(file, 'md5', md5, now);
    await cache.remember(file, 'sha256', sha256, now);
    await cache.remember(changed, 'md5', otherMd5, now);
    expect(entries()).to.have.lengthOf(1);
    expect(await lookup(changed, 'md5')).to.equal(otherMd5);
    expect(await lookup(changed, 'sha256')).to.equal(undefined);
  });

  it('neither stores nor looks for a file of less than 1 MiB', async () => {
    await remember({ ...file, size: (1n << 20n) - 1n });
    expect(existsSync(directory)).to.equal(false);
  });

  for (const [key, age, stored] of [
    ['mtimeNs', 1_999n, false],
    ['ctimeNs', 1_999n, false],
    ['mtimeNs', -60_000n, false],
    ['ctimeNs', -60_000n, false],
    ['mtimeNs', 2_000n, true],
    ['ctimeNs', 2_000n, true],
  ] as const) {
    it(`${stored ? 'stores' : 'does not store'} the digest of a file whose ${key} was ${age} ms old when hashing began`, async () => {
      const id = { ...file, [key]: (BigInt(now) - age) * 1_000_000n };
      await remember(id);
      expect(await lookup(id)).to.equal(stored ? md5 : undefined);
    });
  }

  it('makes its directory 0700 and its entries 0600, and leaves no temporary file', async function () {
    if (process.platform === 'win32') skipTest(this, 'it is not about Windows');
    await remember();
    expect(statSync(directory).mode & 0o777).to.equal(0o700);
    expect(statSync(entry()).mode & 0o777).to.equal(0o600);
  });

  it('never shows half an entry, however many write and read it at once', async () => {
    const caches = Array.from({ length: 4 }, () => new DigestCache(directory));
    await remember();
    const found = await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const cache = caches[index % 4] as DigestCache;
        await cache.remember(file, 'md5', index % 3 ? md5 : otherMd5, now);
        return cache.lookup(file, 'md5');
      }),
    );
    expect(found.filter((digest) => digest !== md5 && digest !== otherMd5)).to.deep.equal([]);
    entry();
  });

  describe('counts a damaged entry as not known', () => {
    beforeEach(() => remember());

    const damages: Readonly<Record<string, (text: string) => string>> = {
      'emptied, as by a power cut': () => '',
      'cut short': (text) => text.slice(0, -1),
      'cut within the digest': (text) => text.slice(0, text.indexOf(md5) + 5),
      'zeroed, as by a power cut': (text) => '\0'.repeat(text.length),
      'with one digit of the digest changed': (text) => text.replace(md5, md5.replace('8', '9')),
      'with one digit of the checksum changed': (text) =>
        text.replace(/[0-9a-f](?=\n$)/, (digit) => (digit === '0' ? '1' : '0')),
      'with something after it': (text) => `${text}md5 ${otherMd5}\n`,
      'of another version, whole': (text) => {
        const body = text.replace(/check .*\n$/, '').replace('digests 1 ', 'digests 2 ');
        return `${body}check ${createHash('sha256').update(body).digest('hex')}\n`;
      },
    };

    for (const [title, damage] of Object.entries(damages)) {
      it(title, async () => {
        const path = entry();
        const text = readFileSync(path, 'utf8');
        expect(damage(text)).not.to.equal(text);
        writeFileSync(path, damage(text));
        expect(await lookup()).to.equal(undefined);
        await remember();
        expect(await lookup(), 'after remembering it again').to.equal(md5);
      });
    }

    it('that is a directory', async () => {
      const path = entry();
      rmSync(path);
      mkdirSync(path);
      expect(await lookup()).to.equal(undefined);
      await remember();
      expect(await lookup()).to.equal(undefined);
      expect(entries(), 'no temporary file is left').to.have.lengthOf(1);
    });
  });

  describe('without a usable directory knows nothing and fails nothing', () => {
    async function isUseless(): Promise<void> {
      await remember();
      expect(await lookup()).to.equal(undefined);
    }

    it('where a file stands in its place', async () => {
      mkdirSync(join(home, 'cache'));
      writeFileSync(directory, 'mine');
      await isUseless();
      expect(readFileSync(directory, 'utf8')).to.equal('mine');
    });

    it('where its parent cannot be made', async () => {
      directory = join(home, 'file', 'digests');
      writeFileSync(join(home, 'file'), '');
      await isUseless();
    });

    it('where the path is a loop of symbolic links', async () => {
      mkdirSync(join(home, 'cache'));
      symlinkSync(directory, directory);
      await isUseless();
    });

    it('where the path is none at all', async () => {
      directory = 'a\0b';
      await isUseless();
    });

    it('where others may write to it, who could plant digests', async function () {
      if (process.platform === 'win32') skipTest(this, 'it is not about Windows');
      await remember();
      chmodSync(directory, 0o777);
      await isUseless();
      chmodSync(directory, 0o700);
      expect(await lookup()).to.equal(md5);
    });

    it('where it belongs to someone else', async function () {
      if (process.geteuid?.() !== 0) skipTest(this, 'only root can do this');
      await remember();
      chownSync(directory, 65_534, 65_534);
      await isUseless();
    });
  });

  describe('sweeps', () => {
    beforeEach(() => {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      writeFileSync(join(directory, 'swept'), ''); // has swept today, so that a test decides when it does again
    });

    const age = (path: string, days: number): void => {
      const seconds = (Date.now() - days * day) / 1000;
      utimesSync(path, seconds, seconds);
    };
    const ageOf = (path: string): number => (Date.now() - statSync(path).mtimeMs) / day;

    async function until(condition: () => boolean): Promise<void> {
      for (let tries = 0; tries < 200 && !condition(); tries += 1) await pause(10);
    }

    /**
     * Opens the cache as on another day and waits until it has swept, which the going of a file of 1,000 days shows.
     */
    async function sweep(): Promise<void> {
      const decoy = join(directory, '1-1');
      writeFileSync(decoy, '');
      age(decoy, 1000);
      age(join(directory, 'swept'), 2);
      await lookup({ ...file, ino: 2n });
      await until(() => !existsSync(decoy));
      await pause(30); // for what stands after it in the directory
      expect(existsSync(decoy), 'swept').to.equal(false);
    }

    it('entries and temporary files unused for 90 days, and nothing else', async () => {
      await remember();
      await remember({ ...file, ino: 7n });
      const [old, fresh] = [join(directory, `${file.dev}-${file.ino}`), join(directory, `${file.dev}-7`)];
      const temporary = `${old}.0123456789abcdef.new`;
      const foreign = join(directory, 'thesis.txt');
      for (const path of [temporary, foreign]) writeFileSync(path, '');
      for (const path of [old, temporary, foreign]) age(path, 91);
      age(fresh, 89);
      await sweep();
      await until(() => !existsSync(old) && !existsSync(temporary));
      expect(readdirSync(directory).sort()).to.deep.equal([`${file.dev}-7`, 'swept', 'thesis.txt']);
    });

    it('not what was looked up meanwhile', async () => {
      await remember();
      const path = entry();
      age(path, 91);
      expect(await lookup()).to.equal(md5);
      expect(ageOf(path)).to.be.lessThan(1);
      await sweep();
      expect(await lookup()).to.equal(md5);
    });

    it('at most once a day', async () => {
      await remember();
      const path = entry();
      age(path, 91);
      age(join(directory, 'swept'), 0.9);
      await lookup({ ...file, ino: 2n });
      await pause(100);
      expect(existsSync(path)).to.equal(true);
      expect(ageOf(join(directory, 'swept'))).to.be.greaterThan(0.8);

      await sweep();
      await until(() => !existsSync(path));
      expect(existsSync(path)).to.equal(false);
      expect(ageOf(join(directory, 'swept'))).to.be.lessThan(0.1);
    });
  });

  it('costs no more than the tiny entry on disk, whatever the size of the file', async () => {
    const path = join(home, 'sparse');
    writeFileSync(path, '');
    truncateSync(path, 2 ** 40);
    const id = statSync(path, { bigint: true });
    await new DigestCache(directory).remember(id, 'md5', md5, Date.now() + 3000);
    expect(await lookup(id)).to.equal(md5);
    expect(statSync(entry()).size).to.be.lessThan(512);
  });
});

describe('cacheDirectory', () => {
  const end = join('sendall', 'digests');

  it('is under an absolute $XDG_CACHE_HOME, on any system', () => {
    for (const platform of ['linux', 'darwin', 'win32'] as const) {
      expect(cacheDirectory({ XDG_CACHE_HOME: '/var/xdg' }, platform)).to.equal(join('/var/xdg', end));
    }
  });

  it("else is at the platform's usual place", () => {
    expect(cacheDirectory({}, 'linux')).to.equal(join(homedir(), '.cache', end));
    expect(cacheDirectory({ XDG_CACHE_HOME: '' }, 'linux')).to.equal(join(homedir(), '.cache', end));
    expect(cacheDirectory({ XDG_CACHE_HOME: 'relative' }, 'linux')).to.equal(join(homedir(), '.cache', end));
    expect(cacheDirectory({}, 'darwin')).to.equal(join(homedir(), 'Library', 'Caches', end));
    expect(cacheDirectory({ LOCALAPPDATA: '/local' }, 'win32')).to.equal(join('/local', end));
    expect(cacheDirectory({}, 'win32')).to.equal(join(homedir(), 'AppData', 'Local', end));
  });
});

describe('noDigestCache', () => {
  it('remembers nothing', async () => {
    await noDigestCache.remember(file, 'md5', md5, now);
    expect(await noDigestCache.lookup(file, 'md5')).to.equal(undefined);
  });
});
