import { expect } from 'chai';
import { ProgressLines } from '../../cli/progress-lines';
import type { TransferEvent } from '../../lib/index';
import { openTerminal } from './screen';

const size = 1024 ** 2;
const started: TransferEvent = { event: 'started', file_name: 'a', file_size: size };
const at = (done: number): TransferEvent => ({ event: 'progress', file_name: 'a', phase: 'send', done, total: size });
const done = {
  file_name: 'a',
  file_size: size,
  digests: {},
  verified: 'device',
  bytes_on_wire: size,
  seconds: 1,
} as const;
const ended: TransferEvent = { event: 'sent', ...done };
const summary: TransferEvent = {
  event: 'summary',
  files: 1,
  bytes: size,
  bytes_on_wire: size,
  seconds: 1,
  bottleneck: null,
};

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
