import { expect } from 'chai';
import { Allowance, limitStore, type Limits } from '../../lib/store/limited';
import { MemoryStore } from '../../lib/store/memory';
import type { Store } from '../../lib/store/store';
import { announce, codeOf, content, deliver, verified, writeAll } from './delivery';

describe('limitStore', () => {
  const limited = (limits: Limits, inner: Store = new MemoryStore()): Store => limitStore(inner, new Allowance(limits));

  it('takes a file of exactly the largest size, and refuses one byte more before it is staged', async () => {
    const inner = new MemoryStore();
    const store = limited({ maxSize: 100 }, inner);
    await deliver(store, 'a', content(100));
    expect(await codeOf(store.stage(announce('b', content(101))))).to.equal('size');
    expect([...inner.files.keys()]).to.deep.equal(['a']);
  });

  it('takes files up to the quota, with what is used already', async () => {
    const store = limited({ quota: 300, used: 100 });
    await deliver(store, 'a', content(150));
    expect(await codeOf(store.stage(announce('b', content(51))))).to.equal('quota');
    await deliver(store, 'b', content(50));
    expect(await codeOf(store.stage(announce('c', content(1))))).to.equal('quota');
    await deliver(store, 'empty', content(0));
  });

  it('counts what is staged at the same time', async () => {
    const store = limited({ quota: 100 });
    const first = await store.stage(announce('a', content(60)));
    expect(await codeOf(store.stage(announce('b', content(60))))).to.equal('quota');
    await first.discard();
    await first.discard();
    await deliver(store, 'b', content(60));
    expect(await codeOf(store.stage(announce('c', content(41))))).to.equal('quota');
  });

  it('gives back what did not come to be stored: mismatching, existing, identical, refused', async () => {
    const store = limited({ quota: 200 }, new MemoryStore(150));
    await deliver(store, 'a', content(100));
    const wrong = await store.stage(announce('b', content(50)));
    await writeAll(wrong, content(50, 2));
    expect(await codeOf(wrong.verify())).to.equal('mismatch');
    await wrong.discard();
    expect(await codeOf(deliver(store, 'a', content(50)))).to.equal('exists');
    expect(await codeOf(store.stage(announce('big', content(99))))).to.equal('space');
    expect((await deliver(limited({ quota: 200 }), 'a', content(100))).outcome).to.equal('stored');
    await deliver(store, 'last', content(50));
  });

  it('does not count identical content twice', async () => {
    const store = limited({ quota: 200 });
    for (let turn = 0; turn < 5; turn++) await deliver(store, 'a', content(100));
    await deliver(store, 'b', content(100));
  });

  it('counts a committed file once, though it is discarded afterwards', async () => {
    const store = limited({ quota: 100 });
    const staged = await verified(store, 'a', content(100));
    await staged.commit();
    await staged.discard();
    expect(await codeOf(store.stage(announce('b', content(1))))).to.equal('quota');
  });

  it('passes on what the store says, and its close', async () => {
    const inner = new MemoryStore();
    const store = limited({}, inner);
    expect(store.verified).to.equal('cache');
    const staged = await store.stage(announce('a', content(10)));
    await store.close();
    expect(await codeOf(staged.write(() => Promise.resolve(0)))).to.equal('interrupted');
  });
});
