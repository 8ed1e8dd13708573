import { expect } from 'chai';
import { jsonLine } from '../../cli/progress-json';

describe('cli/progress-json', () => {
  it('writes one object in one line that means the same and cannot touch a terminal', () => {
    const event = {
      event: 'started',
      file_name: 'a\u001b[2J\u202e\u009b\u2028"\\\n\u{1f600}é',
      file_size: 2 ** 53 - 1,
    } as const;
    const line = jsonLine(event);
    expect(line).not.to.match(/[\p{Cc}\u202e\u2028]/u);
    expect(JSON.parse(line)).to.deep.equal(event);
  });
});
