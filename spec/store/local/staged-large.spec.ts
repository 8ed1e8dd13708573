import { expect } from 'chai';
import { open, readdir, readFile, truncate } from 'node:fs/promises';
import path from 'node:path';
import type { StagedFile } from '../../../lib/store/store';
import { announce, codeOf, content, failureOf, writeAll } from '../delivery';
import { openLocal } from './local-place';

const mib = 1024 * 1024;

for (const parent of [undefined, '/dev/shm']) {
  describe(`Bytes that change on the way to the disk, below ${parent ?? 'the temporary directory'}`, () => {
    let opened: Awaited<ReturnType<typeof openLocal>>;
    before(async function () {
      opened = await openLocal(parent).catch(() => this.skip());
    });
    after(async () => {
      await opened.store.close();
      await opened.remove();
    });

    /** Stages `bytes`, all of which reach the disk, and resolves with the path of the staged file too. */
    async function stage(bytes: Buffer): Promise<{ staged: StagedFile; file: string }> {
      const staged = await opened.store.stage(announce('a/f', bytes));
      await writeAll(staged, bytes);
      const stage = path.join(opened.directory, '.sendall', 'stage');
      const names = await readdir(stage);
      expect(names).to.have.lengthOf(1);
      const file = path.join(stage, names[0] as string);
      for (;;) {
        const bytesThere = await readFile(file);
        if (bytesThere.subarray(0, bytes.length).equals(bytes)) return { staged, file };
      }
    }

    /** Nothing can be done with the file any more, and nothing of it is left. */
    async function expectNothing(staged: StagedFile): Promise<void> {
      expect(await codeOf(staged.commit())).to.equal('unexpected');
      await staged.discard();
      expect(await opened.list()).to.deep.equal([]);
      expect(await opened.remains()).to.deep.equal(['.sendall/', '.sendall/lock', '.sendall/stage/']);
    }

    for (const [size, at] of [
      [70_000, 0],
      [70_000, 69_999],
      [mib, 500_000],
      [5 * mib + 123, 5 * mib + 122],
    ] as const) {
      it(`are found: byte ${at} of ${size}`, async () => {
        const { staged, file } = await stage(content(size));
        const other = await open(file, 'r+');
        const { buffer } = await other.read(Buffer.alloc(1), 0, 1, at);
        buffer[0] = (buffer[0] ?? 0) ^ 0x80;
        await other.write(buffer, 0, 1, at);
        await other.close();
        const failure = await failureOf(staged.verify());
        expect(failure.code).to.equal('mismatch');
        expect(failure.message).to.contain('md5');
        expect(await codeOf(staged.verify())).to.equal('mismatch');
        await expectNothing(staged);
      });
    }

    it('are found when the end is cut off', async () => {
      const { staged, file } = await stage(content(200_000));
      await truncate(file, 131_072);
      const code = await codeOf(staged.verify());
      expect(['mismatch', 'disk']).to.include(code);
      await expectNothing(staged);
    });

    it('are told about while they are read back', async () => {
      const bytes = content(9 * mib);
      const staged = await opened.store.stage(announce('f', bytes));
      const seen: number[] = [];
      await writeAll(staged, bytes);
      await staged.verify((done) => seen.push(done));
      await staged.discard();
      for (const done of seen) expect(done).to.be.within(1, bytes.length);
    });
  });
}
