import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { TransferError } from '../../lib/errors';
import { type EntryName, parseEntryName } from '../../lib/name';
import type { Verified } from '../../lib/progress';
import type { OfferedFile, PartialFile, StoreRoot, SessionStore } from '../../lib/store/session-store';
import type { IfExists } from '../../lib/store/store';
import { codeOf, content } from './delivery';

/** A place for sessions, and eyes that look at it past the store. */
export interface OpenedPlace {
  readonly place: StoreRoot;
  /** Everything that is there, directories with a slash at the end, sorted. */
  list(): Promise<string[]>;
  read(name: string): Promise<Buffer>;
  /** Closes the place and opens it anew, as another process would. */
  reopen(): Promise<StoreRoot>;
  /** Removes the place. */
  remove(): Promise<void>;
}

/** What stores differ in: each says so of itself. */
export interface PlaceProperties {
  readonly says: Verified;
  /** What is unfinished is told of in segments after `suspend`, from this many bytes on. */
  readonly resumesFrom: number;
  /** A hard link is another name of the same file, and not of the same bytes. */
  readonly links: boolean;
}

const mib = 1024 * 1024;
const mtime = 1_700_000_000_123_456_789n;
const named = (text: string): EntryName => parseEntryName(text, { allowHidden: true, names: 'any' });
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Every promise of `SessionStore`, as tests: run on each place that sessions store into. */
export function sessionConformance(
  open: () => Promise<OpenedPlace>,
  { says, resumesFrom, links }: PlaceProperties,
): void {
  let opened: OpenedPlace;
  let numbers = 0;
  let sessions: SessionStore[] = [];

  beforeEach(async () => {
    opened = await open();
  });
  afterEach(async () => {
    for (const session of sessions.splice(0)) await session.release();
    await opened.remove();
  });

  async function session(ifExists: IfExists = 'refuse', peer = 'p', place = opened.place): Promise<SessionStore> {
    const one = await place.session({ algorithm: 'sha256', peer, ifExists });
    sessions = [...sessions, one];
    return one;
  }
  const offer = (name: string, size: number | undefined): OfferedFile => ({
    file: numbers++,
    name: named(name),
    size,
    mode: 0o640,
    mtime,
    ctime: mtime + 5n,
  });
  async function small(store: SessionStore, files: Record<string, Uint8Array>): Promise<unknown[]> {
    const lease = await store.batch.memory.lease();
    let at = 0;
    const entries = Object.entries(files).map(([name, bytes]) => {
      lease.bytes.set(bytes, at);
      at += bytes.length;
      return { entry: offer(name, bytes.length), digest: sha256(bytes) };
    });
    await store.batch.write(lease, entries);
    const outcomes = await store.batch.commit();
    return entries.map(({ entry }) => {
      const outcome = outcomes.get(entry.file) ?? 'nothing';
      return outcome instanceof TransferError ? outcome.code : outcome;
    });
  }
  /** Puts pieces by their numbers. */
  async function put(partial: PartialFile, bytes: Uint8Array, pieces: readonly number[]): Promise<boolean[]> {
    const taken: boolean[] = [];
    for (const piece of pieces) {
      await partial.room();
      const lease = await partial.memory.lease();
      const part = bytes.subarray(piece * mib, (piece + 1) * mib);
      lease.bytes.set(part);
      taken.push(partial.put(lease, piece * mib, part.length));
    }
    return taken;
  }
  const piecesOf = (bytes: Uint8Array): number[] =>
    Array.from({ length: Math.ceil(bytes.length / mib) }, (_, at) => at);
  async function large(store: SessionStore, name: string, bytes: Uint8Array): Promise<unknown> {
    const partial = await store.partial(offer(name, bytes.length), undefined);
    expect(await partial.held()).to.deep.equal([]);
    await put(partial, bytes, piecesOf(bytes).reverse());
    await partial.verify(bytes.length, { sha256: sha256(bytes) });
    return partial.commit();
  }

  it('keeps small files of all sizes, and says how sure it is', async () => {
    const store = await session();
    const files = Object.fromEntries(
      [0, 1, 4095, 4096, 65536].map((size) => [`d/of ${String(size)}`, content(size, size)]),
    );
    expect(await small(store, files)).to.deep.equal(Object.keys(files).map(() => 'stored'));
    for (const [name, bytes] of Object.entries(files))
      expect((await opened.read(name)).equals(bytes), name).to.equal(true);
    expect(store.verified).to.equal(says);
  });

  it('keeps a large file whose pieces come in any order, and takes none twice', async () => {
    const bytes = content(9 * mib + 77, 3);
    const store = await session();
    const partial = await store.partial(offer('large', bytes.length), undefined);
    expect(await partial.held()).to.deep.equal([]);
    expect(await put(partial, bytes, [9, 2, 2, 0])).to.deep.equal([true, true, false, true]);
    await put(partial, bytes, [1, 8, 7, 6, 5, 4, 3]);
    await partial.whole(bytes.length);
    expect(await opened.list(), 'before the commit').to.deep.equal([]);
    await partial.verify(bytes.length, { sha256: sha256(bytes) });
    expect(await opened.list(), 'before the commit').to.deep.equal([]);
    expect(await partial.commit()).to.deep.include({ path: 'large', verified: says, outcome: 'stored' });
    expect((await opened.read('large')).equals(bytes)).to.equal(true);
  });

  it('keeps runs of zeros, and a file whose size nobody knew', async () => {
    const store = await session();
    const bytes = Buffer.concat([Buffer.alloc(11 * mib), content(mib + 5, 4)]);
    const partial = await store.partial(offer('stream', undefined), undefined);
    await partial.held();
    expect(partial.zero(0, 11 * mib)).to.equal(true);
    await put(partial, bytes, [11, 12]);
    await partial.verify(bytes.length, { sha256: sha256(bytes) });
    await partial.commit();
    expect((await opened.read('stream')).equals(bytes)).to.equal(true);
  });

  it('refuses a large file that does not match, and takes it again', async () => {
    const bytes = content(2 * mib, 5);
    const store = await session();
    const partial = await store.partial(offer('f', bytes.length), undefined);
    await partial.held();
    await put(partial, content(2 * mib, 6), [0, 1]);
    expect(await codeOf(partial.verify(bytes.length, { sha256: sha256(bytes) }))).to.equal('mismatch');
    expect(await opened.list()).to.deep.equal([]);
    for (const { digest } of await partial.held()) expect(digest).to.match(/^[0-9a-f]{64}$/);
    await put(partial, bytes, [0, 1]);
    await partial.verify(bytes.length, { sha256: sha256(bytes) });
    expect(await partial.commit()).to.deep.include({ path: 'f', outcome: 'stored' });
    expect((await opened.read('f')).equals(bytes)).to.equal(true);
  });

  it('refuses a small file that does not match, and stores the others of its batch', async () => {
    const store = await session();
    const lease = await store.batch.memory.lease();
    lease.bytes.set(content(10));
    const wrong = { entry: offer('wrong', 5), digest: sha256(content(5, 9)) };
    const right = { entry: offer('right', 5), digest: sha256(content(10).subarray(5)) };
    await store.batch.write(lease, [wrong, right]);
    const outcomes = await store.batch.commit();
    expect((outcomes.get(wrong.entry.file) as TransferError).code).to.equal('mismatch');
    expect(outcomes.get(right.entry.file)).to.equal('stored');
    expect(await opened.list()).to.deep.equal(['right']);
  });

  it('commits as many batches beside one another as it says, each with its own entries and failures', async () => {
    const store = await session();
    const { commits } = store.batch.limits;
    const wrong = { entry: offer('wrong', 5), digest: sha256(content(5, 9)) };
    const batches: (readonly { readonly entry: ReturnType<typeof offer>; readonly digest: string }[])[] = [];
    const outcomes: Promise<ReadonlyMap<number, unknown>>[] = [];
    for (let batch = 0; batch < commits + 1; batch++) {
      const lease = await store.batch.memory.lease();
      lease.bytes.set(content(10, batch));
      const right = {
        entry: offer(`batch ${String(batch)}`, 5),
        digest: sha256(content(10, batch).subarray(0, 5)),
      };
      const files = batch === 0 ? [right, wrong] : [right];
      await store.batch.write(lease, files);
      batches.push(files);
      if (batch < commits) outcomes.push(store.batch.commit());
    }
    await Promise.all(outcomes);
    expect(await opened.list(), 'what is not committed').to.have.members(
      Array.from({ length: commits }, (_, batch) => `batch ${String(batch)}`),
    );
    outcomes.push(store.batch.commit());
    for (const [batch, files] of batches.entries()) {
      const found = await outcomes[batch];
      expect([...(found?.keys() ?? [])], `entries of batch ${String(batch)}`).to.deep.equal(
        files.map(({ entry }) => entry.file),
      );
      for (const { entry } of files) {
        const outcome = found?.get(entry.file);
        expect(outcome instanceof TransferError ? outcome.code : outcome, entry.name).to.equal(
          entry === wrong.entry ? 'mismatch' : 'stored',
        );
      }
    }
  });

  it('leaves nothing of what is discarded, or never committed', async () => {
    const store = await session();
    const partial = await store.partial(offer('a/f', 20 * mib), undefined);
    await partial.held();
    await put(partial, content(20 * mib), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    await partial.discard();
    expect(await codeOf(partial.commit())).to.be.oneOf(['unexpected', 'interrupted']);
    const lease = await store.batch.memory.lease();
    await store.batch.write(lease, [{ entry: offer('b/f', 0), digest: sha256(Buffer.alloc(0)) }]);
    for (const each of sessions.splice(0)) await each.release();
    expect(await opened.list()).to.deep.equal([]);
  });

  const old = content(70_000, 1);
  const rules: [IfExists, string, string][] = [
    ['refuse', 'exists', 'exists'],
    ['skip', 'exists', 'exists'],
    ['rename', 'd/f (1).gz', 'd/f (2).gz'],
    ['replace', 'd/f.gz', 'd/f.gz'],
  ];
  for (const [rule, ofSmall, ofLarge] of rules) {
    it(`does not take a name twice, but as the rule ${rule} says; the same content is always fine`, async () => {
      await large(await session(), 'd/f.gz', old);
      const store = await session(rule);
      const [again] = await small(store, { 'd/g': Buffer.from('g') });
      expect(again).to.equal('stored');
      const said = async (bytes: Uint8Array, name: string): Promise<unknown> => {
        if (bytes.length > 65536)
          return large(store, name, bytes).catch((error: unknown) => (error as TransferError).code);
        return (await small(store, { [name]: bytes }))[0];
      };
      const pathOf = (outcome: unknown): unknown =>
        typeof outcome === 'object' ? (outcome as { path: string }).path : outcome;
      expect(pathOf(await said(old, 'd/f.gz')), 'the same').to.equal('d/f.gz');
      expect(pathOf(await said(Buffer.from('g'), 'd/g')), 'the same').to.equal('d/g');
      expect(pathOf(await said(Buffer.from('other'), 'd/f.gz'))).to.equal(ofSmall);
      expect(pathOf(await said(content(70_000, 2), 'd/f.gz'))).to.equal(ofLarge);
      expect((await opened.read('d/f.gz')).equals(rule === 'replace' ? content(70_000, 2) : old)).to.equal(true);
    });
  }

  it('stores nothing below a file, nor a file in place of a directory', async () => {
    const store = await session('replace');
    await small(store, { 'd/f': Buffer.from('f') });
    expect(await small(store, { 'd/f/g': Buffer.from('g') })).to.deep.equal(['exists']);
    expect(await small(store, { d: Buffer.from('d') })).to.deep.equal(['exists']);
    expect(await codeOf(large(store, 'd', content(70_000)))).to.equal('exists');
    expect(await opened.list()).to.deep.equal(['d/', 'd/f']);
  });

  it('gives one name to one of many who want it at the same time', async () => {
    const stores = await Promise.all(Array.from({ length: 6 }, () => session()));
    const outcomes = await Promise.all(stores.map((store, at) => small(store, { 'd/f': content(50, at + 1) })));
    expect(outcomes.flat().filter((outcome) => outcome === 'stored')).to.have.length(1);
    expect(outcomes.flat().filter((outcome) => outcome === 'exists')).to.have.length(5);
    const winner = outcomes.findIndex(([outcome]) => outcome === 'stored');
    expect((await opened.read('d/f')).equals(content(50, winner + 1))).to.equal(true);
  });

  it('keeps directories, symbolic links and further names', async () => {
    const store = await session();
    const directory = { file: numbers++, type: 'directory', name: named('d'), mode: 0o750, mtime } as const;
    expect(await store.directories([directory.name])).to.deep.equal([undefined]);
    store.batch.directory(directory, true);
    const link = { file: numbers++, type: 'symlink', name: named('d/link'), target: '../f', mtime } as const;
    store.batch.symlink(link);
    expect([...(await store.batch.commit()).keys()]).to.deep.equal([directory.file, link.file]);
    expect(await small(store, { 'd/f': Buffer.from('f') })).to.deep.equal(['stored']);
    const further = { file: numbers++, name: named('d/further'), target: named('d/f') };
    const linked = (await store.batch.link([further])).get(further.file);
    expect(
      linked === 'stored' || (typeof linked === 'object' && 'path' in linked && linked.path === 'd/further'),
    ).to.equal(true);
    expect(linked === 'stored', 'it is the same file').to.equal(links);
    await store.batch.finishDirectories([directory]);
    expect(await store.directories([directory.name])).to.deep.equal([{ mtime }]);
    expect(await small(store, { 'd/later': Buffer.from('later') })).to.deep.equal(['stored']);
    expect((await store.batch.putTimesBack([directory])).get(directory.file)).to.equal('stored');
    expect(await store.directories([directory.name])).to.deep.equal([{ mtime }]);
    expect(await opened.list()).to.deep.equal(['d/', 'd/f', 'd/further', 'd/later', 'd/link']);
    expect((await opened.read('d/further')).toString()).to.equal('f');
    const [found] = await store.lookup([{ ...offer('d/link', undefined) }]);
    expect(found?.kind).to.equal('symlink');
  });

  it('knows what it gave a receipt for, to the peer that has it, in the next process too', async () => {
    await small(await session(), { f: Buffer.from('f') });
    await large(await session(), 'large', old);
    for (const each of sessions.splice(0)) await each.release();
    const place = await opened.reopen();
    const [mine, others] = [await session('refuse', 'p', place), await session('refuse', 'q', place)];
    const offers = [offer('f', 1), offer('large', old.length), offer('none', 1)];
    const known = (await mine.lookup(offers)).map((found) => found?.known?.digests.sha256);
    expect(known).to.deep.equal([sha256(Buffer.from('f')), sha256(old), undefined]);
    expect((await others.lookup(offers)).map((found) => found?.known)).to.deep.equal([undefined, undefined, undefined]);
    expect(await mine.owns(offers.map(({ name }) => name))).to.deep.equal([true, true, false]);
    expect(await others.owns(offers.map(({ name }) => name))).to.deep.equal([false, false, false]);
    expect((await mine.read(offers)).map((found) => found?.digest)).to.deep.equal(known);
    expect(await mine.check(offers[1] as OfferedFile, { sha256: sha256(old) }, () => undefined)).to.match(/^20.*Z$/);
    expect(await mine.check(offers[1] as OfferedFile, { sha256: sha256(content(1)) }, () => undefined)).to.equal(
      undefined,
    );
  });

  it('knows many at once, those that have changed not among them', async () => {
    const names = Array.from({ length: 20 }, (_, at) => `d/${String(at)}`);
    await small(await session(), Object.fromEntries(names.map((name, at) => [name, content(100, at)])));
    const offers = names.map((name) => offer(name, 100));
    const changed: OfferedFile[] = offers.map((each, at) => ({
      ...each,
      ...[{ size: 99 }, { mtime: mtime + 1n }, { ctime: mtime }, { ctime: undefined }][at],
    }));
    const known = async (store: SessionStore, asked: readonly OfferedFile[]): Promise<(string | undefined)[]> =>
      (await store.lookup(asked)).map((found) => found?.known?.digests.sha256);
    const digests = names.map((_, at) => sha256(content(100, at)));
    for (const place of [opened.place, await opened.reopen()]) {
      expect(await known(await session('refuse', 'p', place), offers)).to.deep.equal(digests);
      expect(await known(await session('refuse', 'p', place), changed)).to.deep.equal(
        digests.map((digest, at) => (at < 4 ? undefined : digest)),
      );
      expect(await known(await session('refuse', 'q', place), offers)).to.deep.equal(digests.map(() => undefined));
      for (const each of sessions.splice(0)) await each.release();
    }
  });

  it('goes on with a suspended file in the next process, for the same peer and file', async () => {
    const bytes = content(resumesFrom + 3 * mib + 5, 8);
    const whole = Math.floor(resumesFrom / mib);
    const entry = offer('d/f', bytes.length);
    const first = await (await session()).partial(entry, undefined);
    await first.held();
    await put(
      first,
      bytes,
      Array.from({ length: whole }, (_, at) => at),
    );
    await first.suspend();
    for (const each of sessions.splice(0)) await each.release();
    const place = await opened.reopen();
    const other = await (await session('refuse', 'q', place)).partial(entry, undefined);
    expect(await other.held(), 'another peer').to.deep.equal([]);
    await other.discard();
    const store = await session('refuse', 'p', place);
    const partial = await store.partial(entry, undefined);
    const held = await partial.held();
    expect(held).to.deep.equal(
      Array.from({ length: whole }, (_, at) => ({
        segment: at,
        digest: sha256(bytes.subarray(at * mib, (at + 1) * mib)),
      })),
    );
    expect(() => partial.keep(whole, 1)).to.throw(TransferError);
    partial.keep(0, whole);
    await put(partial, bytes, piecesOf(bytes).slice(whole));
    await partial.verify(bytes.length, { sha256: sha256(bytes) });
    expect(await partial.commit()).to.deep.include({ path: 'd/f', outcome: 'stored' });
    expect((await opened.read('d/f')).equals(bytes)).to.equal(true);
  });

  it('takes every name that a disk can have', async () => {
    const odd = ['a b', '%41', 'ü', ':2,S', 'aux.c', 'x.', '*', 'tab\there', 'latin \udce4', '~', '&<"', "'"];
    const store = await session();
    const files = Object.fromEntries(odd.map((name) => [`o/${name}`, Buffer.from(name)]));
    expect(await small(store, files)).to.deep.equal(odd.map(() => 'stored'));
    const found = await store.lookup(odd.map((name) => offer(`o/${name}`, undefined)));
    expect(found.map((each) => each?.size)).to.deep.equal(odd.map((name) => Buffer.from(name).length));
    const utf8 = odd.filter((name) => !name.includes('latin'));
    const listed = (await opened.list()).filter((name) => !name.includes('latin'));
    expect(listed).to.deep.equal(['o/', ...utf8.map((name) => `o/${name}`)].sort());
  });
}
