import { expect } from 'chai';
import type { IfExists } from '../../lib/store/store';
import type { AnyRule } from './any-rule';
import type { Opened } from './conformance';
import { announce, codeOf, content, deliver, verified, writeAll } from './delivery';

const rules: readonly IfExists[] = ['refuse', 'skip', 'rename', 'replace'];
const old = content(5000, 1);
const fresh = content(6000, 2);

/** What every store promises about names: those that are taken, and those that several files want at the same time. */
export function nameConformance(opened: () => Opened, says: 'device' | 'cache'): void {
  const store = (): AnyRule => opened().store;
  const list = (): Promise<string[]> => opened().list();

  describe('a name that is taken', () => {
    beforeEach(() => opened().plant('d/f.tar.gz', old));
    const name = 'd/f.tar.gz';

    for (const rule of ['refuse', 'skip'] as const) {
      it(`by other content is refused under ${rule}`, async () => {
        expect(await codeOf(deliver(store(), name, fresh, rule))).to.equal('exists');
        expect(await list()).to.deep.equal(['d/', name]);
        expect((await opened().read(name)).equals(old)).to.equal(true);
      });
    }

    it('by content of the same length is compared, not taken for the same', async () => {
      expect(await codeOf(deliver(store(), name, content(old.length, 3)))).to.equal('exists');
      expect((await opened().read(name)).equals(old)).to.equal(true);
    });

    it('gets another name under rename, the next one that is free', async () => {
      expect(await deliver(store(), name, fresh, 'rename')).to.deep.equal({
        path: 'd/f.tar (1).gz',
        verified: says,
        outcome: 'renamed',
      });
      expect((await deliver(store(), name, content(9), 'rename')).path).to.equal('d/f.tar (2).gz');
      expect((await opened().read(name)).equals(old)).to.equal(true);
      expect((await opened().read('d/f.tar (1).gz')).equals(fresh)).to.equal(true);
      expect((await opened().read('d/f.tar (2).gz')).equals(content(9))).to.equal(true);
    });

    it('is replaced under replace', async () => {
      expect(await deliver(store(), name, fresh, 'replace')).to.deep.equal({
        path: name,
        verified: says,
        outcome: 'replaced',
      });
      expect((await opened().read(name)).equals(fresh)).to.equal(true);
      expect(await list()).to.deep.equal(['d/', name]);
    });

    it('stays as it was when what would replace it does not match', async () => {
      const staged = await store().stage(announce(name, fresh, 'replace'));
      await writeAll(staged, content(fresh.length, 9));
      expect(await codeOf(staged.verify())).to.equal('mismatch');
      await staged.discard();
      expect((await opened().read(name)).equals(old)).to.equal(true);
    });

    it('by the same content is success under every rule', async () => {
      for (const rule of rules) {
        const { path, outcome } = await deliver(store(), name, old, rule);
        expect([path, outcome]).to.deep.equal([name, rule === 'replace' ? 'replaced' : 'identical']);
      }
      expect(await list()).to.deep.equal(['d/', name]);
      expect((await opened().read(name)).equals(old)).to.equal(true);
    });

    it('by a directory is never replaced', async () => {
      for (const rule of ['refuse', 'skip', 'replace'] as const)
        expect(await codeOf(deliver(store(), 'd', fresh, rule))).to.equal('exists');
      expect(await list()).to.deep.equal(['d/', name]);
      expect((await deliver(store(), 'd', fresh, 'rename')).path).to.equal('d (1)');
    });

    it('by a file where a directory should be is never replaced', async () => {
      for (const rule of rules) expect(await codeOf(deliver(store(), `${name}/g/h`, fresh, rule))).to.equal('exists');
      expect(await list()).to.deep.equal(['d/', name]);
    });
  });

  describe('at the same time', () => {
    const contents = [1, 2, 3, 4, 5, 6, 7, 8].map((seed) => content(4000, seed));

    /** Commits all of them to one name at once. */
    async function race(name: string, all: readonly Buffer[], rule: IfExists): Promise<string[]> {
      const staged = await Promise.all(all.map((bytes) => verified(store(), name, bytes, rule)));
      return Promise.all(
        staged.map((file) =>
          file.commit().then(
            ({ outcome, path }) => `${outcome} ${path}`,
            (error: { code: string }) => error.code,
          ),
        ),
      );
    }

    it('one of several files of one name wins, and the others are told that it exists', async () => {
      const outcomes = await race('new/f', contents, 'refuse');
      expect([...outcomes].sort()).to.deep.equal([...Array<string>(7).fill('exists'), 'stored new/f']);
      const winner = contents[outcomes.indexOf('stored new/f')] as Buffer;
      expect((await opened().read('new/f')).equals(winner)).to.equal(true);
    });

    it('one of several with the same content is stored, and the others are identical', async () => {
      const outcomes = await race('f', Array<Buffer>(5).fill(old), 'refuse');
      expect(outcomes.sort()).to.deep.equal([...Array<string>(4).fill('identical f'), 'stored f']);
    });

    it('all of them are stored under names of their own under rename', async () => {
      const outcomes = await race('f', contents, 'rename');
      expect(new Set(outcomes).size).to.equal(contents.length);
      expect(await list()).to.have.lengthOf(contents.length);
      for (const [at, outcome] of outcomes.entries()) {
        const path = outcome.slice(outcome.indexOf(' ') + 1);
        expect((await opened().read(path)).equals(contents[at] as Buffer), path).to.equal(true);
      }
    });

    it('all of them succeed under replace, and one of them stands there', async () => {
      const outcomes = await race('f', contents, 'replace');
      expect(outcomes.sort()).to.deep.equal([...Array<string>(7).fill('replaced f'), 'stored f']);
      const standing = await opened().read('f');
      expect(contents.some((bytes) => bytes.equals(standing))).to.equal(true);
    });

    it('150 files find room in one new directory, and 150 in 50, while others fail in the same', async () => {
      const names = Array.from({ length: 150 }, (_, at) => [`one/new/${at}`, `many/${at % 50}/${at}`]).flat();
      const delivered = names.map((name, at) => deliver(store(), name, content(100 + at, at)));
      const failing = names.slice(0, 100).map(async (name) => {
        const staged = await store().stage(announce(`${name}.bad`, fresh));
        await writeAll(staged, content(fresh.length, 99));
        expect(await codeOf(staged.verify())).to.equal('mismatch');
        await staged.discard();
      });
      await Promise.all([...delivered, ...failing]);
      for (const [at, name] of names.entries())
        expect((await opened().read(name)).equals(content(100 + at, at)), name).to.equal(true);
      expect(await list()).to.have.lengthOf(names.length + 2 + 51);
    });
  });
}
