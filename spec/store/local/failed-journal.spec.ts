import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { closeSync, fsyncSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Loans } from '../../../faults/loans';
import { makeVolume, missingForVolumes, mountMemory, mountVolume, syncVolume } from '../../../faults/volume';
import { Directory } from '../../../lib/store/local/directory';
import { syncTogether } from '../../../lib/store/local/sync-together';
import { skipTest } from '../../skip-test';

// Found by the fault experiment write-back: receipts for files that were not there.
describe('A directory on an ext4 whose journal has failed', function () {
  this.timeout(60_000);
  const loans = new Loans();
  let place: string;
  before(function () {
    if (missingForVolumes() !== undefined) skipTest(this, 'no disks can be made here');
    place = mkdtempSync(path.join(tmpdir(), 'sendall-'));
  });
  after(() => {
    loans.giveBackAll();
    if (place) rmSync(place, { recursive: true });
  });

  it('is not taken for durable, although its fsync says that all is well, once another one was told of the failure', async () => {
    const [memory, disk] = [path.join(place, 'memory'), path.join(place, 'disk')];
    mountMemory(memory, loans);
    makeVolume(path.join(memory, 'image'), 'ext4', 64);
    mountVolume(path.join(memory, 'image'), disk, 'ext4', loans);
    for (const name of ['told', 'other', 'own']) mkdirSync(path.join(disk, name), { mode: 0o700 });
    syncVolume(disk);
    // The device has some pages left, and the file system believes in many more.
    const used = Number(
      execFileSync('df', ['--output=used', '--block-size=1', memory], { encoding: 'utf8' }).split('\n')[1],
    );
    execFileSync('mount', ['-o', `remount,size=${String(used + 8 * 4096)}`, memory]);
    const [other, own] = [await Directory.open(path.join(disk, 'other')), await Directory.open(path.join(disk, 'own'))];
    const told = openSync(path.join(disk, 'told'), 'r');
    try {
      expect(() => {
        for (let at = 0; at < 100; at++) {
          writeFileSync(path.join(disk, 'other', String(at)), '');
          writeFileSync(path.join(disk, 'told', String(at)), '');
          fsyncSync(told);
        }
      }).to.throw(/EIO|ENOSPC|EROFS/);
      const durable = await syncTogether(other, own).then(
        () => true,
        () => false,
      );
      expect(durable).to.equal(false);
    } finally {
      closeSync(told);
      await Promise.all([other.close(), own.close()]);
    }
  });
});
