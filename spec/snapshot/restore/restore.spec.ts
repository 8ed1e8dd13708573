import { execFileSync } from 'node:child_process';
import { existsSync, linkSync, lstatSync, readdirSync, unlinkSync } from 'node:fs';
import {
  appendFile,
  chmod,
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import { expect } from 'chai';
import { restore, type RestoreOptions, TransferError } from '../../../lib/index';
import type { Manifest } from '../../../lib/snapshot/manifest/manifest';
import { Heard, temporaryDirectory } from '../../receive/receive-directory';
import { MiB, noise } from '../../session/pair';
import { encoded, type MadeEntry, madeSnapshot, registerMade } from '../made-snapshot';

const id = '2026-11-20T101233Z';

/**
 * Everything below a directory with its metadata, as find(1) sees it: type, mode, mtime to the ns, size of files,
 * target, number of names.
 */
function metadataOf(place: string): string[] {
  const found = execFileSync(
    'find',
    [
      place,
      '-mindepth',
      '1',
      '(',
      '-type',
      'd',
      '-printf',
      '%P %y %m %T@\\n',
      '-o',
      '-printf',
      '%P %y %m %T@ %s %l %n\\n',
      ')',
    ],
    { encoding: 'utf8' },
  );
  return found
    .split('\n')
    .filter((line) => line !== '' && !/^(MANIFEST|SHA256SUMS|foreign) /.test(line))
    .sort();
}

describe('restoring a snapshot', () => {
  let root: string;
  let to: string;
  let place: string;
  let manifest: Manifest;
  let heard: Heard;

  const make = async (tree: Readonly<Record<string, MadeEntry>>): Promise<void> => {
    ({ place, manifest } = await madeSnapshot(root, { name: 'laptop', id, number: 1 }, tree));
  };
  const restoring = (options: Partial<RestoreOptions> = {}): Promise<Awaited<ReturnType<typeof restore>>> =>
    restore({ directory: root, snapshot: 'laptop/latest', destination: to, on: heard.on, ...options });
  const failure = async (options: Partial<RestoreOptions> = {}): Promise<TransferError> => {
    const end = await restoring(options).catch((error: unknown) => error);
    if (end instanceof TransferError) return end;
    throw new Error('it did not fail');
  };
  const read = async (name: string): Promise<string> => String(await readFile(path.join(to, name)));
  const failed = (): unknown[] => heard.all('failed').map(({ file_name: name, code }) => [name, code]);

  beforeEach(async () => {
    root = await temporaryDirectory();
    to = path.join(await temporaryDirectory(), 'restored');
    heard = new Heard();
  });
  afterEach(async () => {
    await rm(root, { recursive: true });
    await rm(path.dirname(to), { recursive: true });
  });

  it('brings all of it back with its metadata, and nothing that is no part of it', async () => {
    await make({
      'home/large': noise(3 * MiB + 5),
      'home/.hidden': 'hidden',
      'home/again': { link: 'home/large' },
      'home/deep/er/empty': '',
      'home/to': { symlink: '../away' },
      bare: { directory: true },
    });
    await writeFile(path.join(place, 'foreign'), 'not of this snapshot');
    const { snapshot, files, summary } = await restoring();
    expect(snapshot).to.equal(`laptop/${id}`);
    expect(files.map(({ file_name: name }) => name)).to.have.members([
      'home/large',
      'home/.hidden',
      'home/deep/er/empty',
    ]);
    expect(summary.files).to.equal(3);
    expect(metadataOf(to)).to.deep.equal(metadataOf(place));
    expect((await readdir(to)).sort()).to.deep.equal(['bare', 'home']);
    expect(await readFile(path.join(to, 'home/large'))).to.deep.equal(noise(3 * MiB + 5));
    expect((await stat(path.join(to, 'home/again'))).ino).to.equal((await stat(path.join(to, 'home/large'))).ino);
    expect(heard.events.at(-1)?.event).to.equal('summary');
  });

  it('names what the snapshot never had, and is not all of it then', async () => {
    await make({ 'home/a': 'a', 'home/gone': { missing: 'source-unreadable' } });
    expect(await failure()).to.include({
      code: 'some-failed',
      message: 'Everything that the snapshot has is restored, without 1 entry that is not in it.',
    });
    expect(heard.all('skipped').map(({ file_name: name }) => name)).to.deep.equal(['home/gone']);
    expect(await read('home/a')).to.equal('a');
    await restoring({ paths: ['home/a'] });
  });

  it('stores modes and times of the manifest, whatever those in the snapshot are by now', async () => {
    await make({ small: 'small', large: noise(2 * MiB) });
    const entries = manifest.entries.map((entry) =>
      entry.type === 'file' ? { ...entry, mode: 0o640, mtime: 1_500_000_000_123_456_789n } : entry,
    );
    await writeFile(path.join(place, 'MANIFEST'), encoded({ ...manifest, entries }));
    await registerMade(root, { name: 'laptop', id });
    await restoring();
    for (const name of ['small', 'large']) {
      const stats = await stat(path.join(to, name), { bigint: true });
      expect([stats.mode & 0o777n, stats.mtimeNs]).to.deep.equal([0o640n, 1_500_000_000_123_456_789n]);
    }
  });

  it('leaves the holes of a sparse file', async () => {
    await make({ sparse: Buffer.alloc(64 * MiB) });
    await truncate(path.join(place, 'sparse'), 0);
    await truncate(path.join(place, 'sparse'), 64 * MiB);
    await restoring();
    const { size, blocks } = await stat(path.join(to, 'sparse'));
    expect(size).to.equal(64 * MiB);
    expect(blocks * 512).to.be.below(MiB);
  });

  it('names what is damaged in the snapshot, stores nothing under these names, and brings the rest', async () => {
    await make({
      'a/small': 'content',
      'a/large': noise(3 * MiB),
      'a/cut': 'content',
      'a/gone': 'content',
      'a/other': 'content',
      'b/good': 'good',
      'b/large': noise(2 * MiB, 2),
    });
    const damage = async (name: string, how: (at: string) => Promise<unknown>): Promise<void> => {
      const { mtime, atime } = await stat(path.join(place, name));
      await how(path.join(place, name));
      // As a disk damages it: nobody can tell by the time.
      await utimes(path.join(place, name), atime, mtime).catch(() => undefined);
    };
    await damage('a/small', (at) => writeFile(at, 'c0ntent'));
    await damage('a/large', (at) => writeFile(at, noise(3 * MiB, 3)));
    await damage('a/cut', (at) => truncate(at, 3));
    await damage('a/gone', (at) => rm(at));
    await damage('a/other', (at) => rm(at).then(() => symlink('/etc/hostname', at)));
    const error = await failure();
    expect(error).to.include({ code: 'mismatch', message: '5 of 7 files are not what was stored.' });
    expect(failed()).to.have.deep.members(
      ['small', 'large', 'cut', 'gone', 'other'].map((name) => [`a/${name}`, 'mismatch']),
    );
    expect(await readdir(path.join(to, 'a'))).to.deep.equal([]);
    expect(await read('b/good')).to.equal('good');
    expect(heard.all('received').filter(({ repaired }) => repaired)).to.deep.equal([]);
    expect(await readFile(path.join(to, 'b/large'))).to.deep.equal(noise(2 * MiB, 2));
    expect((await failure({ paths: ['a/small'] })).code).to.equal('mismatch');
  });

  it('is not disturbed by a backup that links to the files of the snapshot meanwhile, or a removal of one', async () => {
    await make({ small: 'content', large: noise(24 * MiB) });
    const linking = setInterval(() => {
      for (const name of ['small', 'large']) {
        linkSync(path.join(place, name), path.join(root, name));
        unlinkSync(path.join(root, name));
      }
    }, 1);
    const { summary } = await restoring().finally(() => clearInterval(linking));
    expect(summary.files).to.equal(2);
  });

  it('does not take damaged content for good because the destination has the same', async () => {
    await make({ small: 'content', large: noise(3 * MiB) });
    await mkdir(to);
    for (const [name, content] of [
      ['small', 'c0ntent'],
      ['large', noise(3 * MiB, 3)],
    ] as const) {
      await writeFile(path.join(place, name), content);
      await writeFile(path.join(to, name), content);
    }
    await failure();
    expect(failed()).to.have.deep.members([
      ['small', 'mismatch'],
      ['large', 'mismatch'],
    ]);
  });

  it('takes no receipt of an earlier restore for content that the manifest does not have any more', async () => {
    await make({ small: 'content' });
    // Receipts are kept where the destination is a receive directory.
    await mkdir(path.join(to, '.sendall'), { recursive: true, mode: 0o700 });
    await restoring();
    const entries = manifest.entries.map((entry) =>
      entry.type === 'file' ? { ...entry, digests: { sha256: '0'.repeat(64) } } : entry,
    );
    await writeFile(path.join(place, 'MANIFEST'), encoded({ ...manifest, entries }));
    await registerMade(root, { name: 'laptop', id });
    expect((await failure()).code).to.equal('mismatch');
  });

  it('takes no manifest that was changed', async () => {
    await make({ a: 'a' });
    await appendFile(path.join(place, 'MANIFEST'), '\n');
    expect((await failure({ snapshot: `laptop/${id}` })).code).to.equal('mismatch');
    await lstat(to).then(
      () => expect.fail('a destination was made'),
      () => undefined,
    );
  });

  it('leaves what is there alone, unless told; what is the same is success', async () => {
    await make({ same: 'same', other: 'of the snapshot' });
    await mkdir(to);
    await writeFile(path.join(to, 'same'), 'same');
    await writeFile(path.join(to, 'other'), 'of mine');
    const error = await failure();
    expect(failed()).to.deep.equal([['other', 'exists']]);
    expect(error.code).to.equal('some-failed');
    expect(await read('other')).to.equal('of mine');
    await restoring({ ifExists: 'skip' });
    expect(await read('other')).to.equal('of mine');
    await restoring({ ifExists: 'replace' });
    expect(await read('other')).to.equal('of the snapshot');
    const { summary } = await restoring();
    expect(summary).to.include({ files: 2, bytes_on_wire: 0 });
  });

  it('goes on with what an interrupted one has brought, and leaves nothing of ours behind', async () => {
    const size = 96 * MiB;
    await make({ 'a/first': 'first', large: noise(size), 'z/last': 'last' });
    const stop = new AbortController();
    const unfinished = path.join(to, '.sendall', 'partial');
    const watching = setInterval(() => {
      const sizes = existsSync(unfinished)
        ? readdirSync(unfinished).map((name) => lstatSync(path.join(unfinished, name)).blocks * 512)
        : [];
      if (Math.max(0, ...sizes) > size / 4) stop.abort();
    }, 2);
    const interrupted = await failure({ signal: stop.signal }).finally(() => clearInterval(watching));
    expect(interrupted.code).to.equal('interrupted');
    expect(await readdir(path.join(to, '.sendall'))).to.include('restore');
    const { summary } = await restoring();
    expect(summary.bytes_on_wire).to.be.below(size * 0.9);
    expect(metadataOf(to)).to.deep.equal(metadataOf(place));
  });

  it('keeps what a receive directory has of its own', async () => {
    await make({ a: 'a' });
    await mkdir(path.join(to, '.sendall'), { recursive: true, mode: 0o700 });
    await writeFile(path.join(to, '.sendall', 'kept'), 'kept');
    await restoring();
    expect(await read('.sendall/kept')).to.equal('kept');
  });

  it('refuses a destination among the snapshots, or one that is not safe, and leaves it as it was', async () => {
    await make({ a: 'a' });
    for (const destination of [root, place, path.join(root, 'laptop', 'new')])
      expect((await failure({ destination })).code).to.equal('usage');
    await mkdir(to);
    await chmod(to, 0o777);
    expect((await failure()).code).to.equal('directory');
    expect(await readdir(to)).to.deep.equal([]);
    await link(path.join(place, 'a'), `${to}.file`);
    expect((await failure({ destination: `${to}.file` })).code).to.equal('directory');
    expect((await failure({ snapshot: 'laptop/2020-01-01T000000Z' })).code).to.equal('usage');
  });
});
