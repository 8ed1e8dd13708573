import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';

const root = join(__dirname, '..');
const text = readFileSync(join(root, 'SECURITY.md'), 'utf8');
const peers = [
  'nobody',
  'another local user',
  '`write`',
  '`read`',
  '`admin`',
  "the machine's owner",
  'a thief of the sender',
  'a thief of the receiver',
  'a guesser of a code',
  'a relay',
  "a page's visitor with its token",
  "a page's visitor without it",
];
/** A thief who has the disk needs no test to have it to himself. */
const evident = ['nothing but its own copy'];

const rows = new Map(
  [...text.matchAll(/^\| ([^|\n]+?) \| (.+) \|$/gm)].map(([, who = '', cells = '']) => [who, cells.split(' | ')]),
);
const tests = new Map(
  [...text.matchAll(/^(\d+)\. `([^`]+)`: (.+)$/gm)].map(([, number = '', file = '', name = '']) => [
    number,
    { file, name },
  ]),
);

/** Whether a test has the command itself do it, and not the library in the process of the tests. */
const byCommand = (file: string): boolean =>
  /\b(?:SessionRun|SendallProcess|Served|Burdened)\b/.test(readFileSync(join(root, file), 'utf8'));

describe('SECURITY.md', () => {
  for (const peer of peers)
    it(`says what ${peer} learns, changes and blocks, and which test says so`, () => {
      const cells = rows.get(peer) ?? [];
      expect(cells).to.have.length(3);
      for (const cell of cells) {
        const named = [...cell.matchAll(/\[(\d+)\]/g)].map(([, number = '']) => number);
        if (!evident.includes(cell)) expect(named, cell).not.to.deep.equal([]);
        for (const number of named) expect(tests.has(number), number).to.equal(true);
        if (evident.includes(cell)) continue;
        const files = named.map((number) => tests.get(number)?.file ?? '');
        expect(files.some(byCommand), `by the built command: ${cell}`).to.equal(true);
      }
    });

  for (const [number, { file, name }] of tests)
    it(`${number} is a test: ${name}`, () => {
      expect(readFileSync(join(root, file), 'utf8')).to.include(name);
      expect(
        [...rows.values()].flat().some((cell) => cell.includes(`[${number}]`)),
        'the table names it',
      ).to.equal(true);
    });

  it('says how to report', () => {
    expect(text).to.match(/^## Reporting$/m);
  });
});
