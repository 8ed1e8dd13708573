import { expect } from 'chai';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { parseEntryName } from '../../../lib/name';
import { pieceSize } from '../../../lib/wire/segment';
import { LocalStore } from '../../../lib/store/local/local';
import type { PartialFile, SessionStore } from '../../../lib/store/session-store';
import { codeOf, content, md5Of } from '../delivery';
import { emptyDirectory, everythingIn } from './local-place';
import { md5OfRepeated } from './receiving';
import { type Call, canAttach, canTrace, FaultyProcess, TracedProcess } from './trace';

const size = 2 * pieceSize + 5000;
const bytes = content(size);

describe('PartialBytes', () => {
  let directory: string;
  let store: LocalStore;
  let session: SessionStore;
  beforeEach(async () => {
    directory = await emptyDirectory();
    store = await LocalStore.open(directory);
    session = await store.session({ algorithm: 'md5', peer: 'p', ifExists: 'replace' });
  });
  afterEach(async () => {
    await session.release();
    await store.close();
    await rm(directory, { recursive: true, force: true });
  });

  const take = (mtime = 1n, length: { readonly size?: number } = { size }): Promise<PartialFile> =>
    session.partial({ file: 0, name: parseEntryName('f'), size: length.size, mtime, mode: 0o600 }, undefined);
  async function put(file: PartialFile, piece: number, of: Uint8Array = bytes): Promise<boolean> {
    const part = of.subarray(piece * pieceSize, (piece + 1) * pieceSize);
    const lease = await file.memory.lease();
    lease.bytes.set(part);
    return file.put(lease, piece * pieceSize, part.length);
  }
  const stored = (): Promise<Buffer> => readFile(path.join(directory, 'f'));

  it('takes pieces in any order, each once, whatever comes the second time', async () => {
    const file = await take();
    for (const [piece, of, needed] of [
      [2, bytes, true],
      [0, bytes, true],
      [0, content(size, 2), false],
      [1, bytes, true],
      [2, content(size, 2), false],
    ] as const) {
      expect(await put(file, piece, of), `piece ${String(piece)}`).to.equal(needed);
    }
    await file.verify(size, { md5: md5Of(bytes) });
    expect(await put(file, 1, content(size, 2)), 'after the reading back').to.equal(false);
    await file.commit();
    expect((await stored()).equals(bytes)).to.equal(true);
  });

  it('leaves holes where zeros come first, and writes them over what was there', async () => {
    const sparse = Buffer.alloc(40 * pieceSize);
    sparse.set(bytes.subarray(0, pieceSize), 39 * pieceSize);
    const fresh = await take(1n, { size: sparse.length });
    expect(fresh.zero(0, 39 * pieceSize)).to.equal(true);
    expect(fresh.zero(0, 39 * pieceSize)).to.equal(false);
    await put(fresh, 39, sparse);
    await fresh.verify(sparse.length, { md5: md5Of(sparse) });
    await fresh.commit();
    expect((await stat(path.join(directory, 'f'))).blocks * 512).to.be.lessThan(3 * pieceSize);

    const before = await take();
    for (const piece of [0, 1, 2]) await put(before, piece);
    await before.suspend();
    const file = await take();
    expect(await file.held()).to.have.lengthOf(3);
    file.keep(1, 1);
    file.zero(0, pieceSize);
    file.zero(2 * pieceSize, size - 2 * pieceSize);
    const expected = Buffer.alloc(size);
    bytes.copy(expected, pieceSize, pieceSize, 2 * pieceSize);
    await file.verify(size, { md5: md5Of(expected) });
    await file.commit();
    expect((await stored()).equals(expected)).to.equal(true);
  });

  it('keeps only what was held, and says so', async () => {
    const file = await take();
    await put(file, 0);
    await file.held();
    for (const [first, count] of [
      [1, 1],
      [0, 2],
      [3, 1],
      [65535, 65536],
    ] as const)
      expect(() => file.keep(first, count)).to.throw('is not here');
    file.keep(0, 1);
    await file.discard();
  });

  it('after a mismatch tells what is here, and takes what is put in its place', async () => {
    const file = await take();
    for (const piece of [0, 1, 2]) await put(file, piece, piece === 1 ? content(size, 2) : bytes);
    expect(await codeOf(file.verify(size, { md5: md5Of(bytes) }))).to.equal('mismatch');
    const held = await file.held();
    const good = held
      .filter(({ segment, digest }) => digest === md5Of(bytes.subarray(segment * pieceSize, (segment + 1) * pieceSize)))
      .map(({ segment }) => segment);
    expect(good).to.deep.equal([0, 2]);
    for (const segment of good) file.keep(segment, 1);
    expect(await put(file, 1)).to.equal(true);
    await file.verify(size, { md5: md5Of(bytes) });
    await file.commit();
    expect((await stored()).equals(bytes)).to.equal(true);
  });

  it('of a size that nobody knew are as many as came, and exactly those that were announced at the end', async () => {
    for (const [announced, code] of [
      [size, undefined],
      [size - 1, 'mismatch'],
      [size + 1, 'mismatch'],
    ] as const) {
      const file = await take(BigInt(announced), {});
      for (const piece of [0, 1, 2]) await put(file, piece);
      const verifying = file.verify(announced, { md5: md5Of(bytes) });
      if (code === undefined) await verifying;
      else expect(await codeOf(verifying)).to.equal(code);
      await (code === undefined ? file.commit() : file.discard());
    }
    expect((await stored()).equals(bytes)).to.equal(true);
  });

  it('is committed by nobody who has not verified it, nor by anybody after it was suspended', async () => {
    const file = await take();
    expect(await codeOf(file.commit())).to.equal('unexpected');
    for (const piece of [0, 1, 2]) await put(file, piece);
    await file.verify(size, { md5: md5Of(bytes) });
    await file.suspend();
    expect(await codeOf(file.commit())).to.equal('interrupted');
    expect(await everythingIn(directory)).to.not.include('f');
    expect(await (await take()).held()).to.have.lengthOf(3);
  });
});

