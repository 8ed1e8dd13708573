import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { codeName, drawCode, formatCode, looksLikeCode, parseCodeTarget } from '../../lib/codes/code';
import { codeWords } from '../../lib/codes/words';
import { TransferError } from '../../lib/errors';
import { formatAddress } from '../../lib/net/address';

const { texts, refused } = JSON.parse(
  readFileSync(join(__dirname, '..', '..', 'fixtures', 'vectors', 'codes.json'), 'utf8'),
) as {
  readonly texts: readonly {
    readonly text: string;
    readonly code: string;
    readonly addresses: readonly string[];
    readonly relay?: string;
  }[];
  readonly refused: readonly { readonly text: string }[];
};

describe('codes', () => {
  it('have the words of BIP 39, which their first four letters tell apart', () => {
    const digest = createHash('sha256').update(codeWords.map((word) => `${word}\n`).join(''));
    expect(digest.digest('hex')).to.equal('2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda');
    expect(new Set(codeWords.map((word) => word.slice(0, 4))).size).to.equal(2048);
  });

  for (const { text, code, addresses, relay } of texts)
    it(`are read: ${text}`, () => {
      const target = parseCodeTarget(text);
      expect(formatCode(target.code)).to.equal(code);
      expect(target.addresses.map(formatAddress)).to.deep.equal(addresses);
      expect(target.relay && formatAddress(target.relay)).to.equal(relay);
    });

  for (const { text } of refused)
    it(`are no codes, which is said without their words: ${text}`, () => {
      expect(() => parseCodeTarget(text))
        .to.throw(TransferError)
        .that.satisfies(
          ({ code, message, hint = '' }: TransferError) =>
            code === 'usage' && !/velvt|velvet|cran/.test(message + hint.replaceAll('4821-crane-velvet', '')),
        );
    });

  it('are drawn anew, with as many words as are wanted', () => {
    const drawn = Array.from({ length: 200 }, () => drawCode());
    expect(new Set(drawn.map(formatCode)).size).to.equal(200);
    expect(new Set(drawn.map(({ number }) => number[0])).size).to.equal(10);
    expect(drawCode(4).words).to.have.length(4);
    expect(drawn.every((code) => looksLikeCode(formatCode(code)))).to.equal(true);
  });

  it('are kept in files under a name without their words', () => {
    expect(codeName({ number: '4821', words: ['crane', 'velvet'] })).to.match(/^[0-9a-f]{32}$/);
  });
});
