import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { TransferError } from '../../../lib/errors';
import { type EntryName, parseEntryName } from '../../../lib/name';
import { Allowance, Usage } from '../../../lib/store/limited';
import { limitSession } from '../../../lib/store/limited-session';
import { ObjectStore, type ObjectStoreOptions } from '../../../lib/store/object/object-store';
import { parseRecord } from '../../../lib/store/object/records';
import type { OfferedFile, SessionStore } from '../../../lib/store/session-store';
import { codeOf, content } from '../delivery';
import { putPieces } from './object-place';
import { useTiny } from './servers';
import type { Fault, TinyRequest, TinyS3 } from './tiny-s3';

const mib = 1024 * 1024;
const named = (text: string): EntryName => parseEntryName(text);
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const small = content(3000);
const large = content(9 * mib, 2);
const isPart = ({ method, query }: TinyRequest): boolean => method === 'PUT' && query.has('partNumber');
const isRecord = ({ method, key }: TinyRequest): boolean => method === 'PUT' && key.includes('/names/');
const readsData = ({ method, key }: TinyRequest): boolean => method === 'GET' && key.includes('/data/');

describe('an object store that fails', () => {
  const server = useTiny();
  let tiny: TinyS3;
  let options: ObjectStoreOptions;
  beforeEach(() => {
    tiny = server.tiny;
    options = server.options();
  });
  afterEach(() => {
    tiny.objects.clear();
    tiny.uploads.clear();
  });

  const offer = (name: string, size: number, file = 0): OfferedFile => ({
    file,
    name: named(name),
    size,
    mtime: 5n,
    ctime: 6n,
  });

  /** A small and a large file, as one session sends them. Resolves with how each ended. */
  async function send(store: ObjectStore): Promise<string[]> {
    const session = await store.session({ algorithm: 'sha256', peer: 'p', ifExists: 'refuse' });
    const ends: string[] = [];
    try {
      const lease = await session.batch.memory.lease();
      lease.bytes.set(small);
      await session.batch.write(lease, [{ entry: offer('d/small', small.length), digest: sha256(small) }]);
      const outcome = (await session.batch.commit()).get(0);
      ends.push(outcome instanceof TransferError ? outcome.code : 'stored');
      ends.push(await sendLarge(session).catch((error: unknown) => (error as TransferError).code));
    } finally {
      await session.release();
    }
    return ends;
  }

  async function sendLarge(session: SessionStore): Promise<string> {
    const partial = await session.partial(offer('d/large', large.length), undefined);
    try {
      for (let round = 0; ; round++) {
        await putPieces(partial, large);
        try {
          await partial.verify(large.length, { sha256: sha256(large) });
        } catch (error) {
          if (!(error instanceof TransferError && error.code === 'mismatch') || round === 2) throw error;
          continue;
        }
        return (await partial.commit()).outcome;
      }
    } catch (error) {
      await partial.suspend();
      throw error;
    }
  }

  /** Whole and right is what is there, whatever happened. */
  function check(whole = false): void {
    tiny.fault = () => undefined;
    const files: string[] = [];
    for (const [key, { body }] of tiny.objects) {
      const record = key.includes('/names/') ? parseRecord(body.toString(), key) : undefined;
      if (record?.type !== 'file' || record.content === undefined) continue;
      const name = key.slice(key.indexOf('/names/') + '/names/'.length);
      files.push(name);
      const { key: content, offset } = record.content;
      const bytes = tiny.objects.get(options.prefix + content)?.body.subarray(offset, offset + record.size);
      expect(bytes?.equals(name === 'd/small' ? small : large), name).to.equal(true);
    }
    if (whole) expect(files.sort()).to.deep.equal(['d/large', 'd/small']);
  }

  const once = (matches: (request: TinyRequest) => boolean, fault: Fault): (() => boolean) => {
    let done = false;
    tiny.fault = (request) => {
      if (done || !matches(request)) return undefined;
      done = true;
      return fault;
    };
    return () => done;
  };

  /** Every request fails the first time that it comes. */
  const each = (
    fault: (count: number) => Fault,
    fails: (request: TinyRequest) => boolean = () => true,
  ): (() => number) => {
    const seen = new Set<string>();
    tiny.fault = (request) => {
      const text = `${request.method} ${request.key}?${request.query.toString()}`;
      if (seen.has(text) || !fails(request)) return undefined;
      seen.add(text);
      return fault(seen.size);
    };
    return () => seen.size;
  };
  const busy: readonly Fault[] = [
    { status: 500, code: 'InternalError' },
    { status: 503, code: 'SlowDown' },
    { status: 409, code: 'OperationAborted' },
  ];

  it('at every request by 500, 503 or 409 costs nothing but time', async () => {
    const failed = each((count) => busy[count % busy.length] as Fault);
    const store = await ObjectStore.open(options);
    expect(await send(store)).to.deep.equal(['stored', 'stored']);
    expect(failed()).to.be.greaterThan(20);
    check(true);
    await store.close();
  });

  it('at every request by losing its answer costs nothing but time', async () => {
    const failed = each(() => 'cut after');
    const store = await ObjectStore.open(options);
    expect(await send(store)).to.deep.equal(['stored', 'stored']);
    expect(failed()).to.be.greaterThan(20);
    check(true);
    await store.close();
  });

  it('by reading back another byte is found: the file is taken again, and nothing wrong is ever there', async () => {
    const store = await ObjectStore.open(options);
    once((request) => readsData(request), 'flip');
    expect(await send(store)).to.deep.equal(['mismatch', 'stored']);
    check();
    tiny.objects.clear();
    const flipped = once(
      (request) =>
        readsData(request) && request.key.length > 0 && tiny.objects.get(request.key)?.body.length === large.length,
      'flip',
    );
    const again = await ObjectStore.open(options);
    expect(await send(again)).to.deep.equal(['stored', 'stored']);
    expect(flipped(), 'it was read back').to.equal(true);
    check(true);
    for (const each of [store, again]) await each.close();
  });

  it('by reading back too little goes on where that ended, and gives up in the end', async () => {
    const store = await ObjectStore.open(options);
    once(readsData, 'truncate');
    expect(await send(store)).to.deep.equal(['stored', 'stored']);
    check(true);
    await store.close();
    tiny.objects.clear();
    const hopeless = await ObjectStore.open(options);
    tiny.fault = (request) => (readsData(request) ? 'truncate' : undefined);
    expect((await send(hopeless)).filter((end) => end === 'stored')).to.deep.equal([]);
    check();
    await hopeless.close();
  });

  it('by lying about the version of a part stores nothing, and says so', async () => {
    const store = await ObjectStore.open(options);
    tiny.fault = (request) => (isPart(request) ? 'lie' : undefined);
    expect(await send(store)).to.deep.equal(['stored', 'disk']);
    check();
    await store.close();
  });

  it('by not answering is asked once more, and then given up', async () => {
    const store = await ObjectStore.open({
      ...options,
      deadlines: { silence: 1_500, whole: 60_000, pauses: [1, 1, 1] },
    });
    let silent = 0;
    tiny.fault = (request) =>
      isPart(request) && request.query.get('partNumber') === '1' && silent++ < 2 ? 'silence' : undefined;
    expect(await send(store)).to.deep.equal(['stored', 'disk']);
    check();
    tiny.fault = (request) => (isRecord(request) && silent++ < 3 ? 'silence' : undefined);
    expect(await send(store)).to.deep.equal(['stored', 'stored']);
    check(true);
    await store.close();
  });

  it('for being full says space', async () => {
    const store = await ObjectStore.open(options);
    tiny.fault = ({ method }) => (method === 'PUT' ? { status: 507, code: 'InsufficientStorage' } : undefined);
    expect(await send(store)).to.deep.equal(['space', 'space']);
    await store.close();
  });

  it('by its clock is followed', async () => {
    tiny.skew = 3_600_000;
    const store = await ObjectStore.open(options);
    expect(await send(store)).to.deep.equal(['stored', 'stored']);
    check(true);
    await store.close();
  });

  it('is refused where it ignores checksums or conditions, but for a single receiver', async () => {
    tiny.knows.sums = false;
    expect(await codeOf(ObjectStore.open(options))).to.equal('directory');
    Object.assign(tiny.knows, { sums: true, free: false });
    expect(await codeOf(ObjectStore.open(options))).to.equal('directory');
    const store = await ObjectStore.open({ ...options, singleReceiver: true });
    expect(await send(store)).to.deep.equal(['stored', 'stored']);
    expect((await send(store))[0]).to.equal('stored');
    check(true);
    await store.close();
    tiny.objects.clear();
    tiny.fault = (request) => (request.method === 'GET' && request.key.includes('/probe/') ? 'flip' : undefined);
    tiny.knows.free = true;
    expect(await codeOf(ObjectStore.open(options))).to.equal('directory');
  });

  it('gets checksums with everything where it demands them', async () => {
    tiny.demandsSums = true;
    const store = await ObjectStore.open(options);
    expect(await send(store)).to.deep.equal(['stored', 'stored']);
    check(true);
    await store.close();
  });

  it('is taken at its word with --trust-store, which its receipts and records say', async () => {
    const store = await ObjectStore.open({ ...options, trustStore: true });
    tiny.fault = (request) => (readsData(request) ? { status: 500, code: 'InternalError' } : undefined);
    expect(await send(store)).to.deep.equal(['stored', 'stored']);
    expect(store.verified).to.equal('accepted');
    const key = `${options.prefix}names/d/large`;
    expect(parseRecord(tiny.objects.get(key)?.body.toString() ?? '', key)).to.deep.include({ verified: 'accepted' });
    await store.close();
    tiny.fault = () => undefined;
    const sure = await ObjectStore.open(options);
    const session = await sure.session({ algorithm: 'sha256', peer: 'p', ifExists: 'refuse' });
    const [found] = await session.lookup([offer('d/large', large.length)]);
    expect([found?.kind, found?.known], 'it was never read').to.deep.equal(['file', undefined]);
    await session.release();
    await sure.close();
  });

  it('in the middle of a receiver that dies at any request leaves only what another one goes on with', async () => {
    for (let at = 0, count = 1; at < count; at++) {
      tiny.objects.clear();
      tiny.uploads.clear();
      const dying = await ObjectStore.open({ ...options, deadlines: { silence: 30_000, whole: 60_000, pauses: [] } });
      count = 0;
      tiny.fault = () => (count++ >= at ? 'cut before' : undefined);
      await send(dying);
      check();
      const other = await ObjectStore.open(options);
      let parts = 0;
      const alreadyThere = [...tiny.uploads.values()].reduce((sum, { parts: { size } }) => sum + size, 0);
      tiny.seen = (request) => (parts += isPart(request) ? 1 : 0);
      const ends = await send(other);
      expect(ends, `died at request ${String(at)}`).to.satisfy((each: string[]) =>
        each.every((end) => end === 'stored' || end === 'identical'),
      );
      if (alreadyThere > 0 && ends[1] === 'stored') expect(parts, 'parts sent again').to.be.lessThan(3);
      tiny.seen = () => undefined;
      check(true);
      await other.close();
      await dying.close();
    }
  }).timeout(120_000);

  it('for two weeks keeps what is unfinished, and not longer', async () => {
    const store = await ObjectStore.open(options);
    tiny.fault = (request) => (isPart(request) && request.query.get('partNumber') === '2' ? 'cut before' : undefined);
    await send(store);
    tiny.fault = () => undefined;
    await store.close();
    expect(tiny.uploads.size).to.equal(1);
    await (await ObjectStore.open(options)).close();
    expect(tiny.uploads.size).to.equal(1);
    for (const [id, upload] of tiny.uploads)
      tiny.uploads.set(id, { ...upload, begun: new Date(Date.now() - 15 * 86_400_000) });
    await (await ObjectStore.open(options)).close();
    expect(tiny.uploads.size).to.equal(0);
  });

  it('keeps what others have under way from a receiver whose clock is weeks ahead', async () => {
    const store = await ObjectStore.open(options);
    tiny.fault = (request) => (isPart(request) && request.query.get('partNumber') === '2' ? 'cut before' : undefined);
    await send(store);
    tiny.fault = () => undefined;
    await store.close();
    const before = [tiny.uploads.size, tiny.objects.size];
    server.clockAhead(15 * 86_400_000, 0);
    await (await ObjectStore.open(options)).close();
    expect([tiny.uploads.size, tiny.objects.size]).to.deep.equal(before);
  });

  it('is limited as any other store is, by what is in it', async () => {
    const store = await ObjectStore.open(options);
    await send(store);
    const usage = new Usage(() => store.kept());
    await usage.firstCount();
    expect(usage.bytes).to.equal(small.length + large.length);
    const session = await store.session({ algorithm: 'sha256', peer: 'p', ifExists: 'refuse' });
    const allowance = new Allowance({ quota: 10 * mib, maxSize: 5 * mib }, usage);
    const limited = limitSession(session, { allowance, directory: store.url, peer: 'p', ifExists: 'refuse' });
    const [fits, tooMuch, tooLarge] = await limited.admit([offer('a', mib / 2), offer('b', mib), offer('c', 6 * mib)]);
    expect(fits).not.to.be.instanceOf(TransferError);
    expect((tooMuch as TransferError).code).to.equal('quota');
    expect((tooLarge as TransferError).code).to.equal('size');
    await limited.release();
    await store.close();
  });
});
