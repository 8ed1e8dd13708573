import { expect } from 'chai';
import * as fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { join, posix, win32 } from 'node:path';

import { TransferError } from '../lib/errors';
import { bytesOfName, nameOfBytes } from '../lib/name-bytes';
import { collationKey, type NameRules, parseEntryName, printable } from '../lib/name';

interface Entry {
  readonly input: string;
  readonly times?: number;
  readonly then?: string;
  readonly allow_hidden?: boolean;
  readonly accepted?: string | true;
  readonly refused?: string;
}

interface Vectors {
  readonly refusals: Readonly<Record<string, string>>;
  readonly entries: readonly Entry[];
  /** Where every name is taken that a disk can have. */
  readonly any: readonly Entry[];
  readonly collide: readonly (readonly [string, string])[];
  readonly distinct: readonly (readonly [string, string])[];
  readonly printed: readonly { readonly input: string; readonly printed: string }[];
}

const vectors = JSON.parse(readFileSync(join(__dirname, '../fixtures/vectors/names.json'), 'utf8')) as Vectors;

/** How each sentence ends, after the name. */
const sentences: Readonly<Record<string, RegExp>> = {
  empty: / names no file\.$/,
  'empty-component': / has an empty component\.$/,
  'trailing-slash': / ends in a slash\.$/,
  dot: / has a component "\."\.$/,
  'dot-dot': / has a component "\.\.", which would leave the directory\.$/,
  'component-too-long': / has a component of more than 255 bytes\.$/,
  'name-too-long': / is longer than 4096 bytes\.$/,
  control: / contains a control character \(U\+00[0-9A-F]{2}\)\.$/,
  direction: / contains a character that changes the direction of text \(U\+[0-9A-F]{4}\)\.$/,
  'line-separator': / contains a line separator \(U\+202[89]\)\.$/,
  surrogate: / contains half of a surrogate pair( \(U\+D[89A-F][0-9A-F]{2}\))?\.$/,
  backslash: / contains a backslash \(U\+005C\)\.$/,
  colon: / contains a colon \(U\+003A\)\.$/,
  'trailing-dot': / has a component that ends in a dot\.$/,
  'trailing-space': / has a component that ends in a space\.$/,
  device: /", which is a device on Windows\.$/,
  staging: /", which sendall keeps for itself\.$/,
  hidden: /", which is hidden\.$/,
};

function refusalOf(text: string, rules: NameRules = {}): TransferError {
  try {
    parseEntryName(text, rules);
  } catch (error) {
    if (error instanceof TransferError) return error;
    throw error;
  }
  throw new Error(`"${printable(text)}" was not refused`);
}

/** Text of the pieces that names go wrong with, mixed with any other. */
const hostile = fc
  .array(
    fc.oneof(
      fc.constantFrom('/', '.', '..', '\\', ' ', ':', '\0', '\x1b', '\u202e', '\ud800'),
      fc.constantFrom('a', 'con', 'sendall', '~1', 'ß', '\u0301', 'ı', 'Σ'),
      fc.string({ unit: 'binary', maxLength: 3 }),
      fc.integer({ min: 0, max: 0xffff }).map((unit) => String.fromCharCode(unit)),
    ),
    { maxLength: 12 },
  )
  .map((pieces) => pieces.join(''));

/** Text of which a good part is accepted. */
const harmless = fc.stringMatching(/^\/{0,2}[a-cA-Cäé日.]{1,4}(?:\/[a-c. ı*]{1,3}){0,3}$/);

function accepted(text: string): string | undefined {
  try {
    return parseEntryName(text, { allowHidden: true });
  } catch (error) {
    if (error instanceof TransferError) return undefined;
    throw error;
  }
}

