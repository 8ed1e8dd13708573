import { expect } from 'chai';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TransferEvent } from '../../../lib/progress';
import { backup, type BackupOptions } from '../../../lib/snapshot/backup/backup';
import { listSnapshots, prune, restore, verify } from '../../../lib/snapshot/remote/anywhere';
import { drillAt } from '../../../lib/snapshot/remote/drill-anywhere';
import { repair } from '../../../lib/snapshot/repair/repair';
import type { ObjectStoreOptions } from '../../../lib/store/object/object-store';
import { failureOf } from '../../store/delivery';
import { useTiny } from '../../store/object/servers';
import type { Fault, TinyRequest } from '../../store/object/tiny-s3';
import { makeSmallSource } from './small-source';

describe('snapshots in an object store', () => {
  const server = useTiny();
  let objects: ObjectStoreOptions;
  let root: string;
  let source: string;
  let puts: string[];

  beforeEach(() => {
    objects = server.options();
    root = mkdtempSync(path.join(tmpdir(), 'sendall-objects-'));
    source = makeSmallSource(root);
    writeFileSync(path.join(source, 'empty'), '');
    chmodSync(path.join(source, 'a'), 0o640);
    linkSync(path.join(source, 'sub/b'), path.join(source, 'sub/same'));
    puts = [];
    server.tiny.seen = ({ method, key }) => void (method === 'PUT' && puts.push(key.slice(objects.prefix.length)));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const made = (more: Partial<BackupOptions> = {}) => backup({ paths: [source], objects, name: 'laptop', ...more });
  const keysBelow = (below: string): string[] => server.tiny.keysBelow(objects.prefix + below);
  const restored = (snapshot: string, into: string, on?: (event: TransferEvent) => void) =>
    restore({ objects, snapshot, destination: path.join(root, into), ...(on ? { on } : {}) });
  const same = (into: string, name: string): void => {
    const read = readFileSync(path.join(root, into, 'src', name));
    expect(read.equals(readFileSync(path.join(source, name))), name).to.equal(true);
  };
  /** Another object in place of one, as a disk that rots leaves it. */
  const flip = (key: string): void => {
    const found = server.tiny.objects.get(key);
    const body = Buffer.from(found?.body ?? '');
    body[body.length >> 1] = (body[body.length >> 1] ?? 0) ^ 1;
    if (found) server.tiny.objects.set(key, { ...found, body });
  };
  const damagesOf = async (work: (on: (event: TransferEvent) => void) => Promise<unknown>): Promise<string[]> => {
    const found: string[] = [];
    const error = await failureOf(
      work((event) => void (event.event === 'damaged' && found.push(`${event.path} ${event.reason}`))),
    );
    expect(error.code).to.equal('mismatch');
    return found;
  };
  const only = (matches: (request: TinyRequest) => boolean, fault: Fault): void => {
    server.tiny.fault = (request) => (matches(request) ? fault : undefined);
  };

  it('makes them, lists, verifies and restores them, and sends nothing again that has not changed', async () => {
    const first = await made();
    expect(first.missing).to.equal(0);
    expect(puts.filter((key) => key.startsWith('packs/')).length).to.equal(2); // one of small files, one large
    puts = [];
    const second = await made();
    expect(second.new_bytes).to.equal(0);
    expect(puts.filter((key) => /^(packs|stages)\//.test(key))).to.deep.equal([]);
    const listed = await listSnapshots({ objects });
    expect(listed.map((each) => each.event === 'snapshot' && each.snapshot)).to.deep.equal([
      first.snapshot,
      second.snapshot,
    ]);
    const read = await verify({ objects });
    expect([read.files, read.snapshots, read.verified]).to.deep.equal([4, 2, 'store']); // each content once
    const after = await listSnapshots({ objects });
    expect(after.every((each) => each.event === 'snapshot' && each.verified_at !== null)).to.equal(true);
    const { files } = await restored('laptop/latest', 'all');
    expect(files.length).to.equal(5);
    for (const name of ['a', 'big', 'empty', 'sub/b', 'sub/c', 'sub/same', 'link']) same('all', name);
    await restore({ objects, snapshot: first.snapshot, destination: path.join(root, 'one'), paths: ['src/sub/*'] });
    same('one', 'sub/c');
    await restored('laptop/latest', 'all'); // what is there already is success
    expect((await drillAt({ objects, snapshot: 'laptop/latest', share: 1, scratch: root })).failures).to.deep.equal([]);
  });

  it('finds a flipped bit, restores everything else, and sends the file again when it is asked to read back', async () => {
    await made();
    const pack = keysBelow('packs/').find((key) => (server.tiny.objects.get(key)?.body.length ?? 0) < 100_000) ?? '';
    flip(pack);
    const damaged = await damagesOf((on) => verify({ objects, on }));
    expect(damaged.length).to.equal(1);
    expect(damaged[0]).to.match(/^src\/(a|sub\/[bc]) changed$/);
    const listed = await listSnapshots({ objects });
    expect(listed.map((each) => each.event === 'snapshot' && each.verified_at)).to.deep.equal([null]);
    const lost: string[] = [];
    const note = (event: TransferEvent): void => {
      if (event.event === 'failed' && event.code === 'mismatch') lost.push(event.file_name ?? '');
    };
    // With it goes its other name, where it has one.
    expect((await failureOf(restored('laptop/latest', 'part', note))).code).to.equal('mismatch');
    expect(lost).to.include(damaged[0]?.split(' ')[0]);
    same('part', 'big');
    await made({ checksum: true });
    await verify({ objects, snapshot: 'laptop/latest' });
  });

  it('brings what is damaged from the source, for every snapshot that has it, and nothing else', async () => {
    writeFileSync(path.join(source, 'huge'), randomBytes(9 * 1024 * 1024));
    await made();
    await made();
    const sized = (matches: (size: number) => boolean): string =>
      keysBelow('packs/').find((key) => matches(server.tiny.objects.get(key)?.body.length ?? 0)) ?? '';
    const [pack, big, huge] = [
      sized((size) => size < 50_000),
      sized((size) => size === 100_000),
      sized((size) => size > 1e6),
    ];
    const good = server.tiny.objects.get(pack)?.body;
    flip(pack);
    flip(huge);
    server.tiny.objects.delete(big);
    const events: string[] = [];
    const on = (event: TransferEvent): void => {
      if (event.event === 'damaged' || event.event === 'repaired') events.push(event.event);
    };
    const repaired = await repair({ objects, sources: [source], on });
    expect(repaired.repaired).to.be.within(6, 8); // a file of the pack may have another name
    expect(events.filter((each) => each === 'repaired').length).to.equal(repaired.repaired);
    expect(good?.equals(server.tiny.objects.get(pack)?.body ?? Buffer.alloc(0))).to.equal(true);
    await verify({ objects });
    puts = [];
    expect((await repair({ objects, sources: [source] })).repaired).to.equal(0);
    expect(puts.filter((key) => key.startsWith('packs/'))).to.deep.equal([]);
    // A source that is another one by now brings nothing.
    writeFileSync(path.join(source, 'big'), randomBytes(100_000));
    flip(big);
    const damaged = server.tiny.objects.get(big)?.body;
    expect((await failureOf(repair({ objects, sources: [source] }))).code).to.equal('mismatch');
    expect(server.tiny.objects.get(big)?.body).to.equal(damaged);
    expect((await failureOf(repair({ objects, sources: [] }))).code).to.equal('usage');
    expect(server.tiny.uploads.size).to.equal(0);
  });

  it('looks under all names of a lost content for a file that still has it', async () => {
    await made();
    renameSync(path.join(source, 'big'), path.join(source, 'sub/moved'));
    await made();
    flip(keysBelow('packs/').find((key) => server.tiny.objects.get(key)?.body.length === 100_000) ?? '');
    writeFileSync(path.join(source, 'big'), randomBytes(100_000));
    expect((await repair({ objects, sources: [source] })).repaired).to.equal(2);
    await verify({ objects });
  });

  it('finds an object that is gone or cut off, and a manifest that is lost', async () => {
    await made();
    const { objects: held } = server.tiny;
    const large = keysBelow('packs/').find((key) => held.get(key)?.body.length === 100_000) ?? '';
    const kept = held.get(large);
    if (kept) held.set(large, { ...kept, body: kept.body.subarray(0, 5000) });
    expect(await damagesOf((on) => verify({ objects, on }))).to.deep.equal(['src/big truncated']);
    held.delete(large);
    expect(await damagesOf((on) => verify({ objects, on }))).to.deep.equal(['src/big missing']);
    const [manifest = ''] = keysBelow('manifests/');
    held.delete(manifest);
    expect(await damagesOf((on) => verify({ objects, on }))).to.deep.equal(['MANIFEST manifest']);
    expect((await listSnapshots({ objects })).map(({ event }) => event)).to.deep.equal(['damaged']);
    expect((await failureOf(restored('laptop/latest', 'none'))).code).to.equal('mismatch');
    // The next one counts on nothing that no manifest says.
    const next = await made();
    await verify({ objects, snapshot: next.snapshot });
  });

  it('makes two snapshots of two backups at once', async () => {
    const other = path.join(root, 'other');
    mkdirSync(other);
    writeFileSync(path.join(other, 'x'), randomBytes(2000));
    const two = await Promise.all([made(), made({ paths: [other] })]);
    expect(new Set(two.map(({ snapshot }) => snapshot)).size).to.equal(2);
    expect(keysBelow('snapshots/').length).to.equal(2);
    expect((await verify({ objects })).snapshots).to.equal(2);
  });

  it('makes no snapshot of a backup that is broken off, and the next one goes on with it', async () => {
    const stop = new AbortController();
    only(({ method, key }) => method === 'PUT' && key.includes('/manifests/'), { status: 403, code: 'AccessDenied' });
    await failureOf(made({ signal: stop.signal }));
    server.tiny.fault = () => undefined;
    expect(keysBelow('snapshots/')).to.deep.equal([]);
    expect(keysBelow('stages/').length).to.be.greaterThan(0);
    puts = [];
    await made();
    expect(puts.filter((key) => key.startsWith('packs/'))).to.deep.equal([]);
    expect(keysBelow('stages/')).to.deep.equal([]);
    await verify({ objects });
  });

  it('notes what it has stored when it is interrupted, and goes on with that', async () => {
    const many = path.join(source, 'many');
    mkdirSync(many);
    // Three packs: the first is stored when the others are not read yet.
    for (let at = 0; at < 400; at++) writeFileSync(path.join(many, String(at)), randomBytes(60_000));
    const stop = new AbortController();
    server.tiny.seen = ({ method, key }) => void (method === 'GET' && key.includes('/packs/') && stop.abort());
    expect((await failureOf(made({ signal: stop.signal }))).code).to.equal('interrupted');
    expect(keysBelow('snapshots/')).to.deep.equal([]);
    const stored = keysBelow('packs/');
    expect(stored.length).to.be.within(1, 3);
    server.tiny.seen = ({ method, key }) => void (method === 'PUT' && puts.push(key.slice(objects.prefix.length)));
    puts = [];
    await made();
    expect(keysBelow('packs/')).to.include.members(stored);
    expect(puts.filter((key) => key.startsWith('packs/')).length).to.be.at.most(5 - stored.length);
    const { files } = await verify({ objects });
    expect(files).to.equal(404);
  });

  it('sends no content again that is there under another name, or was touched', async () => {
    await made();
    utimesSync(path.join(source, 'a'), 1_000_000_000, 1_000_000_000);
    renameSync(path.join(source, 'sub/c'), path.join(source, 'sub/d'));
    rmSync(path.join(source, 'big'));
    await made({ name: 'laptop', allowShrink: true });
    writeFileSync(path.join(source, 'sub/new'), readFileSync(path.join(source, 'a')));
    puts = [];
    const sent: string[] = [];
    const on = (event: TransferEvent): void => {
      if (event.event === 'sent') sent.push(`${event.file_name} ${String(event.bytes_on_wire)}`);
    };
    const last = await made({ on });
    expect(last.new_bytes).to.equal(0);
    expect(sent.sort().filter((each) => !each.startsWith('src/empty '))).to.deep.equal(
      ['a', 'sub/b', 'sub/d', 'sub/new'].map((name) => `src/${name} 0`),
    );
    expect(puts.filter((key) => key.startsWith('packs/'))).to.deep.equal([]);
    await restored('laptop/latest', 'back');
    for (const name of ['a', 'sub/b', 'sub/d', 'sub/new', 'sub/same']) same('back', name);
    expect(statSync(path.join(root, 'back/src/a')).mtimeMs).to.equal(1_000_000_000_000);
    expect(statSync(path.join(root, 'back/src/sub/same')).ino).to.equal(
      statSync(path.join(root, 'back/src/sub/b')).ino,
    );
  });

  it('goes on with thousands of small files with long names', async () => {
    const many = path.join(source, 'many');
    mkdirSync(many);
    const names = Array.from({ length: 4200 }, (_, at) => `${String(at)}${'x'.repeat(200)}`);
    for (const name of names) writeFileSync(path.join(many, name), name.slice(0, 20));
    only(({ method, key }) => method === 'PUT' && key.includes('/manifests/'), { status: 403, code: 'AccessDenied' });
    await failureOf(made());
    server.tiny.fault = () => undefined;
    const notes = keysBelow('stages/').map((key) => server.tiny.objects.get(key)?.body.length ?? 0);
    expect(Math.max(...notes)).to.be.greaterThan(1024 * 1024);
    puts = [];
    await made();
    expect(puts.filter((key) => key.startsWith('packs/'))).to.deep.equal([]);
    await verify({ objects });
  });

  it('calls nothing stored that does not read back: no file, and no manifest', async () => {
    only(({ method, key }) => method === 'GET' && key.includes('/packs/'), 'flip');
    const error = await failureOf(made());
    expect(error.code).to.be.oneOf(['mismatch', 'some-failed']);
    expect(keysBelow('snapshots/').length).to.be.lessThan(2);
    server.tiny.fault = () => undefined;
    for (const key of [...keysBelow('snapshots/'), ...keysBelow('manifests/')]) server.tiny.objects.delete(key);
    only(({ method, key }) => method === 'GET' && key.includes('/manifests/'), 'flip');
    expect((await failureOf(made())).code).to.equal('mismatch');
    expect(keysBelow('snapshots/')).to.deep.equal([]);
    expect(keysBelow('manifests/')).to.deep.equal([]);
  });

  it('leaves out the file of a pack that does not read back, and no other one', async () => {
    for (let at = 0; at < 100; at++) writeFileSync(path.join(source, 'sub', `more ${String(at)}`), randomBytes(3000));
    // The byte in the middle.
    only(({ method, key }) => method === 'GET' && key.includes('/packs/'), 'flip');
    const failed: string[] = [];
    const on = (event: TransferEvent): void =>
      void (event.event === 'failed' && failed.push(`${event.code} ${event.file_name ?? ''}`));
    await failureOf(made({ on }));
    server.tiny.fault = () => undefined;
    expect(failed.length).to.equal(2); // and the one that is an object by itself
    expect(failed.filter((each) => /^mismatch src\/sub\/(more \d+|[bc])$/.test(each)).length).to.equal(1);
    await failureOf(restored('laptop/latest', 'back'));
    const names = ['a', 'sub/b', 'sub/c', ...Array.from({ length: 100 }, (_, at) => `sub/more ${String(at)}`)];
    for (const name of names) if (!failed.includes(`mismatch src/${name}`)) same('back', name);
  });

  it('makes one snapshot where the answer to its last request is lost', async () => {
    let cut = 0;
    server.tiny.fault = ({ method, key }) =>
      method === 'PUT' && key.includes('/snapshots/') && cut++ === 0 ? 'cut after' : undefined;
    await made();
    expect(keysBelow('snapshots/').length).to.equal(1);
    expect(cut).to.equal(2);
  });

  describe('pruning', () => {
    const day = 24 * 3_600_000;
    const pruned = (grace?: number) => prune({ objects, keep: { last: 1 }, ...(grace === undefined ? {} : { grace }) });
    const changed = (): void => writeFileSync(path.join(source, 'big'), randomBytes(100_000));

    it('removes snapshots, condemns what nothing needs, and deletes that after the grace, and nothing else', async () => {
      const first = await made();
      changed();
      const second = await made();
      writeFileSync(path.join(root, 'stray'), '');
      server.tiny.objects.set(`${objects.prefix}packs/stray`, {
        body: Buffer.from('of a backup that was killed'),
        etag: '"x"',
        modified: new Date(),
      });
      server.tiny.age(2 * 3_600_000);
      expect((await pruned()).map(({ event, snapshot }) => `${event} ${snapshot}`)).to.deep.equal([
        `removed ${first.snapshot}`,
        `kept ${second.snapshot}`,
      ]);
      expect(keysBelow('snapshots/').length).to.equal(1);
      expect(keysBelow('packs/').length).to.equal(4);
      server.tiny.age(day / 2);
      await pruned();
      expect(keysBelow('packs/').length).to.equal(4);
      server.tiny.age(day);
      await pruned();
      expect(keysBelow('packs/').length).to.equal(2);
      expect(keysBelow('manifests/').length).to.equal(1);
      await verify({ objects });
    });

    it('takes nothing from a backup that is under way', async () => {
      const old = readFileSync(path.join(source, 'big'));
      await made();
      changed();
      await made();
      server.tiny.age(2 * 3_600_000);
      await pruned(); // the old content is condemned
      writeFileSync(path.join(source, 'big'), old);
      const third = await made(); // and is not counted on
      server.tiny.age(2 * day);
      await pruned();
      await verify({ objects, snapshot: third.snapshot });
      // What is condemned while a backup is under way keeps it from becoming a snapshot; the next one sends it again.
      let once = true;
      server.tiny.seen = ({ method, key }) => {
        if (!once || method !== 'PUT' || !key.includes('/manifests/')) return;
        once = false;
        const keys = keysBelow('packs/').map((each) => each.slice(objects.prefix.length));
        server.tiny.objects.set(`${objects.prefix}condemned/now`, {
          body: Buffer.from(JSON.stringify({ keys })),
          etag: '"x"',
          modified: new Date(),
        });
      };
      const error = await failureOf(made());
      expect(error.message).to.contain('condemned');
      const last = await made();
      server.tiny.age(2 * day);
      await pruned();
      await verify({ objects, snapshot: last.snapshot });
    });

    for (const [when, last] of [
      ['before it is taken', '/manifests/'],
      ['when it is taken', '/snapshots/'],
    ] as const)
      it(`makes no snapshot whose own manifest was condemned ${when}`, async () => {
        // As on a machine that sleeps between two requests.
        server.tiny.seen = ({ method, key }) => {
          if (method !== 'PUT' || !key.includes(last)) return;
          const keys = keysBelow('manifests/').map((each) => each.slice(objects.prefix.length));
          server.tiny.objects.set(`${objects.prefix}condemned/now`, {
            body: Buffer.from(JSON.stringify({ keys })),
            etag: '"x"',
            modified: new Date(),
          });
        };
        expect((await failureOf(made())).message).to.contain('condemned');
        expect(keysBelow('snapshots/')).to.deep.equal([]);
        server.tiny.seen = () => undefined;
        await made();
        await verify({ objects });
      });

    it('makes no snapshot that took longer than what is condemned is listed for', async () => {
      server.tiny.seen = ({ method, key }) => {
        if (method === 'GET' && key.includes('/manifests/')) server.clockAhead(15 * day);
      };
      expect((await failureOf(made())).message).to.contain('14 days');
      expect(keysBelow('snapshots/')).to.deep.equal([]);
    });

    it('goes on where it was killed, and collects nothing where a manifest is lost', async () => {
      await made();
      changed();
      const second = await made();
      server.tiny.age(2 * 3_600_000);
      only(({ method, key }) => method === 'PUT' && key.includes('/condemned/'), { status: 403, code: 'AccessDenied' });
      await pruned().catch(() => undefined); // killed between the records and the list
      server.tiny.fault = () => undefined;
      expect(keysBelow('snapshots/').length).to.equal(1);
      await verify({ objects, snapshot: second.snapshot });
      const [manifest = ''] = keysBelow('manifests/').filter((key) =>
        keysBelow('snapshots/').some((record) =>
          server.tiny.objects.get(record)?.body.includes(key.slice(objects.prefix.length)),
        ),
      );
      const lost = server.tiny.objects.get(manifest);
      server.tiny.objects.delete(manifest);
      expect((await failureOf(pruned())).code).to.equal('mismatch');
      expect(keysBelow('condemned/')).to.deep.equal([]);
      if (lost) server.tiny.objects.set(manifest, lost);
      await pruned();
      server.tiny.age(2 * day);
      await pruned();
      expect(keysBelow('packs/').length).to.equal(2);
      await verify({ objects });
    });
  });

  it('refuses what is no store, and a record that was changed', async () => {
    expect((await failureOf(listSnapshots({ objects }))).code).to.equal('directory');
    await made();
    const [record = ''] = keysBelow('snapshots/');
    const found = server.tiny.objects.get(record);
    if (found) server.tiny.objects.set(record, { ...found, body: Buffer.from('{}') });
    expect((await failureOf(listSnapshots({ objects }))).code).to.equal('mismatch');
  });
});
