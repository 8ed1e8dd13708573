import { expect } from 'chai';
import { mkdir, readdir, readFile, rm, stat, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { TransferError } from '../../../lib/errors';
import { parseEntryName } from '../../../lib/name';
import { pieceSize } from '../../../lib/wire/segment';
import { LocalStore } from '../../../lib/store/local/local';
import type { PartialOffer } from '../../../lib/store/local/partial-file';
import type { EarlierFile, PartialFile, SessionStore } from '../../../lib/store/session-store';
import { codeOf, content, md5Of } from '../delivery';
import { emptyDirectory } from './local-place';

const size = 3 * pieceSize + 100;
const bytes = content(size);

describe('PartialFiles', () => {
  let directory: string;
  let store: LocalStore;
  const sessions: SessionStore[] = [];
  let elsewhere: string;

  const open = async (): Promise<void> => {
    store = await LocalStore.open(directory);
  };
  const close = async (): Promise<void> => {
    for (const session of sessions.splice(0)) await session.release();
    await store.close();
  };
  /** As a receiver that is started again. */
  const restart = (): Promise<void> => close().then(open);
  beforeEach(async () => {
    directory = await emptyDirectory();
    elsewhere = await emptyDirectory();
    await open();
  });
  afterEach(async () => {
    await close();
    for (const each of [directory, elsewhere]) await rm(each, { recursive: true, force: true });
  });

  const offer = (changes: Partial<Omit<PartialOffer, 'name'>> & { readonly name?: string } = {}): PartialOffer => {
    const { name = 'd/f', ...others } = changes;
    return {
      file: 0,
      peer: 'peer',
      size,
      mtime: 5n,
      mode: 0o640,
      algorithm: 'md5',
      ifExists: 'refuse',
      ...others,
      name: parseEntryName(name),
    };
  };
  async function take(
    changes: Parameters<typeof offer>[0] = {},
    basis?: 'existing' | EarlierFile,
  ): Promise<PartialFile> {
    const { algorithm, peer, ifExists, ...entry } = offer(changes);
    const session = await store.session({ algorithm, peer, ifExists });
    sessions.push(session);
    return session.partial(entry, basis);
  }
  /** A file that somebody keeps elsewhere on the disk. */
  const earlier = (place: string): EarlierFile => ({
    root: path.dirname(place),
    name: parseEntryName(path.basename(place), { allowHidden: true }),
    size,
    mode: 0o644,
    mtime: 1n,
  });
  const partials = async (): Promise<string[]> =>
    (await readdir(path.join(directory, '.sendall', 'partial')).catch(() => [])).sort();
  const partial = async (): Promise<string> => path.join(directory, '.sendall', 'partial', (await partials())[0] ?? '');

  async function put(file: PartialFile, pieces: readonly number[], of = bytes): Promise<void> {
    for (const piece of pieces) {
      const part = of.subarray(piece * pieceSize, (piece + 1) * pieceSize);
      const lease = await file.memory.lease();
      lease.bytes.set(part);
      expect(file.put(lease, piece * pieceSize, part.length)).to.equal(true);
    }
    await file.room();
  }
  /** The first two segments of a file, put and suspended. */
  async function leave(changes: Parameters<typeof offer>[0] = {}): Promise<void> {
    const file = await take(changes);
    await put(file, [0, 1]);
    await file.suspend();
  }
  const digestOf = (segment: number): string => md5Of(bytes.subarray(segment * pieceSize, (segment + 1) * pieceSize));
  const both = [0, 1].map((segment) => ({ segment, digest: digestOf(segment) }));

  it('goes on with what is here, and stores the whole, with its mode and mtime', async () => {
    await leave();
    await restart();
    const file = await take();
    expect(await file.held()).to.deep.equal(both);
    file.keep(0, 2);
    await put(file, [2, 3]);
    await file.verify(size, { md5: md5Of(bytes) });
    expect(await readdir(directory)).to.deep.equal(['.sendall']);
    expect(await file.commit()).to.include({ path: 'd/f', outcome: 'stored' });
    expect(await readFile(path.join(directory, 'd', 'f'))).to.deep.equal(bytes);
    const found = await stat(path.join(directory, 'd', 'f'), { bigint: true });
    expect([Number(found.mode & 0o7777n), found.mtimeNs]).to.deep.equal([0o640, 5n]);
    expect(await partials()).to.deep.equal([]);
  });

  const others: NonNullable<Parameters<typeof offer>[0]>[] = [
    { peer: 'another' },
    { name: 'd/g' },
    { size: size + 1 },
    { mtime: 6n },
  ];
  for (const other of others) {
    it(`goes on with nothing of another ${Object.keys(other)[0] ?? ''}`, async () => {
      await leave();
      const file = await take(other);
      expect(await file.held()).to.deep.equal([]);
      await file.discard();
    });
  }

  it('forgets what was here of a file that has changed, and keeps what is of another peer', async () => {
    await leave();
    await leave({ peer: 'another' });
    await (await take({ mtime: 6n })).discard();
    expect(await (await take()).held()).to.deep.equal([]);
    expect(await (await take({ peer: 'another' })).held()).to.deep.equal(both);
  });

  it('is taken over from an earlier connection, which is told so', async () => {
    const earlier = await take();
    await put(earlier, [0, 1]);
    const [file, more] = await Promise.all([take(), take({ name: 'd/other' })]);
    expect(await file.held()).to.deep.equal(both);
    expect(await codeOf(earlier.room())).to.equal('exists');
    await Promise.all([file.discard(), more.discard()]);
    expect(await partials()).to.deep.equal([]);
  });

  it('is in one hand at a time, however many reach for it at once', async () => {
    const files = await Promise.all(Array.from({ length: 5 }, () => take()));
    const usable = await Promise.allSettled(files.map((file) => file.room()));
    expect(usable.map(({ status }) => status)).to.deep.equal([
      'rejected',
      'rejected',
      'rejected',
      'rejected',
      'fulfilled',
    ]);
    await files[4]?.discard();
  });

  it('suspends everything when the store is closed, and leaves nothing of what has not begun', async () => {
    await put(await take(), [0, 1]);
    await take({ name: 'nothing' });
    await put(await take({ name: 'stream', size: undefined }), [0, 1]);
    await restart();
    expect((await partials()).map((name) => name.replace(/^[0-9a-f]{32}/, ''))).to.deep.equal(['', '.journal']);
    expect(await (await take()).held()).to.deep.equal(both);
  });

  it('reads what is here from the disk: where a byte has changed, its segment has another digest', async () => {
    await leave();
    const place = await partial();
    const damaged = await readFile(place);
    damaged.writeUInt8(damaged.readUInt8(pieceSize + 5) ^ 1, pieceSize + 5);
    await writeFile(place, damaged);
    const file = await take();
    const held = await file.held();
    expect(held[0]).to.deep.equal(both[0]);
    expect(held[1]?.digest)
      .to.equal(md5Of(damaged.subarray(pieceSize, 2 * pieceSize)))
      .and.not.equal(digestOf(1));
    file.keep(0, 1);
    await put(file, [1, 2, 3]);
    await file.verify(size, { md5: md5Of(bytes) });
    await file.commit();
  });

  it('takes what lacks at the end of a file that was cut off for zeros, which it is not', async () => {
    await leave();
    await truncate(await partial(), pieceSize + 9);
    const held = await (await take()).held();
    expect(held.map(({ digest }) => digest === digestOf(0))).to.deep.equal([true, false]);
  });

  it('goes on with nothing where the journal is gone or damaged, or its file is', async () => {
    for (const [what, suffix] of [
      ['journal', '.journal'],
      ['file', ''],
    ] as const) {
      await leave();
      await rm(`${await partial()}${suffix}`);
      const file = await take();
      expect(await file.held(), what).to.deep.equal([]);
      await file.discard();
    }
    await leave();
    await truncate(`${await partial()}.journal`, 50);
    expect(await (await take()).held()).to.deep.equal([]);
  });

  it('removes at its start what nobody went on with for two weeks, and what has no journal', async () => {
    await leave({ name: 'old' });
    const [old = ''] = await partials();
    await leave({ name: 'young' });
    const place = path.join(directory, '.sendall', 'partial');
    const age = new Date(Date.now() - 15 * 24 * 3600 * 1000);
    await utimes(path.join(place, `${old}.journal`), age, age);
    await writeFile(path.join(place, '0'.repeat(32)), 'no journal');
    await writeFile(path.join(place, `${old}.journal.0123.new`), 'a draft');
    await restart();
    expect(await (await take({ name: 'old' })).held()).to.deep.equal([]);
    expect(await (await take({ name: 'young' })).held()).to.deep.equal(both);
    expect(await partials()).to.have.lengthOf(3);
  });

  /** What is told of the bytes that stand there: as far as they go, and digests that are theirs. */
  async function standing(file: PartialFile, there: Buffer): Promise<number> {
    const segments = await file.basis();
    for (const { offset, size: length, digest } of segments)
      expect(digest).to.equal(md5Of(there.subarray(offset, offset + length)));
    return segments.reduce((most, segment) => Math.max(most, segment.offset + segment.size), 0);
  }

  it('takes what is the same from what stands there, from any place in it, or from another file, if that may be compared', async () => {
    await mkdir(path.join(directory, 'd'));
    await writeFile(path.join(directory, 'd', 'f'), bytes);
    await writeFile(path.join(elsewhere, 'before'), Buffer.concat([Buffer.from('before'), bytes]));
    expect(await standing(await take(), bytes)).to.equal(0);
    const places = [
      [path.join(directory, 'd', 'f'), bytes],
      [path.join(elsewhere, 'before'), Buffer.concat([Buffer.from('before'), bytes])],
    ] as const;
    for (const [place, there] of places) {
      const from = there.length - size;
      const file = await take({ name: `d/new ${String(from)}` }, earlier(place));
      expect(await file.held()).to.deep.equal([]);
      expect(await standing(file, there)).to.equal(there.length);
      expect(file.copy(0, 2 * pieceSize, from)).to.equal(true);
      expect(file.copy(pieceSize, 2 * pieceSize, from + pieceSize)).to.equal(true);
      expect(file.copy(0, 3 * pieceSize, from)).to.equal(false);
      await put(file, [3]);
      await file.verify(size, { md5: md5Of(bytes) });
      expect(await file.commit()).to.include({ outcome: 'stored' });
    }
    const file = await take({ ifExists: 'replace', size: size + pieceSize }, 'existing');
    expect(await standing(file, bytes)).to.equal(size);
    await file.discard();
    expect((await readFile(path.join(directory, 'd', 'f'))).equals(bytes)).to.equal(true);
  });

  it('copies only what it told of, and nothing any more once what is here is asked for again', async () => {
    await writeFile(path.join(directory, 'f'), bytes);
    const file = await take({ name: 'f' }, 'existing');
    const copying =
      (from: number): (() => unknown) =>
      () =>
        file.copy(0, pieceSize, from);
    expect(copying(0)).to.throw(TransferError).with.property('code', 'bad-header');
    await file.basis();
    expect(copying(size - pieceSize + 1))
      .to.throw(TransferError)
      .with.property('code', 'bad-header');
    expect(copying(size - pieceSize)()).to.equal(true);
    await file.held();
    expect(copying(0)).to.throw(TransferError).with.property('code', 'bad-header');
    await file.discard();
  });

  it('never looks through a symbolic link for what stands there, nor at what is no regular file', async () => {
    await writeFile(path.join(elsewhere, 'secret'), bytes);
    await symlink(path.join(elsewhere, 'secret'), path.join(directory, 'link'));
    await mkdir(path.join(directory, 'directory'));
    for (const name of ['link', 'directory', 'nothing', 'nowhere/f']) {
      expect(await standing(await take({ name }, 'existing'), bytes), name).to.equal(0);
      expect(await standing(await take({ name: 'f' }, earlier(path.join(directory, name))), bytes), name).to.equal(0);
    }
  });

  it('leaves nothing of a file whose directory became a link meanwhile (the faults of swap)', async () => {
    await symlink(elsewhere, path.join(directory, 'd'));
    expect(await codeOf(take({}, 'existing'))).to.equal('exists');
    expect(await partials()).to.deep.equal([]);
    await rm(path.join(directory, 'd'));
    await leave();
    await symlink(elsewhere, path.join(directory, 'd'));
    expect(await codeOf(take({}, 'existing')), 'what can be gone on with stays').to.equal('exists');
    expect(await partials()).to.have.lengthOf(2);
  });

  it('keeps what was copied, and tells again of what stands there when it goes on', async () => {
    await writeFile(path.join(directory, 'f'), bytes);
    const file = await take({ name: 'f' }, 'existing');
    await file.basis();
    file.copy(pieceSize, pieceSize, pieceSize);
    await file.suspend();
    await restart();
    const again = await take({ name: 'f' }, 'existing');
    expect(await again.held()).to.deep.equal([both[1]]);
    expect(await standing(again, bytes)).to.equal(size);
    await again.discard();
  });

  it('makes up with zeros for what does not stand there any more: its digest says so', async () => {
    await writeFile(path.join(directory, 'f'), bytes);
    const file = await take({ name: 'f', ifExists: 'replace' }, 'existing');
    await file.basis();
    await truncate(path.join(directory, 'f'), pieceSize + 10);
    file.copy(0, size, 0);
    expect(await codeOf(file.verify(size, { md5: md5Of(bytes) }))).to.equal('mismatch');
    const held = await file.held();
    expect(held.map(({ segment, digest }) => digest === digestOf(segment))).to.deep.equal([true, false, false, false]);
    file.keep(0, 1);
    await put(file, [1, 2, 3]);
    await file.verify(size, { md5: md5Of(bytes) });
    expect(await file.commit()).to.include({ outcome: 'replaced' });
  });
});
