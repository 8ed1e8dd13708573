import { expect } from 'chai';
import { ConnectionCount } from '../../lib/session/connection-count';

describe('how many connections a transfer needs', () => {
  /** What it comes to where n connections bring `rate(n)`, and the numbers on the way. */
  const course = (roundTrip: number, rate: (connections: number) => number): number[] => {
    const count = new ConnectionCount(roundTrip);
    const numbers = [count.count];
    for (let times = 0; !count.found && times < 20; times++) numbers.push(count.measured(rate(count.count)));
    expect(count.found).to.equal(true);
    expect(count.measured(1e12)).to.equal(numbers.at(-1));
    return numbers;
  };

  it('is one where a second one brings nothing: that one is given back', () => {
    expect(course(0.1, () => 1000)).to.deep.equal([1, 2, 1]);
  });

  it('is one where a second one brings less than a tenth, or takes something away', () => {
    expect(course(0.1, (connections) => (connections === 1 ? 1000 : 1090))).to.deep.equal([1, 2, 1]);
    expect(course(0.1, (connections) => 1000 / connections)).to.deep.equal([1, 2, 1]);
  });

  it('doubles as long as that brings a tenth more', () => {
    expect(course(0.1, (connections) => Math.min(connections, 4) * 100)).to.deep.equal([1, 2, 4, 8, 4]);
    expect(course(0.1, (connections) => 100 * 1.2 ** Math.log2(connections))).to.deep.equal([1, 2, 4, 8, 16, 16]);
  });

  it('begins with eight where the round trip is long, and is never more than sixteen', () => {
    expect(course(15, (connections) => connections)).to.deep.equal([8, 16, 16]);
    expect(course(300, () => 7)).to.deep.equal([8, 16, 8]);
    expect(new ConnectionCount(14.9).count).to.equal(1);
  });

  it('is not misled by a transfer that stands still at first', () => {
    const count = new ConnectionCount(0);
    expect(count.measured(0)).to.equal(2);
    expect(count.measured(0)).to.equal(4);
    expect(count.measured(500)).to.equal(8);
    expect(count.measured(500)).to.equal(4);
  });
});
