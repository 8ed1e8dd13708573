import { expect } from 'chai';
import { link, lstat, readdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { IfExists } from '../../lib/index';
import { ReceiveDirectory } from '../receive/receive-directory';
import { exhaust } from '../many-names';
import { noise, Pair, succeeded } from './pair';
import { newSession, RawSession } from './raw-session';
import { skipTest } from '../skip-test';

describe('A hard link in a session', () => {
  const asLink = (file: number, name: string, target: string): object => ({
    file,
    type: 'link',
    name,
    target,
    mtime: '1700000000000000000',
  });

  /** A session in which the file `a` is stored. */
  const withFile = async (to: ReceiveDirectory): Promise<RawSession> => {
    const raw = await RawSession.open(to.ticket);
    await raw.offer({ a: 3 });
    await raw.wanted(0);
    await raw.bundle([[0, Buffer.from('two')]]);
    await raw.outcome(0);
    return raw;
  };

  /** A file that was received and changed since, and another name that it has got. */
  const changed = async (ifExists: IfExists, content: Buffer, maxSize?: number): Promise<Pair> => {
    const pair = await Pair.make({ 't/a': 'version 1' }, { ifExists, ...(maxSize === undefined ? {} : { maxSize }) });
    succeeded(await pair.send(['t']));
    await writeFile(pair.source.at('t/a'), content);
    await link(pair.source.at('t/a'), pair.source.at('t/b'));
    return pair;
  };

  for (const [ifExists, failed] of [
    ['skip', ['exists']],
    ['refuse', ['exists', 'exists']],
  ] as const)
    it(`is not made to what stands in the way of its file, under the rule ${ifExists}`, async () => {
      const pair = await changed(ifExists, Buffer.from('version 2 is longer'));
      try {
        const sent = await pair.send(['t']);
        expect(sent.failed).to.deep.equal(failed);
        expect(sent.heard.all('skipped').map(({ file_name: name }) => name)).to.deep.equal(
          ifExists === 'skip' ? ['t/a'] : [],
        );
        expect((await readdir(path.join(pair.to.place, 't'))).sort()).to.deep.equal(['a']);
      } finally {
        await pair.close();
      }
    });

  it('replaces nothing where its file was refused', async () => {
    const pair = await changed('replace', noise(2_000_000), 1_000_000);
    try {
      await writeFile(path.join(pair.to.place, 't/b'), 'somebody wrote this');
      expect((await pair.send(['t'])).failed).to.have.members(['size', 'exists']);
      expect((await pair.to.read('t/b')).toString()).to.equal('somebody wrote this');
    } finally {
      await pair.close();
    }
  });

  it('is made to what an earlier conversation of its session has stored, under whatever name', async () => {
    const to = await ReceiveDirectory.open({ ifExists: 'rename' });
    const session = newSession();
    try {
      await writeFile(path.join(to.place, 'a'), 'version 1');
      const first = await RawSession.open(to.ticket, { session });
      await first.offer({ a: 3 });
      await first.wanted(0);
      await first.bundle([[0, Buffer.from('two')]]);
      expect(await first.outcome(0)).to.include({ path: 'a (1)' });
      first.hangUp();
      for (const turn of ['made', 'there already']) {
        const later = await RawSession.open(to.ticket, { session });
        await later.sendList({ type: 'offer' }, [asLink(1, 'b', 'a')]);
        await later.send({ type: 'end' });
        expect((await later.outcome(1))['type'], turn).to.equal(undefined);
        later.hangUp();
        expect((await to.read('b')).toString(), turn).to.equal('two');
      }
    } finally {
      await to.close();
    }
  });

  it('is refused where its file was refused in an earlier conversation of its session', async () => {
    const to = await ReceiveDirectory.open();
    const session = newSession();
    try {
      for (const content of ['version 1', 'two']) {
        const sender = await RawSession.open(to.ticket, { session: content === 'two' ? session : newSession() });
        await sender.offer({ a: content.length });
        if (content !== 'two') {
          await sender.wanted(0);
          await sender.bundle([[0, Buffer.from(content)]]);
        }
        expect((await sender.outcome(0))['code']).to.equal(content === 'two' ? 'exists' : undefined);
        sender.hangUp();
      }
      const later = await RawSession.open(to.ticket, { session });
      await later.sendList({ type: 'offer' }, [asLink(1, 'b', 'a')]);
      await later.send({ type: 'end' });
      expect(await later.outcome(1)).to.include({ type: 'refusal', code: 'exists' });
      later.hangUp();
      expect((await readdir(to.place)).sort()).to.deep.equal(['.sendall', 'a']);
    } finally {
      await to.close();
    }
  });

  it('leaves the receipt of its file as good as it was', async () => {
    const pair = await Pair.make({ 't/a': 'content' });
    try {
      await link(pair.source.at('t/a'), pair.source.at('t/b'));
      await link(pair.source.at('t/a'), pair.source.at('t/c'));
      succeeded(await pair.send(['t']));
      expect((await lstat(path.join(pair.to.place, 't/a'))).nlink).to.equal(3);
      const again = await RawSession.open(pair.ticket, { hello: { digest: 'blake3' } });
      const { size, mtimeNs, ctimeNs } = await lstat(pair.source.at('t/a'), { bigint: true });
      await again.offer({ 't/a': Number(size) }, { mtime: String(mtimeNs), ctime: String(ctimeNs) });
      expect(await again.outcome(0)).to.have.property('verified_at');
      again.hangUp();
    } finally {
      await pair.close();
    }
  });

  it('and a directory get their receipts some thousands at a time, however many are left to the end', async function () {
    this.timeout(60_000);
    const most = 4096;
    const count = 10_000;
    const to = await ReceiveDirectory.open({});
    try {
      const raw = await withFile(to);
      const links = Array.from({ length: count }, (_, at) => asLink(1 + at, `n${String(at)}`, 'a'));
      const directories = Array.from({ length: count }, (_, at) => ({
        file: 1 + count + at,
        type: 'directory',
        name: `d${String(at)}`,
        mode: 0o755,
        mtime: '1700000000000000000',
      }));
      for (const list of [links, directories]) await raw.sendList({ type: 'offer' }, list);
      await raw.send({ type: 'end' });
      await raw.first('done');
      const lists = raw.all('receipts').map(({ list }) => (list as readonly unknown[]).length);
      expect(lists.reduce((sum, length) => sum + length, 0)).to.equal(1 + 2 * count);
      for (const length of lists) expect(length).to.be.at.most(most);
      raw.hangUp();
    } finally {
      await to.close();
    }
  });

  it('to a file that has as many names as its disk allows is one to the same copy, however many come', async function () {
    this.timeout(60_000);
    const count = 4_200;
    const to = await ReceiveDirectory.open({}, { onDisk: true });
    try {
      const raw = await withFile(to);
      if (!exhaust(path.join(to.place, 'a'), path.join(to.place, 'other')))
        skipTest(this, 'this disk allows more names of a file than can be tried');
      const links = Array.from({ length: count }, (_, at) => asLink(1 + at, `n${String(at)}`, 'a'));
      await raw.sendList({ type: 'offer' }, links);
      await raw.send({ type: 'end' });
      await raw.first('done');
      const found = await Promise.all(links.map((_, at) => lstat(path.join(to.place, `n${String(at)}`))));
      expect(new Set(found.map(({ ino }) => ino)).size).to.equal(1);
      raw.hangUp();
    } finally {
      await to.close();
    }
  });
});
