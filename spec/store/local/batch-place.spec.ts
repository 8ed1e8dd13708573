import { expect } from 'chai';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { OpenDirectories } from '../../../lib/store/local/open-directories';
import { move, publishEntry, type Placed, type PlacingGround } from '../../../lib/store/local/publish';
import { systemCalls } from '../../../lib/threads/system-calls';
import { sha256Of } from './grouping';
import { emptyDirectory } from './local-place';

/** What is imported from it is looked up with each call. */
const disk = require('node:fs') as Pick<typeof import('node:fs'), 'linkSync'>;
const { linkSync } = disk;

for (const calls of [systemCalls(), undefined]) {
  describe(`Giving final names ${calls ? 'with the calls of Linux' : 'with what every system has'}`, () => {
    let root: string;
    let staging: string;
    let directories: OpenDirectories;
    let ground: PlacingGround;

    beforeEach(async () => {
      root = await emptyDirectory();
      staging = await emptyDirectory();
      directories = new OpenDirectories(root, false);
      ground = {
        directories,
        copies: new Map(),
        elsewhere: () => directories,
        calls,
        algorithm: 'sha256',
        direct: false,
        syncEach: calls === undefined,
      };
    });
    afterEach(() => {
      disk.linkSync = linkSync;
      directories.close();
      rmSync(root, { recursive: true });
      rmSync(staging, { recursive: true });
    });

    const at = (...names: string[]): string => path.join(root, ...names);
    /** Stages a file that contains `text`, and places it. */
    const give = (name: string, text: string): Promise<Placed> => {
      const staged = path.join(staging, 'f');
      writeFileSync(staged, text);
      return publishEntry(
        { kind: 'file', staged, name, ifExists: 'refuse', size: text.length, digest: sha256Of(Buffer.from(text)) },
        ground,
      );
    };
    const codeOf = async (attempt: Promise<unknown>): Promise<unknown> =>
      attempt.then(
        () => 'none',
        ({ code }: { code: unknown }) => code,
      );

    it('makes directories anew that were removed since they were opened', async () => {
      await give('d/e/f', 'x');
      rmSync(at('d'), { recursive: true });
      expect(await give('d/e/g', 'y')).to.include({ outcome: 'stored', path: 'd/e/g' });
      rmSync(at('d'), { recursive: true });
      mkdirSync(path.join(staging, 'h'));
      expect(await move(path.join(staging, 'h'), 'd/e/h', ground)).to.include({ outcome: 'stored' });
      expect(readdirSync(at('d/e'))).to.deep.equal(['h']);
    });

    it('stays in the directory that it opened when a symbolic link takes its place', async () => {
      await give('d/e', 'x');
      renameSync(at('d'), at('moved'));
      symlinkSync(staging, at('d'));
      await give('d/f', 'y');
      expect(readdirSync(at('moved')).sort()).to.deep.equal(process.platform === 'linux' ? ['e', 'f'] : ['e']);
      directories.forget('d');
      expect(await codeOf(give('d/g', 'z'))).to.equal('exists');
      expect(readdirSync(staging)).to.deep.equal(['f']);
    });

    for (const [how, change] of [
      ['gone', () => rmSync(at('copy'))],
      ['a symbolic link', () => (rmSync(at('copy')), symlinkSync('a', at('copy')))],
    ] as const)
      it(`makes another copy for a link where the one before is ${how}`, async () => {
        await give('a', 'x');
        disk.linkSync = (from, to) => {
          if (path.basename(String(from)) === 'a') throw Object.assign(new Error('full'), { code: 'EMLINK' });
          linkSync(from, to);
        };
        const link = (name: string): Promise<Placed> =>
          publishEntry(
            { kind: 'link', staged: path.join(staging, 'l'), name, target: 'a', copy: 'copy', ifExists: 'refuse' },
            ground,
          );
        expect(await link('copy')).to.include({ outcome: 'stored' });
        change();
        ground.copies.clear();
        expect(await link('other')).to.include({ outcome: 'stored', path: 'other' });
        expect(readFileSync(at('other'), 'utf8')).to.equal('x');
      });

    it('moves a directory to a free name only', async () => {
      mkdirSync(at('full/below'), { recursive: true });
      writeFileSync(at('file'), 'x');
      symlinkSync('full', at('link'));
      mkdirSync(path.join(staging, 'd'));
      const staged = path.join(staging, 'd');
      expect(await move(staged, 'full', ground)).to.include({ outcome: 'identical' });
      expect(await codeOf(move(staged, 'file', ground))).to.equal('exists');
      expect(await codeOf(move(staged, 'link', ground))).to.equal('exists');
      expect(await move(staged, 'full/new', ground)).to.include({ outcome: 'stored' });
      expect(readdirSync(at('full')).sort()).to.deep.equal(['below', 'new']);
    });

    it('holds few directories open, however many and deep they are', async () => {
      const open = (): number => readdirSync('/proc/self/fd').length;
      if (process.platform !== 'linux') return;
      const before = open();
      const deep = Array.from({ length: 150 }, (_, depth) => `d${depth}`).join('/');
      await give(`${deep}/f`, 'deep');
      for (let wide = 0; wide < 200; wide++) await give(`w${wide}/f`, 'wide');
      expect(open() - before).to.be.within(1, 64);
      expect(readFileSync(at(deep, 'f'), 'utf8')).to.equal('deep');
      directories.close();
      expect(open()).to.equal(before);
    });
  });
}
