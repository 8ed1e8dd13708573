import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TransferEvent } from '../../lib/progress';
import { adopt } from '../../lib/snapshot/adopt/adopt';
import { backup } from '../../lib/snapshot/backup/backup';
import { copySnapshots, type CopyOptions } from '../../lib/snapshot/copy/copy';
import { parseEntryName } from '../../lib/name';
import { createReceiver } from '../../lib/index';
import { Catalog } from '../../lib/snapshot/manifest/catalog';
import { type ManifestEntry, manifestName } from '../../lib/snapshot/manifest/manifest';
import type { SnapshotCatalog } from '../../lib/snapshot/manifest/snapshot-catalog';
import { withObjects } from '../../lib/snapshot/object/object-snapshots';
import { listSnapshots, restore, verify } from '../../lib/snapshot/remote/anywhere';
import type { ObjectStoreOptions } from '../../lib/store/object/object-store';
import { failureOf } from '../store/delivery';
import { useTiny } from '../store/object/servers';
import { makeSmallSource } from './object/small-source';

const MiB = 1024 * 1024;

describe('copying snapshots', () => {
  const server = useTiny();
  let objects: ObjectStoreOptions;
  let root: string;
  let source: string;
  let directory: string;
  let packs: number;

  beforeEach(() => {
    objects = server.options();
    root = mkdtempSync(path.join(tmpdir(), 'sendall-copy-'));
    source = makeSmallSource(root, 2 * MiB);
    directory = path.join(root, 'backups');
    mkdirSync(directory, { mode: 0o700 });
    writeFileSync(path.join(source, 'empty'), '');
    linkSync(path.join(source, 'sub/b'), path.join(source, 'sub/same'));
    packs = 0;
    server.tiny.seen = ({ method, key }) => void (method === 'PUT' && key.includes('/packs/') && packs++);
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  /** Two snapshots, the second with a file changed, one moved and one gone. Their names. */
  async function two(): Promise<string[]> {
    const first = await backup({ paths: [source], directory, name: 'laptop' });
    writeFileSync(path.join(source, 'a'), randomBytes(3001));
    rmSync(path.join(source, 'sub/c'));
    const second = await backup({ paths: [source], directory, name: 'laptop' });
    return [first.snapshot, second.snapshot];
  }
  const copy = (more: Partial<CopyOptions> = {}) => copySnapshots({ from: { directory }, to: { objects }, ...more });
  const listed = async (where: Parameters<typeof listSnapshots>[0]) =>
    (await listSnapshots(where)).map((each) => (each.event === 'snapshot' ? each.snapshot : each.event));
  const plain = (entries: readonly ManifestEntry[]) =>
    entries.map((entry) => {
      const { content: _, ...others } = { content: undefined, ...entry };
      return others;
    });
  const entriesIn = async (snapshot: string, where: string | ObjectStoreOptions) => {
    const read = async (catalog: Catalog | Parameters<Parameters<typeof withObjects>[1]>[0]) =>
      plain((await catalog.manifest(await catalog.find(snapshot))).entries);
    return typeof where === 'string' ? read(new Catalog(where)) : withObjects(where, read);
  };

  it('brings all of them into an object store, and back, as they are', async () => {
    const names = await two();
    const { copied, present, summary } = await copy();
    expect([copied, present]).to.deep.equal([2, 0]);
    expect(summary.files).to.equal(4 + 1); // what both have goes once, and an empty file needs nothing
    expect(await listed({ objects })).to.deep.equal(names);
    await verify({ objects });
    for (const name of names) expect(await entriesIn(name, objects)).to.deep.equal(await entriesIn(name, directory));
    packs = 0;
    expect((await copy()).present).to.equal(2);
    expect(packs).to.equal(0);
    // The manifests know the source as it is: nothing of it is sent again.
    await backup({ paths: [source], objects, name: 'laptop' });
    expect(packs).to.equal(0);

    const back = path.join(root, 'back');
    mkdirSync(back, { mode: 0o700 });
    await copySnapshots({ from: { objects }, to: { directory: back } });
    expect((await listed({ directory: back })).slice(0, 2)).to.deep.equal(names);
    await verify({ directory: back });
    for (const name of names) {
      expect(await entriesIn(name, back)).to.deep.equal(await entriesIn(name, directory));
      execFileSync('sha256sum', ['--quiet', '-c', 'SHA256SUMS'], { cwd: path.join(back, name) });
    }
    const [first = '', second = ''] = names;
    const inode = (...at: string[]): number => statSync(path.join(back, ...at)).ino;
    expect(inode(first, 'src/big')).to.equal(inode(second, 'src/big')); // one file on the disk
    expect(inode(second, 'src/sub/b')).to.equal(inode(second, 'src/sub/same'));
    expect(lstatSync(path.join(back, second, 'src/big')).mode & 0o777).to.equal(0o640);
    const there = readFileSync(path.join(back, first, 'src/a'));
    expect(there.equals(readFileSync(path.join(directory, first, 'src/a')))).to.equal(true);
  });

  it('goes on where it was broken off, and makes no snapshot until it is complete', async () => {
    const names = await two();
    let records = 0;
    server.tiny.fault = ({ method, key }) =>
      method === 'PUT' && key.includes('/snapshots/') && ++records > 1
        ? { status: 403, code: 'AccessDenied' }
        : undefined;
    await failureOf(copy());
    server.tiny.fault = () => undefined;
    expect(await listed({ objects })).to.deep.equal(names.slice(0, 1));
    packs = 0;
    const { copied, present } = await copy();
    expect([copied, present, packs]).to.deep.equal([1, 1, 0]);
    await verify({ objects });
    await restore({ objects, snapshot: names[1] ?? '', destination: path.join(root, 'restored') });
    const read = readFileSync(path.join(root, 'restored/src/a'));
    expect(read.equals(readFileSync(path.join(source, 'a')))).to.equal(true);
  });

  it('reads what an object store has of a backup once, where all of it was copied before', async () => {
    const names = await two();
    for (let more = 0; more < 2; more++)
      names.push((await backup({ paths: [source], directory, name: 'laptop' })).snapshot);
    await copy();
    const back = path.join(root, 'back');
    mkdirSync(back, { mode: 0o700 });
    await copySnapshots({ from: { objects }, to: { directory: back } });
    let records = 0;
    server.tiny.seen = ({ method, key }) => void (method === 'GET' && key.includes('/snapshots/') && records++);
    expect((await copy()).present).to.equal(names.length);
    expect(records).to.equal(names.length);
    records = 0;
    expect((await copySnapshots({ from: { objects }, to: { directory: back } })).present).to.equal(names.length);
    expect(records).to.equal(names.length);
  });

  it('sees what another copy has brought since it began', async () => {
    await two();
    await copy();
    const { objects: held } = server.tiny;
    const newest = server.tiny.keysBelow(`${objects.prefix}snapshots/`).at(-1) ?? '';
    const record = held.get(newest);
    held.delete(newest);
    server.tiny.seen = ({ method, key }) => {
      // The manifest of the first one is looked at after the list of what is there.
      if (method === 'GET' && key.includes('/manifests/') && record) held.set(newest, record);
    };
    const { copied, present } = await copy();
    expect([copied, present]).to.deep.equal([0, 2]);
  });

  it('names damaged snapshots, copies all others, and none behind a newer one', async () => {
    const [first = '', second = ''] = await two();
    const place = path.join(directory, first, 'src/sub/c');
    const { atime, mtime } = statSync(place);
    writeFileSync(place, randomBytes(3000));
    utimesSync(place, atime, mtime);
    const damages: string[] = [];
    const on = (event: TransferEvent): void => {
      if (event.event === 'damaged') damages.push(`${event.snapshot} ${event.path}`);
    };
    expect((await failureOf(copy({ on }))).code).to.equal('mismatch');
    expect(damages).to.deep.equal([`${first} src/sub/c`]);
    expect(await listed({ objects })).to.deep.equal([second]);
    // The one before it cannot come any more: it would be the newest.
    writeFileSync(place, '');
    const later = [
      await backup({ paths: [source], directory, name: 'laptop' }),
      await backup({ paths: [source], directory, name: 'own' }),
    ].map(({ snapshot }) => snapshot);
    const skipped: string[] = [];
    const failure = await failureOf(
      copy({ on: (event) => event.event === 'skipped' && skipped.push(event.file_name) }),
    );
    expect(failure).to.include({
      code: 'exists',
      message: '1 snapshot is missing behind a newer one. All others are there.',
    });
    expect(skipped).to.deep.equal([first]);
    expect(await listed({ objects })).to.deep.equal([second, ...later]);
    expect((await failureOf(copy({ name: 'other' }))).code).to.equal('usage');
    // A manifest that cannot be read is damage, too.
    writeFileSync(path.join(directory, first, manifestName), '?');
    damages.length = 0;
    expect((await failureOf(copy({ on }))).code).to.equal('mismatch');
    expect(damages).to.deep.equal([`${first} ${manifestName}`]);
  });

  it('keeps whose a backup is, brings the one that is named, and stops when it is told to', async () => {
    const receiver = await createReceiver({ directory });
    try {
      const { ticket } = await receiver.listen('127.0.0.1:0');
      await backup({ paths: [source], target: ticket, name: 'theirs' });
    } finally {
      await receiver.close();
    }
    const own = await backup({ paths: [source], directory, name: 'own' });
    expect((await failureOf(copy({ signal: AbortSignal.abort() }))).code).to.equal('interrupted');
    await copy({ name: 'own' });
    expect(await listed({ objects })).to.deep.equal([own.snapshot]);
    await copy();
    expect((await failureOf(copy({ signal: AbortSignal.abort() }))).code).to.equal('interrupted'); // nothing to send
    const ownersIn = async (catalog: SnapshotCatalog): Promise<string[]> =>
      (await Promise.all(['own', 'theirs'].map((name) => catalog.snapshots(parseEntryName(name))))).flatMap((found) =>
        found.map(({ entry }) => entry.owner),
      );
    const owners = await ownersIn(new Catalog(directory));
    expect(new Set(owners).size).to.equal(2);
    expect(await withObjects(objects, ownersIn)).to.deep.equal(owners);
  });

  it('takes no other snapshot for what it copies', async () => {
    const other = path.join(root, 'other');
    const made = async (into: string, paths: string[]): Promise<string> => {
      rmSync(into, { recursive: true, force: true });
      mkdirSync(into, { mode: 0o700 });
      return (await backup({ paths, directory: into, name: 'laptop' })).snapshot;
    };
    // The same id in another place: made in the same second.
    let ids = ['', '?'];
    while (ids[0] !== ids[1])
      ids = await Promise.all([made(directory, [source]), made(other, [path.join(source, 'sub')])]);
    await copy();
    expect((await failureOf(copy({ from: { directory: other } }))).code).to.equal('exists');
  });

  it('hands a backup of an object store over, which nothing else does there', async () => {
    await backup({ paths: [source], objects, name: 'laptop' });
    await backup({ paths: [source], objects, name: 'laptop' });
    const owners = (at: ObjectStoreOptions) =>
      withObjects(at, async (catalog) => (await catalog.records('laptop')).map(({ owner }) => owner));
    expect(await owners(objects)).to.deep.equal(['local', 'local']);
    await copySnapshots({ from: { objects }, to: { directory }, name: 'laptop' });
    const owner = 'a'.repeat(32);
    await adopt({ directory, name: 'laptop', owner });
    const other = server.options();
    await copySnapshots({ from: { directory }, to: { objects: other }, name: 'laptop' });
    expect(await owners(other)).to.deep.equal([owner, owner]);
    const refused = await failureOf(backup({ paths: [source], objects: other, name: 'laptop' }));
    expect(refused.code).to.equal('exists');
    expect(refused.hint).to.contain('docs/object-store.md').and.not.to.contain('adopt');
  });
});
