import { expect } from 'chai';
import { frozen, vectors } from './frozen';

describe('the vectors of fixtures/vectors', () => {
  const now = vectors();

  for (const [file, digests] of Object.entries(frozen())) {
    it(`${file}: none that was ever there was changed or removed`, () => {
      const lost = digests.filter((digest) => now[file]?.includes(digest) !== true);
      expect(lost, 'add vectors, and leave those that are there as they are').to.deep.equal([]);
    });
  }

  it('are all frozen: `npm run freeze` adds what is new', () => {
    for (const [file, digests] of Object.entries(now))
      expect(
        digests.filter((digest) => frozen()[file]?.includes(digest) !== true),
        file,
      ).to.deep.equal([]);
  });
});
