import { expect } from 'chai';
import { execFileSync, spawn } from 'node:child_process';
import { lstatSync, readlinkSync } from 'node:fs';
import { chmod, mkdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { IfExists } from '../../../lib/store/store';
import { codeOf, content, deliver, verified } from '../delivery';
import { emptyDirectory, everythingIn, openLocal } from './local-place';

const bytes = content(3000);
const rules: readonly IfExists[] = ['refuse', 'skip', 'replace'];

describe('A whole file on a disk', () => {
  let opened: Awaited<ReturnType<typeof openLocal>>;
  let outside: string;
  const at = (name: string): string => path.join(opened.directory, name);

  before(async () => {
    opened = await openLocal();
    outside = await emptyDirectory();
    await writeFile(path.join(outside, 'victim'), 'untouched');
  });
  afterEach(async () => {
    await opened.clear();
    expect(await everythingIn(outside)).to.deep.equal(['victim']);
    expect(await readFile(path.join(outside, 'victim'), 'utf8')).to.equal('untouched');
  });
  after(async () => {
    await opened.store.close();
    await opened.remove();
    await rm(outside, { recursive: true });
  });

  it('is never stored through a symbolic link on the way', async () => {
    await symlink(outside, at('link'));
    await mkdir(at('d'));
    await symlink(outside, at('d/link'));
    for (const rule of [...rules, 'rename' as const]) {
      for (const name of ['link/f', 'link/victim', 'd/link/f', 'd/link/new/f'])
        expect(await codeOf(deliver(opened.store, name, bytes, rule)), name).to.equal('exists');
    }
  });

  it('is refused as early for a large file, before its bytes are taken', async () => {
    const large = content(1024 * 1024 + 1);
    await writeFile(at('f'), 'shorter');
    expect(await codeOf(verified(opened.store, 'f', large))).to.equal('exists');
  });

  it('never replaces a symbolic link, nor what that points to', async () => {
    await symlink(path.join(outside, 'victim'), at('f'));
    await symlink(path.join(outside, 'none'), at('dangling'));
    for (const name of ['f', 'dangling']) {
      for (const rule of rules) expect(await codeOf(deliver(opened.store, name, bytes, rule))).to.equal('exists');
      expect(lstatSync(at(name)).isSymbolicLink()).to.equal(true);
      expect((await deliver(opened.store, name, bytes, 'rename')).path).to.equal(`${name} (1)`);
    }
    expect(readlinkSync(at('f'))).to.equal(path.join(outside, 'victim'));
  });

  it('is not taken for identical to what a symbolic link points to', async () => {
    await writeFile(at('target'), bytes);
    await symlink('target', at('f'));
    expect(await codeOf(deliver(opened.store, 'f', bytes))).to.equal('exists');
  });

  it('never replaces a directory, a FIFO or a socket, and never waits for one', async () => {
    await mkdir(at('directory'));
    execFileSync('mkfifo', [at('fifo')]);
    const server = createServer().listen(at('socket'));
    await new Promise((resolve) => server.once('listening', resolve));
    try {
      const before = await everythingIn(opened.directory);
      for (const name of ['directory', 'fifo', 'socket']) {
        for (const rule of rules)
          expect(await codeOf(deliver(opened.store, name, bytes, rule)), `${name} under ${rule}`).to.equal('exists');
        for (const rule of rules)
          expect(await codeOf(deliver(opened.store, name, content(70_000), rule)), `${name} under ${rule}`).to.equal(
            'exists',
          );
      }
      expect(await everythingIn(opened.directory)).to.deep.equal(before);
      for (const name of ['directory', 'fifo', 'socket'])
        expect((await deliver(opened.store, name, bytes, 'rename')).path).to.equal(`${name} (1)`);
    } finally {
      server.close();
    }
  });

  it('whose way turns into a symbolic link while it is received is not stored there', async () => {
    await deliver(opened.store, 'd/first', bytes);
    const staged = await verified(opened.store, 'd/f', bytes);
    await rename(at('d'), at('moved'));
    await symlink(outside, at('d'));
    await pause(1_100); // longer than a directory is used without walking to it again
    expect(await codeOf(staged.commit())).to.equal('exists');
  });

  it('whose directory is removed while it is received gets a new one', async () => {
    await deliver(opened.store, 'd/e/first', bytes);
    const staged = await verified(opened.store, 'd/e/f', bytes);
    await rm(at('d'), { recursive: true });
    await staged.commit();
    expect((await readFile(at('d/e/f'))).equals(bytes)).to.equal(true);
  });

  it('stays inside while somebody swaps directories for symbolic links as fast as they can', async function () {
    this.timeout(20_000);
    const count = 80;
    for (let number = 0; number < count; number++) {
      await mkdir(at(`d${number}`));
      await symlink(outside, at(`link${number}`));
    }
    const swap = `const { renameSync } = require('fs');
      const move = (from, to) => { try { renameSync(from, to); } catch {} };
      for (let turn = 0; ; turn++) {
        const d = 'd' + (turn % ${count}), link = 'link' + (turn % ${count}), away = 'away' + turn;
        move(d, away); move(link, d); move(d, link); move(away, d);
      }`;
    const swapper = spawn(process.execPath, ['-e', swap], { cwd: opened.directory, stdio: 'inherit' });
    const gone = new Promise((resolve) => swapper.once('close', resolve));
    const outcomes = { stored: 0, refused: 0 };
    try {
      await pause(100);
      for (const end = Date.now() + 2_500; Date.now() < end;) {
        const turn = outcomes.stored + outcomes.refused;
        const delivered = Array.from({ length: 40 }, (_, number) =>
          deliver(opened.store, `d${(turn + number) % count}/${turn}-${number}`, bytes),
        );
        for (const { status } of await Promise.allSettled(delivered))
          outcomes[status === 'fulfilled' ? 'stored' : 'refused']++;
      }
    } finally {
      swapper.kill('SIGKILL');
      await gone;
    }
    expect(outcomes.stored).to.be.greaterThan(100);
    expect(await everythingIn(outside)).to.deep.equal(['victim']);
  });

  it('may have a name of 255 bytes, and stand 100 directories deep', async () => {
    const long = 'ä'.repeat(127) + 'x';
    const deep = `${Array.from({ length: 100 }, (_, level) => `level ${level}`).join('/')}/f`;
    for (const name of [`a/${long}`, `${long}/${long}`, deep]) {
      await deliver(opened.store, name, bytes);
      expect((await readFile(at(name))).equals(bytes)).to.equal(true);
    }
    const staged = await verified(opened.store, `${deep.replace('level 7', 'other')}`, bytes);
    await staged.discard();
    expect((await everythingIn(opened.directory)).some((name) => name.includes('other'))).to.equal(false);
  });

  it('is refused a new name that would be too long', async () => {
    const long = `${'x'.repeat(251)}.txt`;
    await deliver(opened.store, long, bytes);
    expect(await codeOf(deliver(opened.store, long, content(9), 'rename'))).to.equal('name');
  });

  it('has the mode that the umask left when the store was opened', async () => {
    const before = process.umask(0o027);
    const strict = await openLocal();
    try {
      await deliver(strict.store, 'new/small', bytes);
      await deliver(strict.store, 'new/large', content(70_000));
      for (const name of ['small', 'large'])
        expect((await stat(path.join(strict.directory, 'new', name))).mode & 0o7777, name).to.equal(0o640);
      expect((await stat(path.join(strict.directory, 'new'))).mode & 0o777).to.equal(0o750);
    } finally {
      process.umask(before);
      await strict.store.close();
      await strict.remove();
    }
  });

  (process.getuid?.() === 0 ? it.skip : it)(
    'says that a directory without permission is not writable (not as root)',
    async () => {
      await mkdir(at('locked'));
      await chmod(at('locked'), 0o500);
      expect(await codeOf(deliver(opened.store, 'locked/f', bytes))).to.equal('disk');
      await chmod(at('locked'), 0o700);
    },
  );
});
