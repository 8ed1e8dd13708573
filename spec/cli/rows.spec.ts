import { expect } from 'chai';
import { filled, rowsOf } from '../../cli/rows';
import type { Piece } from '../../cli/terminal';

describe('cli/rows', () => {
  const drawn = (pieces: readonly Piece[], columns: number): string[] =>
    rowsOf(pieces, columns).map((row) => row.map((piece) => (typeof piece === 'string' ? piece : piece.text)).join(''));
  const line: Piece[] = [
    { style: 'bold', text: 'photo.jpg' },
    '  400 KiB  ',
    { style: 'green', text: 'verified on device' },
    '  0.13 s  227 MiB/s',
  ];

  it('leaves a line that fits as it is', () => {
    expect(rowsOf(line, 80)).to.deep.equal([line]);
  });

  it('breaks it between fields, and keeps their styles', () => {
    expect(drawn(line, 45)).to.deep.equal(['photo.jpg  400 KiB  verified on device', '    0.13 s  227 MiB/s']);
    expect(drawn(line, 30)).to.deep.equal(['photo.jpg  400 KiB', '    verified on device  0.13 s', '    227 MiB/s']);
    expect(rowsOf(line, 30)[1]).to.deep.include({ style: 'green', text: 'verified' });
  });

  it('breaks words of a field that is longer than a row, and nothing that is longer itself', () => {
    const hint: Piece[] = [{ style: 'dim', text: 'hint: ' }, 'What came is kept: the sender goes on where it was.'];
    expect(drawn(hint, 30)).to.deep.equal(['hint: What came is kept: the', '    sender goes on where it', '    was.']);
    expect(drawn(['a '.repeat(3), 'x'.repeat(50)], 20)).to.deep.equal(['a a a', `    ${'x'.repeat(50)}`]);
  });

  it('leaves commands whole, which are copied', () => {
    const command: Piece[] = ['    ', { style: 'bold', text: `sendall send FILE ${'x'.repeat(90)}` }];
    expect(rowsOf(command, 80)).to.deep.equal([command]);
  });

  it('is never wider than the terminal where words are short', () => {
    for (let columns = 24; columns < 90; columns++)
      for (const row of drawn([...line, ...line], columns)) expect(row.length, row).to.be.at.most(columns);
  });

  it('fills paragraphs that are too wide, and nothing that is indented', () => {
    const text = 'One two three\nfour.\n\nShort\nlines.\n\n  $ a command that is longer than that\nHeading:\n';
    expect(filled(text, 12)).to.equal(
      'One two\nthree four.\n\nShort\nlines.\n\n  $ a command that is longer than that\nHeading:\n',
    );
    expect(filled(text, 13)).to.equal(text);
  });
});
