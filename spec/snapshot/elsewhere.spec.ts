import {
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { expect } from 'chai';
import {
  AuthorizedKeys,
  createReceiver,
  diffSnapshots,
  formatTicket,
  listSnapshots,
  parseTicket,
  prune,
  type Receiver,
  restore,
  type Rights,
  TransferError,
  verify,
} from '../../lib/index';
import { Heard, temporaryDirectory } from '../receive/receive-directory';
import { MiB, noise } from '../session/pair';
import { RawSession } from '../session/raw-session';
import { madeSnapshot } from './made-snapshot';

const [first, second] = ['2026-11-20T101233Z', '2026-11-21T101233Z'];
const large = noise(3 * MiB + 7);

describe('Snapshots of another machine', () => {
  let outer: string;
  let directory: string;
  let receiver: Receiver;
  let target: string;
  let heard: Heard;
  const tickets: Partial<Record<Rights, string>> = {};
  const place = (...names: readonly string[]): string => path.join(directory, 'laptop', ...names);

  beforeEach(async () => {
    outer = await temporaryDirectory();
    directory = path.join(outer, 'backups');
    mkdirSync(directory, { mode: 0o755 });
    const { place: before } = await madeSnapshot(
      directory,
      { name: 'laptop', id: first, number: 1 },
      { 'home/a.txt': 'a', 'home/large': large, 'home/old': 'old', 'home/gone': { missing: 'source-changed' } },
    );
    await madeSnapshot(
      directory,
      { name: 'laptop', id: second, number: 2 },
      {
        'home/a.txt': 'other',
        'home/large': large,
        'home/new': 'new',
        'home/to': { symlink: 'a.txt' },
        'home/again': { link: 'home/a.txt' },
      },
      { previous: before },
    );
    const authorized = new AuthorizedKeys(path.join(outer, 'authorized.json'));
    receiver = await createReceiver({ directory, authorized });
    target = (await receiver.listen('127.0.0.1:0')).ticket;
    for (const rights of ['write', 'read', 'admin'] as const)
      tickets[rights] = formatTicket({
        ...(await authorized.authorize({ name: rights, rights })),
        address: parseTicket(target).address,
      });
    heard = new Heard();
  });
  afterEach(async () => {
    await receiver.close();
    await rm(outer, { recursive: true });
  });

  const failureOf = async (promise: Promise<unknown>): Promise<TransferError> => {
    const end = await promise.catch((error: unknown) => error);
    if (end instanceof TransferError) return end;
    throw new Error('it did not fail');
  };
  /** With the time that it had: only its content tells. */
  const damage = (name: string): void => {
    const { atime, mtime, size } = statSync(name);
    writeFileSync(name, 'x'.repeat(size));
    utimesSync(name, atime, mtime);
  };

  it('are listed as they are over there, damaged ones too', async () => {
    expect(await listSnapshots({ target })).to.deep.equal(await listSnapshots({ directory }));
    expect(await listSnapshots({ target, name: 'laptop' })).to.have.length(2);
    writeFileSync(place(first, 'MANIFEST'), 'no manifest');
    const [damaged, whole] = await listSnapshots({ target });
    expect(damaged).to.include({ event: 'damaged', snapshot: `laptop/${first}`, reason: 'manifest' });
    expect(whole).to.include({ event: 'snapshot', snapshot: `laptop/${second}` });
  });

  it('are compared over there', async () => {
    const two = { a: `laptop/${first}`, b: 'laptop/latest' };
    const there = await diffSnapshots({ target, ...two });
    expect(there).to.deep.equal(await diffSnapshots({ directory, ...two }));
    expect(there.added.map((each) => each.path)).to.include('home/new');
  });

  it('are read back over there: what is damaged is named, as are the files and bytes that were read', async () => {
    const whole = await verify({ target, on: heard.on });
    expect(whole).to.include({ snapshots: 2, files: 5 });
    expect(heard.all('summary')).to.have.length(1);
    damage(place(first, 'home/large'));
    expect((await failureOf(verify({ target, on: heard.on }))).code).to.equal('mismatch');
    expect(heard.all('damaged').map(({ snapshot, path: name }) => `${snapshot} ${name}`)).to.have.members([
      `laptop/${first} home/large`,
      `laptop/${second} home/large`,
    ]);
    expect(JSON.stringify(heard.events)).to.not.include(outer);
  });

  it('are pruned over there, by whoever has an admin key', async () => {
    const keep = { last: 1 };
    expect(await prune({ target: tickets.admin ?? '', keep, dryRun: true })).to.deep.equal(
      await prune({ directory, keep, dryRun: true }),
    );
    expect(existsSync(place(first))).to.equal(true);
    const pruned = await prune({ target: tickets.admin ?? '', keep });
    expect(pruned.map(({ event }) => event)).to.have.members(['kept', 'removed']);
    expect(existsSync(place(first))).to.equal(false);
    expect(existsSync(place(second))).to.equal(true);
  });

  it('are brought back, or some of them, and what is there is as it was', async () => {
    const destination = path.join(outer, 'restored');
    const { files, summary } = await restore({ target, snapshot: 'laptop/latest', destination, on: heard.on });
    expect(files.map(({ file_name: name }) => name)).to.have.members(['home/a.txt', 'home/large', 'home/new']);
    expect(summary.files).to.equal(3);
    expect((await readdir(destination, { recursive: true })).sort()).to.deep.equal([
      'home',
      'home/a.txt',
      'home/again',
      'home/large',
      'home/new',
      'home/to',
    ]);
    expect(readFileSync(path.join(destination, 'home/large')).equals(large)).to.equal(true);
    expect(statSync(path.join(destination, 'home/again')).ino).to.equal(
      statSync(path.join(destination, 'home/a.txt')).ino,
    );
    expect(statSync(path.join(destination, 'home/a.txt')).mtimeMs).to.equal(
      statSync(place(second, 'home/a.txt')).mtimeMs,
    );
    const some = path.join(outer, 'some');
    await restore({ target, snapshot: `laptop/${first}`, destination: some, paths: ['home/*.txt'] });
    expect((await readdir(some, { recursive: true })).sort()).to.deep.equal(['home', 'home/a.txt']);
  });

  it('tell a restore what they never had, which is not all of it then', async () => {
    const into = { target, snapshot: `laptop/${first}`, destination: path.join(outer, 'restored'), on: heard.on };
    const failure: unknown = await restore(into).catch((error: unknown) => error);
    expect(failure).to.include({ code: 'some-failed' });
    expect(heard.all('skipped').map(({ file_name: name }) => name)).to.deep.equal(['home/gone']);
  });

  it('do not bring what is damaged: it is named, and the rest is there', async () => {
    damage(place(second, 'home/large'));
    unlinkSync(place(second, 'home/new'));
    const destination = path.join(outer, 'restored');
    expect((await failureOf(restore({ target, snapshot: 'laptop/latest', destination, on: heard.on }))).code).to.equal(
      'mismatch',
    );
    const failed = heard.all('failed').map(({ file_name: name, code }) => `${String(name)} ${code}`);
    expect(failed).to.have.members(['home/large mismatch', 'home/new mismatch']);
    expect(await readdir(path.join(destination, 'home'))).to.have.members(['a.txt', 'again', 'to']);
  });

  it('replace nothing on this machine unless told, and go on where they were interrupted', async () => {
    const destination = path.join(outer, 'restored');
    mkdirSync(path.join(destination, 'home'), { recursive: true, mode: 0o755 });
    writeFileSync(path.join(destination, 'home/new'), 'mine');
    expect((await failureOf(restore({ target, snapshot: 'laptop/latest', destination }))).code).to.equal('some-failed');
    expect(readFileSync(path.join(destination, 'home/new'), 'utf8')).to.equal('mine');
    await restore({ target, snapshot: 'laptop/latest', destination, ifExists: 'replace', on: heard.on });
    expect(readFileSync(path.join(destination, 'home/new'), 'utf8')).to.equal('new');
    expect(heard.all('received').find(({ file_name: name }) => name === 'home/large')?.bytes_on_wire).to.be.below(MiB);
  });

  it('are for whoever holds a ticket, a read or an admin key, and for no write key', async () => {
    for (const rights of ['read', 'admin'] as const)
      expect(await listSnapshots({ target: tickets[rights] ?? '' })).to.have.length(2);
    const asWrite = { target: tickets.write ?? '' };
    const destination = path.join(outer, 'restored');
    const refused = [
      () => listSnapshots(asWrite),
      () => diffSnapshots({ ...asWrite, a: 'laptop/latest', b: 'laptop/latest' }),
      () => verify(asWrite),
      () => prune({ ...asWrite, keep: { last: 1 } }),
      () => restore({ ...asWrite, snapshot: 'laptop/latest', destination }),
    ];
    for (const each of refused) expect((await failureOf(each())).code).to.equal('not-authorized');
    expect(existsSync(path.join(destination, 'home'))).to.equal(false);
    for (const ticket of [tickets.read ?? '', target])
      expect((await failureOf(prune({ target: ticket, keep: { last: 1 } }))).code).to.equal('not-authorized');
    expect(existsSync(place(first))).to.equal(true);
  });

  it('that are not there are told as such, without what directories are called', async () => {
    const asked = [
      () => listSnapshots({ target, name: 'desk' }),
      () => verify({ target, snapshot: 'laptop/2020-01-01T000000Z' }),
      () => diffSnapshots({ target, a: 'x', b: 'y' }),
      () => restore({ target, snapshot: 'desk/latest', destination: path.join(outer, 'restored') }),
    ];
    for (const each of asked) {
      const failure = await failureOf(each());
      expect(failure.code).to.equal('usage');
      expect(failure.message).to.not.include(outer);
    }
    expect(existsSync(path.join(outer, 'restored'))).to.equal(false);
  });

  it('of a key with a directory of its own are those in that directory', async () => {
    const own = path.join(outer, 'own');
    mkdirSync(own, { mode: 0o755 });
    await madeSnapshot(own, { name: 'desk', id: first, number: 1 }, { a: 'a' });
    const key = await new AuthorizedKeys(path.join(outer, 'authorized.json')).authorize({
      name: 'desk',
      rights: 'read',
      directory: own,
    });
    const ticket = formatTicket({ ...key, address: parseTicket(target).address });
    expect(
      (await listSnapshots({ target: ticket })).map((each) => each.event === 'snapshot' && each.snapshot),
    ).to.deep.equal([`desk/${first}`]);
  });

  it('are not worked on any more when whoever asked is gone', async () => {
    linkSync(place(first, 'home/large'), path.join(outer, 'kept'));
    const stop = new AbortController();
    const reading = verify({ target, signal: stop.signal, on: () => stop.abort() });
    expect((await failureOf(reading)).code).to.equal('interrupted');
    await receiver.close(); // waits for everything that is under way
  });

  it('are not spoken of to who asks for what makes no sense', async () => {
    for (const ask of ['all', {}, { for: 'everything' }, { for: 'prune' }]) {
      const raw = await RawSession.dial(target, { hello: { role: 'receiver', ask } });
      expect(await raw.first('refusal')).to.include({ code: 'bad-header' });
    }
  });
});
