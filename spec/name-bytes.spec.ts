import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import fc from 'fast-check';
import { bytesOfName, isSoundName, nameOfBytes, systemPath } from '../lib/name-bytes';
import { skipTest } from './skip-test';

/** Bytes as others see them: mostly ASCII, with what is special to UTF-8 among it. */
const bytes = fc
  .array(
    fc.oneof(
      fc.integer({ min: 1, max: 255 }),
      fc.constantFrom(0x61, 0xc3, 0xa9, 0xe2, 0x82, 0xac, 0xed, 0xa0, 0x80, 0xf0, 0x9f, 0x98, 0xff),
    ),
    { maxLength: 24 },
  )
  .map((list) => Buffer.from(list));

describe('a name that is not UTF-8', () => {
  it('travels with a lone surrogate for each byte that is wrong', () => {
    expect(nameOfBytes(Buffer.from('caf\xe9', 'latin1'))).to.equal('caf\udce9');
    expect(nameOfBytes(Buffer.from('é€😀'))).to.equal('é€😀');
    expect(nameOfBytes(Buffer.from([0xed, 0xa0, 0x80, 0x61, 0xe2, 0x82]))).to.equal('\udced\udca0\udc80a\udce2\udc82');
    expect(nameOfBytes(Buffer.from([0xc0, 0xaf]))).to.equal('\udcc0\udcaf');
  });

  it('becomes the same bytes again, whatever they are, and every name has one spelling', () => {
    fc.assert(
      fc.property(bytes, (name) => {
        const text = nameOfBytes(name);
        expect(bytesOfName(text).equals(name)).to.equal(true);
        expect(isSoundName(text)).to.equal(true);
        expect(Buffer.from(systemPath(text)).equals(name)).to.equal(true);
      }),
    );
  });

  it('is spelled as Python spells it', function () {
    const names = fc.sample(bytes, 200);
    let answer: string;
    try {
      const program =
        'import sys, json; print(json.dumps([bytes.fromhex(x).decode("utf-8", "surrogateescape") for x in json.load(sys.stdin)]))';
      answer = execFileSync('python3', ['-c', program], {
        input: JSON.stringify(names.map((name) => name.toString('hex'))),
        encoding: 'utf8',
      });
    } catch {
      return skipTest(this, 'python3 is not installed');
    }
    expect(names.map(nameOfBytes)).to.deep.equal(JSON.parse(answer));
  });

  it('has no second spelling: escapes that are UTF-8 together are no name, nor is any other half of a pair', () => {
    for (const text of ['\udcc3\udca9', 'a\udce2\udc82\udcac', '\ud800', 'x\udc00', '\udc7f', '\udd00'])
      expect(isSoundName(text), JSON.stringify(text)).to.equal(false);
    expect(() => bytesOfName('x\udc00'))
      .to.throw()
      .with.property('code', 'name');
  });
});
