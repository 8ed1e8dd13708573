import { expect } from 'chai';
import { oldestOfMost } from '../../lib/receive/fair-shares';

describe('What is given up for others', () => {
  it('is the oldest of the key that has most', () => {
    const waiting = ['few', 'many', 'many'].map((peer, at) => ({ peer, at }));
    expect(oldestOfMost(waiting)?.at).to.equal(1);
    expect(oldestOfMost(waiting, [{ peer: 'few', amount: 3 }, ...waiting])?.at).to.equal(0);
    expect(oldestOfMost(waiting, [{ peer: 'busy', amount: 9 }, ...waiting]), 'none of it waits').to.equal(undefined);
    expect(oldestOfMost([])).to.equal(undefined);
  });
});
