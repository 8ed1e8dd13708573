import { expect } from 'chai';
import { formatSizes } from '../lib/size-text';

describe('two sizes in one sentence', () => {
  it('are short, and exact where they would read the same', () => {
    expect(formatSizes(2 ** 30, 64 * 2 ** 20)).to.deep.equal(['1.0 GiB', '64.0 MiB']);
    expect(formatSizes(7, 0)).to.deep.equal(['7 B', '0 B']);
    expect(formatSizes(2 ** 30, 2 ** 30 - 1)).to.deep.equal(['1073741824 bytes', '1073741823 bytes']);
    expect(formatSizes(2 ** 30, 2 ** 30)).to.deep.equal(['1.0 GiB', '1.0 GiB']);
  });
});
