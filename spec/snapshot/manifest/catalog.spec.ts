import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { TransferError } from '../../../lib/errors';
import { parseEntryName } from '../../../lib/name';
import { backupNameOf, Catalog, type Snapshot } from '../../../lib/snapshot/manifest/catalog';
import { failureOf } from '../../store/delivery';
import { encoded, madeSnapshot } from '../made-snapshot';

const laptop = parseEntryName('laptop');
const [first, second, third] = ['2026-11-20T101233Z', '2026-11-21T101233Z', '2026-11-22T101233Z'] as const;

describe('the catalog of a receive directory', () => {
  let root: string;
  let catalog: Catalog;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'sendall-catalog-'));
    catalog = new Catalog(root);
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const make = (id: string, number: number, name = 'laptop'): ReturnType<typeof madeSnapshot> =>
    madeSnapshot(root, { name, id, number }, { 'a.txt': 'a', 'd/b.txt': String(number) });
  const idsOf = (snapshots: readonly Snapshot[]): string[] => snapshots.map(({ id }) => id);
  const manifestAt = (id: string): string => join(root, 'laptop', id, 'MANIFEST');

  it('lists backups that have a snapshot, and nothing else that lies there', async () => {
    await make(first, 1, 'server');
    await make(first, 1);
    for (const other of [
      'empty',
      '.sendall/snapshots/laptop',
      '.hidden/2026-11-20T101233Z',
      'plain/2026-11-20',
      'files/latest',
    ])
      mkdirSync(join(root, other), { recursive: true });
    writeFileSync(join(root, 'file'), '');
    mkdirSync(join(root, 'held'));
    writeFileSync(join(root, 'held', first), 'no directory');
    symlinkSync('laptop', join(root, 'link'));
    symlinkSync(first, join(root, 'laptop', second));
    mkdirSync(join(root, 'laptop', third)); // planted: nobody committed it
    expect(await catalog.names()).to.deep.equal(['laptop', 'server']);
    expect(idsOf(await catalog.snapshots(laptop))).to.deep.equal([first]);
    for (const name of ['link', 'file', 'held', 'absent'])
      expect(await catalog.snapshots(parseEntryName(name)), name).to.deep.equal([]);
  });

  it('orders snapshots by their numbers, whatever the clock said', async () => {
    await make(third, 1);
    await make(first, 2);
    await make(second, 3);
    expect(idsOf(await catalog.snapshots(laptop))).to.deep.equal([third, first, second]);
    expect((await catalog.find('laptop/latest')).id).to.equal(second);
  });

  it('finds a snapshot by its id and as the latest, and refuses all other words', async () => {
    const made = [await make(first, 1), await make(second, 2)];
    for (const [text, id] of [
      [`laptop/${first}`, first],
      [`laptop/${second}/`, second],
      ['laptop/latest', second],
      ['laptop/latest/', second],
    ] as const) {
      const found = await catalog.find(text);
      expect(found).to.deep.include({ name: 'laptop', id, pathname: join(root, 'laptop', id) });
      expect(found.head).to.deep.equal(made.find(({ place }) => place === found.pathname)?.manifest.head);
    }
    for (const text of [
      '',
      '/',
      'laptop',
      'laptop/',
      `laptop/${third}`,
      `other/${first}`,
      'other/latest',
      `laptop/${first}/a.txt`,
      `/laptop/${first}`,
      `../${first}`,
      'laptop/..',
      '.sendall/latest',
      `\u001b/${first}`,
    ]) {
      const failure = await failureOf(catalog.find(text));
      expect(failure.code, text).to.equal('usage');
      expect(failure.message).not.to.match(/\p{Cc}/u);
    }
  });

  it('reads all that a snapshot says of itself, or its beginning and end', async () => {
    const {
      manifest,
      manifest: { head, totals },
    } = await make(first, 1);
    const snapshot = await catalog.find('laptop/latest');
    expect(await catalog.manifest(snapshot)).to.deep.equal(manifest);
    expect(await catalog.outline(snapshot)).to.deep.equal({ head, totals });
  });

  it('lists a snapshot whose manifest is damaged in its place, as one that cannot be believed, and not as the latest', async () => {
    await make(first, 1);
    const { manifest } = await make(second, 2);
    await make(third, 3);
    writeFileSync(join(root, 'kept'), readFileSync(manifestAt(second)));
    const other = encoded({ ...manifest, head: { ...manifest.head, number: 77 } });
    const damages: Readonly<Record<string, () => void>> = {
      'is missing': () => undefined,
      'is empty': () => writeFileSync(manifestAt(second), ''),
      'is no manifest': () => writeFileSync(manifestAt(second), 'Hello!\n'),
      'is not the one that was committed': () => writeFileSync(manifestAt(second), other),
      'is a link to a good one': () => symlinkSync('../../kept', manifestAt(second)),
      'is a directory': () => mkdirSync(manifestAt(second)),
      'is a pipe': () => expect(spawnSync('mkfifo', [manifestAt(second)]).status).to.equal(0),
    };
    for (const [damage, apply] of Object.entries(damages)) {
      rmSync(manifestAt(second), { recursive: true, force: true });
      apply();
      const all = await catalog.snapshots(laptop);
      expect(idsOf(all), damage).to.deep.equal([first, second, third]);
      expect(
        all.map(({ head }) => (head instanceof TransferError ? head.code : head.number)),
        damage,
      ).to.deep.equal([1, 'mismatch', 3]);
      expect((await failureOf(catalog.manifest(await catalog.find(`laptop/${second}`)))).code, damage).to.equal(
        'mismatch',
      );
    }
    rmSync(manifestAt(third));
    expect((await catalog.find('laptop/latest')).id).to.equal(first);
    rmSync(manifestAt(first));
    expect((await failureOf(catalog.find('laptop/latest'))).code).to.equal('usage');
  });

  it('believes no manifest of which anything was changed, though its beginning is good', async () => {
    await make(first, 1);
    const whole = readFileSync(manifestAt(first));
    for (const bytes of [whole.subarray(0, -1), Buffer.from(whole.toString().replace('"size":1', '"size":2'))]) {
      writeFileSync(manifestAt(first), bytes);
      const snapshot = await catalog.find(`laptop/${first}`);
      expect((await failureOf(catalog.manifest(snapshot))).code).to.equal('mismatch');
      expect((await failureOf(catalog.outline(snapshot))).code).to.equal('mismatch');
    }
  });

  it('rejects with directory where the receive directory is missing or none', async () => {
    writeFileSync(join(root, 'file'), '');
    for (const place of ['absent', 'file'])
      expect((await failureOf(new Catalog(join(root, place)).names())).code).to.equal('directory');
  });

  it('does not believe a register that others can write, nor one that was changed', async () => {
    await make(first, 1);
    const register = join(root, '.sendall', 'snapshots', 'laptop', 'register');
    const text = readFileSync(register, 'utf8');
    for (const changed of ['', text.slice(0, -1), text.replace('"number":1', '"number":2'), `${text}{}\n`]) {
      writeFileSync(register, changed);
      expect((await failureOf(catalog.snapshots(laptop))).code, changed).to.equal('mismatch');
    }
    writeFileSync(register, text);
    chmodSync(join(root, '.sendall'), 0o777);
    expect((await failureOf(catalog.names())).code).to.equal('directory');
  });

  it('names what was committed and is gone, unless it is being removed', async () => {
    await make(first, 1);
    await make(second, 2);
    rmSync(join(root, 'laptop', first), { recursive: true });
    const [gone, there] = await catalog.snapshots(laptop);
    expect([gone?.lost, there?.lost]).to.deep.equal([true, false]);
    mkdirSync(join(root, '.sendall', 'snapshots', 'laptop', `removing-${first}`));
    expect(idsOf(await catalog.snapshots(laptop))).to.deep.equal([second]);
  });

  it('writes nothing', async () => {
    await make(first, 1);
    const before = [root, join(root, 'laptop'), join(root, 'laptop', first)].map(
      (place) => statSync(place, { bigint: true }).ctimeNs,
    );
    await catalog.names();
    await catalog.manifest(await catalog.find('laptop/latest'));
    expect(
      [root, join(root, 'laptop'), join(root, 'laptop', first)].map(
        (place) => statSync(place, { bigint: true }).ctimeNs,
      ),
    ).to.deep.equal(before);
  });
});

