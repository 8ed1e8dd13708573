import { expect } from 'chai';
import fc from 'fast-check';
import { TransferError } from '../../lib/errors';
import { maxDepth, maxKeys, ownValue, parseJsonObject, quoted } from '../../lib/wire/json-object';

const parse = (text: string) => parseJsonObject(Buffer.from(text));

describe('parseJsonObject', () => {
  it('reads every object that JSON.parse reads, to the same value', () => {
    const objects = fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue(), { maxKeys: 10 });
    fc.assert(
      fc.property(objects, fc.constantFrom(0, 1, '\t'), (object, space) => {
        const text = JSON.stringify(object, null, space);
        expect(parse(text)).to.deep.equal(JSON.parse(text));
      }),
    );
  });

  it('takes no text that JSON.parse refuses', () => {
    const almost = fc.array(fc.constantFrom('{', '}', '[', ']', '"', '\\', ':', ',', 'a', '0', ' ', '\\u0061'), {
      maxLength: 12,
    });
    fc.assert(
      fc.property(almost, (letters) => {
        const text = letters.join('');
        let valid: unknown;
        try {
          valid = JSON.parse(text);
        } catch {
          expect(codeOf(text), text).to.equal('bad-frame');
          return;
        }
        const twice = codeOf(text) === 'bad-frame' && messageOf(text).includes('twice');
        if (!twice && typeof valid === 'object' && valid !== null && !Array.isArray(valid))
          expect(parse(text)).to.deep.equal(valid);
      }),
      { numRuns: 3000 },
    );
  });

  it('refuses a key that stands twice in one object, at any depth, however it is escaped', () => {
    const key = fc.string({ unit: 'binary', maxLength: 5 });
    const escaped = (text: string): string =>
      `"${Array.from({ length: text.length }, (_, at) => `\\u${text.charCodeAt(at).toString(16).padStart(4, '0')}`).join('')}"`;
    fc.assert(
      fc.property(key, fc.integer({ min: 0, max: 10 }), (name, depth) => {
        const text = `${'{"x":[0,'.repeat(depth)}{${JSON.stringify(name)}:1,"other key":2,${escaped(name)}:3}${']}'.repeat(depth)}`;
        expect(messageOf(text)).to.match(/twice/);
      }),
    );
  });

  it('lets the same key stand in objects beside or inside each other', () => {
    expect(parse('{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}],"c":"a"}')).to.have.keys('a', 'b', 'c');
  });

  it('does not take braces, colons and quotes in strings for structure', () => {
    const text = JSON.stringify({ 'a":{': '[[{"a":1,"a":2}]]', 'b\\': '\\', 'c\\"': '\\":"', a: '}'.repeat(100) });
    expect(parse(text)).to.deep.equal(JSON.parse(text));
  });

  it('takes __proto__ for a key like any other, and it pollutes nothing', () => {
    const header = parse('{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}');
    expect(Object.keys(header)).to.deep.equal(['__proto__', 'constructor']);
    expect(ownValue(header, 'polluted')).to.equal(undefined);
    expect(({} as Record<string, unknown>)['polluted']).to.equal(undefined);
  });

  it('refuses a byte order mark, and reads the next header as ever after a bad one', () => {
    expect(messageOf('\ufeff{}')).to.match(/byte order mark/);
    expect(() => parseJsonObject(Buffer.from([0x7b, 0xe2, 0x82]))).to.throw(TransferError, /UTF-8/);
    expect(parse('{"a":"\ufeff"}')).to.deep.equal({ a: '\ufeff' });
  });

  it(`takes ${maxDepth} levels and ${maxKeys} keys, and not one more`, () => {
    const levels = (count: number): string => `{"a":${'['.repeat(count - 1)}${']'.repeat(count - 1)}}`;
    expect(parse(levels(maxDepth))).to.have.key('a');
    expect(messageOf(levels(maxDepth + 1))).to.match(/levels/);
    const keys = (count: number): string => `{${Array.from({ length: count }, (_, index) => `"${index}":0`).join()}}`;
    expect(Object.keys(parse(keys(maxKeys)))).to.have.lengthOf(maxKeys);
    expect(messageOf(keys(maxKeys + 1))).to.match(/keys/);
  });

  it('answers within a moment to the worst 64 KiB', () => {
    const fill = (text: string): string => text.repeat(65536 / text.length);
    const worst = [
      '[',
      '{',
      '{"":',
      '"',
      '\\',
      '"\\"',
      '"\\',
      ':',
      '"":',
      '" ',
      '[]',
      '{},',
      ' ',
      '0',
      '-',
      '1e',
    ].flatMap((text) => [fill(text), `{"a":${fill(text).slice(0, 65530)}`, `{"a":[${fill(text).slice(0, 65520)}]}`]);
    const before = performance.now();
    for (const text of worst) codeOf(text);
    expect((performance.now() - before) / worst.length, 'ms for one header').to.be.below(100);
  });

  it('repeats nothing of the input in its sentence, but for a shortened and escaped key', () => {
    const evil = '\u001b[2J\u202e';
    expect(messageOf(`{"a":"${evil}"`)).to.not.include(evil[0]);
    const sentence = messageOf(`{"\\u001b[2J\u202e${'x'.repeat(1000)}":1,"\u202e":1,"\u202e":1}`);
    expect(sentence).to.match(/^[ -~]*$/);
    expect(messageOf(`{"${'x'.repeat(1000)}":1,"${'x'.repeat(1000)}":1}`)).to.have.lengthOf.below(100);
  });
});

describe('quoted', () => {
  it('says the kind, or the escaped beginning, of a value', () => {
    expect([null, true, -0, 1.5, [1], { a: 1 }, 'a'].map(quoted)).to.deep.equal([
      'null',
      'true',
      '-0',
      '1.5',
      'an array',
      'an object',
      '"a"',
    ]);
    expect(quoted('\u001b]0;evil\u0007')).to.not.match(/[\u001b\u0007]/u);
    expect(quoted('x'.repeat(65536))).to.have.lengthOf.below(50);
  });
});

function failureOf(text: string): TransferError | undefined {
  try {
    parse(text);
    return undefined;
  } catch (error) {
    if (error instanceof TransferError) return error;
    throw error;
  }
}

const codeOf = (text: string): string | undefined => failureOf(text)?.code;
const messageOf = (text: string): string => failureOf(text)?.message ?? 'it was taken';
