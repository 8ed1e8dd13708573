import { expect } from 'chai';
import { exitCodeOf } from '../../cli/exit';
import type { ErrorCode } from '../../lib/index';

describe('cli/exit', () => {
  it('gives each failure the exit code that other programs rely on', () => {
    const expected: Record<ErrorCode, number> = {
      unexpected: 1,
      'connection-lost': 3,
      timeout: 3,
      'bad-frame': 1,
      'bad-header': 1,
      'source-unreadable': 2,
      usage: 2,
      directory: 2,
      'cannot-connect': 3,
      'not-authorized': 3,
      mismatch: 4,
      'source-changed': 5,
      name: 6,
      exists: 6,
      space: 6,
      quota: 6,
      size: 6,
      disk: 6,
      'not-confirmed': 7,
      'some-failed': 8,
      stopped: 3,
      interrupted: 130,
    };
    for (const [code, exitCode] of Object.entries(expected))
      expect(exitCodeOf(code as ErrorCode), code).to.equal(exitCode);
  });
});
