import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import { encodeFrame, HeaderDecoder, type JsonObject } from '../../lib/wire/frame';
import { parseFileHeader, parseReply, wantsReply } from '../../lib/wire/message';

const md5 = '5d41402abc4b2a76b9719d911017c592';
const file = { file_name: 'a.txt', file_size: 5, md5 };
const receipt = { type: 'receipt', ...file, verified: 'device', path: 'a.txt' };
const refusal = { type: 'refusal', code: 'exists', message: 'Something else stands under that name already.' };

describe('parseFileHeader', () => {
  it('takes the three keys, lowers the md5, and ignores all others', () => {
    expect(parseFileHeader({ ...file, md5: md5.toUpperCase(), type: 'file', mode: 420 })).to.deep.equal({
      ...file,
      reply: false,
    });
  });

  it('takes reply only when it is exactly true', () => {
    expect(parseFileHeader({ ...file, reply: true }).reply).to.equal(true);
    for (const reply of [false, null, 1, 'true', [true], {}])
      expect(parseFileHeader({ ...file, reply }).reply).to.equal(false);
  });

  it('never sees what a header inherits', () => {
    const inheriting = Object.create({ ...file, reply: true }) as JsonObject;
    expect(wantsReply(inheriting)).to.equal(false);
    expect(failureOf(() => parseFileHeader(inheriting)).message).to.equal(
      'The header lacks file_name; it must be a string.',
    );
  });

  it('says which key is wrong, what it is and what it must be', () => {
    const failure = failureOf(() => parseFileHeader({ ...file, file_size: '5' }));
    expect(failure.code).to.equal('bad-header');
    expect(failure.message).to.equal('file_size is "5"; it must be a whole number from 0 to 9007199254740991.');
  });

  it('escapes and shortens what it repeats', () => {
    const { message } = failureOf(() => parseFileHeader({ ...file, md5: `\u001b[31m\u202e${'x'.repeat(60_000)}` }));
    expect(message).to.match(/^[ -~…]{1,150}$/);
  });

  it('leaves the size of a 5000-digit number at a short sentence', () => {
    const size = JSON.parse('9'.repeat(5000)) as unknown;
    expect(failureOf(() => parseFileHeader({ ...file, file_size: size })).message).to.have.lengthOf.below(150);
  });
});

describe('wantsReply', () => {
  it('also answers for a header that is bad, so that its sender can be told', () => {
    expect(wantsReply({ reply: true })).to.equal(true);
    expect(wantsReply({})).to.equal(false);
  });
});

describe('parseReply', () => {
  it('reads a receipt, with and without what was waited for, as it was sent', () => {
    const waited = { network: 1.5, write: 0, verify: 20 };
    for (const sent of [receipt, { ...receipt, verified: 'cache' }, { ...receipt, waited }])
      expect(parseReply(travelled(sent))).to.deep.equal(sent);
  });

  it('reads a refusal, with and without what is optional, as it was sent', () => {
    for (const sent of [
      refusal,
      { ...refusal, file_name: 'a.txt' },
      { ...refusal, hint: 'Rename it.' },
      { ...refusal, skipped: true },
    ]) {
      expect(parseReply(travelled(sent))).to.deep.equal(sent);
    }
  });

  it('takes a refusal for a failure unless skipped is exactly true', () => {
    for (const skipped of [false, null, 1, 'true']) expect(parseReply({ ...refusal, skipped })).to.deep.equal(refusal);
  });

  it('ignores keys it does not know, and takes a code it does not know for unexpected', () => {
    expect(parseReply({ ...receipt, blake3: 'x', waited: { network: 0, write: 0, verify: 0, hash: 1 } })).to.deep.equal(
      {
        ...receipt,
        waited: { network: 0, write: 0, verify: 0 },
      },
    );
    for (const code of ['on-fire', 'toString', '__proto__', ''])
      expect(parseReply({ ...refusal, code })).to.include({ code: 'unexpected' });
  });

  for (const [key, values] of Object.entries({
    type: [undefined, null, 'file', 'Receipt', ['receipt']],
    file_name: [undefined, 5],
    file_size: [undefined, '5', -1, 1.5],
    md5: [undefined, md5.slice(1), null],
    verified: [undefined, null, true, 'disk'],
    path: [undefined, 5],
    waited: [
      null,
      5,
      [],
      {},
      { network: 1, write: 1 },
      { network: -1, write: 1, verify: 1 },
      { network: '1', write: 1, verify: 1 },
    ],
  })) {
    it(`refuses a receipt whose ${key} is missing, mistyped or out of range`, () => {
      for (const value of values) expectBadHeader({ ...receipt, [key]: value }, key);
    });
  }

  for (const [key, values] of Object.entries({
    code: [undefined, 5],
    message: [undefined, null],
    file_name: [null, 5],
    hint: [null, 5],
  })) {
    it(`refuses a refusal whose ${key} is mistyped or, where it is needed, missing`, () => {
      for (const value of values) expectBadHeader({ ...refusal, [key]: value }, key);
    });
  }
});

function expectBadHeader(reply: JsonObject, key: string): void {
  const failure = failureOf(() => parseReply(reply));
  expect(failure.code).to.equal('bad-header');
  expect(failure.message).to.match(new RegExp(`\\b${key}\\b`));
}

function travelled(message: object): JsonObject {
  const decoder = new HeaderDecoder();
  decoder.push(encodeFrame(message));
  if (decoder.header === undefined) throw new Error('the header did not arrive');
  return decoder.header;
}

function failureOf(action: () => unknown): TransferError {
  try {
    action();
  } catch (error) {
    if (error instanceof TransferError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}
