import { expect } from 'chai';
import fc from 'fast-check';
import { TransferError } from '../../lib/errors';
import { parseList, partsOfList } from '../../lib/wire/json-list';

/** What comes of a list that is read in parts; how many they were. */
function byParts(bytes: Uint8Array): { readonly list: unknown[]; readonly longest: number } {
  const list: unknown[] = [];
  let longest = 0;
  for (const part of partsOfList(bytes)) {
    longest = Math.max(longest, part?.length ?? 0);
    list.push(...(part ?? []));
  }
  return { list, longest };
}

function failure(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error instanceof TransferError ? error.code : error;
  }
}

describe('a list in parts', () => {
  it('is the list, whatever is in it', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue(), { maxLength: 600 }), fc.constantFrom('', ' ', '\n\t'), (list, space) => {
        const bytes = Buffer.from(`${space}${JSON.stringify(list, undefined, space === '' ? 0 : 1)}${space}`);
        const expected = failure(() => parseList(bytes));
        expect(failure(() => byParts(bytes).list)).to.deep.equal(expected);
      }),
      { numRuns: 200 },
    );
  });

  it('is cut by number and by length', () => {
    expect(byParts(Buffer.from(JSON.stringify(Array.from({ length: 65_536 }, (_, at) => at)))).longest).to.be.at.most(
      128,
    );
    expect(
      byParts(Buffer.from(JSON.stringify(Array.from({ length: 100 }, () => 'x'.repeat(4_000))))).longest,
    ).to.be.at.most(6);
  });

  for (const text of [
    '',
    'hello',
    '{}',
    '[1',
    '[1]]',
    '[1],[2]',
    '[1,]',
    '[,1]',
    '[1,,2]',
    `[${'1,'.repeat(128)}]`,
    `[${'1,'.repeat(300)}`,
    '["a]',
    `[${' '.repeat(20_000)},1]`,
    `[1,${' '.repeat(20_000)},1]`,
    `[1${' '.repeat(20_000)},]`,
    '[1]x',
    `[${'0,'.repeat(65_536)}0]`,
    '['.repeat(100),
  ])
    it(`is refused as the whole is: ${text.slice(0, 20)}`, () => {
      expect(failure(() => parseList(Buffer.from(text)))).to.be.a('string');
      expect(failure(() => byParts(Buffer.from(text)))).to.equal(failure(() => parseList(Buffer.from(text))));
    });
});
