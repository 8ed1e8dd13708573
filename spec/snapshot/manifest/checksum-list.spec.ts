import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import fc from 'fast-check';
import { createDigestOf } from '../../../lib/digest/digest';
import { TransferError } from '../../../lib/errors';
import { parseEntryName } from '../../../lib/name';
import {
  checksumLine,
  checksumListName,
  isReservedName,
  parseChecksumList,
  reservedNames,
} from '../../../lib/snapshot/manifest/checksum-list';
import { manifestName } from '../../../lib/snapshot/manifest/manifest';
import { skipTest } from '../../skip-test';

const tools = { sha256: 'sha256sum', md5: 'md5sum', blake3: 'b3sum' } as const;
const algorithms = ['sha256', 'md5', 'blake3'] as const;
const sum = '0123456789abcdef'.repeat(4);
/** Names with which lists go wrong; all of them can stand on this disk. */
const odd = [
  '-',
  '--',
  '-c',
  '--help',
  '*star',
  ' space',
  'two  spaces',
  'a *b',
  'a\\b',
  '\\',
  '\\n',
  '\\\\n',
  'a\nb',
  '\n',
  'a\rb',
  'end\r',
  '\t',
  'Größe €',
  '日本',
  '😀',
  '.hidden',
  '#',
  'MD5 (x) = 0',
  sum,
  '%s',
  '"',
  "'",
  'a\u0001b',
];