describe('parseEntryName', () => {
  const all = [
    ...vectors.entries,
    ...vectors.any.map((entry) => ({ ...entry, allow_hidden: true, names: 'any' as const })),
  ];
  for (const {
    input,
    times = 1,
    then = '',
    allow_hidden: allowHidden = false,
    accepted: expected,
    refused,
    ...others
  } of all) {
    const rules: NameRules = { allowHidden, ...others };
    const text = input.repeat(times) + then;
    const repeated = `${times > 1 ? ` × ${times}` : ''}${then && ` + "${then}"`}`;
    const shown = `${JSON.stringify(input)}${repeated}${allowHidden ? ' with allowHidden' : ''}${rules.names === 'any' ? ', any name' : ''}`;

    if (refused === undefined) {
      it(`accepts ${shown}`, () => {
        expect(parseEntryName(text, rules)).to.equal(expected === true ? text : expected);
      });
    } else {
      it(`refuses ${shown}: ${refused}`, () => {
        const { code, message } = refusalOf(text, rules);
        expect(code).to.equal('name');
        const reasons = Object.keys(sentences).filter((reason) => sentences[reason]?.test(message));
        expect(reasons, message).to.deep.equal([refused]);
      });
    }
  }

  it('has a vector for each reason, and a sentence of its own for each', () => {
    const used = new Set(vectors.entries.flatMap(({ refused }) => refused ?? []));
    expect([...used].sort()).to.deep.equal(Object.keys(vectors.refusals).sort());
    expect(Object.keys(sentences).sort()).to.deep.equal(Object.keys(vectors.refusals).sort());
  });

  it('takes any name that is not empty, `.` or `..` and has no NUL and no slash, as bytes that a file can have', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 255 }), (bytes) => {
        const text = nameOfBytes(bytes.map((byte) => (byte === 0 || byte === 0x2f ? 0x61 : byte)));
        if (text === '.' || text === '..' || /^(\.sendall|sendall~[0-9]+)$/i.test(text)) return;
        expect(bytesOfName(parseEntryName(text, { allowHidden: true, names: 'any' }))).to.have.length(bytes.length);
      }),
      { numRuns: 3000 },
    );
  });

  it('refuses hidden names when no rules are given', () => {
    expect(() => parseEntryName('.bashrc')).to.throw(TransferError, 'which is hidden');
  });

  it('says which name it refuses, escaped', () => {
    expect(refusalOf('a\x1b[2J').message).to.equal('The name "a\\u001b[2J" contains a control character (U+001B).');
  });

  it('shortens a very long name in the sentence, without cutting a character in two', () => {
    const { message } = refusalOf('😀'.repeat(30_000));
    expect(message).to.equal(`The name "${'😀'.repeat(100)}…" is longer than 4096 bytes.`);
  });

  it('stays inside any root that an accepted name is joined to, on POSIX and Windows', () => {
    let taken = 0;
    fc.assert(
      fc.property(fc.oneof(hostile, harmless), (text) => {
        const name = accepted(text);
        if (name === undefined) return;
        taken += 1;
        expect(posix.resolve('/root/in', name)).to.equal(`/root/in/${name}`);
        expect(win32.resolve('C:\\root\\in', name)).to.equal(`C:\\root\\in\\${name.replaceAll('/', '\\')}`);
        expect(name.split('/').filter((component) => ['', '.', '..'].includes(component))).to.deep.equal([]);
      }),
      { numRuns: 3000 },
    );
    expect(taken, 'accepted names').to.be.greaterThan(300);
  });

  it('accepts what it made, unchanged', () => {
    fc.assert(
      fc.property(fc.oneof(hostile, harmless), (text) => {
        const name = accepted(text);
        if (name !== undefined) expect(parseEntryName(name, { allowHidden: true })).to.equal(name);
      }),
      { numRuns: 3000 },
    );
  });

  it('only ever drops leading slashes', () => {
    fc.assert(
      fc.property(fc.oneof(hostile, harmless), (text) => {
        const name = accepted(text);
        if (name !== undefined) expect(name).to.equal(text.replace(/^\/*/, ''));
      }),
    );
  });

  it('makes sentences that never hold a control character', () => {
    fc.assert(
      fc.property(hostile, (text) => {
        try {
          parseEntryName(text);
        } catch (error) {
          expect((error as Error).message).to.match(/^The name "[^\p{Cc}\p{Cs}\p{Bidi_Control}]*\.$/u);
        }
      }),
    );
  });
});

describe('collationKey', () => {
  for (const [one, other] of vectors.collide) {
    it(`is equal for ${JSON.stringify(one)} and ${JSON.stringify(other)}`, () => {
      expect(collationKey(one)).to.equal(collationKey(other));
    });
  }

  for (const [one, other] of vectors.distinct) {
    it(`differs for ${JSON.stringify(one)} and ${JSON.stringify(other)}`, () => {
      expect(collationKey(one)).not.to.equal(collationKey(other));
    });
  }

  it("agrees with the regular expressions' own case folding on every character with two cases", () => {
    for (let code = 0x80; code <= 0x1ffff; code += 1) {
      if (code === 0xd800) code = 0xe000;
      const character = String.fromCodePoint(code);
      for (const other of [character.toLowerCase(), character.toUpperCase()]) {
        if (other === character || [...other].length > 1) continue;
        const alike = new RegExp(character, 'iu').test(other);
        expect(collationKey(character) === collationKey(other), `${character} and ${other}`).to.equal(alike);
      }
    }
  });

  it('is the same for every Unicode form', () => {
    fc.assert(
      fc.property(hostile, (text) => {
        expect(collationKey(text.normalize('NFC'))).to.equal(collationKey(text));
        expect(collationKey(text.normalize('NFD'))).to.equal(collationKey(text));
      }),
    );
  });

  it('keeps the components of a name apart', () => {
    fc.assert(
      fc.property(hostile, (text) => {
        expect(collationKey(text).split('/').length).to.equal(text.split('/').length);
      }),
    );
  });
});

describe('printable', () => {
  for (const { input, printed } of vectors.printed) {
    it(`shows ${JSON.stringify(input)} as ${JSON.stringify(printed)}`, () => {
      expect(printable(input)).to.equal(printed);
    });
  }

  it('never emits a control character, a line separator, a change of direction or a lone surrogate', () => {
    fc.assert(
      fc.property(hostile, (text) => {
        expect(printable(text)).to.match(/^[^\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}\p{Cs}]*$/u);
      }),
      { numRuns: 1000 },
    );
  });

  it('does no harm when it is applied twice', () => {
    fc.assert(
      fc.property(hostile, (text) => {
        expect(printable(printable(text))).to.equal(printable(text));
      }),
    );
  });
});
