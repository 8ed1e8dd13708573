import { expect } from 'chai';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

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

describe('docs/ARCHITECTURE.md', () => {
  it('names files that there are, and what is defined in them', () => {
    const missing = hops().flatMap(({ file, names }) => {
      const place = path.join(root, file);
      if (!existsSync(place)) return [file];
      const source = readFileSync(place, 'utf8');
      return names.filter((name) => !new RegExp(`\\b${name}\\b`).test(source)).map((name) => `${file}: ${name}`);
    });
    expect(missing).to.deep.equal([]);
    expect(hops().length).to.be.greaterThan(30);
  });
});
