import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'chai';
import { type ErrorCode, isErrorCode, TransferError } from '../../lib/errors';

const root = path.join(__dirname, '..', '..');
const read = (name: string): string => readFileSync(path.join(root, name), 'utf8');
const document = read('PROTOCOL.md');
const numbers = [...document.matchAll(/^\*\*(\d+\.\d+)\*\*/gm)].map(([, number = '']) => number);
const sections = [...document.matchAll(/^## (\d+)\./gm)].map(([, number = '']) => number);

/** The rows of the table that begins with this header, each as its cells. */
function table(header: string): string[][] {
  const lines = document.slice(document.indexOf(header)).split('\n');
  const rows = lines.slice(
    2,
    lines.findIndex((line, at) => at > 1 && !line.startsWith('|')),
  );
  return rows.map((row) =>
    row
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const quotedIn = (cell = ''): string[] => [...cell.matchAll(/`([\w-]+)`/g)].map(([, word = '']) => word);

/** The string literals that stand behind `case` in a function of the wire. */
function casesOf(file: string, start: string): string[] {
  const source = read(file);
  const at = source.indexOf(start);
  return [...source.slice(at, source.indexOf('\n}\n', at)).matchAll(/case '([\w-]+)'/g)].map(([, type = '']) => type);
}

describe('PROTOCOL.md', () => {
  it('has each number once, and each sentence in its section', () => {
    expect(new Set(numbers).size).to.equal(numbers.length);
    expect(new Set(sections).size).to.equal(sections.length);
    let section = '';
    for (const line of document.split('\n')) {
      section = /^## (\d+)\./.exec(line)?.[1] ?? section;
      const number = /^\*\*(\d+)\.\d+\*\*/.exec(line)?.[1];
      if (number !== undefined) expect(number, line).to.equal(section);
    }
  });

  it('has every sentence and section that it, the code and the other documents cite', () => {
    const files = ['lib', 'cli', 'spec', 'docs', 'fixtures', 'bench', 'faults'].flatMap((folder) =>
      readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => /\.(?:ts|js|md|py)$/.test(name))
        .map((name) => path.join(folder, name)),
    );
    for (const file of [...files, 'README.md']) {
      for (const [, number = ''] of read(file).matchAll(/PROTOCOL\.md,? (?:section )?(\d+(?:\.\d+)?)\b/g)) {
        expect(number.includes('.') ? numbers : sections, `${file} cites ${number}`).to.include(number);
      }
    }
    for (const [, number = ''] of document
      .replace(/(?:Standard|RFC \d+,?(?: section)?),? \d+\.\d+/g, '')
      .matchAll(/[( :](\d+\.\d+)(?=[),;:]| and \d)/g))
      if (sections.includes(number.split('.')[0] ?? '')) expect(numbers, number).to.include(number);
  });

  it('has every code in its registry, and says of each whether it is worth another try', () => {
    const rows = table('| code | meaning | plain | session | again |');
    const listed = rows.flatMap(([codes]) => quotedIn(codes));
    expect([...listed].sort()).to.deep.equal(casesOfCodes().sort());
    for (const [codes, , , , again] of rows) {
      for (const code of quotedIn(codes))
        if (again !== '') expect(new TransferError(code as ErrorCode, '').retry, code).to.equal(again === 'yes');
    }
  });

  it('has every message in its table', () => {
    const rows = table('| message | by | on | keys | payload | when | |');
    const said = (by: string): string[] =>
      [
        ...new Set(rows.filter(([, who = '']) => who === by || who === 'both').flatMap(([type]) => quotedIn(type))),
      ].sort();
    const unique = (types: readonly string[]): string[] => [...new Set(types)].sort();
    const fromSender = casesOf('lib/wire/session-message.ts', 'export function parseFromSender');
    expect(said('S')).to.deep.equal(unique([...fromSender, 'refusal']));
    expect(said('R')).to.deep.equal(
      unique(casesOf('lib/wire/session-message.ts', 'export function parseFromReceiver')),
    );
    expect(said('K')).to.deep.equal(
      unique([...casesOf('lib/wire/keeper-message.ts', 'export function parseFromKeeper'), 'hello']),
    );
  });
});

function casesOfCodes(): string[] {
  const source = read('lib/errors.ts');
  return [...source.slice(0, source.indexOf('interface Trait')).matchAll(/'([\w-]+)'/g)]
    .map(([, code = '']) => code)
    .filter(isErrorCode);
}
