import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import type { EntryName } from '../../lib/name';
import type { FoundEntry } from '../../lib/scan/found';
import { packEntries } from '../../lib/scan/found-batch';
import { SendEntries, type FoundTogether } from '../../lib/send/entries';

function entry(type: 'file' | 'directory', at: number): FoundEntry {
  const base = { path: `/x/${String(at)}`, name: `x/${String(at)}` as EntryName, mtime: 0n, ctime: 0n, mode: 0o644 };
  return type === 'directory' ? { type, ...base } : { type, size: 1, sparse: false, ...base };
}

async function* batches(type: 'file' | 'directory', count: number): AsyncGenerator<FoundTogether> {
  for (let at = 0; at < count; at += 512)
    yield {
      entries: packEntries(Array.from({ length: Math.min(512, count - at) }, (_, more) => entry(type, at + more))),
    };
}

/** The numbers of what is offered to a receiver that has heard of those up to `last`. */
function numbers(entries: SendEntries, last = -1): number[] {
  return [...entries.offers(last)].flatMap(({ list, text }) => [
    ...(text ? [text.file] : []),
    ...(list ? (JSON.parse(Buffer.from(list).toString()) as { file: number }[]).map(({ file }) => file) : []),
  ]);
}

describe('the entries of a session', () => {
  const failed: TransferError[] = [];
  const failing = (error: TransferError): void => void failed.push(error);
  beforeEach(() => failed.splice(0));

  it('are numbered as they are found, and remembered until they are settled', async () => {
    const entries = new SendEntries(batches('file', 1000), failing);
    expect(await entries.pull()).to.equal(true);
    expect(numbers(entries)).to.deep.equal(Array.from({ length: 512 }, (_, at) => at));
    expect(entries.settle(3)).to.include({ name: 'x/3', type: 'file', size: 1 });
    expect(entries.settle(3)).to.equal(undefined);
    expect(entries.has(3)).to.equal(false);
    expect([entries.has(4), entries.small(4)?.nameOf(4), entries.settled]).to.deep.equal([true, 'x/4', 1]);
    expect(numbers(entries), 'what is settled is not offered again').to.deep.equal(
      Array.from({ length: 512 }, (_, at) => at).filter((file) => file !== 3),
    );
    entries.small(5)?.grew(5);
    expect([entries.settle(5)?.grew, entries.settle(6)?.grew]).to.deep.equal([true, false]);
    expect(await entries.pull()).to.equal(true);
    expect(numbers(entries, 511).slice(0, 2)).to.deep.equal([512, 513]);
    expect(entries.over).to.equal(false);
    expect(await entries.pull()).to.equal(false);
    expect(entries.over).to.equal(false);
    for (const file of numbers(entries)) entries.settle(file);
    expect(entries.over).to.equal(true);
  });

  it('are told apart from what could not be found', async () => {
    async function* found(): AsyncGenerator<FoundTogether> {
      yield {
        entries: packEntries([entry('file', 0), entry('file', 1)]),
        failures: [new TransferError('source-unreadable', 'no')],
      };
    }
    const entries = new SendEntries(found(), failing);
    await entries.pull();
    expect(numbers(entries)).to.deep.equal([0, 1]);
    expect(failed.map(({ code }) => code)).to.deep.equal(['source-unreadable']);
  });

  it('are not looked for while too many files are not settled', async () => {
    const entries = new SendEntries(batches('file', 100_000), failing);
    const pulling = (async () => {
      while (await entries.pull());
    })();
    await sleep(100);
    const held = numbers(entries).length;
    expect(held).to.be.within(7_000, 9_000);
    await sleep(50);
    expect(numbers(entries)).to.have.lengthOf(held);
    for (let last = -1; !entries.over;) {
      for (const file of numbers(entries, last)) {
        entries.settle(file);
        last = file;
      }
      await sleep(1);
    }
    await pulling;
    expect(entries.over).to.equal(true);
  });

  it('are all looked for where they are directories, however many, since those are settled last of all', async () => {
    const entries = new SendEntries(batches('directory', 50_000), failing);
    while (await entries.pull());
    expect(numbers(entries)).to.have.lengthOf(50_000);
  });

  it('are pulled once for two conversations that want more at the same time', async () => {
    const entries = new SendEntries(batches('file', 1500), failing);
    expect(await Promise.all([entries.pull(), entries.pull()])).to.deep.equal([true, true]);
    expect(numbers(entries)).to.have.lengthOf(512);
  });

  it('end for whoever waits for more when they are closed', async () => {
    const entries = new SendEntries(batches('file', 100_000), failing);
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
      next: () =>
        asked++ === 0
          ? Promise.reject(new TransferError('unexpected', 'the thread died'))
          : Promise.resolve({ done: true as const, value: undefined }),
    };
    const entries = new SendEntries(found, failing);
    for (let times = 0; times < 3; times++) {
      const error: unknown = await entries.pull().catch((thrown: unknown) => thrown);
      expect(error).to.include({ code: 'unexpected' });
    }
    expect(entries.over).to.equal(false);
  });

  it('that were begun and cannot be read again are taken off the list, and no others', async () => {
    async function* found(): AsyncGenerator<FoundTogether> {
      yield { single: { type: 'text', text: 'words' } };
      yield { single: { type: 'stream', name: 'in' as EntryName, input: Readable.from([]) } };
      yield { entries: packEntries([entry('file', 0)]) };
    }
    const entries = new SendEntries(found(), failing);
    while (await entries.pull());
    expect(entries.takeBegun()).to.deep.equal([]);
    const stream = entries.outgoing(1);
    if (stream) stream.begun = true;
    expect(entries.takeBegun().map(({ name, type }) => [name, type])).to.deep.equal([['in', 'stream']]);
    expect(numbers(entries)).to.deep.equal([0, 2]);
    expect(entries.takeBegun()).to.deep.equal([]);
  });

  it('tell who reads them of each batch with small files, until all of it is settled', async () => {
    const told: string[] = [];
    const reader = {
      know: ({ first }: { first: number }) => void told.push(`know ${String(first)}`),
      forget: (first: number) => void told.push(`forget ${String(first)}`),
    };
    const entries = new SendEntries(batches('file', 1000), failing, [], false, reader);
    while (await entries.pull());
    for (const file of numbers(entries)) if (file !== 512) entries.settle(file);
    expect(told).to.deep.equal(['know 0', 'know 512', 'forget 0']);
    entries.settle(512);
    expect(told.at(-1)).to.equal('forget 512');
  });

  it('cost nothing but their columns until someone asks, and are then told as they are', async () => {
    const large = { ...entry('file', 0), size: 1_000_000, vouched: { digest: 'd', mtime: 5n } } as FoundEntry;
    async function* found(): AsyncGenerator<FoundTogether> {
      yield { entries: packEntries([large, entry('directory', 1)]) };
    }
    const entries = new SendEntries(found(), failing, [], true);
    await entries.pull();
    expect(entries.outgoing(0)).to.equal(entries.outgoing(0));
    expect(entries.outgoing(0)?.found).to.deep.equal({ ...large, inode: 0n });
    expect(entries.small(0)).to.equal(undefined);
    expect(entries.sent(0)).to.include({ vouched: 'd', size: 1_000_000 });
    const [offer] = [...entries.offers(-1)];
    const [told] = JSON.parse(Buffer.from(offer?.list ?? []).toString()) as unknown[];
    expect(told).to.include({ mtime: '5', inode: '0' });
  });
});
