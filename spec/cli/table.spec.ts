import { expect } from 'chai';
import { openTerminal } from './screen';
import { alignedLines, tableLines } from '../../cli/table';

describe('cli/table', () => {
  it('lets columns stand below one another, numbers to the right', () => {
    const rows = [
      ['a', { right: '1' }, 'x'],
      ['long', { right: '1,000' }, 'much longer than that'],
    ];
    expect(alignedLines(rows)).to.deep.equal(['a         1  x', 'long  1,000  much longer than that']);
    expect(
      alignedLines([
        ['a', { right: '5 B' }],
        ['b', { right: '1.0 KiB' }],
      ]),
    ).to.deep.equal(['a      5 B', 'b  1.0 KiB']);
  });

  it('does not make a column as wide as a row that ends there', () => {
    expect(
      alignedLines([
        ['a', 'a sentence that takes its room'],
        ['b', 'c', 'd'],
      ]),
    ).to.deep.equal(['a  a sentence that takes its room', 'b  c  d']);
    expect(alignedLines([])).to.deep.equal([]);
  });

  it('counts the columns of a terminal, of what is escaped as well', () => {
    expect(
      alignedLines([
        ['目録', 'x'],
        ['abcd', 'x'],
        ['e\u0301', 'x'],
      ]),
    ).to.deep.equal(['目録  x', 'abcd  x', 'e\u0301     x']);
    expect(
      alignedLines([
        ['\u001b', 'x'],
        ['abcdef', 'x'],
      ]),
    ).to.deep.equal(['\u001b  x', 'abcdef  x']); // six columns once it is escaped
  });

  it('counts what a terminal without more than ASCII shows', () => {
    const { terminal, out } = openTerminal({ tty: true, env: { LANG: 'C' } });
    const rows = [
      ['é…', 'x'],
      ['abc', 'x'],
    ];
    for (const line of alignedLines(rows, (text) => terminal.asResult(text))) terminal.result(line);
    expect(out.lines).to.deep.equal(['\\u00e9...  x', 'abc        x']);
  });

  it('dims the heading', () => {
    expect(tableLines(['A', 'B'], [['1', '2']])).to.deep.equal([{ style: 'dim', text: 'A  B' }, '1  2']);
  });
});
