import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { chmod, chown, mkdir, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { openReceiveDirectory } from '../../../lib/store/local/receive-directory';
import { codeOf, failureOf } from '../delivery';
import { emptyDirectory, everythingIn } from './local-place';

const isRoot = process.getuid?.() === 0;

describe('openReceiveDirectory', () => {
  let directory: string;
  beforeEach(async () => (directory = await emptyDirectory()));
  afterEach(() => rm(directory, { recursive: true, force: true }));

  /** It is refused, and stays as it was. */
  async function expectRefusal(place: string, message: RegExp, hint?: string): Promise<void> {
    const before = await everythingIn(directory);
    const failure = await failureOf(openReceiveDirectory(place));
    expect(failure.code).to.equal('directory');
    expect(failure.message).to.match(message);
    if (hint !== undefined) expect(failure.hint).to.contain(hint);
    expect(await everythingIn(directory)).to.deep.equal(before);
  }

  it('stages in a private directory, and leaves nothing when it is released', async () => {
    const opened = await openReceiveDirectory(directory);
    for (const name of ['.sendall', '.sendall/stage'])
      expect((await stat(path.join(directory, name))).mode & 0o777).to.equal(0o700);
    await opened.release();
    expect(await readdir(directory)).to.deep.equal([]);
  });

  it('takes a symbolic link to a directory, since the user named it', async () => {
    await mkdir(path.join(directory, 'real'));
    await symlink('real', path.join(directory, 'link'));
    const opened = await openReceiveDirectory(path.join(directory, 'link'));
    expect(await readdir(path.join(directory, 'real'))).to.deep.equal(['.sendall']);
    await opened.release();
  });

  it('refuses what is not there, and says how to make it', () =>
    expectRefusal(path.join(directory, 'none'), /does not exist/, 'mkdir'));

  it('refuses a file', async () => {
    await writeFile(path.join(directory, 'file'), '');
    await expectRefusal(path.join(directory, 'file'), /is not a directory/);
  });

  it('refuses a directory that others may write to, and says how to change that', async () => {
    await chmod(directory, 0o757);
    await expectRefusal(directory, /writable by other users/, 'chmod o-w');
    await chmod(directory, 0o1777);
    await expectRefusal(directory, /writable by other users/);
  });

  (isRoot ? it : it.skip)('refuses a directory of another user (as root, who could write there)', async () => {
    await chown(directory, 12345, 12345);
    await expectRefusal(directory, /belongs to another user/);
  });

  (isRoot ? it : it.skip)('refuses a staging directory of another user', async () => {
    await mkdir(path.join(directory, '.sendall'), { mode: 0o700 });
    await chown(path.join(directory, '.sendall'), 12345, 12345);
    await expectRefusal(directory, /\.sendall (can be read by others|belongs to another user)/);
  });

  it('refuses a staging directory that is a symbolic link', async () => {
    await mkdir(path.join(directory, 'elsewhere'), { mode: 0o700 });
    await symlink('elsewhere', path.join(directory, '.sendall'));
    await expectRefusal(directory, /\.sendall cannot be used/);
  });

  it('refuses a staging directory that is a file, or a FIFO', async () => {
    await writeFile(path.join(directory, '.sendall'), '');
    await expectRefusal(directory, /\.sendall cannot be used/);
    await rm(path.join(directory, '.sendall'));
    execFileSync('mkfifo', [path.join(directory, '.sendall')]);
    await expectRefusal(directory, /\.sendall cannot be used/);
  });

  it('refuses a staging directory that others may look into', async () => {
    await mkdir(path.join(directory, '.sendall'), { mode: 0o755 });
    await expectRefusal(directory, /\.sendall can be read by others/, 'chmod 700');
  });

  it('collects what an earlier run left staged, without following links', async () => {
    const stage = path.join(directory, '.sendall', 'stage');
    await mkdir(path.join(stage, 'deep', 'er'), { recursive: true, mode: 0o700 });
    await chmod(path.join(directory, '.sendall'), 0o700);
    await writeFile(path.join(stage, 'a'.repeat(32)), 'left');
    await writeFile(path.join(directory, 'kept'), 'kept');
    await symlink('../../..', path.join(stage, 'up'));
    await symlink('../../kept', path.join(stage, 'kept'));
    const opened = await openReceiveDirectory(directory);
    expect(await readdir(stage)).to.deep.equal([]);
    await opened.release();
    expect(await readdir(directory)).to.deep.equal(['kept']);
  });

  it("leaves a stranger's file in the staging directory alone", async () => {
    const opened = await openReceiveDirectory(directory);
    await writeFile(path.join(directory, '.sendall', 'note'), 'mine');
    await opened.release();
    expect(await everythingIn(directory)).to.deep.equal(['.sendall/', '.sendall/note']);
    await (await openReceiveDirectory(directory)).release();
  });

  it('is refused a second time, which disturbs nothing', async () => {
    const opened = await openReceiveDirectory(directory);
    await writeFile(path.join(directory, '.sendall', 'stage', 'x'), '');
    expect(await codeOf(openReceiveDirectory(directory))).to.equal('directory');
    expect(await everythingIn(directory)).to.include('.sendall/stage/x');
    await opened.release();
    await (await openReceiveDirectory(directory)).release();
  });
});
