import { expect } from 'chai';
import type { AnyRule } from './any-rule';
import { nameConformance } from './conformance-names';
import { announce, codeOf, content, verified, writeAll } from './delivery';

/** A store opened on a place of its own, and eyes that look at the place past the store. */
export interface Opened {
  readonly store: AnyRule;
  /**
   * Everything that stands there, names of directories with a slash at the end, sorted; the staging directory is not
   * shown.
   */
  list(): Promise<string[]>;
  read(name: string): Promise<Buffer>;
  /** Puts a file there as somebody else would. */
  plant(name: string, bytes: Uint8Array): Promise<void>;
  /** How many files are staged, where that can be seen. */
  staged(): Promise<number>;
  /** Bytes that are free. */
  free(): Promise<number>;
  /** Everything that is left after `store.close()`, staging directories and all. */
  remains(): Promise<string[]>;
  /** Removes what stands there, while the store is open. */
  clear(): Promise<void>;
  /** Removes the place itself. */
  remove(): Promise<void>;
}

const mib = 1024 * 1024;
const sizes = [0, 1, 4095, 4096, 4097, 65535, 65536, 65537, mib - 1, mib, mib + 1, 5 * mib + 123];
const oddPieces = [1, 0, 4095, 65537, 0, 0, 100_003, 4096, 300_001];
const old = content(5000, 1);
const fresh = content(6000, 2);

/**
 * Every promise of `WholeFiles` and `StagedFile` on a session's store, as tests; run on each store, so that one can
 * stand for another.
 */
