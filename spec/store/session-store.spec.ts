import { expect } from 'chai';
import fs from 'node:fs';
import { mkdir, readdir, rm, statfs, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { TransferError } from '../../lib/errors';
import { parseEntryName } from '../../lib/name';
import { Allowance, type Limits, Usage } from '../../lib/store/limited';
import { LimitedAdmission, limitSession } from '../../lib/store/limited-session';
import { LocalStore } from '../../lib/store/local/local';
import type { Room, SessionStore } from '../../lib/store/session-store';
import { codeOf, content, md5Of } from './delivery';
import { emptyDirectory } from './local/local-place';

const mib = 1024 * 1024;
const name = parseEntryName('d/f');

describe('SessionStore', () => {
  let directory: string;
  let store: LocalStore;
  const sessions: SessionStore[] = [];
  beforeEach(async () => {
    directory = await emptyDirectory();
    store = await LocalStore.open(directory);
  });
  afterEach(async () => {
    for (const session of sessions.splice(0)) await session.release();
    await store.close();
    await rm(directory, { recursive: true, force: true });
  });

  async function open(limits: Limits = {}, usage?: Usage): Promise<SessionStore> {
    const session = limitSession(await store.session({ algorithm: 'md5', peer: 'p', ifExists: 'refuse' }), {
      allowance: new Allowance(limits, usage),
      directory,
      peer: 'p',
      ifExists: 'refuse',
    });
    sessions.push(session);
    return session;
  }
  /** What one file of so many bytes is promised. */
  async function admit(session: SessionStore, size: number | undefined): Promise<Room> {
    const [room] = await session.admit([{ file: 0, name, size }]);
    if (room === undefined || room instanceof TransferError) throw room ?? new Error('nothing came back');
    return room;
  }
  const free = async (): Promise<number> => {
    const { bavail, bsize } = await statfs(directory);
    return bavail * bsize;
  };

  it('refuses a file that is too large for the receiver, its quota or its disk, and takes others', async () => {
    const session = await open({ maxSize: 10 * mib, quota: 15 * mib });
    expect(await codeOf(admit(session, 10 * mib + 1))).to.equal('size');
    await admit(session, 10 * mib);
    expect(await codeOf(admit(session, 5 * mib + 1))).to.equal('quota');
    await admit(session, 5 * mib);
    expect(await codeOf(admit(await open(), 2 ** 50))).to.equal('space');
  });

  // Found by the fault experiment failing-calls.
  for (const own of ['partial', 'receipts']) {
    it(`is refused while .sendall/${own} cannot be opened, and is there again afterwards`, async () => {
      await store.close();
      const place = path.join(directory, '.sendall', own);
      await mkdir(path.dirname(place), { mode: 0o700 });
      await mkdir(place, { mode: 0o755 });
      store = await LocalStore.open(directory);
      expect(await codeOf(open())).to.be.oneOf(['directory', 'disk']);
      await rm(place, { recursive: true });
      await open();
    });
  }

  it('says disk where the staging directory cannot be opened (fault experiment failing-calls)', async () => {
    const { openSync } = fs;
    fs.openSync = () => {
      throw Object.assign(new Error('EACCES: permission denied, open'), { code: 'EACCES' });
    };
    const code = await codeOf(open()).finally(() => (fs.openSync = openSync));
    expect(code).to.equal('disk');
  });

  it('leaves the directory free although its receipts could not be kept (fault experiment failing-calls)', async () => {
    const { batch } = await open();
    await mkdir(path.join(directory, '.sendall/receipts'));
    await batch.write(await batch.memory.lease(), [{ entry: { file: 7, name, size: 0 }, digest: md5Of(content(0)) }]);
    expect([...(await batch.commit())]).to.deep.equal([[7, 'stored']]);
    for (const session of sessions.splice(0)) await session.release();
    await store.close();
    store = await LocalStore.open(directory);
  });

  it('gives back what was admitted and not kept, also where the disk had no room for it', async () => {
    const session = await open({ quota: 2 ** 51 });
    expect(await codeOf(admit(session, 2 ** 51))).to.equal('space');
    const usage = new Usage();
    const small = await open({ quota: 10 }, usage);
    (await admit(small, 10)).settle(false);
    expect(usage.bytes).to.equal(0);
    const kept = await admit(small, 8);
    kept.settle(true);
    kept.settle(true);
    expect(usage.bytes).to.equal(8);
    expect(await codeOf(admit(small, 3))).to.equal('quota');
  });

  it('lets a file grow of which nobody knows the size, up to the limits', async () => {
    const usage = new Usage();
    const session = await open({ maxSize: 6 * mib, quota: 9 * mib }, usage);
    const stream = await admit(session, undefined);
    for (const size of [mib, 5 * mib, 2 * mib, 6 * mib]) await stream.grow(size);
    expect(usage.bytes).to.equal(6 * mib);
    expect(await codeOf(stream.grow(6 * mib + 1))).to.equal('size');
    const other = await admit(session, undefined);
    await other.grow(3 * mib);
    expect(await codeOf(other.grow(4 * mib))).to.equal('quota');
    stream.settle(false);
    await other.grow(6 * mib);
    expect(usage.bytes).to.equal(6 * mib);
    expect(await codeOf((await admit(await open(), undefined)).grow(2 ** 50))).to.equal('space');
  });

  it('promises the same space to nobody twice, and none for what is written', async () => {
    const session = await open();
    const most = Math.floor((await free()) * 0.6);
    const first = await admit(session, most);
    expect(await codeOf(admit(session, most))).to.equal('space');
    first.wrote(most / 2);
    (await admit(session, Math.floor(most * 0.9))).settle(false);
    first.settle(false);
    (await admit(session, most)).settle(false);
  });

  it('shares what is used among all who may keep something in a directory, each with limits of its own', async () => {
    const usage = new Usage();
    const one = await open({ quota: 10 }, usage);
    const other = await open({ quota: 20 }, usage);
    await admit(one, 8);
    expect(await codeOf(admit(other, 13))).to.equal('quota');
    await admit(other, 12);
    expect(await codeOf(admit(one, 1))).to.equal('quota');
  });

  it('counts directories again that were promised to a file and never made', async () => {
    const usage = new Usage(async () => {
      const found = await readdir(directory, { recursive: true });
      return { bytes: 0, names: found.filter((each) => each.startsWith('d')).length, unfinished: new Map() };
    });
    const first = await open({ quotaFiles: 3 }, usage);
    expect(await codeOf(admit(first, 2 ** 50))).to.equal('space');
    await sessions.pop()?.release();
    await usage.recount();
    expect(usage.names).to.equal(0);
    await admit(await open({ quotaFiles: 3 }, usage), 1);
    expect(usage.names, 'a directory and a file').to.equal(2);
    expect(await codeOf(admit(await open({ quotaFiles: 1 }, usage), 1))).to.equal('quota');
  });

  it('looks at no more names than matter to its limits', async () => {
    const session = await store.session({ algorithm: 'md5', peer: 'p', ifExists: 'refuse' });
    sessions.push(session);
    const looked: string[] = [];
    const seen: Pick<SessionStore, 'admit' | 'lookup'> = {
      admit: (files) => session.admit(files),
      lookup: (files) => {
        looked.push(...files.map((file) => file.name));
        return session.lookup(files);
      },
    };
    for (const [limits, expected] of [
      [{}, []],
      [{ quota: 10 }, ['d/f']],
      [{ quotaFiles: 10 }, ['d/f', 'd', 'd/link']],
    ] as const) {
      const allowed = { allowance: new Allowance(limits), directory, peer: 'p', ifExists: 'refuse' } as const;
      const admission = new LimitedAdmission(seen, allowed);
      const [room] = await admission.admit([{ file: 0, name, size: 1 }]);
      if (room === undefined || room instanceof TransferError) throw room ?? new Error('nothing came back');
      room.settle(false);
      expect(await admission.admitNames([{ name: 'd/link', type: 'symlink' }])).to.deep.equal([undefined]);
      admission.close();
      expect(looked.splice(0), JSON.stringify(limits)).to.deep.equal(expected);
    }
  });

  it('tells what regular files read as, and nothing of anything else', async () => {
    const session = await open();
    const read = async (...names: string[]): Promise<(string | undefined)[]> =>
      (await session.read(names.map((each) => ({ file: 0, name: parseEntryName(each), size: undefined })))).map(
        (found) => found?.digest,
      );
    expect(await read('d/f')).to.deep.equal([undefined]);
    await mkdir(path.join(directory, 'd', 'directory'), { recursive: true });
    await writeFile(path.join(directory, 'd', 'f'), content(5000));
    await symlink('f', path.join(directory, 'd', 'link'));
    await symlink('d', path.join(directory, 'way'));
    expect(await read('d/missing', 'd/f', 'missing/f', 'd/link', 'd/f/g', 'd/directory', 'way/f')).to.deep.equal([
      undefined,
      md5Of(content(5000)),
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
  });
});
