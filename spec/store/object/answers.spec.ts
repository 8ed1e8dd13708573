import { expect } from 'chai';
import { Bucket } from '../../../lib/store/object/bucket';
import { condemn, condemnedKeys } from '../../../lib/store/object/condemned';
import type { TransferEvent } from '../../../lib/progress';
import { ObjectStore, type ObjectStoreOptions } from '../../../lib/store/object/object-store';
import { codeOf } from '../delivery';
import { useTiny } from './servers';

describe('what an object store answers', () => {
  const server = useTiny();
  let objects: ObjectStoreOptions;
  let bucket: Bucket;
  beforeEach(() => {
    objects = server.options();
    bucket = new Bucket(objects, objects.prefix, objects.deadlines);
  });
  afterEach(() => bucket.close());

  it('is no failure where an object has the words of one', async () => {
    for (const text of ['{"target":"a<Error>b"}', '<Error><Code>NoSuchKey</Code></Error>']) {
      await bucket.put('names/a', Buffer.from(text));
      expect((await bucket.get('names/a'))?.text).to.equal(text);
    }
    await bucket.put('names/<Error>', Buffer.from('x'));
    const keys: string[] = [];
    for await (const { key } of bucket.list('names/')) keys.push(key);
    expect(keys).to.include('names/<Error>');
  });

  it('is taken in pages of a thousand keys, however long these are', async () => {
    const names = Array.from({ length: 1050 }, (_, at) => `names/${'長'.repeat(320)}${String(at).padStart(4, '0')}`);
    for (const name of names)
      server.tiny.objects.set(objects.prefix + name, { body: Buffer.alloc(1), etag: '"x"', modified: new Date() });
    server.tiny.listedTogether = 1000;
    const keys: string[] = [];
    for await (const { key } of bucket.list('names/')) keys.push(key);
    expect(keys).to.deep.equal(names);
  });

  it('has lists of what is condemned that are not longer than what is read', async () => {
    const keys = Array.from({ length: 3000 }, (_, at) => `data/${'é'.repeat(480)}${String(at)}`);
    await condemn(bucket, keys);
    expect([...(await condemnedKeys(bucket))].sort()).to.deep.equal(keys.sort());
    const longest = Math.max(...[...server.tiny.objects.values()].map(({ body }) => body.length));
    expect(longest).to.be.lessThan(1024 * 1024);
  });

  it('that is an object from its beginning is not taken for a part of it', async () => {
    await bucket.put('data/a', Buffer.from('0123456789'));
    server.tiny.knows.ranges = false;
    try {
      const taken: Buffer[] = [];
      const read = (from: number) => bucket.read('data/a', from, 4, (bytes) => taken.push(bytes));
      expect(await codeOf(read(5))).to.equal('disk');
      expect(Buffer.concat(taken).toString()).to.equal('');
      await read(0);
      expect(Buffer.concat(taken).toString()).to.equal('0123');
    } finally {
      server.tiny.knows.ranges = true;
    }
  });

  it('keeps no process alive once it has broken off', async () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((each) => each === 'Timeout').length;
    await bucket.put('names/a', Buffer.alloc(100_000));
    const before = timers();
    server.tiny.fault = () => 'truncate';
    try {
      expect(await codeOf(bucket.get('names/a'))).to.equal('disk');
    } finally {
      server.tiny.fault = () => undefined;
    }
    expect(timers()).to.be.at.most(before);
  });

  it('that does not come is told of after a while, once for all requests, and so is the next one', async () => {
    const told: string[] = [];
    let failing = true;
    server.tiny.fault = () => (failing ? 'cut before' : undefined);
    const on = (event: TransferEvent): void => {
      if (event.event !== 'connection') return;
      told.push(event.state === 'lost' ? `lost ${String(event.retry_for)}` : event.state);
      failing = false;
    };
    const deadlines = { silence: 20_000, whole: 60_000, pauses: [1, 3_000] };
    const waiting = new Bucket({ ...objects, on }, objects.prefix, deadlines);
    try {
      await Promise.all([waiting.get('names/a'), waiting.get('names/b')]);
      expect(told).to.deep.equal(['lost 5', 'back']);
      failing = true;
      await Promise.all([waiting.get('names/a'), waiting.get('names/b')]);
      expect(told).to.deep.equal(['lost 5', 'back', 'lost 5', 'back']);
    } finally {
      server.tiny.fault = () => undefined;
      waiting.close();
    }
  });

  it('that does not come is told of for each request that waits alone, and that it comes again, whichever gets it', async () => {
    const told: string[] = [];
    server.tiny.fault = () => 'cut before';
    const on = (event: TransferEvent): void => {
      if (event.event === 'connection') told.push(event.state);
    };
    const deadlines = { silence: 20_000, whole: 60_000, pauses: [1, 3_000] };
    const waiting = new Bucket({ ...objects, on }, objects.prefix, deadlines);
    try {
      expect(await codeOf(waiting.get('names/a'))).to.equal('disk');
      // What was told for the first one ended with it: somebody waits anew.
      const both = ['names/a', 'names/b'].map((key) => codeOf(waiting.get(key)));
      expect(await Promise.all(both)).to.deep.equal(['disk', 'disk']);
      expect(told, 'once for the two of them').to.deep.equal(['lost', 'lost']);
      server.tiny.fault = () => undefined;
      await waiting.get('names/b');
      await waiting.get('names/b');
      expect(told).to.deep.equal(['lost', 'lost', 'back']);
    } finally {
      server.tiny.fault = () => undefined;
      waiting.close();
    }
  });

  it('that never comes is not waited for again by what cleans up behind a start', async () => {
    let asked = 0;
    server.tiny.fault = () => {
      asked++;
      return 'cut before';
    };
    try {
      expect(await codeOf(ObjectStore.open(objects))).to.equal('disk');
      expect(asked).to.equal(5); // one request, and its four pauses
    } finally {
      server.tiny.fault = () => undefined;
    }
  });
});
