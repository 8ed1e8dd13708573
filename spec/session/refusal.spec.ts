import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import { forPeer, withoutPaths } from '../../lib/session/refusal';

describe('what a peer is told of a failure', () => {
  for (const [ours, theirs] of [
    [
      "Storing failed: ENOENT: no such file or directory, open '/srv/in/.sendall/1'",
      'Storing failed: ENOENT: no such file or directory, open',
    ],
    [
      "EXDEV: cross-device link not permitted, rename '/a b/c' -> '/d/e'",
      'EXDEV: cross-device link not permitted, rename',
    ],
    ['/home/eve/in is writable by other users.', '… is writable by other users.'],
    ['sendall (process 4 on nas) is using /srv/in.', 'sendall (process 4 on nas) is using …'],
    ['photos/2026/a.jpg already exists as a directory.', 'photos/2026/a.jpg already exists as a directory.'],
    [
      'The name "/../a" has a component "..", which would leave the directory.',
      'The name "/../a" has a component "..", which would leave the directory.',
    ],
    ['5 MiB/s, 1/2, and/or', '5 MiB/s, 1/2, and/or'],
  ] as const)
    it(`${ours} → ${theirs}`, () => {
      expect(withoutPaths(ours)).to.equal(theirs);
      expect(forPeer(new TransferError('unexpected', ours, { hint: ours }))).to.deep.equal({
        code: 'unexpected',
        message: theirs,
        hint: theirs,
      });
    });

  it('nothing of a directory that cannot be used', () => {
    expect(
      JSON.stringify(forPeer(new TransferError('directory', 'in belongs to another user.', { hint: 'x' }))),
    ).not.to.match(/belongs|another|"x"/);
  });
});
