import { expect } from 'chai';
import { NameTable } from '../../../lib/store/local/name-table';

describe('A table of names', () => {
  it('gives the numbers back, whatever was set, replaced and deleted before', () => {
    const table = new NameTable();
    const expected = new Map<string, number>();
    for (let turn = 0; turn < 40_000; turn++) {
      const name = `d${(turn * 7919) % 131}/ä${(turn * 104_729) % 9_000}`;
      if (turn % 3 === 2) {
        table.delete(name);
        expected.delete(name);
      } else {
        table.set(name, turn);
        expected.set(name, turn);
      }
    }
    expect(table.size).to.equal(expected.size);
    for (const [name, number] of expected) expect(table.get(name), name).to.equal(number);
    expect([...table.sorted()]).to.deep.equal([...expected.values()].sort((one, other) => one - other));
    table.replace((number) => 2 * number);
    for (const [name, number] of expected) expect(table.get(name), name).to.equal(2 * number);
  });

  it('knows no name that was never set, nor one that was deleted, among very many that are alike', () => {
    const table = new NameTable();
    for (let at = 0; at < 200_000; at++) table.set(`tree/${at}`, 0);
    expect(table.size).to.equal(200_000);
    for (let at = 0; at < 200_000; at += 2) table.delete(`tree/${at}`);
    const has = (name: string): boolean => table.has(name);
    expect(Array.from({ length: 200_000 }, (_, at) => `tree/${at}`).filter(has)).to.have.lengthOf(100_000);
    expect(Array.from({ length: 200_000 }, (_, at) => `tree/x${at}`).some(has)).to.equal(false);
    expect([table.has(''), table.get('tree/2'), table.get('tree/3')]).to.deep.equal([false, undefined, 0]);
  });
});
