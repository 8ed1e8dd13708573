import { expect } from 'chai';
import { describeWithPython, Program } from './programs';

const cases: readonly (readonly [format: string, ...values: (string | number)[]])[] = [
  ['i', -5],
  ['<i', 1],
  ['>i', 1],
  ['!I', 4294967295],
  ['I3sf', 7, 'abc', 1.5],
  ['<I3sf', 7, 'abc', 1.5],
  ['4sI', 'ab', 258],
  ['=4sI', 'abcdef', 258],
  ['ii', 1, -2],
  ['2i', 1, -2],
  ['3si', 'abc', 1],
  ['<3si', 'abc', 1],
  ['iq', 1, 1111111111111],
  ['q', -1],
  ['0i3s', 'abc'],
  ['f', -0.1],
  ['i', 1111111111111],
  ['i', 2147483648],
  ['I', -1],
  ['<f', 1e39],
  ['i'],
  ['i', 1, 2],
  ['z', 1],
];

describe('the example struct', () => {
  describeWithPython('with Python', () => {
    it('packs, sizes and refuses as Python does', async function () {
      this.timeout(30_000);
      const python = Program.python('struct_lines.py');
      python.type(cases.map((line) => `${JSON.stringify(line)}\n`).join(''));
      python.endInput();
      const theirs = (await python.succeeds()).trim().split('\n');
      const good = cases.filter((_, n) => theirs[n] !== 'refused').map(([format]) => format);
      const sizes = (await Program.example('struct', 'size', '--', ...good).succeeds()).matchAll(/: (\d+) bytes/g);
      const ours: string[] = [];
      for (const [format, ...values] of cases) {
        const packing = await Program.example('struct', 'pack', '--', format, ...values).ended;
        ours.push(packing.code === 0 ? `${sizes.next().value?.[1]} ${packing.stdout.trim()}` : 'refused');
      }
      expect(ours).to.deep.equal(theirs);
    });
  });

  it('unpacks what it packed', async () => {
    expect(await Program.example('struct', 'unpack', '<I3sf', '070000006162630000c03f').succeeds()).to.equal(
      '7 "abc" 1.5\n',
    );
    expect(await Program.example('struct', 'unpack', '>q', 'fffffffffffffffe').succeeds()).to.equal('-2\n');
  });

  it('ends in one line for what does not fit, and for bytes that are too few or none', async () => {
    await Program.example('struct', 'pack', 'i', '1111111111111').fails(
      /1111111111111 does not fit in i, which holds -2147483648 to 2147483647/,
    );
    await Program.example('struct', 'pack', 'i', 'many').fails(/"many" is no number for i/);
    await Program.example('struct', 'unpack', 'i', '0000').fails(/takes exactly 4 bytes/);
    await Program.example('struct', 'unpack', 'i', 'nothexno').fails(/takes exactly 4 bytes/);
    await Program.example('struct', 'size', '99999999999s').fails(/longer than 1000000 bytes/);
    await Program.example('struct', 'size', '999999999i').fails(/longer than 1000000 bytes/);
    await Program.example('struct', 'size', '--', '-5i').fails(/is no format/);
  });
});
