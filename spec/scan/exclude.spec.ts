import { expect } from 'chai';
import { matcher } from '../../lib/scan/exclude';

/** So long may a pattern be that a peer sends, in characters. */
const longest = 4096;

/** The least processor time of three runs, in ms: others run beside this. */
function costOf(work: () => unknown): number {
  const costs = [1, 2, 3].map(() => {
    const before = process.cpuUsage();
    work();
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  });
  return Math.min(...costs);
}

/** As many times as there is room for. */
const filled = (text: string, length = longest): string =>
  text.repeat(Math.ceil(length / text.length)).slice(0, length);

describe('patterns as long as may be', () => {
  const names = [
    filled('a', 255),
    filled('ab', 255),
    filled('a/', longest - 1),
    Array.from({ length: 16 }, () => filled('a', 255)).join('/'),
  ];
  const repeated = [
    '[:',
    '[[:',
    '[',
    '[a-',
    '[!',
    '[^]',
    '*',
    '**/',
    '{',
    '\\',
    '?',
    '*a',
    '*?',
    '*[a]',
    '*[!b]',
    '?*',
  ];
  for (const text of [...repeated, 'a/', '*/', '?/', '**/a/', '**/?/', '/*a', '[[:a:]', '[[:alpha:]]', '[:a:', 'é*']) {
    it(`${text}, again and again: less than 50 ms to compile, and to match a name`, () => {
      for (const pattern of [
        filled(text),
        `${filled(text, longest - 2)}b]`,
        `[${filled(text, longest - 2)}]`,
        `*${filled(text, 2046)}b*`,
        `**/*${filled(text, 2043)}/b`,
      ]) {
        expect(costOf(() => matcher([pattern]))).to.be.below(50);
        const matches = matcher([pattern]);
        for (const name of names) expect(costOf(() => matches(name, false))).to.be.below(50);
      }
    });
  }

  it('mean what short ones do', () => {
    const matches = matcher([`*${filled('a*', 400)}b`]);
    expect(matches(`${filled('a', 200)}b`, false)).to.equal(true);
    expect(matches(`${filled('a', 199)}b`, false)).to.equal(false);
    const deep = matcher([`**/${filled('?/', 2000)}b`]);
    expect(deep(`x/yy/${filled('a/', 2000)}b`, false)).to.equal(true);
    expect(deep(`x/yy/${filled('a/', 1998)}b`, false)).to.equal(false);
  });
});
