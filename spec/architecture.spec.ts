import { expect } from 'chai';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import * as ts from 'typescript';

const root = path.join(__dirname, '..');
const text = readFileSync(path.join(root, 'docs', 'ARCHITECTURE.md'), 'utf8');

/** Each file that the text names, with the names that follow it before the next file. */
function hops(): { readonly file: string; readonly names: string[] }[] {
  const found: { readonly file: string; readonly names: string[] }[] = [];
  for (const [, code = ''] of text.replace(/```[^]*?```/g, '').matchAll(/`([^`]+)`/g)) {
    if (/^(lib|cli|spec)\/.*\.ts$/.test(code)) found.push({ file: code, names: [] });
    else if (/^[A-Za-z]+$/.test(code) && !['done'].includes(code)) found.at(-1)?.names.push(code);
  }
  return found;
}

/** The names that a source declares: at its top level, and as members of its classes and interfaces. */
function declaredIn(source: string): Set<string> {
  const declared = new Set<string>();
  const add = (name: ts.Node | undefined): void => {
    if (name && ts.isIdentifier(name)) declared.add(name.text);
  };
  for (const statement of ts.createSourceFile('source.ts', source, ts.ScriptTarget.Latest).statements) {
    if (ts.isVariableStatement(statement)) for (const { name } of statement.declarationList.declarations) add(name);
    else if (ts.isFunctionDeclaration(statement) || ts.isTypeAliasDeclaration(statement)) add(statement.name);
    else if (ts.isClassDeclaration(statement) || ts.isInterfaceDeclaration(statement)) {
      add(statement.name);
      for (const { name } of statement.members) add(name);
    }
  }
  return declared;
}

describe('docs/ARCHITECTURE.md', () => {
  it('names files that there are, and what is defined in them', () => {
    const missing = hops().flatMap(({ file, names }) => {
      const place = path.join(root, file);
      if (!existsSync(place)) return [file];
      const declared = declaredIn(readFileSync(place, 'utf8'));
      return names.filter((name) => !declared.has(name)).map((name) => `${file}: ${name}`);
    });
    expect(missing).to.deep.equal([]);
    expect(hops().length).to.be.greaterThan(30);
  });

  it('takes no word of a comment, of a call or of a string for what is defined', () => {
    const source = [
      '/** The stage of a snapshot. */',
      "import { sendWithin } from './in-process';",
      "export class Taking { private over = 'taken'; static async open() { return sendWithin(); } }",
      'export interface Asked { heard(): void }',
      'const limit = 3, other = call();',
    ].join('\n');
    expect([...declaredIn(source)]).to.deep.equal(['Taking', 'over', 'open', 'Asked', 'heard', 'limit', 'other']);
  });
});
