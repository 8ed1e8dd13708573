import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { parseEntryName } from '../../../lib/name';
import type { GarbageCollected, PruneEvent } from '../../../lib/snapshot/prune/prune';
import { prune } from '../../../lib/snapshot/remote/anywhere';
import { ObjectStore, type ObjectStoreOptions } from '../../../lib/store/object/object-store';
import type { PartialFile, SessionStore } from '../../../lib/store/session-store';
import type { IfExists } from '../../../lib/store/store';
import { codeOf, content, failureOf } from '../../store/delivery';
import { openObjects } from '../../store/object/object-place';
import { useTiny } from '../../store/object/servers';

const mib = 1024 * 1024;
const hour = 3_600_000;
const day = 24 * hour;
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('bytes in an object store that no name needs', () => {
  const server = useTiny();
  let objects: ObjectStoreOptions;
  let store: ObjectStore;
  let sessions: SessionStore[];
  beforeEach(async () => {
    objects = server.options();
    store = await ObjectStore.open(objects);
    sessions = [];
  });
  afterEach(async () => {
    await Promise.all(sessions.map((session) => session.release()));
    await store.close();
  });

  async function session(ifExists: IfExists = 'refuse'): Promise<SessionStore> {
    const opened = await store.session({ algorithm: 'sha256', peer: 'p', ifExists });
    sessions.push(opened);
    return opened;
  }
  const offer = (name: string, size: number | undefined) => ({
    file: 1,
    name: parseEntryName(name),
    size,
    mtime: 5n,
    ctime: 6n,
  });
  async function small(name: string, bytes: Uint8Array, ifExists?: IfExists): Promise<void> {
    const { batch } = await session(ifExists);
    const lease = await batch.memory.lease();
    lease.bytes.set(bytes);
    await batch.write(lease, [{ entry: offer(name, bytes.length), digest: sha256(bytes) }]);
    const outcome = (await batch.commit()).get(1);
    if (outcome instanceof Error) throw outcome;
  }
  /** A large file that is read back, and has no name yet. */
  async function unnamed(name: string, bytes: Uint8Array, size: number | undefined): Promise<PartialFile> {
    const partial = await (await session()).partial(offer(name, size), undefined);
    for (let at = 0; at < bytes.length; at += mib) {
      await partial.room();
      const lease = await partial.memory.lease();
      lease.bytes.set(bytes.subarray(at, at + mib));
      partial.put(lease, at, Math.min(mib, bytes.length - at));
    }
    await partial.verify(bytes.length, { sha256: sha256(bytes) });
    return partial;
  }
  const keys = (below: string): string[] => server.tiny.keysBelow(objects.prefix + below);
  const data = (): string[] => keys('data/');
  async function pruned(dryRun = false): Promise<Record<'deleted' | 'condemned', { objects: number; bytes: number }>> {
    const told: GarbageCollected[] = [];
    const on = (event: PruneEvent): void => void (event.event === 'collected' && told.push(event));
    await prune({ objects, keep: { last: 1 }, dryRun, on });
    const [collected] = told;
    if (!collected) throw new Error('Nothing was told.');
    return {
      deleted: { objects: collected.deleted_objects, bytes: collected.deleted_bytes },
      condemned: { objects: collected.condemned_objects, bytes: collected.condemned_bytes },
    };
  }
  async function read(name: string): Promise<Buffer> {
    const opened = await openObjects(objects);
    try {
      return await opened.read(name);
    } finally {
      await opened.remove();
    }
  }

  it('are condemned, and deleted after the grace, and nothing else is', async () => {
    const [first, second, large] = [content(3000, 1), content(4000, 2), content(9 * mib, 3)];
    await small('replaced', first);
    const old = data();
    await small('replaced', second, 'replace');
    await (await unnamed('large', large, large.length)).commit();
    await unnamed('under way', content(9 * mib, 4), 9 * mib);
    const orphan = `${objects.prefix}data/of-a-receiver-that-was-killed`;
    server.tiny.objects.set(orphan, { body: Buffer.alloc(500), etag: '"x"', modified: new Date() });
    const kept = data().filter((key) => !old.includes(key) && key !== orphan);
    expect(kept.length).to.equal(3);

    expect((await pruned()).condemned.objects, 'what is fresh').to.equal(0);
    server.tiny.age(2 * hour);
    const garbage = { objects: 2, bytes: 3500 };
    const before = server.tiny.objects.size;
    expect(await pruned(true)).to.deep.equal({ deleted: { objects: 0, bytes: 0 }, condemned: garbage });
    expect(server.tiny.objects.size).to.equal(before);
    expect((await pruned()).condemned).to.deep.equal(garbage);
    server.tiny.age(day / 2);
    expect((await pruned()).deleted.objects, 'within the grace').to.equal(0);
    server.tiny.age(day);
    expect((await pruned(true)).deleted).to.deep.equal(garbage);
    expect(data().length).to.equal(5);
    expect((await pruned()).deleted).to.deep.equal(garbage);
    expect(data().sort()).to.deep.equal(kept.sort());
    expect((await read('replaced')).equals(second)).to.equal(true);
    expect((await read('large')).equals(large)).to.equal(true);
  });

  it('are as old as the clock of the store says, in a dry run, too', async () => {
    await small('a', content(3000, 1));
    await small('a', content(3000, 2), 'replace');
    server.clockAhead(3 * hour, 0);
    for (const dryRun of [true, false]) expect((await pruned(dryRun)).condemned.objects).to.equal(0);
  });

  it('are none where the record of a name cannot be read', async () => {
    await small('a', content(3000, 1));
    server.tiny.objects.set(`${objects.prefix}names/b`, { body: Buffer.from('?'), etag: '"x"', modified: new Date() });
    server.tiny.objects.set(`${objects.prefix}data/x`, { body: Buffer.alloc(5), etag: '"x"', modified: new Date() });
    server.tiny.age(2 * hour);
    expect((await failureOf(prune({ objects, keep: { last: 1 } }))).code).to.equal('disk');
    expect(keys('condemned/')).to.deep.equal([]);
  });

  it('get no name once they are condemned, and keep it when they have it before', async () => {
    const bytes = content(5 * mib, 1);
    const late = await unnamed('late', bytes, undefined);
    const named = await unnamed('named', bytes, undefined);
    server.tiny.age(2 * hour);
    server.clockAhead(2 * hour);
    await named.commit(); // nobody has looked yet
    expect((await pruned()).condemned.objects).to.equal(1);
    expect(await codeOf(late.commit())).to.equal('disk');
    server.tiny.age(2 * day);
    expect((await pruned()).deleted.objects).to.equal(1);
    expect((await read('named')).equals(bytes)).to.equal(true);
    expect(keys('names/late')).to.deep.equal([]);
    await (await unnamed('late', bytes, undefined)).commit();
    expect((await read('late')).equals(bytes)).to.equal(true);
  });

  it('of a pack get no names once they are condemned', async () => {
    const { batch } = await session();
    const bytes = content(3000, 1);
    const lease = await batch.memory.lease();
    lease.bytes.set(bytes);
    await batch.write(lease, [{ entry: offer('small', bytes.length), digest: sha256(bytes) }]);
    // It is committed in the same moment, but for a machine that sleeps between the two: what is stored is old then.
    let slept = false;
    server.tiny.seen = ({ method, key }) => {
      if (slept || method !== 'GET' || !key.includes('/data/')) return;
      slept = true;
      server.clockAhead(2 * hour);
      const body = Buffer.from(JSON.stringify({ keys: data().map((each) => each.slice(objects.prefix.length)) }));
      server.tiny.objects.set(`${objects.prefix}condemned/now`, { body, etag: '"x"', modified: new Date() });
    };
    const outcome = (await batch.commit()).get(1);
    server.tiny.seen = () => undefined;
    expect(slept).to.equal(true);
    expect(outcome instanceof Error && outcome.message).to.contain('condemned');
    expect(keys('names/small')).to.deep.equal([]);
  });
});
