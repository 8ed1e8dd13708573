import { expect } from 'chai';
import { chmod, mkdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { ReceiveDirectory } from '../receive/receive-directory';
import { noise } from './pair';
import { piece, RawSession } from './raw-session';
import { skipTest } from '../skip-test';

describe('A directory that is received', function () {
  before(function () {
    if (process.platform === 'win32') skipTest(this, 'it is not about Windows');
  });

  const modeOf = async (to: ReceiveDirectory, name: string): Promise<string> =>
    ((await stat(path.join(to.place, name))).mode & 0o7777).toString(8);
  const entry = (file: number, type: string, name: string, mode: number, size?: number): object => ({
    file,
    type,
    name,
    mode,
    mtime: '1700000000000000000',
    ...(size === undefined ? {} : { size }),
  });

  for (const what of ['small', 'large'] as const)
    it(`is private until it is finished, with a ${what} file in it, after a lost connection too`, async () => {
      const to = await ReceiveDirectory.open();
      try {
        const content = noise(what === 'small' ? 100 : piece + 5);
        const sender = await RawSession.open(to.ticket);
        const list = [entry(0, 'directory', 'd', 0o750), entry(1, 'file', 'd/f', 0o644, content.length)];
        await sender.sendList({ type: 'offer' }, list);
        await sender.wanted(1);
        if (what === 'small') await sender.bundle([[1, content]]);
        else {
          await sender.segments(1, content);
          await sender.close(1, content);
        }
        expect(await sender.outcome(1)).to.have.property('verified');
        expect(parseInt(await modeOf(to, 'd'), 8) & 0o077).to.equal(0);
        sender.hangUp();
        await to.heard.first('failed');
        expect(parseInt(await modeOf(to, 'd'), 8) & 0o077).to.equal(0);

        const again = await RawSession.open(to.ticket);
        await again.sendList({ type: 'offer' }, list.slice(0, 1));
        await again.send({ type: 'end' });
        expect(await again.outcome(0)).to.not.have.property('code');
        expect(await modeOf(to, 'd')).to.equal('750');
        again.hangUp();
      } finally {
        await to.close();
      }
    });

  it('keeps its mode where it was there before, whatever that is', async () => {
    const to = await ReceiveDirectory.open();
    try {
      const usual = 0o777 & ~process.umask();
      const modes = [0o1000 | usual, 0o1700, 0o700, 0o4700].map((mode) => [`d${mode.toString(8)}`, mode] as const);
      for (const [name, mode] of modes) {
        await mkdir(path.join(to.place, name));
        await chmod(path.join(to.place, name), mode);
      }
      const sender = await RawSession.open(to.ticket);
      await sender.sendList(
        { type: 'offer' },
        modes.map(([name], at) => entry(at, 'directory', name, 0o711)),
      );
      await sender.finish();
      for (const [name, mode] of modes) expect(await modeOf(to, name), name).to.equal(mode.toString(8));
    } finally {
      await to.close();
    }
  });
});
