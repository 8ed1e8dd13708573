import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { SourceTree } from '../../send/source-tree';
import { type Backed, BackupPlace, listing, type Way } from '../backup-to';

const kib = 1024;
const mib = 1024 * kib;
const ways: readonly Way[] = ['a directory of this machine', 'a receiver, in a session'];

function noise(size: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(size);
  for (let at = 0, state = seed; at + 4 <= size; at += 4)
    bytes.writeInt32LE((state = (Math.imul(state, 1664525) + 1013904223) | 0), at);
  return bytes;
}

function onWire({ events }: Backed): number {
  const summary = events.find((event) => event.event === 'summary');
  return summary?.bytes_on_wire ?? NaN;
}

for (const way of ways) {
  describe(`backup to ${way}`, () => {
    let source: SourceTree;
    let place: BackupPlace;

    beforeEach(async () => {
      source = await SourceTree.make({
        'home/a.txt': 'hello',
        'home/sub/.hidden': 'x',
        'home/big': noise(3 * mib),
        'home/sub/na me': 'y',
      });
      place = await BackupPlace.make(way);
    });
    afterEach(async () => {
      await place.close();
      await source.remove();
    });

    const run = (options: Parameters<BackupPlace['backup']>[1] = {}): Promise<Backed> =>
      place.backup([source.at('home')], options);
    const made = async (options: Parameters<BackupPlace['backup']>[1] = {}): Promise<string> => {
      const { error, snapshot } = await run(options);
      expect(error?.message).to.equal(undefined);
      return snapshot ?? '';
    };
    const inode = (snapshot: string, name: string): number => lstatSync(place.at(snapshot, 'home', name)).ino;

    it('is a directory of the files as they were, with their modes and times, which sha256sum checks', async () => {
      symlinkSync('../nowhere', source.at('home/link'));
      linkSync(source.at('home/a.txt'), source.at('home/hard'));
      mkdirSync(source.at('home/empty'), { mode: 0o750 });
      chmodSync(source.at('home/sub/.hidden'), 0o600);
      const snapshot = await made();
      expect(snapshot).to.match(/^b\/\d{4}-\d\d-\d\dT\d{6}Z$/);
      expect(listing(place.at(snapshot, 'home'))).to.equal(listing(source.at('home')));
      expect(inode(snapshot, 'hard')).to.equal(inode(snapshot, 'a.txt'));
      expect(place.check(snapshot).trim().split('\n')).to.have.lengthOf(5);
      expect(readlinkSync(place.at('b/latest'))).to.equal(snapshot.slice(2));
      const { totals, head } = place.manifest(snapshot);
      expect(head).to.include({ name: 'b', number: 1, digest: 'sha256' });
      expect(totals).to.deep.equal({ entries: 9, bytes: 3 * mib + 7, newBytes: 3 * mib + 7, missing: 0 });
    });

    it('again moves and reads nothing, and shares every file with the snapshot before', async () => {
      const first = await made();
      const again = await run();
      expect(onWire(again)).to.equal(0);
      const second = again.snapshot ?? '';
      for (const name of ['a.txt', 'big', 'sub/.hidden']) expect(inode(second, name)).to.equal(inode(first, name));
      expect(listing(place.at(second, 'home'))).to.equal(listing(source.at('home')));
      expect(place.manifest(second).totals.newBytes).to.equal(0);
      expect(place.manifest(second).head.number).to.equal(2);
      place.check(second);
    });

    it('has what changed, and leaves the snapshot before as it was', async () => {
      const first = await made();
      writeFileSync(source.at('home/a.txt'), 'other');
      rmSync(source.at('home/sub/na me'));
      chmodSync(source.at('home/big'), 0o600);
      const second = await made();
      expect(readFileSync(place.at(second, 'home/a.txt'), 'utf8')).to.equal('other');
      expect(readFileSync(place.at(first, 'home/a.txt'), 'utf8')).to.equal('hello');
      expect(inode(second, 'sub/.hidden')).to.equal(inode(first, 'sub/.hidden'));
      expect(listing(place.at(second, 'home'))).to.equal(listing(source.at('home')));
      expect(statSync(place.at(first, 'home/big')).mode & 0o777).to.equal(0o644);
      place.check(first);
      place.check(second);
    });

    it('links what was moved or renamed, small or large, from whichever snapshot has it', async () => {
      const first = await made();
      renameSync(source.at('home/big'), source.at('home/sub/large'));
      renameSync(source.at('home/a.txt'), source.at('away'));
      const second = await made();
      renameSync(source.at('away'), source.at('home/back.txt'));
      const third = await run();
      expect(onWire(third)).to.equal(0);
      expect(inode(second, 'sub/large')).to.equal(inode(first, 'big'));
      expect(inode(third.snapshot ?? '', 'back.txt')).to.equal(inode(first, 'a.txt'));
      place.check(third.snapshot ?? '');
    });

    it('moves only the segments of a large file that changed', async () => {
      const content = noise(24 * mib);
      writeFileSync(source.at('home/image'), content);
      await made();
      writeFileSync(
        source.at('home/image'),
        Buffer.concat([content.subarray(0, 10 * mib + 77), noise(mib, 7), content.subarray(10 * mib + 77)]),
      );
      const changed = await run();
      expect(changed.error?.message).to.equal(undefined);
      expect(onWire(changed)).to.be.below(6 * mib);
      place.check(changed.snapshot ?? '');
    });

    it('with checksum finds content that changed although size and time did not: an alarm, and both are kept', async () => {
      const before = new Date(1_700_000_000_000);
      utimesSync(source.at('home/a.txt'), before, before);
      const first = await made();
      writeFileSync(source.at('home/a.txt'), 'hellO');
      utimesSync(source.at('home/a.txt'), before, before);
      const { error, snapshot = '', events } = await run({ checksum: true });
      expect(error).to.include({ code: 'mismatch' });
      expect(events.filter((event) => event.event === 'failed').map((event) => event.file_name)).to.deep.equal([
        'home/a.txt',
      ]);
      expect(readFileSync(place.at(snapshot, 'home/a.txt'), 'utf8')).to.equal('hellO');
      expect(readFileSync(place.at(first, 'home/a.txt'), 'utf8')).to.equal('hello');
      expect(inode(snapshot, 'big')).to.equal(inode(first, 'big'));
      place.check(snapshot);
    });

    it('names what cannot be read or stored, and is complete otherwise', async () => {
      writeFileSync(source.at('home/.sendall'), 'z'); // a receive directory keeps the name for itself
      const { error, snapshot = '', events } = await run();
      expect(error).to.include({ code: 'some-failed' });
      expect(events.filter((event) => event.event === 'failed')).to.have.lengthOf(1);
      const { entries, totals } = place.manifest(snapshot);
      expect(totals.missing).to.equal(1);
      expect(entries.find(({ type }) => type === 'missing')).to.include({ name: 'home/.sendall', code: 'name' });
      place.check(snapshot);
    });

    it('goes on with what an interrupted one has staged, and leaves out what is no longer there', async () => {
      writeFileSync(source.at('home/huge'), noise(48 * mib, 3));
      const abort = new AbortController();
      const broken = await run({
        signal: abort.signal,
        limit: 24 * mib,
        on: (event) =>
          void (event.event === 'sent' && event.file_name.endsWith('hidden') && setTimeout(() => abort.abort(), 1_000)),
      });
      expect(broken.error?.code).to.be.oneOf(['interrupted', 'some-failed']);
      expect(broken.snapshot).to.equal(undefined);
      rmSync(source.at('home/sub/.hidden'));
      const whole = await run();
      expect(whole.error?.message).to.equal(undefined);
      expect(onWire(whole)).to.be.below(40 * mib);
      expect(listing(place.at(whole.snapshot ?? '', 'home'))).to.equal(listing(source.at('home')));
      place.check(whole.snapshot ?? '');
    });

    it('sends again what is not as it should be in the snapshot before, small or large', async () => {
      const first = await made();
      rmSync(place.at(first, 'home/a.txt'));
      writeFileSync(place.at(first, 'home/big'), 'short');
      const second = await made();
      expect(listing(place.at(second, 'home'))).to.equal(listing(source.at('home')));
      place.check(second);
    });

    it('of nothing that can be read makes no snapshot', async () => {
      const { error, snapshot } = await place.backup([source.at('nothing')]);
      expect(error).to.include({ code: 'source-unreadable' });
      expect(snapshot).to.equal(undefined);
    });

    it('refuses names that the snapshot needs for itself', async () => {
      writeFileSync(source.at('SHA256SUMS'), 'mine');
      const { error, snapshot = '' } = await place.backup([source.at('SHA256SUMS'), source.at('home')]);
      expect(error).to.include({ code: 'some-failed' });
      expect(
        place
          .manifest(snapshot)
          .entries.filter(({ type }) => type === 'missing')
          .map(({ name }) => name),
      ).to.deep.equal(['SHA256SUMS']);
      place.check(snapshot);
    });

    it('is checked by md5sum where that was asked for', async () => {
      const snapshot = await made({ digest: 'md5' });
      expect(place.check(snapshot, 'md5sum')).to.include('home/a.txt: OK');
    });

    it('carries a tree of real files', async () => {
      const real = path.join(__dirname, '../../../node_modules/chai');
      const { error, snapshot = '' } = await place.backup([real, path.join(__dirname, '../../../lib')]);
      expect(error?.message).to.equal(undefined);
      expect(listing(place.at(snapshot, 'chai'))).to.equal(listing(real));
      place.check(snapshot);
    });
  });
}

describe('backup to a directory that fails in the middle', () => {
  it('tells what failed first, not what could not be tidied up after that (found by write-back)', async () => {
    const source = await SourceTree.make({ 'home/big': noise(3 * mib) });
    const place = await BackupPlace.make('a directory of this machine');
    const tree = place.at('.sendall/snapshots/b/tree');
    const spoil = (): void => {
      renameSync(tree, place.at('aside'));
      writeFileSync(tree, '');
    };
    const { error, snapshot } = await place.backup([source.at('home')], {
      on: ({ event }) => (event === 'started' ? spoil() : undefined),
    });
    expect({ code: error?.code, snapshot }).to.deep.equal({ code: 'disk', snapshot: undefined });
    await place.close();
    await source.remove();
  });
});
