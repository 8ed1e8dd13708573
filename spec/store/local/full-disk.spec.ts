import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { mkdir, readdir, rm, statfs, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { LocalStore } from '../../../lib/store/local/local';
import { type AnyRule, anyRule } from '../any-rule';
import { announce, codeOf, content, deliver, writeAll } from '../delivery';
import { emptyDirectory, snapshotOf } from './local-place';
import { isInstalled } from './receiving-process';
import { skipTest } from '../../skip-test';

const mib = 1024 * 1024;
const diskSize = 16 * mib;

interface Disk {
  readonly says: 'device' | 'cache';
  readonly mount: (directory: string) => Promise<void>;
}

const disks: Record<string, Disk> = {
  tmpfs: {
    says: 'cache',
    mount: async (directory) => {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${diskSize},mode=0755`, 'tmpfs', directory], {
        stdio: 'ignore',
      });
    },
  },
  ext4: {
    says: 'device',
    mount: async (directory) => {
      const image = `${directory}.image`;
      await writeFile(image, '');
      await truncate(image, diskSize);
      execFileSync('mkfs.ext4', ['-q', '-m', '0', image], { stdio: 'ignore' });
      execFileSync('mount', ['-o', 'loop', image, directory], { stdio: 'ignore' });
    },
  },
};

for (const [kind, disk] of Object.entries(disks)) {
  describe(`A full disk (${kind})`, function () {
    this.timeout(20_000);
    let directory: string;
    let mounted = false;
    let store: AnyRule;

    before(async function () {
      directory = await emptyDirectory();
      try {
        if (process.getuid?.() !== 0 || !isInstalled('mount')) throw new Error('only root can mount');
        await disk.mount(directory);
        mounted = true;
      } catch {
        skipTest(this, 'no small disk can be mounted here');
      }
      await mkdir(path.join(directory, 'receive'));
      store = anyRule(await LocalStore.open(path.join(directory, 'receive')));
      await deliver(store, 'old', content(10_000));
    });

    after(async () => {
      if (mounted) {
        await store.close();
        execFileSync('umount', [directory]);
      }
      await rm(directory, { recursive: true, force: true });
      await rm(`${directory}.image`, { force: true });
    });

    afterEach(async () => {
      await rm(path.join(directory, 'filler'), { force: true });
      expect(await readdir(path.join(directory, 'receive', '.sendall', 'stage')), 'still staged').to.deep.equal([]);
    });

    const free = async (): Promise<number> => {
      const { bavail, bsize } = await statfs(directory);
      return bavail * bsize;
    };
    /** Takes all that is free but `left` bytes, as another program would; flushing sets some of it free again. */
    const fill = (left = 0): void => {
      const filler = openSync(path.join(directory, 'filler'), 'w');
      for (const size of [mib, 65_536, 4096, 4096, 4096]) {
        try {
          for (;;) writeSync(filler, Buffer.alloc(size, 1));
        } catch (error) {
          expect((error as NodeJS.ErrnoException).code).to.equal('ENOSPC');
        }
        try {
          fsyncSync(filler);
        } catch (error) {
          expect((error as NodeJS.ErrnoException).code).to.equal('ENOSPC');
        }
      }
      ftruncateSync(filler, fstatSync(filler).size - left);
      fsyncSync(filler);
      closeSync(filler);
    };

    it(`is what the store says it reads back from: ${disk.says}`, () => expect(store.verified).to.equal(disk.says));

    for (const size of [60_000, 6 * mib]) {
      it(`that fills up in the middle of ${size} bytes stores nothing, and stays as it was`, async () => {
        const before = await snapshotOf(path.join(directory, 'receive'));
        const bytes = content(size);
        const staged = await store.stage(announce('new/f', bytes));
        await writeAll(staged, bytes.subarray(0, size / 4));
        fill();
        const failure = (async () => {
          await writeAll(staged, bytes.subarray(size / 4));
          await staged.verify();
          await staged.commit();
        })();
        expect(await codeOf(failure)).to.equal('space');
        // What failed once is not believed the second time.
        await codeOf(staged.verify());
        await codeOf(staged.commit());
        await staged.discard();
        expect(await snapshotOf(path.join(directory, 'receive'))).to.deep.equal(before);
        await rm(path.join(directory, 'filler'));
        await deliver(store, 'new/f', bytes);
        await rm(path.join(directory, 'receive', 'new'), { recursive: true });
      });
    }

    for (const size of [60_000, 900_000]) {
      it(`that takes only the first half of ${size} bytes in one write says so`, async () => {
        const bytes = content(size);
        const staged = await store.stage(announce('f', bytes));
        fill(Math.floor(size / 8192) * 4096);
        const failure = (async () => {
          await writeAll(staged, bytes);
          await staged.verify();
          await staged.commit();
        })();
        expect(await codeOf(failure)).to.equal('space');
        await staged.discard();
      });
    }

    it('counts bytes that are written once, not as promised and used', async () => {
      const half = Math.floor((await free()) * 0.45);
      const bytes = content(half);
      const first = await store.stage(announce('first', bytes));
      await writeAll(first, bytes);
      await first.verify();
      const second = await store.stage({ ...announce('second', bytes), size: Math.floor((await free()) * 0.9) });
      await second.discard();
      await first.discard();
    });

    it('takes what just fits, and refuses what just does not', async () => {
      const left = await free();
      expect(await codeOf(store.stage({ ...announce('f', content(1)), size: left + 1 }))).to.equal('space');
      await (await store.stage({ ...announce('f', content(1)), size: left })).discard();
    });
  });
}
