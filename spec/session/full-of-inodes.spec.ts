import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createReceiver } from '../../lib/index';
import { mountSmallDisk } from '../small-disk';
import { Heard } from '../receive/receive-directory';
import { sending, SourceTree } from '../send/source-tree';
import { skipTest } from '../skip-test';

describe('A disk without an inode left', function () {
  this.timeout(20_000);
  let disk: string;
  let mounted = false;
  before(function () {
    disk = mkdtempSync(path.join(tmpdir(), 'sendall-spec-'));
    mounted = mountSmallDisk(disk, 'nr_inodes=200,mode=0755');
    if (!mounted) skipTest(this, 'no small disk can be mounted here');
  });
  after(() => {
    if (mounted) execFileSync('umount', [disk]);
    rmSync(disk, { recursive: true, force: true });
  });

  it('is called full, of every file', async () => {
    const source = await SourceTree.make({ a: 'a', b: 'b', c: 'c' });
    await mkdir(path.join(disk, 'in'));
    const heard = new Heard();
    const receiver = await createReceiver({ directory: path.join(disk, 'in'), on: heard.on });
    const { ticket = '' } = await receiver.listen('127.0.0.1:0');
    try {
      // Opens all that a receiver needs, so that only files want more.
      await sending({ paths: [source.at('a')], target: ticket });
      expect(() => {
        for (let at = 0; at < 200; at++) writeFileSync(path.join(disk, String(at)), '');
      }).to.throw(/ENOSPC/);
      const { heard: said } = await sending({ paths: ['b', 'c'].map((name) => source.at(name)), target: ticket });
      expect(said.all('failed').map(({ code, message }) => `${code}: ${message}`)).to.have.members(
        ['b', 'c'].map((name) => `space: The disk where it goes is full; ${name} was not stored.`),
      );
    } finally {
      await receiver.close({ now: true });
      await source.remove();
    }
  });
});
