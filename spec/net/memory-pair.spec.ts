import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import type { ByteStream } from '../../lib/net/byte-stream';
import { memoryPair } from '../../lib/net/memory-pair';

describe('two byte streams within a process', () => {
  let near: ByteStream;
  let far: ByteStream;
  beforeEach(() => {
    [near, far] = memoryPair();
  });
  afterEach(() => near.destroy());

  /** Whether a promise has settled by now. */
  const settled = async (promise: Promise<unknown>): Promise<boolean> => {
    const pending = Symbol();
    return (await Promise.race([promise.catch(() => undefined), sleep(20, pending)])) !== pending;
  };
  const failure = (promise: Promise<unknown>): Promise<string> =>
    promise.then(
      () => 'none',
      (error: unknown) => (error instanceof TransferError ? error.code : 'other'),
    );

  it('carry bytes both ways, into the memory of whoever reads', async () => {
    const there = near.write(Buffer.from('head'), Buffer.from('body of it'));
    const back = far.write(Buffer.from('answer'));
    const [head, body, answer] = [Buffer.alloc(4), Buffer.alloc(10), Buffer.alloc(6)];
    expect(await far.fill(head)).to.equal(4);
    expect(await far.fill(body)).to.equal(10);
    expect(await near.fill(answer)).to.equal(6);
    await Promise.all([there, back]);
    expect([head, body, answer].map(String)).to.deep.equal(['head', 'body of it', 'answer']);
  });

  it('hold a writer until its bytes were taken, so that its memory can be filled anew', async () => {
    const memory = Buffer.from('first');
    const writing = near.write(memory);
    void writing.then(() => memory.fill('x'));
    expect(await settled(writing)).to.equal(false);
    const first = Buffer.alloc(5);
    await far.fill(first);
    await writing;
    expect(String(first)).to.equal('first');
    const behind = [near.write(Buffer.alloc(100_000)), near.write(Buffer.alloc(100_000))];
    await far.more();
    expect(await settled(Promise.race(behind))).to.equal(true);
    expect(await settled(Promise.all(behind))).to.equal(false);
  });

  it('end where the other side finishes, which may still be answered', async () => {
    const finishing = near.finish();
    expect(await far.more()).to.equal(false);
    await finishing;
    const answering = far.write(Buffer.from('last words'));
    const words = Buffer.alloc(10);
    await near.fill(words);
    await answering;
    expect(String(words)).to.equal('last words');
  });

  it('leave nobody waiting where one of them is destroyed, whoever writes, and whoever reads', async () => {
    const writing = [near.write(Buffer.alloc(10)), near.write(Buffer.alloc(10))];
    const reading = near.more();
    far.destroy(new TransferError('disk', 'The disk is gone.'));
    for (const each of writing) expect(await failure(each)).to.equal('connection-lost');
    expect(await failure(reading)).to.equal('connection-lost');
    expect(near.closed && far.closed).to.equal(true);
    expect(await failure(far.more())).to.equal('disk');
    expect(await failure(near.write(Buffer.alloc(1)))).to.equal('connection-lost');
  });

  it('give a writer that is destroyed its memory back, and nothing of that to the reader', async () => {
    const memory = Buffer.from('good');
    const writing = near.write(memory);
    near.destroy();
    expect(await failure(writing)).to.equal('connection-lost');
    memory.fill('x');
    expect(await far.more()).to.equal(false);
    expect(far.peek().length).to.equal(0);
  });
});
