import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { appendFile, mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { expect } from 'chai';
import {
  AuthorizedKeys,
  createReceiver,
  formatTicket,
  parseTicket,
  repair,
  type RepairOptions,
  TransferError,
  verify,
} from '../../../lib/index';
import { Heard, temporaryDirectory } from '../../receive/receive-directory';
import { MiB, noise } from '../../session/pair';
import { BackupPlace, listing, type Way } from '../backup-to';

const large = noise(6 * MiB + 11);

/** Other bytes from `offset` on, and the time that it had. */
function damage(place: string, offset: number): void {
  const { atime, mtime } = statSync(place);
  const fd = openSync(place, 'r+');
  writeSync(fd, 'damaged!', offset);
  closeSync(fd);
  utimesSync(place, atime, mtime);
}

for (const way of ['a directory of this machine', 'a receiver, in a session'] satisfies Way[]) {
  describe(`Repairing snapshots in ${way}`, () => {
    let source: string;
    let place: BackupPlace;
    let heard: Heard;
    let [first, second] = ['', ''];
    const at = (snapshot: string, name: string): string => place.at(snapshot, 'home', name);

    const repairing = (options: Partial<RepairOptions> = {}): ReturnType<typeof repair> =>
      repair({ ...place.where, sources: [path.join(source, 'home')], on: heard.on, ...options });
    const failing = async (options: Partial<RepairOptions> = {}): Promise<TransferError> => {
      const end = await repairing(options).catch((error: unknown) => error);
      if (end instanceof TransferError) return end;
      throw new Error('it did not fail');
    };
    const repaired = (): string[] => heard.all('repaired').map(({ snapshot, path: name }) => `${snapshot} ${name}`);

    beforeEach(async () => {
      source = await temporaryDirectory();
      await mkdir(path.join(source, 'home', 'deep', 'er'), { recursive: true });
      for (const [name, content] of Object.entries({ large, small: 'small', 'deep/er/one': 'one', changing: 'before' }))
        writeFileSync(path.join(source, 'home', name), content);
      place = await BackupPlace.make(way);
      heard = new Heard();
      const backUp = async (): Promise<string> => (await place.backup([path.join(source, 'home')])).snapshot ?? '';
      first = await backUp();
      await appendFile(path.join(source, 'home', 'changing'), ' and after');
      second = await backUp();
    });
    afterEach(async () => {
      await place.close();
      await rm(source, { recursive: true });
    });

    it('moves the damaged pieces of a large file, and heals every snapshot that shares it', async () => {
      const before = [listing(place.at(first)), listing(place.at(second))];
      damage(at(first, 'large'), 3 * MiB + 5);
      const { repaired: count, bytes_on_wire: moved } = await repairing();
      expect(count).to.equal(2);
      expect(moved).to.be.within(1, 2 * MiB);
      expect(repaired()).to.have.members([`${first} home/large`, `${second} home/large`]);
      expect(readFileSync(at(first, 'large')).equals(large)).to.equal(true);
      expect(statSync(at(first, 'large')).ino).to.equal(statSync(at(second, 'large')).ino);
      expect([listing(place.at(first)), listing(place.at(second))]).to.deep.equal(before);
      for (const snapshot of [first, second]) place.check(snapshot);
    });

    it('heals what is missing, cut off, touched, or has become something else', async () => {
      const before = listing(place.at(second));
      rmSync(place.at(second, 'home', 'deep'), { recursive: true });
      truncateSync(at(second, 'large'), 5);
      utimesSync(at(first, 'small'), 1, 1);
      unlinkSync(at(second, 'small'));
      await mkdir(at(second, 'small'));
      await repairing();
      expect((await verify({ directory: place.root })).snapshots).to.equal(2);
      expect(listing(place.at(second))).to.equal(before);
    });

    it('says what it cannot bring, since the source is another one or gone, with everything else whole', async () => {
      for (const name of ['changing', 'small', 'large']) damage(at(first, name), 0);
      unlinkSync(path.join(source, 'home', 'small'));
      const failure = await failing();
      expect(failure.code).to.equal('mismatch');
      expect(failure.message).to.equal('3 of 5 damaged things could not be repaired.');
      expect(repaired()).to.have.members([`${first} home/large`, `${second} home/large`]);
      expect(heard.all('failed').map(({ file_name: name }) => name?.replace(/^.*Z\//, ''))).to.have.members([
        'home/changing',
        'home/small',
      ]);
      expect(readFileSync(at(first, 'large')).equals(large)).to.equal(true);
    });

    it('never stores anything else than what the manifest says, and leaves nothing behind', async () => {
      damage(at(second, 'changing'), 0);
      writeFileSync(path.join(source, 'home', 'changing'), 'quite another s.'); // as long as it was
      expect((await failing()).code).to.equal('mismatch');
      expect(readFileSync(at(second, 'changing'), 'utf8')).to.match(/^damaged!/);
      await place.stopReceiver(); // which may have been at it yet
      const own = place.at('.sendall', 'snapshots', 'b');
      expect(existsSync(own) ? readdirSync(own) : []).to.not.include.members(['repair']);
    });

    it('mends modes, times, links, directories and the list of digests without any source', async () => {
      symlinkSync('small', path.join(source, 'home', 'points'));
      linkSync(path.join(source, 'home', 'small'), path.join(source, 'home', 'deep', 'other'));
      mkdirSync(path.join(source, 'home', 'empty'), { mode: 0o550 });
      const third = (await place.backup([path.join(source, 'home')])).snapshot ?? '';
      const before = [listing(place.at(first, 'home')), listing(place.at(third, 'home'))];
      chmodSync(at(third, 'small'), 0o666);
      utimesSync(at(third, 'deep/er/one'), 1, 1);
      rmSync(at(third, 'points'));
      rmSync(at(third, 'deep/other'));
      writeFileSync(at(third, 'deep/other'), 'small');
      rmdirSync(at(third, 'empty'));
      chmodSync(at(third, 'deep/er'), 0o777);
      rmSync(place.at(third, 'SHA256SUMS'));
      writeFileSync(at(first, 'foreign'), '');
      rmSync(at(first, 'foreign'));
      const { repaired: count, bytes_on_wire: moved } = await repairing({ sources: [] });
      expect({ count, moved }).to.deep.equal({ count: repaired().length, moved: 0 });
      expect(repaired()).to.include.members([`${first} home`, `${third} SHA256SUMS`, `${third} home/empty`]);
      expect([listing(place.at(first, 'home')), listing(place.at(third, 'home'))]).to.deep.equal(before);
      expect(statSync(at(third, 'deep/other')).ino).to.equal(statSync(at(third, 'small')).ino);
      await verify({ directory: place.root });
    });

    it('leaves what is foreign, and says so apart from what is damaged', async () => {
      writeFileSync(at(second, 'deep/foreign'), 'not backed up');
      chmodSync(at(second, 'deep'), 0o700);
      const failure = await failing({ sources: [] });
      expect(failure.message).to.match(/^Nothing is damaged any more; 1 thing is there that was not backed up\./);
      expect(repaired()).to.deep.equal([`${second} home/deep`]);
      rmSync(at(second, 'deep/foreign'));
      await repairing({ sources: [] });
      await verify({ directory: place.root });
    });

    it('does nothing where nothing is damaged, and wants to know where the source is', async () => {
      expect(await repairing()).to.deep.equal({ repaired: 0, bytes_on_wire: 0 });
      expect(await repairing({ sources: [] })).to.deep.equal({ repaired: 0, bytes_on_wire: 0 });
      damage(at(first, 'small'), 0);
      expect((await failing({ sources: [] })).code).to.equal('usage');
      expect((await failing({ sources: [path.join(source, 'elsewhere')] })).code).to.equal('mismatch');
    });
  });
}

describe('Repairing over the network', () => {
  it('takes a ticket or an admin key: a read key may not send, and a write key may not read', async () => {
    const directory = await temporaryDirectory();
    const authorized = new AuthorizedKeys(path.join(directory, 'authorized.json'));
    const place = await BackupPlace.make('a directory of this machine');
    const source = path.join(directory, 'home');
    writeFileSync(source, 'content');
    const { snapshot = '' } = await place.backup([source]);
    const receiver = await createReceiver({ directory: place.root, authorized });
    try {
      const { ticket } = await receiver.listen('127.0.0.1:0');
      for (const rights of ['write', 'read', 'admin'] as const) {
        damage(place.at(snapshot, 'home'), 0);
        truncateSync(place.at(snapshot, 'home'), 7);
        const target = formatTicket({
          ...(await authorized.authorize({ name: rights, rights })),
          address: parseTicket(ticket).address,
        });
        const end = await repair({ target, sources: [source] }).catch((error: unknown) => error);
        if (rights === 'admin') expect(end).to.include({ repaired: 1 });
        else expect(end).to.have.property('code', 'not-authorized');
      }
      place.check(snapshot);
    } finally {
      await receiver.close();
      await place.close();
      await rm(directory, { recursive: true });
    }
  });
});