describe('a list of checksums', () => {
  const names = fc.oneof(
    fc.constantFrom(...odd),
    fc.string({ unit: 'binary', minLength: 1 }).filter((text) => !text.includes('\0')),
    fc
      .array(fc.constantFrom('\\', 'n', 'r', '\n', '\r', ' ', '*'), { minLength: 1 })
      .map((letters) => letters.join('')),
  );

  for (const algorithm of algorithms) {
    it(`of ${algorithm} is read as it was written, whatever the names`, () => {
      const digests = fc.stringMatching(algorithm === 'md5' ? /^[0-9a-f]{32}$/ : /^[0-9a-f]{64}$/);
      fc.assert(
        fc.property(fc.array(fc.record({ name: names, digest: digests })), (checksums) => {
          const bytes = Buffer.from(checksums.map(checksumLine).join(''));
          expect(bytes.filter((byte) => byte === 0x0a)).to.have.length(checksums.length);
          expect(parseChecksumList(bytes, algorithm)).to.deep.equal(checksums);
        }),
      );
    });

    it(`of ${algorithm} is one that ${tools[algorithm]} -c takes, and one that it writes is read`, async function () {
      if (spawnSync(tools[algorithm], ['--version']).status !== 0) {
        skipTest(this, `${tools[algorithm]} is not installed`);
      }
      const directory = mkdtempSync(join(tmpdir(), 'sendall-checksums-'));
      try {
        // An older b3sum escapes carriage returns neither way.
        const files = algorithm === 'blake3' ? odd.filter((name) => !name.includes('\r')) : odd;
        const digestOf = await createDigestOf(algorithm);
        const checksums = files.map((name) => ({ name, digest: digestOf(Buffer.from(name)) }));
        for (const name of files) writeFileSync(join(directory, name), name);
        const list = checksumListName(algorithm);
        writeFileSync(join(directory, list), checksums.map(checksumLine).join(''));
        const run = (...words: string[]): ReturnType<typeof spawnSync> =>
          spawnSync(tools[algorithm], words, { cwd: directory, input: '' });

        const good = run('-c', list);
        expect(good.status, String(good.stdout) + String(good.stderr)).to.equal(0);
        expect(String(good.stdout).match(/: OK$/gm)).to.have.length(files.length);
        expect(String(good.stderr)).to.equal('');

        const written = run('--', ...files.map((name) => (name === '-' ? './-' : name)));
        expect(parseChecksumList(written.stdout as Buffer, algorithm)).to.deep.equal(checksums);
        if (algorithm !== 'blake3')
          expect(parseChecksumList(run('-b', '--', ...files.slice(1)).stdout as Buffer, algorithm)).to.deep.equal(
            checksums.slice(1),
          );
        if (algorithm !== 'blake3')
          expect(written.stdout.toString()).to.equal(readFileSync(join(directory, list), 'utf8'));

        writeFileSync(join(directory, 'a\nb'), 'a\nB');
        expect(run('-c', list).status).to.equal(1);
      } finally {
        rmSync(directory, { recursive: true });
      }
    });
  }

  const refused = (text: string | Uint8Array, algorithm: (typeof algorithms)[number] = 'sha256'): void => {
    expect(() => parseChecksumList(Buffer.from(text), algorithm), JSON.stringify(text))
      .to.throw(TransferError)
      .with.property('code', 'mismatch');
  };

  it('that is of another form is refused', () => {
    const good = `${sum}  a\n`;
    expect(parseChecksumList(Buffer.from(good), 'sha256')).to.deep.equal([{ name: 'a', digest: sum }]);
    expect(parseChecksumList(Buffer.from(`${sum.toUpperCase()} *a\n`), 'blake3')).to.deep.equal([
      { name: 'a', digest: sum },
    ]);
    expect(parseChecksumList(Buffer.from(''), 'sha256')).to.deep.equal([]);
    for (const text of [
      '\n',
      ' \n',
      'a\n',
      `${good}\n`,
      `\n${good}`,
      `# comment\n${good}`,
      `\ufeff${good}`,
      ` ${good}`,
      `${sum}\n`,
      `${sum}  \n`,
      `${sum} a\n`,
      `${sum}\ta\n`,
      `${sum}  a\0b\n`,
      `${sum}  a\r\n`,
      `${sum.slice(1)}  a\n`,
      `${sum}0  a\n`,
      `${sum.slice(1)}g  a\n`,
      `SHA256 (a) = ${sum}\n`,
      `\\\\${sum}  a\n`,
      `\\${sum}  a\\\n`,
      `\\${sum}  a\\x\n`,
      `\\${sum}  \\\\\\\n`,
    ])
      refused(text);
    refused(good, 'md5');
    refused(`${sum.slice(32)}  a\n`, 'blake3');
    expect(parseChecksumList(Buffer.concat([Buffer.from(`${sum}  a`), Buffer.of(0xff, 0x0a)]), 'sha256')).to.deep.equal(
      [{ name: 'a\udcff', digest: sum }],
    );
  });

  it('that was cut off within a line is refused', () => {
    const lines = [checksumLine({ name: 'a\\b', digest: sum }), checksumLine({ name: 'b', digest: sum })];
    const whole = Buffer.from(lines.join(''));
    for (let length = 1; length < whole.length; length++) {
      if (length === lines[0]?.length) expect(parseChecksumList(whole.subarray(0, length), 'sha256')).to.have.length(1);
      else refused(whole.subarray(0, length));
    }
  });

  it('says which line is wrong', () => {
    expect(() => parseChecksumList(Buffer.from(`${sum}  a\nx\n`), 'sha256')).to.throw(
      'line 2 is not a digest and a name',
    );
  });
});

describe('what a snapshot keeps for itself', () => {
  it('is its manifest and the lists, and all that would lie below them', () => {
    expect([...reservedNames]).to.have.members([manifestName, ...algorithms.map(checksumListName)]);
    const reserved = (text: string): boolean => isReservedName(parseEntryName(text));
    for (const name of reservedNames) {
      expect([name, `${name}/a`, `${name}/a/b`].map(reserved)).to.deep.equal([true, true, true]);
      expect([`a/${name}`, `${name}2`, `${name}2/a`, name.toLowerCase(), `a${name}`].map(reserved)).to.deep.equal([
        false,
        false,
        false,
        false,
        false,
      ]);
    }
  });
});
