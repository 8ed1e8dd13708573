import { expect } from 'chai';
import { link, mkdir, readlink, rm, stat, symlink, utimes } from 'node:fs/promises';
import path from 'node:path';
import { createReceiver, type IfExists, type ReceiverOptions } from '../../lib/index';
import { temporaryDirectory } from '../receive/receive-directory';
import { sending, SourceTree } from '../send/source-tree';
import { startTiny } from '../store/object/servers';
import { noise } from './pair';

describe('What is there already, and a quota', function () {
  this.timeout(30_000);
  let source: SourceTree;
  let place: string;
  beforeEach(async () => {
    place = await temporaryDirectory();
    source = await SourceTree.make({ 't/d/a': 'a', 't/b': 'b', large: noise(1_000_000) });
    await link(source.at('t/b'), source.at('t/hard'));
    await symlink('nowhere', source.at('t/soft'));
    await mkdir(source.at('t/empty'));
  });
  afterEach(() => source.remove());

  /** By a receiver of its own. */
  const send = async (name: string, wire: 'ticket' | 'plain', options: Partial<ReceiverOptions>): Promise<string[]> => {
    const receiver = await createReceiver({ directory: place, on: () => undefined, ...options });
    try {
      const { ticket = '', port } = await receiver.listen('127.0.0.1:0');
      const target = wire === 'ticket' ? ticket : `tcp://127.0.0.1:${String(port)}`;
      const { failed, heard } = await sending({ paths: [source.at(name)], target });
      return failed.map((code, at) => `${code}: ${heard.all('failed')[at]?.message ?? ''}`);
    } finally {
      await receiver.close({ now: true });
    }
  };

  it('takes no further names, by any rule', async () => {
    const options = { quotaFiles: 7 };
    for (const ifExists of ['refuse', 'skip', 'replace', 'rename'] as const satisfies readonly IfExists[])
      for (const turn of [1, 2])
        expect(await send('t', 'ticket', { ...options, ifExists }), `${ifExists}, ${String(turn)}`).to.deep.equal([]);
    await source.write('t/d/one more', 'x');
    expect(await send('t', 'ticket', options)).to.deep.equal([
      'quota: t/d/one more does not fit any more: this receiver keeps 7 files, directories and links.',
    ]);
  });

  it('takes a name for a link that gets another one beside what is there', async () => {
    const ifExists = 'rename';
    await mkdir(source.at('s'));
    await symlink('nowhere', source.at('s/soft'));
    expect(await send('s', 'ticket', { ifExists, quotaFiles: 2 })).to.deep.equal([]);
    await rm(source.at('s/soft'));
    await symlink('elsewhere', source.at('s/soft'));
    expect(await send('s', 'ticket', { ifExists, quotaFiles: 2 })).to.deep.equal([
      'quota: s/soft does not fit any more: this receiver keeps 2 files, directories and links.',
    ]);
    expect(await send('s', 'ticket', { ifExists, quotaFiles: 3 })).to.deep.equal([]);
    expect(await readlink(path.join(place, 's/soft (1)'))).to.equal('elsewhere');
  });

  it('takes a name for each hard link of a file that gets another name, too', async () => {
    const ifExists = 'rename';
    expect(await send('t', 'ticket', { ifExists, quotaFiles: 7 })).to.deep.equal([]);
    await source.write('t/b', 'changed');
    expect((await stat(source.at('t/hard'))).nlink, 'still one file').to.equal(2);
    expect(await send('t', 'ticket', { ifExists, quotaFiles: 8 })).to.deep.equal([
      'quota: t/hard does not fit any more: this receiver keeps 8 files, directories and links.',
    ]);
    expect(await send('t', 'ticket', { ifExists, quotaFiles: 9 })).to.deep.equal([]);
    expect((await stat(path.join(place, 't/hard (1)'))).ino).to.equal((await stat(path.join(place, 't/b (1)'))).ino);
  });

  it('takes no further names in an object store either, which knows links by what they are', async () => {
    const server = await startTiny();
    try {
      const inStore = { directory: 's3://specs', objects: server.options(), quotaFiles: 7 };
      for (const turn of [1, 2])
        expect(await send('t', 'ticket', { ...inStore, ifExists: 'rename' }), String(turn)).to.deep.equal([]);
      await rm(source.at('t/soft'));
      await symlink('elsewhere', source.at('t/soft'));
      expect(await send('t', 'ticket', { ...inStore, ifExists: 'rename' })).to.deep.equal([
        'quota: t/soft does not fit any more: this receiver keeps 7 files, directories and links.',
      ]);
    } finally {
      await server.stop();
    }
  });

  it('counts a directory that is there once, for files that come into it', async () => {
    expect(await send('t', 'ticket', { quotaFiles: 8 })).to.deep.equal([]);
    await source.write('t/d/one more', 'x');
    const failed = await send('t', 'plain', { quotaFiles: 8 });
    expect(failed.filter((failure) => failure.includes('one more'))).to.deep.equal([]);
  });

  it('takes no further bytes, touched or by the plain wire, and what replaces it takes what is more', async () => {
    const options = { quota: 1_500_000 };
    expect(await send('large', 'ticket', options)).to.deep.equal([]);
    await utimes(source.at('large'), 1_600_000_000, 1_600_000_000);
    expect(await send('large', 'ticket', options)).to.deep.equal([]);
    expect(await send('large', 'plain', options)).to.deep.equal([]);
    await source.write('large', noise(1_200_000, 3));
    expect(await send('large', 'ticket', { ...options, ifExists: 'replace' })).to.deep.equal([]);
    await source.write('large', noise(1_600_000, 4));
    expect((await send('large', 'ticket', { ...options, ifExists: 'replace' }))[0]).to.match(/^quota: large needs/);
  });
});
