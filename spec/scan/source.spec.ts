import { expect } from 'chai';
import { sizeless, unreadable } from '../../lib/scan/source';

describe('what cannot be sent', () => {
  const failed = (code: string): ReturnType<typeof unreadable> =>
    unreadable('a\u001b', Object.assign(new Error('no'), { code }));

  it('is said with what to do, where there is something', () => {
    for (const code of ['EACCES', 'EPERM']) {
      expect(failed(code).message).to.equal('a\\u001b may not be read by you.');
      expect(failed(code).hint).to.match(/root.*--exclude/);
    }
    expect(failed('EIO').hint).to.equal(undefined);
    expect(sizeless('uptime').hint).to.include('sendall send -');
  });
});
