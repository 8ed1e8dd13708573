import { expect } from 'chai';
import { TransferError } from '../../../lib/errors';
import { parseEntryName } from '../../../lib/name';
import type { ManifestEntry } from '../../../lib/snapshot/manifest/manifest';
import { chooseEntries } from '../../../lib/snapshot/restore/selection';

const named = (text: string): ReturnType<typeof parseEntryName> => parseEntryName(text, { allowHidden: true });
const directory = (name: string): ManifestEntry => ({ type: 'directory', name: named(name), mode: 0o755, mtime: 1n });
const file = (name: string): ManifestEntry => ({
  type: 'file',
  name: named(name),
  size: 1,
  mode: 0o644,
  mtime: 2n,
  digests: { md5: '0'.repeat(32) },
  source: {},
});
const hardLink = (name: string, target: string): ManifestEntry => ({
  type: 'link',
  name: named(name),
  target: named(target),
  mtime: 2n,
});

const entries: readonly ManifestEntry[] = [
  directory('home'),
  file('home/a.txt'),
  directory('home/deep'),
  file('home/deep/b.txt'),
  hardLink('home/deep/c.jpg', 'home/a.txt'),
  hardLink('home/deep/d.jpg', 'home/a.txt'),
  file('home/a*'),
  { type: 'missing', name: 'home/gone', code: 'source-unreadable', reason: 'gone' },
  file('homes'),
];

describe('what paths choose of a snapshot', () => {
  const chosen = async (...paths: string[]): Promise<string[]> =>
    (await chooseEntries(entries, paths)).map(({ name }) => name);
  const all = entries.map(({ name }) => name);

  it('is everything without any, and with its top', async () => {
    expect(await chosen()).to.deep.equal(all);
    expect(await chosen('.')).to.deep.equal(all);
    expect(await chosen('/')).to.deep.equal(all);
  });

  it('is a file, with the directories above it', async () => {
    expect(await chosen('home/deep/b.txt')).to.deep.equal(['home', 'home/deep', 'home/deep/b.txt']);
    expect(await chosen('/homes')).to.deep.equal(['homes']);
  });

  it('is a directory with all that is below it, and nothing that is only spelled alike', async () => {
    expect(await chosen('./home/')).to.deep.equal(all.filter((name) => name !== 'homes'));
    expect(await chosen('home/deep', 'homes'))
      .to.include.members(['home', 'home/deep', 'home/deep/b.txt', 'homes'])
      .and.not.include('home/a.txt');
  });

  it('is what a pattern matches, counted from the top, and what is below that', async () => {
    expect(await chosen('home/*.txt')).to.deep.equal(['home', 'home/a.txt']);
    expect(await chosen('**/*.txt')).to.deep.equal(['home', 'home/a.txt', 'home/deep', 'home/deep/b.txt']);
    expect(await chosen('hom?')).to.deep.equal(all.filter((name) => name !== 'homes'));
    expect(await chosen('h*s')).to.deep.equal(['homes']);
  });

  it('is a file whose name looks like a pattern, before the pattern', async () => {
    expect(await chosen('home/a*')).to.deep.equal(['home', 'home/a*']);
  });

  it('is what the snapshot never had, so that this is told', async () => {
    expect(await chosen('home/gone')).to.deep.equal(['home', 'home/gone']);
  });

  it('keeps hard links together also where the file that they are names of is not chosen', async () => {
    const found = await chooseEntries(entries, ['home/deep']);
    expect(found.find(({ name }) => name === 'home/deep/c.jpg')).to.deep.equal({
      ...file('home/a.txt'),
      name: 'home/deep/c.jpg',
    });
    expect(found.find(({ name }) => name === 'home/deep/d.jpg')).to.deep.equal(
      hardLink('home/deep/d.jpg', 'home/deep/c.jpg'),
    );
    expect(await chooseEntries(entries, ['home'])).to.deep.include(hardLink('home/deep/c.jpg', 'home/a.txt'));
  });

  for (const path of ['hom', 'a.txt', '*.txt', 'home/*.md', '../home', 'home/deep/b.txt/c', '[']) {
    it(`is an error of usage for ${path}, which chooses nothing`, async () => {
      const error: unknown = await chooseEntries(entries, ['homes', path]).catch((thrown: unknown) => thrown);
      expect(error).to.be.instanceOf(TransferError).with.property('code', 'usage');
    });
  }

  it('takes so many patterns and no more, and keeps nobody waiting over them', async () => {
    const many = Array.from({ length: 20_000 }, (_, at) => file(`d/${String(at)}`));
    let turns = 0;
    const count = (): void => {
      turns++;
      again = setImmediate(count);
    };
    let again = setImmediate(count);
    expect(
      await chooseEntries(
        many,
        Array.from({ length: 256 }, (_, at) => `**/*[!${String.fromCodePoint(0x4e00 + at)}]`),
      ),
    ).to.have.length(20_000);
    clearImmediate(again);
    expect(turns).to.be.above(500);
    const error: unknown = await chooseEntries(
      many,
      Array.from({ length: 257 }, (_, at) => `*${String(at)}*`),
    ).catch((thrown: unknown) => thrown);
    expect(error).to.be.instanceOf(TransferError).with.property('code', 'usage');
  });
});
