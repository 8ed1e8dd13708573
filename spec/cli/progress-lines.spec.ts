import { expect } from 'chai';
import { ProgressLines } from '../../cli/progress-lines';
import { at, ended, size, started, summary } from './progress-events';
import { openTerminal } from './screen';

describe('cli/progress-lines', () => {
  it('writes a plain line every five seconds, and none for what takes less', () => {
    const { terminal, err } = openTerminal();
    let clock = 0;
    const lines = new ProgressLines(terminal, () => clock);
    lines.show(started);
    for (clock = 1000; clock <= 11000; clock += 1000) lines.show(at((size / 20) * (clock / 1000)));
    lines.show(ended);
    lines.show(summary);
    expect(err.lines).to.deep.equal([
      'a  send 25 % of 1.0 MiB  51.2 KiB/s  ETA 15 s',
      'a  send 50 % of 1.0 MiB  51.2 KiB/s  ETA 10 s',
    ]);
  });
});