export function storeConformance(open: () => Promise<Opened>, says: 'device' | 'cache'): void {
  let opened: Opened;
  let store: AnyRule;

  before(async () => {
    opened = await open();
    store = opened.store;
  });
  // As in a receiver, one store lives through all of it; what one test leaves open makes the next ones fail.
  afterEach(async () => {
    expect(await opened.staged(), 'files that are still staged').to.equal(0);
    await opened.clear();
  });
  after(() => opened.remove());

  const list = (): Promise<string[]> => opened.list();

  describe('bytes', () => {
    it(`keeps files of all sizes as they came, in odd pieces, and says ${says}`, async () => {
      for (const size of sizes) {
        const bytes = content(size, size + 1);
        const file = announce(`of ${size}`, bytes);
        const staged = await store.stage(file);
        await writeAll(staged, bytes, size > mib ? oddPieces : [...oddPieces, 7]);
        await staged.verify();
        expect(await staged.commit()).to.deep.equal({ path: file.name, verified: says, outcome: 'stored' });
        expect((await opened.read(file.name)).equals(bytes), `content of ${size} bytes`).to.equal(true);
      }
      expect(store.verified).to.equal(says);
    });

    it('offers never more memory than the file still lacks', async () => {
      const bytes = content(70_000);
      const staged = await store.stage(announce('f', bytes));
      for (let at = 0; at < bytes.length;) {
        at += await staged.write((memory) => {
          expect(memory.length).to.be.within(1, bytes.length - at);
          const piece = bytes.subarray(at, at + Math.min(9_999, memory.length));
          memory.set(piece);
          return Promise.resolve(piece.length);
        });
      }
      await staged.verify();
      await staged.commit();
      expect((await opened.read('f')).equals(bytes)).to.equal(true);
    });
  });

  describe('before the commit', () => {
    it('shows nothing under the final name, nor its directories', async () => {
      const staged = await store.stage(announce('a/b/f', fresh));
      expect(await list()).to.deep.equal([]);
      await writeAll(staged, fresh);
      expect(await list()).to.deep.equal([]);
      await staged.verify();
      expect(await list()).to.deep.equal([]);
      await staged.commit();
      expect(await list()).to.deep.equal(['a/', 'a/b/', 'a/b/f']);
    });

    it('refuses to commit what was not verified', async () => {
      const staged = await store.stage(announce('f', fresh));
      expect(await codeOf(staged.commit())).to.equal('unexpected');
      await writeAll(staged, fresh);
      expect(await codeOf(staged.commit())).to.equal('unexpected');
      await staged.discard();
      expect(await list()).to.deep.equal([]);
    });

    it('refuses to verify what was not written whole', async () => {
      const staged = await store.stage(announce('f', fresh));
      await writeAll(staged, fresh.subarray(1));
      expect(await codeOf(staged.verify())).to.equal('unexpected');
      await staged.discard();
      expect(await list()).to.deep.equal([]);
    });

    for (const size of [1, 6000, 70_000]) {
      it(`leaves nothing of ${size} bytes that do not match, and is done with them`, async () => {
        const bytes = content(size);
        const wrong = Buffer.from(bytes);
        wrong[size - 1] = (wrong[size - 1] ?? 0) ^ 1;
        const staged = await store.stage(announce('a/b/f', bytes));
        await writeAll(staged, wrong);
        expect(await codeOf(staged.verify())).to.equal('mismatch');
        await codeOf(staged.write(() => Promise.resolve(0)));
        await codeOf(staged.verify());
        await codeOf(staged.commit());
        await staged.discard();
        expect(await list()).to.deep.equal([]);
      });
    }

    it('passes on what `fill` rejects with', async () => {
      const staged = await store.stage(announce('f', fresh));
      const lost = new Error('the network is gone');
      expect(await staged.write(() => Promise.reject(lost)).catch((error: unknown) => error)).to.equal(lost);
      await staged.discard();
      expect(await list()).to.deep.equal([]);
    });
  });

  describe('discard', () => {
    const steps: Record<string, (name: string) => Promise<{ discard(): Promise<void> }>> = {
      'when nothing was written': (name) => store.stage(announce(name, fresh)),
      'in the middle of the bytes': async (name) => {
        const staged = await store.stage(announce(name, fresh));
        await writeAll(staged, fresh.subarray(0, 4500), [1000]);
        return staged;
      },
      'while `fill` waits for bytes': async (name) => {
        const staged = await store.stage(announce(name, fresh));
        await new Promise<void>((waiting) => {
          const never = staged.write(() => new Promise(() => waiting()));
          void never.catch(() => undefined);
        });
        return staged;
      },
      'while it is verified': async (name) => {
        const staged = await store.stage(announce(name, fresh));
        await writeAll(staged, fresh);
        void staged.verify().catch(() => undefined);
        return staged;
      },
      'after it was verified': (name) => verified(store, name, fresh),
    };
    for (const [when, step] of Object.entries(steps)) {
      it(`${when} leaves nothing, also twice`, async () => {
        await opened.plant('a/old', old);
        const staged = await step('a/b/c/f');
        await Promise.all([staged.discard(), staged.discard()]);
        await staged.discard();
        expect(await list()).to.deep.equal(['a/', 'a/old']);
      });
    }

    it('ends the file: nothing can be written, verified or committed any more', async () => {
      const staged = await verified(store, 'a/f', fresh);
      await staged.discard();
      expect(await codeOf(staged.write(() => Promise.resolve(0)))).to.equal('interrupted');
      expect(await codeOf(staged.commit())).to.equal('interrupted');
      await codeOf(staged.verify());
      expect(await list()).to.deep.equal([]);
    });

    it('while it is committed waits, and keeps the file whole', async () => {
      const staged = await verified(store, 'a/f', fresh);
      const committing = staged.commit();
      await Promise.all([staged.discard(), staged.discard(), committing]);
      expect((await opened.read('a/f')).equals(fresh)).to.equal(true);
    });

    it('after the commit keeps the file', async () => {
      const staged = await verified(store, 'a/f', fresh);
      await staged.commit();
      await staged.discard();
      expect((await opened.read('a/f')).equals(fresh)).to.equal(true);
    });
  });

  nameConformance(() => opened, says);

  describe('room', () => {
    it('is refused to what is larger than all that is free', async () => {
      expect(await codeOf(store.stage({ ...announce('a/f', fresh), size: 2 ** 50 }))).to.equal('space');
      expect(await list()).to.deep.equal([]);
    });

    it('is promised once: to the first of two, and to the second when that is discarded', async () => {
      const size = Math.floor((await opened.free()) * 0.6);
      const first = await store.stage({ ...announce('f', fresh), size });
      expect(await codeOf(store.stage({ ...announce('g', fresh), size }))).to.equal('space');
      await first.discard();
      await (await store.stage({ ...announce('g', fresh), size })).discard();
    });
  });

  describe('at the end', () => {
    it('discards what is staged when it is closed, and leaves its place as it was', async () => {
      await opened.plant('a/old', old);
      const before = await opened.remains();
      const half = await store.stage(announce('a/b/half', fresh));
      await writeAll(half, fresh.subarray(0, 100));
      const whole = await verified(store, 'c/whole', fresh);
      await store.close();
      expect(await opened.remains()).to.deep.equal(before.filter((name) => !name.startsWith('.')));
      expect(await codeOf(half.write(() => Promise.resolve(0)))).to.equal('interrupted');
      expect(await codeOf(whole.commit())).to.equal('interrupted');
      expect(await opened.remains()).to.deep.equal(before.filter((name) => !name.startsWith('.')));
    });
  });
}
