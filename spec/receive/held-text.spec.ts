import { expect } from 'chai';
import { HeldText } from '../../lib/receive/held-text';
import { mostHeldText } from '../../lib/receive/limits';

describe('The text that sessions have this process keep', () => {
  const half = mostHeldText / 2;

  it('is nothing any more of a session that is over, whatever comes of it later', () => {
    for (let time = 0; time < 3; time++) {
      const late = new HeldText('key');
      late.hold(half);
      late.close();
      late.hold(half);
      late.letGo(half / 4);
    }
    const next = new HeldText('key');
    next.hold(half);
    expect(() => next.hold(half), 'no more than before').to.throw('no memory');
    next.close();
  });
});
