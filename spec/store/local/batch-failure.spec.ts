import { expect } from 'chai';
import { errorOf } from '../../../lib/store/local/batch-failure';
import { failureOf } from '../../../lib/threads/order-worker';

describe('what a thread says of a disk', () => {
  for (const [syscall, toDo] of [
    ['lstat', 'read'],
    ['rename', 'write'],
  ] as const)
    it(`that does not let it ${toDo} is told as it is without a thread`, () => {
      const thrown = Object.assign(new Error(`EACCES: permission denied, ${syscall}`), { code: 'EACCES', syscall });
      const { code, message, hint } = errorOf(failureOf(thrown), 'd/file');
      expect(code).to.equal('disk');
      expect(message).to.equal(
        `There is no permission to ${toDo} in the directory d where it goes; d/file was not stored.`,
      );
      expect(hint).to.include(`needs permission to ${toDo} in it`);
    });
});
