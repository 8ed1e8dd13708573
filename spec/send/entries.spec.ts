import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import type { EntryName } from '../../lib/name';
import { Entries, type Outgoing } from '../../lib/send/entries';

type Found = Outgoing['found'];

function entry(type: 'file' | 'directory', at: number): Found {
  const base = { path: `/x/${String(at)}`, name: `x/${String(at)}` as EntryName, mtime: 0n, ctime: 0n, mode: 0o644 };
  return type === 'directory' ? { type, ...base } : { type, size: 1, sparse: false, ...base };
}

async function* batches(type: 'file' | 'directory', count: number): AsyncGenerator<Found[]> {
  for (let at = 0; at < count; at += 512) yield Array.from({ length: Math.min(512, count - at) }, (_, more) => entry(type, at + more));
}

describe('the entries of a session', () => {
  const failed: TransferError[] = [];
  const failing = (error: TransferError): void => void failed.push(error);
  beforeEach(() => failed.splice(0));

  it('are numbered as they are found, and remembered until they are settled', async () => {
    const entries = new Entries(batches('file', 1000), failing);
    expect(await entries.pull()).to.equal(true);
    expect(entries.after(-1).map(({ file }) => file)).to.deep.equal(Array.from({ length: 512 }, (_, at) => at));
    expect(entries.settle(3)?.found).to.include({ name: 'x/3' });
    expect(entries.settle(3)).to.equal(undefined);
    expect(entries.get(3)).to.equal(undefined);
    expect(entries.get(4)?.file).to.equal(4);
    expect(await entries.pull()).to.equal(true);
    expect(entries.after(510).map(({ file }) => file).slice(0, 2)).to.deep.equal([511, 512]);
    expect(entries.over).to.equal(false);
    expect(await entries.pull()).to.equal(false);
    expect(entries.over).to.equal(false);
    for (const { file } of entries.after(-1)) entries.settle(file);
    expect(entries.over).to.equal(true);
  });

  it('are told apart from what could not be found', async () => {
    async function* found(): AsyncGenerator<(Found | TransferError)[]> {
      yield [entry('file', 0), new TransferError('source-unreadable', 'no'), entry('file', 1)];
    }
    const entries = new Entries(found(), failing);
    await entries.pull();
    expect(entries.after(-1).map(({ file }) => file)).to.deep.equal([0, 1]);
    expect(failed.map(({ code }) => code)).to.deep.equal(['source-unreadable']);
  });

  it('are not looked for while too many files are not settled', async () => {
    const entries = new Entries(batches('file', 100_000), failing);
    const pulling = (async () => {
      while (await entries.pull());
    })();
    await sleep(100);
    const held = entries.after(-1).length;
    expect(held).to.be.within(5_000, 8_000);
    await sleep(50);
    expect(entries.after(-1)).to.have.lengthOf(held);
    for (let last = -1; !entries.over; ) {
      for (const { file } of entries.after(last)) {
        entries.settle(file);
        last = file;
      }
      await sleep(1);
    }
    await pulling;
    expect(entries.over).to.equal(true);
  });

  it('are all looked for where they are directories, however many, since those are settled last of all', async () => {
    const entries = new Entries(batches('directory', 50_000), failing);
    while (await entries.pull());
    expect(entries.after(-1)).to.have.lengthOf(50_000);
  });

  it('are pulled once for two conversations that want more at the same time', async () => {
    const entries = new Entries(batches('file', 1500), failing);
    expect(await Promise.all([entries.pull(), entries.pull()])).to.deep.equal([true, true]);
    expect(entries.after(-1)).to.have.lengthOf(512);
  });

  it('end for whoever waits for more when they are closed', async () => {
    const entries = new Entries(batches('file', 100_000), failing);
    const pulling = (async () => {
      while (await entries.pull());
    })();
    await sleep(50);
    await entries.close();
    await pulling;
  });

  it('that cannot be looked for fail for everyone who asks, and never seem to be none', async () => {
    let asked = 0;
    const found = {
      next: () => (asked++ === 0 ? Promise.reject(new TransferError('unexpected', 'the thread died')) : Promise.resolve({ done: true as const, value: undefined })),
    };
    const entries = new Entries(found, failing);
    for (let times = 0; times < 3; times++) {
      const error: unknown = await entries.pull().catch((thrown: unknown) => thrown);
      expect(error).to.include({ code: 'unexpected' });
    }
    expect(entries.over).to.equal(false);
  });

  it('that were begun and cannot be read again are taken off the list, and no others', async () => {
    const entries = new Entries(batches('file', 3), failing);
    await entries.pull();
    const [first] = entries.after(-1);
    if (first) first.begun = true;
    expect(entries.takeBegun().map(({ file }) => file)).to.deep.equal([0]);
    expect(entries.after(-1).map(({ file }) => file)).to.deep.equal([1, 2]);
    expect(entries.takeBegun()).to.deep.equal([]);
  });
});
