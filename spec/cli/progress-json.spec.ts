import { PassThrough } from 'node:stream';
import { expect } from 'chai';
import { JsonLines, jsonLine } from '../../cli/progress-json';

describe('cli/progress-json', () => {
  it('writes one object in one line that means the same and cannot touch a terminal', () => {
    const event = {
      event: 'started',
      file_name: 'a\u001b[2J\u202e\u009b\u2028"\\\n\u{1f600}é',
      file_size: 2 ** 53 - 1,
    } as const;
    const now = '2026-11-29T09:11:00.000Z';
    const line = jsonLine(event, undefined, now);
    expect(line).not.to.match(/[\p{Cc}\u202e\u2028]/u);
    expect(JSON.parse(line)).to.deep.equal({ ...event, time: now });
  });

  it('says of which transfer the events of a command are, once one has said it, and not of those of a receiver', () => {
    const printed = (single: boolean): unknown[] => {
      const stdout = new PassThrough();
      const lines = new JsonLines(stdout, single);
      lines.show({ event: 'text', text: 'a', id: '5'.repeat(32) });
      lines.show({ event: 'text', text: 'b' });
      lines.close();
      return String(stdout.read())
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { id?: string }).id);
    };
    expect(printed(true)).to.deep.equal(['5'.repeat(32), '5'.repeat(32)]);
    expect(printed(false)).to.deep.equal(['5'.repeat(32), undefined]);
  });
});