const pieces = { order: 'pieces', name: 'f', size: 3 * pieceSize + 77, seed: 1 } as const;

(canAttach ? describe : describe.skip)(
  'PartialBytes on a disk that fails (through strace, by whoever may attach it)',
  function () {
    // The first one compiles what it starts.
    this.timeout(60_000);
    let directory: string;
    let receiving: FaultyProcess;
    beforeEach(async () => {
      directory = await emptyDirectory();
      receiving = new FaultyProcess();
      await receiving.open(directory);
    });
    afterEach(async () => {
      await receiving.kill();
      await rm(directory, { recursive: true, force: true });
    });

    const failures: readonly (readonly [string, string])[] = [
      ['cannot sync, once', 'fsync,fdatasync:error=EIO:when=1'],
      ['is full', 'pwrite64:error=ENOSPC:when=2+'],
      ['cannot write, once', 'pwrite64:error=EIO:when=2'],
    ];
    for (const [what, fault] of failures) {
      it(`that ${what} when a file is suspended keeps nothing of it`, async () => {
        await receiving.suffer(fault);
        await receiving.ask({ ...pieces, put: [0, 1, 2], end: 'suspend' });
        expect(await readdir(path.join(directory, '.sendall', 'partial'))).to.deep.equal([]);
        expect(await receiving.ask({ ...pieces, put: [], end: 'suspend' })).to.deep.equal({ held: [] });
      });

      it(`that ${what} when a file is stored keeps nothing of it`, async () => {
        await receiving.suffer(fault);
        expect((await receiving.ask({ ...pieces, put: [0, 1, 2, 3], end: 'store' }))['code']).to.equal(
          what === 'is full' ? 'space' : 'disk',
        );
        expect(await readdir(path.join(directory, '.sendall', 'partial'))).to.deep.equal([]);
        expect(await everythingIn(directory)).to.not.include('f');
      });
    }

    it('and forgot what it could not sync is not asked again: a second sync, which succeeds, is not believed', async () => {
      await receiving.suffer('fsync,fdatasync:error=EIO:when=1');
      // So much, after so long, is worth a journal on the way.
      await receiving.ask({
        ...pieces,
        size: 80 * pieceSize,
        put: Array.from({ length: 70 }, (_, at) => at),
        pause: 2_100,
        end: 'suspend',
      });
      expect(await readdir(path.join(directory, '.sendall', 'partial'))).to.deep.equal([]);
    });
  },
);

(canTrace ? describe : describe.skip)('The journal, as strace sees it', function () {
  // The first one compiles what it starts.
  this.timeout(60_000);
  let directory: string;
  beforeEach(async () => (directory = await emptyDirectory()));
  afterEach(() => rm(directory, { recursive: true, force: true }));

  it('is written when its data is on the disk, and takes its place when it is there itself', async () => {
    const traced = new TracedProcess('fsync,fdatasync,rename,renameat,renameat2,write,pwrite64');
    await traced.open(directory);
    await traced.ask({ ...pieces, put: [0, 1, 2], end: 'suspend' });
    expect(await traced.ask({ ...pieces, put: [3], end: 'store' })).to.deep.include({
      held: [0, 1, 2],
      outcome: 'stored',
    });
    const calls = await traced.calls();
    const where = (name: RegExp, text: RegExp): Call[] =>
      calls.filter((call) => name.test(call.name) && text.test(call.text));
    const journalWritten = where(/^p?write/, /\.journal\.[0-9a-f]+\.new>/)[0] as Call;
    const steps: readonly (readonly [string, Call | undefined])[] = [
      ['the last write', where(/^pwrite/, /\/partial\/[0-9a-f]{32}>/).findLast(({ to }) => to < journalWritten.from)],
      ['fsync of the data', where(/^f(data)?sync$/, /\/partial\/[0-9a-f]{32}>/)[0]],
      ['the journal', journalWritten],
      ['fsync of the journal', where(/^f(data)?sync$/, /\.journal\.[0-9a-f]+\.new>/)[0]],
      ['its place', where(/^rename/, /\.journal"/)[0]],
    ];
    for (const [at, [what, call]] of steps.entries()) {
      const before = steps[at - 1];
      if (before) expect(before[1]?.to, `${before[0]} has ended before ${what}`).to.be.lessThan(call?.from ?? 0);
    }
    expect(md5OfRepeated(pieces.seed, pieces.size)).to.equal(md5Of(await readFile(path.join(directory, 'f'))));
  });
});
