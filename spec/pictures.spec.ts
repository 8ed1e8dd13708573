import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { scenes } from '../packaging/pictures/scenes';
import type { Shot } from '../packaging/pictures/shell';
import { svgOf } from '../packaging/pictures/svg';
import { skipTest } from './skip-test';

const root = join(__dirname, '..');
const pictures = join(root, 'docs', 'pictures');

/**
 * The lines of a picture without what differs from run to run: numbers, how far a disk lets itself be read back, and
 * which files are the first.
 */
function saidIn(svg: string): string[] {
  const lines = new Map<string, string>();
  for (const [, y = '', text = ''] of svg.matchAll(/<text x="[\d.]+" y="([\d.]+)"[^>]*>([^<]*)</g))
    lines.set(y, `${lines.get(y) ?? ''} ${text}`);
  const said = [...lines.values()].map((line) =>
    line
      .replace(/verified (on device|\(page cache only\))/, 'verified')
      .replace(/held back by: (the sender or the network|\w+)/, 'held back')
      .replace(/blake3 +[0-9a-f]{16}/, 'digest')
      .replace(/\[=*-*\]/, '[]')
      .replace(/\d[\d.]*/g, '#')
      .replace(/\s+/g, ' ')
      .replace(/^ \S+ # \wiB digest… verified # s( # \wiB\/s)?$/, ' a file'),
  );
  return said.sort();
}

describe('the pictures of README.md', function () {
  this.timeout(60_000);

  it('are those that npm run pictures makes, stand in README.md, and name nothing of a machine', () => {
    const readme = readFileSync(join(root, 'README.md'), 'utf8');
    const drawn = readdirSync(pictures).filter((name) => name.endsWith('.svg')); // photographs are spec/web's
    expect(drawn.sort()).to.deep.equal(
      Object.keys(scenes)
        .map((name) => `${name}.svg`)
        .sort(),
    );
    for (const name of drawn) {
      expect(readme).to.include(`](docs/pictures/${name})`);
      const svg = readFileSync(join(pictures, name), 'utf8');
      for (const word of ['/tmp', '/work', root, hostname()]) expect(svg, name).to.not.include(word);
    }
  });

  for (const name of ['first-transfer', 'resume'])
    it(`${name} shows what a terminal shows`, async function () {
      if (spawnSync('script', ['--version']).error) skipTest(this, 'script is not installed');
      const shots: readonly Shot[] = (await scenes[name]?.()) ?? [];
      expect(saidIn(svgOf(shots))).to.deep.equal(saidIn(readFileSync(join(pictures, `${name}.svg`), 'utf8')));
    });
});
