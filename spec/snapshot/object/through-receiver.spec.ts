import { expect } from 'chai';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  AuthorizedKeys,
  createReceiver,
  diffSnapshots,
  findEntries,
  forget,
  formatTicket,
  listSnapshots,
  parseTicket,
  prune,
  type PruneEvent,
  type Receiver,
  restore,
  type Rights,
  type TransferEvent,
  verify,
} from '../../../lib/index';
import { backup, type BackupOptions } from '../../../lib/snapshot/backup/backup';
import { repair } from '../../../lib/snapshot/repair/repair';
import type { ObjectStoreOptions } from '../../../lib/store/object/object-store';
import { failureOf } from '../../store/delivery';
import { useTiny } from '../../store/object/servers';
import { makeSmallSource } from './small-source';

const MiB = 1024 * 1024;

describe('snapshots in an object store, through a receiver', () => {
  const server = useTiny();
  let objects: ObjectStoreOptions;
  let root: string;
  let source: string;
  let authorized: AuthorizedKeys;
  let puts: string[];
  const receivers: Receiver[] = [];
  let keys = 0;

  beforeEach(() => {
    objects = server.options();
    root = mkdtempSync(path.join(tmpdir(), 'sendall-objects-'));
    authorized = new AuthorizedKeys(path.join(root, 'authorized.json'));
    source = makeSmallSource(root);
    puts = [];
    server.tiny.seen = ({ method, key }) => void (method === 'PUT' && puts.push(key.slice(objects.prefix.length)));
  });
  afterEach(async () => {
    await Promise.all(receivers.splice(0).map((receiver) => receiver.close()));
    rmSync(root, { recursive: true, force: true });
  });

  /** Its ticket. */
  async function receiving(): Promise<string> {
    const receiver = await createReceiver({ directory: 's3://specs', objects, authorized });
    receivers.push(receiver);
    return (await receiver.listen('127.0.0.1:0')).ticket;
  }
  const keyed = async (target: string, rights: Rights, directory?: string): Promise<string> =>
    formatTicket({
      ...(await authorized.authorize({
        name: `key${String(++keys)}`,
        rights,
        ...(directory === undefined ? {} : { directory }),
      })),
      address: parseTicket(target).address,
    });
  const made = (target: string, more: Partial<BackupOptions> = {}) =>
    backup({ paths: [source], target, name: 'laptop', retryFor: 0, ...more });
  const same = (into: string, name: string): void => {
    const read = readFileSync(path.join(root, into, 'src', name));
    expect(read.equals(readFileSync(path.join(source, name))), name).to.equal(true);
  };
  const keysBelow = (below: string): string[] => server.tiny.keysBelow(objects.prefix + below);

  it('makes them, and answers what is asked of them as a directory would', async () => {
    const target = await receiving();
    const first = await made(target);
    expect(first.missing).to.equal(0);
    puts = [];
    writeFileSync(path.join(source, 'a'), randomBytes(3001));
    const second = await made(await receiving()); // another receiver before the same store
    expect(second.new_bytes).to.equal(3001);
    expect(puts.filter((key) => key.startsWith('packs/')).length).to.equal(1);

    const listed = await listSnapshots({ target });
    expect(listed.map((each) => each.event === 'snapshot' && each.snapshot)).to.deep.equal([
      first.snapshot,
      second.snapshot,
    ]);
    const difference = await diffSnapshots({ target, a: first.snapshot, b: second.snapshot });
    expect(difference.changed.map((each) => each.path)).to.deep.equal(['src/a']);
    const found: string[] = [];
    await findEntries({
      target,
      pattern: 'a',
      on: (event) => void (event.event === 'found' && found.push(event.snapshot)),
    });
    expect(found).to.deep.equal([first.snapshot, second.snapshot]);
    const read = await verify({ target });
    expect([read.files, read.snapshots, read.verified]).to.deep.equal([5, 2, 'store']);

    await restore({ target, snapshot: 'laptop/latest', destination: path.join(root, 'all') });
    for (const name of ['a', 'big', 'sub/b', 'sub/c', 'link']) same('all', name);
    await restore({ target, snapshot: first.snapshot, destination: path.join(root, 'one'), paths: ['src/sub/*'] });
    same('one', 'sub/c');

    const pruned = await prune({ target: await keyed(target, 'admin'), keep: { last: 1 } });
    expect(pruned.map(({ event, snapshot }) => `${event} ${snapshot}`)).to.deep.equal([
      `removed ${first.snapshot}`,
      `kept ${second.snapshot}`,
    ]);
    expect(keysBelow('snapshots/').length).to.equal(1);
    await verify({ target });
  });

  it('has a damaged snapshot removed that is named', async () => {
    const target = await receiving();
    const first = await made(target);
    const [manifest = ''] = keysBelow('manifests/');
    const second = await made(target);
    server.tiny.objects.delete(manifest);
    const admin = await keyed(target, 'admin');
    const stuck = await failureOf(prune({ target: admin, keep: { last: 2 } }));
    expect([stuck.code, stuck.hint?.includes(`--remove-damaged ${first.snapshot}`)]).to.deep.equal(['mismatch', true]);
    const whole = prune({ target: admin, keep: { last: 2 }, removeDamaged: second.snapshot });
    expect((await failureOf(whole)).code).to.equal('usage');
    const newest = prune({
      target: admin,
      keep: { last: 2 },
      removeDamaged: `${second.snapshot.slice(0, -19)}/latest`,
    });
    expect((await failureOf(newest)).hint).to.equal(`It is ${second.snapshot} now.`);
    const pruned = await prune({ target: admin, keep: { last: 2 }, removeDamaged: first.snapshot });
    expect(pruned.map(({ event, snapshot }) => `${event} ${snapshot}`)).to.deep.equal([
      `removed ${first.snapshot}`,
      `kept ${second.snapshot}`,
    ]);
    await verify({ target });
  });

  it('tells of damage, gives back everything else, and refuses what it does not do', async () => {
    const target = await receiving();
    await made(target);
    for (const key of keysBelow('packs/')) {
      const held = server.tiny.objects.get(key);
      const body = Buffer.from(held?.body ?? '');
      if (body.length !== 100_000 || !held) continue;
      body[5] = (body[5] ?? 0) ^ 1;
      server.tiny.objects.set(key, { ...held, body });
    }
    const damages: string[] = [];
    const on = (event: TransferEvent): void => {
      if (event.event === 'damaged') damages.push(`${event.path} ${event.reason}`);
    };
    const error = await failureOf(verify({ target, on }));
    expect(error.code).to.equal('mismatch');
    expect(damages).to.deep.equal(['src/big changed']);
    await failureOf(restore({ target, snapshot: 'laptop/latest', destination: path.join(root, 'part') }));
    same('part', 'sub/b');
    const admin = await keyed(target, 'admin');
    expect((await failureOf(forget({ target: admin, pattern: 'a' }))).code).to.equal('usage');
    expect((await failureOf(listSnapshots({ target, alone: true }))).code).to.equal('usage');
  });

  it('repairs them from files of the machine that asks, in the same objects, and leaves nothing else behind', async () => {
    writeFileSync(path.join(source, 'huge'), randomBytes(9 * MiB));
    const target = await receiving();
    const first = await made(target);
    writeFileSync(path.join(source, 'more'), randomBytes(100));
    const second = await made(target);
    const before = keysBelow('packs/');
    const bodies = new Map(before.map((key) => [key, Buffer.from(server.tiny.objects.get(key)?.body ?? '')]));
    for (const key of before) {
      const held = server.tiny.objects.get(key);
      const body = Buffer.from(held?.body ?? '');
      if (!held || body.length === 100) continue;
      // The large file is gone; of the others the first byte of the first one, and the last of the last one, are wrong.
      body[0] = (body[0] ?? 0) ^ 1;
      body[body.length - 1] = (body[body.length - 1] ?? 0) ^ 1;
      if (body.length === 9 * MiB) server.tiny.objects.delete(key);
      else server.tiny.objects.set(key, { ...held, body });
    }
    const events: string[] = [];
    const on = (event: TransferEvent): void => {
      if (event.event === 'damaged' || event.event === 'repaired')
        events.push(`${event.event} ${event.snapshot} ${event.path}`);
    };
    const elsewhere = path.join(root, 'elsewhere', 'src');
    mkdirSync(elsewhere, { recursive: true });
    writeFileSync(path.join(elsewhere, 'huge'), randomBytes(9 * MiB));
    expect((await failureOf(repair({ target, sources: [elsewhere] }))).code).to.equal('mismatch');
    expect(keysBelow('packs/').length, 'what heals nothing').to.equal(before.length - 1);
    expect((await failureOf(repair({ target: await keyed(target, 'write'), sources: [source] }))).code).to.equal(
      'not-authorized',
    );
    expect((await failureOf(repair({ target: await keyed(target, 'read'), sources: [source] }))).code).to.equal(
      'not-authorized',
    );

    const { repaired } = await repair({ target: await keyed(target, 'admin'), sources: [source], on });
    const damaged = events.filter((event) => event.startsWith('damaged '));
    expect(damaged)
      .to.include(`damaged ${first.snapshot} src/huge`)
      .and.to.include(`damaged ${second.snapshot} src/huge`);
    expect(repaired).to.equal(damaged.length);
    expect(events.filter((event) => event.startsWith('repaired ')).sort()).to.deep.equal(
      damaged.map((event) => event.replace('damaged', 'repaired')).sort(),
    );
    expect(keysBelow('packs/')).to.deep.equal(before);
    for (const [key, body] of bodies)
      expect(server.tiny.objects.get(key)?.body.equals(body), `${key} of ${String(body.length)} bytes`).to.equal(true);
    expect(keysBelow('stages/')).to.deep.equal([]);
    await verify({ target });
  });

  it('prunes with the grace that is asked for, and tells of garbage', async () => {
    const target = await receiving();
    await made(target);
    const admin = await keyed(target, 'admin');
    const orphan = `${objects.prefix}packs/of-a-backup-that-was-killed`;
    const hour = 3_600_000;
    server.tiny.objects.set(orphan, { body: Buffer.alloc(500), etag: '"x"', modified: new Date() });
    const told = async (grace?: number): Promise<readonly number[]> => {
      const bytes: number[] = [];
      const on = (event: PruneEvent): void => {
        if (event.event === 'collected') bytes.push(event.deleted_bytes, event.condemned_bytes);
      };
      await prune({ target: admin, keep: { last: 1 }, on, ...(grace === undefined ? {} : { grace }) });
      return bytes;
    };
    server.tiny.age(2 * hour);
    expect(await told(2 * hour)).to.deep.equal([0, 500]);
    server.tiny.age(3 * hour);
    expect(await told(), 'a day, unless asked').to.deep.equal([0, 0]);
    expect(await told(2 * hour)).to.deep.equal([500, 0]);
    expect(server.tiny.objects.has(orphan)).to.equal(false);
    expect((await failureOf(told(hour / 2))).code).to.equal('usage');
    expect((await failureOf(prune({ target, keep: { last: 1 }, grace: 2 * hour }))).code).to.equal('not-authorized');
    await verify({ target });
  });

  it('makes whole packs of small files, however slowly they come and however many batches they are', async () => {
    for (let at = 0; at < 40; at++)
      writeFileSync(path.join(source, `of the first ${String(at)}`), randomBytes(64 * 1024));
    const packs = (): string[] => puts.filter((key) => key.startsWith('packs/'));
    const slow = await made(await receiving(), { limit: MiB });
    expect(slow.missing).to.equal(0);
    expect(packs().length, 'for more than two seconds, and one of a large file').to.equal(2);
    puts = [];
    // More than what a batch has, so that there are two at least.
    for (let at = 0; at < 4300; at++) writeFileSync(path.join(source, 'sub', String(at)), randomBytes(3000));
    await made(await receiving());
    expect(packs().length, '12.3 MiB').to.equal(2);
    const target = await receiving();
    await verify({ target });
    await restore({
      target,
      snapshot: 'laptop/latest',
      destination: path.join(root, 'back'),
      paths: ['src/sub/0', 'src/sub/4299'],
    });
    same('back', 'sub/0');
    same('back', 'sub/4299');
  });

  it('gives each key what it may have, and each directory to its own key', async () => {
    const target = await receiving();
    const writes = await keyed(target, 'write', `s3://${objects.bucket}/${objects.prefix}theirs`);
    await made(writes);
    expect(keysBelow('theirs/snapshots/').length).to.equal(1);
    expect(keysBelow('snapshots/')).to.deep.equal([]);
    expect((await failureOf(listSnapshots({ target: writes }))).code).to.equal('not-authorized');
    const reads = await keyed(target, 'read', `s3://${objects.bucket}/${objects.prefix}theirs`);
    expect((await listSnapshots({ target: reads })).length).to.equal(1);
    expect((await failureOf(prune({ target: reads, keep: { last: 1 } }))).code).to.equal('not-authorized');
    expect(await listSnapshots({ target })).to.deep.equal([]);
    for (const place of ['/srv/theirs', `s3://other/theirs`, `s3://${objects.bucket}/${objects.prefix}packs`])
      // As it is told.
      expect((await failureOf(made(await keyed(target, 'admin', place)))).code, place).to.equal('disk');
    // A backup belongs to the key that made its first snapshot.
    await made(target, { name: 'mine' });
    const other = await keyed(target, 'admin');
    expect((await failureOf(made(other, { name: 'mine' }))).code).to.equal('exists');
  });

  it('goes on at another receiver with what the first one had stored', async () => {
    writeFileSync(path.join(source, 'huge'), randomBytes(40 * MiB));
    const first = await receiving();
    const [receiver] = receivers;
    /** Parts that another receiver can count on. */
    const noted = (): number => keysBelow('partials/').filter((key) => /\/\d{5}$/.test(key)).length;
    let stopping: Promise<void> | undefined;
    server.tiny.seen = () => {
      if (noted() >= 2) stopping ??= receiver?.close({ now: true });
    };
    await failureOf(made(first));
    await stopping;
    const had = noted();
    expect(had).to.be.within(2, 4);
    expect(keysBelow('snapshots/')).to.deep.equal([]);
    let sent = 0;
    server.tiny.seen = ({ method, query }) => void (method === 'PUT' && query.has('partNumber') && sent++);
    const target = await receiving();
    await made(target);
    expect(sent).to.equal(5 - had);
    await restore({ target, snapshot: 'laptop/latest', destination: path.join(root, 'back') });
    same('back', 'huge');
  });
});