describe('the name of a backup', () => {
  it('is one component that may be stored, and is not hidden', () => {
    for (const text of ['laptop', 'Größe 2', 'MANIFEST', first]) expect(backupNameOf(text)).to.equal(text);
    for (const text of [
      '',
      '.',
      '..',
      '/',
      '/laptop',
      'laptop/',
      'a/b',
      '.laptop',
      '.sendall',
      'a\\b',
      'a:b',
      'a\n',
      'nul',
      'x'.repeat(256),
    ])
      expect(backupNameOf(text), text).to.equal(undefined);
  });
});

describe('a made snapshot', () => {
  it('is one that sha256sum and md5sum check where it lies, and that shares what did not change', async () => {
    const root = mkdtempSync(join(tmpdir(), 'sendall-made-'));
    for (const [digest, tool, list] of [
      ['sha256', 'sha256sum', 'SHA256SUMS'],
      ['md5', 'md5sum', 'MD5SUMS'],
    ] as const) {
      const tree = {
        a: 'a',
        'd/e/f': 'f',
        link: { link: 'd/e/f' },
        away: { symlink: 'a' },
        empty: { directory: true },
        gone: { missing: 'source-unreadable' },
      } as const;
      const one = await madeSnapshot(root, { name: digest, id: first, number: 1, digest }, tree);
      const two = await madeSnapshot(
        root,
        { name: digest, id: second, number: 2, digest },
        { ...tree, 'd/e/f': 'F' },
        { previous: one.place },
      );
      const checked = spawnSync(tool, ['-c', list], { cwd: join(root, digest, 'latest'), encoding: 'utf8' });
      expect([checked.status, checked.stdout]).to.deep.equal([0, 'a: OK\nd/e/f: OK\nlink: OK\n']);
      const inodes = ({ place }: typeof one): number[] =>
        ['a', 'd/e/f', 'link'].map((name) => statSync(join(place, name)).ino);
      expect(inodes(two)[0]).to.equal(inodes(one)[0]);
      expect(new Set([...inodes(one), ...inodes(two)]).size).to.equal(3);
      expect(two.manifest.totals).to.deep.equal({ entries: 8, bytes: 2, newBytes: 1, missing: 1 });
      const catalog = new Catalog(root);
      expect(await catalog.manifest(await catalog.find(`${digest}/latest`))).to.deep.equal(two.manifest);
    }
    rmSync(root, { recursive: true });
  });
});
