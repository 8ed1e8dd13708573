import { expect } from 'chai';
import { spawn } from 'node:child_process';
import { chmodSync, readdirSync, writeFileSync } from 'node:fs';
import {
  chmod,
  chown,
  cp,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import files from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { TransferError } from '../../../lib/errors';
import { parseEntryName } from '../../../lib/name';
import { lockBackup } from '../../../lib/snapshot/backup/backup-lock';
import { parseManifest } from '../../../lib/snapshot/manifest/manifest';
import { isDamage } from '../../../lib/snapshot/manifest/snapshot-catalog';
import { prune, type PruneEvent, type LocalPruneOptions } from '../../../lib/snapshot/prune/prune';
import { readRegister, writeRegister } from '../../../lib/snapshot/register/register';
import { Directory } from '../../../lib/store/local/directory';
import { failureOf } from '../../store/delivery';
import { everythingIn, snapshotOf } from '../../store/local/local-place';
import { compiled } from '../../store/local/receiving-process';
import { canTrace } from '../../store/local/trace';
import { type MadeEntry, madeSnapshot } from '../made-snapshot';

const [monday, tuesday, wednesday] = ['2026-11-16T100000Z', '2026-11-17T100000Z', '2026-11-18T100000Z'];
const size = async (...place: string[]): Promise<number> => (await lstat(path.join(...place))).size;

describe('prune', () => {
  let root: string;
  beforeEach(async () => (root = await mkdtemp(path.join(tmpdir(), 'sendall-prune-'))));
  afterEach(() => rm(root, { recursive: true, force: true }));

  /** Snapshots of consecutive numbers, files that stay the same shared. */
  async function make(
    name: string,
    trees: Readonly<Record<string, Readonly<Record<string, MadeEntry>>>>,
  ): Promise<void> {
    let previous: string | undefined;
    let number = 0;
    for (const [id, tree] of Object.entries(trees)) {
      previous = (
        await madeSnapshot(root, { name, id, number: ++number }, tree, previous === undefined ? {} : { previous })
      ).place;
    }
  }
  const run = (options: Partial<LocalPruneOptions> = {}): ReturnType<typeof prune> =>
    prune({ directory: root, keep: { last: 1 }, ...options });
  const ids = async (name = 'laptop'): Promise<string[]> => (await readdir(path.join(root, name))).sort();
  /** The bytes of what each snapshot has for itself alone. */
  const overhead = async (id: string): Promise<number> =>
    (await size(root, 'laptop', id, 'MANIFEST')) + (await size(root, 'laptop', id, 'SHA256SUMS'));

  it('removes what no rule keeps, frees the bytes that no other snapshot has, and leaves nothing behind', async () => {
    const every = { 'all.txt': 'in all of them', 'd/twice': 'x', 'd/again': { link: 'd/twice' } } as const;
    await make('laptop', {
      [monday]: { ...every, 'own/twice': 'xx', 'own/again': { link: 'own/twice' }, old: 'y'.repeat(1000) },
      [tuesday]: { ...every, old: 'y'.repeat(1000) },
      [wednesday]: { ...every, new: 'z' },
    });
    const own = path.join(root, '.sendall', 'snapshots', 'laptop');
    await mkdir(own, { recursive: true, mode: 0o700 });
    for (const each of [monday, wednesday, '2026-11-01T000000Z'])
      await writeFile(path.join(own, `${each}.verified`), '{}');
    const [first, second] = [await overhead(monday), await overhead(tuesday)];
    const whole = await snapshotOf(path.join(root, 'laptop', wednesday));
    const told: PruneEvent[] = [];
    const pruned = await run({ on: (event) => told.push(event) });
    expect(pruned).to.deep.equal([
      { event: 'removed', snapshot: `laptop/${monday}`, freed_bytes: first + 2 }, // what has two names, both here
      { event: 'removed', snapshot: `laptop/${tuesday}`, freed_bytes: second + 1000 },
      { event: 'kept', snapshot: `laptop/${wednesday}`, reasons: ['newest', 'last'] },
    ]);
    expect(told).to.deep.equal(pruned);
    expect(await ids()).to.deep.equal([wednesday, 'latest']);
    expect(await readlink(path.join(root, 'laptop', 'latest'))).to.equal(wednesday);
    expect(await snapshotOf(path.join(root, 'laptop', wednesday))).to.deep.equal(whole);
    expect(await everythingIn(own)).to.deep.equal([`${wednesday}.verified`, 'register']);
    await rm(path.join(own, `${wednesday}.verified`));
    expect(await run()).to.have.lengthOf(1);
    expect(await everythingIn(own)).to.deep.equal(['register']);
    expect((await readRegister(root, parseEntryName('laptop')))?.snapshots.map(({ id }) => id)).to.deep.equal([
      wednesday,
    ]);
  });

  it('tells the same in a dry run, and writes nothing', async () => {
    await make('laptop', {
      [monday]: { a: 'same', 'd/b': 'one' },
      [tuesday]: { a: 'same', 'd/b': 'two' },
      [wednesday]: { a: 'other' },
    });
    const before = await snapshotOf(root);
    const foretold = await run({ dryRun: true });
    expect(await snapshotOf(root)).to.deep.equal(before);
    const done = await run();
    expect(foretold).to.deep.equal(done.map((each) => (each.event === 'kept' ? each : { ...each, dry_run: true })));
    expect(done.filter(({ event }) => event === 'removed')).to.have.lengthOf(2);
  });

  it('takes one backup or all of them, and knows which there are', async () => {
    for (const name of ['laptop', 'desk']) await make(name, { [monday]: { a: '1' }, [tuesday]: { a: '2' } });
    await run({ name: 'desk' });
    expect([await ids('desk'), await ids('laptop')]).to.deep.equal([
      [tuesday, 'latest'],
      [monday, tuesday, 'latest'],
    ]);
    await run();
    expect(await ids('laptop')).to.deep.equal([tuesday, 'latest']);
    for (const name of ['nobody', '..', 'desk/latest', ''])
      expect((await failureOf(run({ name }))).code, name).to.equal('usage');
    expect((await failureOf(run({ keep: {} }))).code).to.equal('usage');
    expect((await failureOf(run({ directory: path.join(root, 'gone') }))).code).to.equal('directory');
  });

  it('keeps what is damaged anywhere in its manifest, and does not count it', async () => {
    await make('laptop', { [monday]: { a: '1' }, [tuesday]: { a: '2' }, [wednesday]: { a: '3' } });
    const manifest = path.join(root, 'laptop', wednesday, 'MANIFEST');
    await truncate(manifest, (await size(manifest)) - 1);
    const pruned = await run();
    expect(pruned.map((each) => (each.event === 'kept' ? each.reasons : each.event))).to.deep.equal([
      'removed',
      ['newest', 'last'],
      ['damaged'],
    ]);
  });

  it('removes what is damaged where it is named, and nothing else in its place', async () => {
    await make('laptop', { [monday]: { a: '1' }, [tuesday]: { a: '2' }, [wednesday]: { a: '3' } });
    const manifest = path.join(root, 'laptop', wednesday, 'MANIFEST');
    await truncate(manifest, (await size(manifest)) - 1);
    const removing = { keep: { last: 2 }, removeDamaged: `laptop/${wednesday}` };
    for (const [each, name] of [
      [`laptop/${tuesday}`, 'laptop'],
      [`laptop/${wednesday}`, 'desk'],
      ['laptop/2020-01-01T000000Z', 'laptop'],
    ] as const)
      expect((await failureOf(run({ ...removing, name, removeDamaged: each }))).code).to.equal('usage');
    expect(await ids()).to.deep.equal([monday, tuesday, wednesday, 'latest']);
    for (const dryRun of [true, false]) {
      const pruned = await run({ ...removing, dryRun });
      expect(pruned.map((each) => (each.event === 'kept' ? each.reasons : each.event))).to.deep.equal([
        ['last'],
        ['newest', 'last'],
        'removed',
      ]);
    }
    expect(await ids()).to.deep.equal([monday, tuesday, 'latest']);
    expect(await readlink(path.join(root, 'laptop/latest'))).to.equal(tuesday);
  });

  it('removes nothing as damaged that somebody has put right meanwhile', async () => {
    await make('desk', { [monday]: { a: '1' } });
    await make('laptop', { [monday]: { a: '1' }, [tuesday]: { a: '2' } });
    const manifest = path.join(root, 'laptop', tuesday, 'MANIFEST');
    const whole = await readFile(manifest);
    await truncate(manifest, whole.length - 1);
    // The backups are pruned one after the other.
    const on = ({ event }: PruneEvent): void => void (event === 'kept' && writeFileSync(manifest, whole));
    const { code, message } = await failureOf(run({ keep: { last: 2 }, removeDamaged: `laptop/${tuesday}`, on }));
    expect([code, message]).to.deep.equal([
      'usage',
      `laptop/${tuesday} was not found damaged once more, and was kept.`,
    ]);
    expect(await ids()).to.deep.equal([monday, tuesday, 'latest']);
  });

  it('leaves no latest that names nothing where the only snapshot was damaged, and goes', async () => {
    await make('laptop', { [monday]: { a: '1' } });
    await truncate(path.join(root, 'laptop', monday, 'MANIFEST'), 100);
    const pruned = await run({ keep: { last: 2 }, removeDamaged: `laptop/${monday}/` });
    expect(pruned.map(({ event }) => event)).to.deep.equal(['removed']);
    expect(await ids()).to.deep.equal([]);
  });

  it('takes no manifest for damaged that could not be read', async () => {
    const thrown = (errno?: string): TransferError =>
      new TransferError('mismatch', 'A manifest cannot be read', {
        cause: errno === undefined ? undefined : Object.assign(new Error(errno), { code: errno }),
      });
    for (const errno of ['EACCES', 'EMFILE', 'EIO', 'ESTALE']) expect(isDamage(thrown(errno)), errno).to.equal(false);
    for (const errno of ['ENOENT', 'ENOTDIR', undefined]) expect(isDamage(thrown(errno)), errno).to.equal(true);
    expect(isDamage(new TransferError('disk', 'It does not answer.'))).to.equal(false);

    await make('laptop', { [monday]: { a: '1' }, [tuesday]: { a: '2' } });
    const { open } = files;
    files.open = (at, ...more) => {
      if (!String(at).endsWith('/MANIFEST')) return open(at, ...more);
      return Promise.reject(Object.assign(new Error('EIO: i/o error, open'), { code: 'EIO' }));
    };
    try {
      const { code, message } = await failureOf(run({ keep: { last: 2 }, removeDamaged: `laptop/${tuesday}` }));
      expect(code).to.equal('disk');
      expect(message).to.match(/^Whether laptop\/\S+ is damaged is not known\. .*EIO/);
    } finally {
      files.open = open;
    }
    expect(await ids()).to.deep.equal([monday, tuesday, 'latest']);
  });

  it('lets latest name a snapshot that stays, and leaves alone what is no link', async () => {
    await make('laptop', { [monday]: { a: '1' }, [tuesday]: { a: '2' }, [wednesday]: { a: '3' } });
    const latest = path.join(root, 'laptop', 'latest');
    await rm(latest);
    await symlink(monday, latest);
    await run({ keep: { last: 2 } });
    expect(await readlink(latest)).to.equal(wednesday);
    await rm(latest);
    await writeFile(latest, 'mine');
    await run();
    expect(await readFile(latest, 'utf8')).to.equal('mine');
  });

  it('follows no symbolic link', async () => {
    const outside = path.join(root, 'outside');
    await mkdir(outside);
    await writeFile(path.join(outside, 'precious'), 'x');
    await make('laptop', {
      [monday]: { 'd/out': { symlink: outside }, file: { symlink: path.join(outside, 'precious') } },
      [tuesday]: { a: '1' },
    });
    await run();
    expect(await ids()).to.deep.equal([tuesday, 'latest']);
    expect(await readdir(outside)).to.deep.equal(['precious']);
  });

  it('waits for nobody: one backup in use is named, and the others are pruned', async () => {
    for (const name of ['laptop', 'desk']) await make(name, { [monday]: { a: '1' }, [tuesday]: { a: '2' } });
    const lock = await lockBackup(root, parseEntryName('laptop'));
    const failure = await failureOf(run({ name: 'laptop' }));
    expect(failure.code).to.equal('directory');
    expect(failure.message).to.include(`process ${process.pid} `).and.include('the backup laptop');
    const told: PruneEvent[] = [];
    expect((await failureOf(run({ on: (event) => told.push(event) }))).code).to.equal('some-failed');
    expect(told.map(({ event }) => event)).to.deep.equal(['removed', 'kept', 'failed']);
    expect(await ids()).to.deep.equal([monday, tuesday, 'latest']);
    await lock.release();
    await run();
    expect(await readdir(root)).to.have.members(['.sendall', 'laptop', 'desk']);
  });

  /** Prunes in a process of its own, by the user `uid`; `command` stands before it. */
  function pruneElsewhere(
    uid?: number,
    command: readonly string[] = [],
  ): { readonly kill: () => void; readonly ended: Promise<string> } {
    const library = path.join(
      path.dirname(compiled('receiving')),
      '..',
      '..',
      '..',
      'lib',
      'snapshot',
      'prune',
      'prune.js',
    );
    const program = `require(${JSON.stringify(library)}).prune({ directory: ${JSON.stringify(root)}, keep: { last: 1 } }).then(() => console.log('done'))`;
    const [file = '', ...words] = [...command, process.execPath, '-e', program];
    const child = spawn(file, words, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NODE_V8_COVERAGE: '' },
      cwd: '/',
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    let said = '';
    child.stdout.on('data', (bytes: Buffer) => (said += bytes.toString()));
    return {
      kill: () => void child.kill('SIGKILL'),
      ended: new Promise((resolve) => child.once('close', () => resolve(said.trim()))),
    };
  }

  it('removes directories that nobody may write, enter or read', async () => {
    await make('laptop', {
      [monday]: { 'written/d/a': '1', 'entered/d/a': '2', 'read/d/a': '3', 'none/a': '4' },
      [tuesday]: { a: '5' },
    });
    const nobody = 65_534;
    const isRoot = process.getuid?.() === 0; // for whom modes mean nothing
    if (isRoot) {
      for (const each of ['', ...(await everythingIn(root))])
        if (!each.endsWith('latest')) await chown(path.join(root, each), nobody, nobody);
      chmodSync(path.join(path.dirname(compiled('receiving')), '..', '..', '..'), 0o755);
    }
    const place = path.join(root, 'laptop', monday);
    for (const [name, mode] of [
      ['written', 0o555],
      ['entered', 0o600],
      ['read', 0o300],
      ['none', 0],
      ['.', 0o555],
    ] as const)
      await chmod(path.join(place, name), mode);
    expect(await pruneElsewhere(isRoot ? nobody : undefined).ended).to.equal('done');
    expect((await everythingIn(root)).filter((each) => !each.startsWith('.sendall'))).to.deep.equal([
      'laptop/',
      `laptop/${tuesday}/`,
      `laptop/${tuesday}/MANIFEST`,
      `laptop/${tuesday}/SHA256SUMS`,
      `laptop/${tuesday}/a`,
      'laptop/latest',
    ]);
  });

  it('leaves whole snapshots or none when it is killed, and removes the rest the next time', async function () {
    this.timeout(60_000);
    const tree = (own: string): Record<string, string> =>
      Object.fromEntries(
        Array.from({ length: 300 }, (_, n) => [`d${n % 7}/f${n}`, n % 2 === 0 ? 'shared' : `${own} ${n}`]),
      );
    await make('laptop', { [monday]: tree('1'), [tuesday]: tree('2'), [wednesday]: tree('3') });
    const [laptop, template] = [path.join(root, 'laptop'), path.join(root, 'template')];
    await cp(laptop, template, { recursive: true, verbatimSymlinks: true });
    const register = (await readRegister(root, parseEntryName('laptop'))) ?? expect.fail('nothing is registered');
    let broken = 0;
    for (let round = 0; round < 3; round++) {
      const own = path.join(root, '.sendall', 'snapshots', 'laptop');
      if (round > 0) {
        await cp(template, laptop, { recursive: true, verbatimSymlinks: true });
        const directory = await Directory.open(own);
        await writeRegister(directory, register);
        await directory.close();
      }
      const removing = (): string | undefined => listed(own).find((name) => name.startsWith('removing-'));
      const pruning = pruneElsewhere();
      let over = false;
      void pruning.ended.then(() => (over = true));
      // Nine things stand at the top of the snapshot; it is in the middle of one of them when it is killed.
      const rest = (): number => listed(path.join(own, removing() ?? 'none')).length;
      while (!over && (rest() === 0 || rest() > 9 - 2 * round)) await turn();
      pruning.kill();
      await pruning.ended;

      const left = removing();
      if (left !== undefined && (await everythingIn(path.join(own, left))).length < 309) broken++;
      const standing = (await ids()).filter((name) => name !== 'latest');
      expect(standing).to.include(wednesday);
      for (const id of standing) await expectWhole(path.join(laptop, id));
      await run();
      expect(await ids()).to.deep.equal([wednesday, 'latest']);
      await expectWhole(path.join(laptop, wednesday));
      expect(await readdir(root)).to.have.members(['.sendall', 'laptop', 'template']);
      expect(listed(own)).to.deep.equal(['register']);
      expect((await readRegister(root, parseEntryName('laptop')))?.snapshots.map(({ id }) => id)).to.deep.equal([
        wednesday,
      ]);
    }
    expect(broken, 'removals that were broken off in the middle').to.be.greaterThan(0);
  });

  (canTrace ? it : it.skip)('removes nothing before it is durable that the snapshot has no final name', async () => {
    await make('laptop', { [monday]: { 'd/a': '1' }, [tuesday]: { a: '2' } });
    const trace = path.join(root, 'trace');
    const calls = ['rename,renameat,renameat2', 'fsync,fdatasync', 'unlink,unlinkat', 'rmdir'].join();
    await pruneElsewhere(undefined, ['strace', '-f', '-y', '-qq', '-o', trace, '-e', `trace=${calls}`]).ended;
    const lines = (await readFile(trace, 'utf8')).split('\n');
    const where = (pattern: RegExp): number => lines.findIndex((line) => pattern.test(line));
    const steps = [
      /rename.*removing-/,
      /fsync\(\d+<[^>]*snapshots\/laptop>/,
      /fsync\(\d+<[^>]*\/laptop>(?<!snapshots\/laptop>)/,
      /unlink.*MANIFEST/,
    ].map(where);
    expect(steps, lines.join('\n')).to.not.include(-1);
    expect(steps).to.deep.equal([...steps].sort((one, other) => one - other));
  });

  it('can be interrupted, and goes on the next time', async () => {
    await make('laptop', { [monday]: { a: '1' }, [tuesday]: { a: '2' }, [wednesday]: { a: '3' } });
    const abort = new AbortController();
    expect((await failureOf(run({ signal: abort.signal, on: () => abort.abort() }))).code).to.equal('interrupted');
    expect(await ids()).to.deep.equal([tuesday, wednesday, 'latest']);
    await run();
    expect(await ids()).to.deep.equal([wednesday, 'latest']);
  });
});

function listed(place: string): string[] {
  try {
    return readdirSync(place);
  } catch {
    return [];
  }
}

/** Every file that the manifest names is there, and of its size. */
async function expectWhole(place: string): Promise<void> {
  const { entries } = parseManifest(await readFile(path.join(place, 'MANIFEST')));
  for (const entry of entries)
    if (entry.type === 'file') expect(await size(place, entry.name), entry.name).to.equal(entry.size);
}
