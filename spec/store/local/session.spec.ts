import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseEntryName } from '../../../lib/name';
import { LocalStore } from '../../../lib/store/local/local';
import { unfinishedMode } from '../../../lib/store/local/unfinished';
import { WaitingDirectories } from '../../../lib/store/local/waiting-directories';
import type { SessionStore } from '../../../lib/store/session-store';
import type { DirectoryEntry } from '../../../lib/wire/session-list';
import { type OpenedPlace, sessionConformance } from '../session-conformance';
import { openLocal } from './local-place';

const mib = 1024 * 1024;

async function openPlace(): Promise<OpenedPlace> {
  const { directory, place, ...eyes } = await openLocal();
  const opened = {
    ...eyes,
    place,
    list: async () => (await eyes.list()).filter((name) => !name.startsWith('.sendall')),
    reopen: async () => {
      await opened.place.close();
      opened.place = await LocalStore.open(directory);
      return opened.place;
    },
    remove: async () => {
      await opened.place.close();
      await eyes.remove();
    },
  };
  return opened;
}

describe('LocalStore keeps the promises of sessions:', () => {
  sessionConformance(openPlace, { says: 'device', resumesFrom: 16 * mib, links: true });
});

const mtime = 1_700_000_000_123_456_789n;
const directoryOf = (file: number, name: string): DirectoryEntry => ({
  type: 'directory',
  file,
  name: parseEntryName(name),
  mode: 0o750,
  mtime,
});

describe('The directories of a session on a local disk', () => {
  let opened: Awaited<ReturnType<typeof openLocal>>;
  let store: SessionStore;
  beforeEach(async () => {
    opened = await openLocal();
    store = await opened.place.session({ algorithm: 'sha256', peer: 'p', ifExists: 'refuse' });
  });
  afterEach(async () => {
    await store.release();
    await opened.place.close();
    await opened.remove();
  });

  async function put(file: number, name: string): Promise<ReadonlyMap<number, unknown>> {
    const lease = await store.batch.memory.lease();
    const entry = { file, name: parseEntryName(name), size: 1, mode: 0o644, mtime, ctime: mtime };
    lease.bytes.set([120]);
    await store.batch.write(lease, [{ entry, digest: createHash('sha256').update('x').digest('hex') }]);
    return store.batch.commit();
  }
  const list = async (): Promise<string[]> => (await opened.list()).filter((name) => !name.startsWith('.sendall'));
  const modeOf = async (name: string): Promise<number> => (await stat(path.join(opened.directory, name))).mode & 0o7777;

  it('are made with the first thing in them, and else at the end', async () => {
    const directories = ['a', 'a/b', 'a/b/c', 'empty', 'late'].map((name, file) => directoryOf(file, name));
    for (const directory of directories) store.batch.directory(directory, true);
    expect(store.batch.open.entries, 'nothing to commit yet').to.equal(0);
    expect([...(await put(10, 'top')).keys()]).to.deep.equal([10]);
    expect(await list()).to.deep.equal(['top']);
    expect([...(await put(11, 'a/b/f')).entries()]).to.deep.equal([
      [0, 'stored'],
      [1, 'stored'],
      [11, 'stored'],
    ]);
    expect(await list()).to.deep.equal(['a/', 'a/b/', 'a/b/f', 'top']);
    expect([await modeOf('a'), await modeOf('a/b')]).to.deep.equal([unfinishedMode, unfinishedMode]);
    await put(12, 'a/b/g');
    const finished = await store.batch.finishDirectories([...directories].reverse());
    expect(directories.map(({ file }) => finished.get(file))).to.deep.equal(directories.map(() => 'stored'));
    expect(await list()).to.deep.equal(['a/', 'a/b/', 'a/b/c/', 'a/b/f', 'a/b/g', 'empty/', 'late/', 'top']);
    for (const { name } of directories) expect(await modeOf(name), name).to.equal(0o750);
  });

  it('are made before hard links are, which may be the only thing in them', async () => {
    store.batch.directory(directoryOf(0, 'links'), true);
    await put(1, 'f');
    const link = { file: 2, name: parseEntryName('links/g'), target: parseEntryName('f') };
    expect((await store.batch.link([link])).get(2)).to.equal('stored');
    expect(await modeOf('links'), 'marked, until it is finished').to.equal(unfinishedMode);
  });

  it('say at the end why they could not be made', async () => {
    store.batch.directory(directoryOf(0, 'taken'), true);
    store.batch.directory(directoryOf(1, 'free'), true);
    await writeFile(path.join(opened.directory, 'taken'), 'a file');
    const finished = await store.batch.finishDirectories([directoryOf(1, 'free'), directoryOf(0, 'taken')]);
    expect(finished.get(1)).to.equal('stored');
    expect(finished.get(0)).to.have.property('code', 'exists');
  });

  it('leave nothing behind where the session ends before', async () => {
    store.batch.directory(directoryOf(0, 'never'), true);
    await store.release();
    expect(await list()).to.deep.equal([]);
    store = await opened.place.session({ algorithm: 'sha256', peer: 'p', ifExists: 'refuse' });
  });

  it('wait by their names, and go with those above them, the highest first', () => {
    const waiting = new WaitingDirectories();
    const add = (...names: string[]): void => {
      for (const [at, name] of names.entries()) waiting.add({ entry: directoryOf(at, name), fresh: true });
    };
    const above = (name: string): string[] => waiting.takeAbove(name).map(({ entry }) => entry.name);
    add('a', 'a/b', 'a/b/c', 'ab', 'x/y');
    expect(above('f')).to.deep.equal([]);
    expect(above('a/b/f')).to.deep.equal(['a', 'a/b']);
    expect(above('a/b/g'), 'they wait no more').to.deep.equal([]);
    add('a/b');
    expect(above('a/b/g'), 'it came once more').to.deep.equal(['a/b']);
    expect(above('x/y/z/f')).to.deep.equal(['x/y']);
    expect(waiting.takeAll().map(({ entry }) => entry.name)).to.deep.equal(['a/b/c', 'ab']);
    expect(waiting.takeAll()).to.deep.equal([]);
  });
});
