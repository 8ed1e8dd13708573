import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { SendallProcess } from './cli/sendall-process';
import { ticketOf } from './cli/session-run';
import { skipTest } from './skip-test';

const root = join(__dirname, '..');
const executable = join(root, 'dist', 'executable', 'sendall');

describe('the single executable', function () {
  this.timeout(180_000);
  let directory: string;

  before(async function () {
    // A Node that is linked with a library of its own, as some distributions have it, cannot be one.
    if (!readFileSync(process.execPath).includes('NODE_SEA_FUSE'))
      skipTest(this, 'this Node makes no single executables');
    directory = mkdtempSync(join(tmpdir(), 'sendall-executable-'));
    for (const name of ['in', 'cache', 'tree']) mkdirSync(join(directory, name), { mode: 0o700 });
    writeFileSync(join(directory, 'tree', 'small'), 'small\n');
    writeFileSync(join(directory, 'tree', 'large'), Buffer.alloc(3_000_000, 7));
    await promisify(execFile)(process.execPath, ['-r', './spec/typescript.js', 'packaging/executable.ts'], {
      cwd: root,
    });
  });
  after(() => {
    if (directory) rmSync(directory, { recursive: true });
  });

  const sends = async (
    from: string | undefined,
    to: string | undefined,
    env: NodeJS.ProcessEnv,
    name: string,
  ): Promise<void> => {
    const where = join(directory, 'in', name);
    const receiver = new SendallProcess(['receive', where, '--listen', '127.0.0.1:0'], {
      cwd: directory,
      executable: to,
      env,
    });
    try {
      const words = ['send', 'tree', await ticketOf(receiver)];
      const sent = await new SendallProcess(words, { cwd: directory, executable: from, env }).ended;
      expect(sent.code, sent.stderr).to.equal(0);
      for (const file of ['small', 'large'])
        expect(readFileSync(join(where, 'tree', file)).equals(readFileSync(join(directory, 'tree', file)))).to.equal(
          true,
        );
    } finally {
      receiver.child.kill('SIGINT');
      await receiver.ended;
    }
  };

  it('receives what an npm build sends, with addons in a directory of its own', async () => {
    await sends(undefined, executable, { XDG_CACHE_HOME: join(directory, 'cache') }, 'a');
    const addons = join(directory, 'cache', 'sendall', 'addons');
    expect(statSync(addons).mode & 0o777).to.equal(0o700);
    for (const name of readdirSync(addons)) expect(name).to.match(/^[0-9a-f]{64}\.node$/);
    const optional = ['@napi-rs/blake-hash', '@koromix/koffi-linux-x64', '@koromix/koffi-linux-arm64'];
    const installed = optional.filter((name) => statSync(join(root, 'node_modules', name), { throwIfNoEntry: false }));
    expect(readdirSync(addons)).to.have.length(installed.length);
  });

  it('sends to an npm build, and needs no addon for it', async () => {
    await sends(executable, undefined, { XDG_CACHE_HOME: '/dev/null/none', HOME: '/dev/null/none' }, 'b');
  });

  it('serves the page of --web, which is inside of it', async () => {
    const words = ['receive', 'in', '--listen', 'unix:page.sock', '--web', '127.0.0.1:0'];
    const receiver = new SendallProcess(words, { cwd: directory, executable });
    try {
      const [, url = ''] = await receiver.says(/In a browser:\n +(\S+)/);
      const page = await (await fetch(url)).text();
      const [, script = ''] = /<script[^>]* src="([^"]+)"/.exec(page) ?? [];
      expect(page).to.equal(readFileSync(join(root, 'web', 'index.html'), 'utf8'));
      expect((await (await fetch(new URL(script, url))).text()).length).to.be.greaterThan(10_000);
    } finally {
      receiver.child.kill('SIGINT');
      await receiver.ended;
    }
  });

  it('says its version and names no directory of whoever built it', async () => {
    const { version } = require('../package.json') as typeof import('../package.json');
    const { stdout } = await new SendallProcess(['--version'], { executable }).ended;
    expect(stdout).to.equal(`${version}\n`);
    expect(readFileSync(executable).includes(root)).to.equal(false);
  });

  it('runs what the Containerfile says', async () => {
    const text = readFileSync(join(root, 'Containerfile'), 'utf8');
    const [, last = '[]'] = /^CMD (\[.*\])$/m.exec(text) ?? [];
    const words = (JSON.parse(last) as string[]).map((word) => (word === '/srv/backups' ? 'in' : word));
    const receiver = new SendallProcess([...words, '--listen', '127.0.0.1:0'], { cwd: directory, executable });
    await receiver.says(/ info {2}Listening on tcp:/);
    receiver.child.kill('SIGINT'); // its STOPSIGNAL
    expect((await receiver.ended).code).to.equal(130);
    expect(text).to.include('STOPSIGNAL SIGINT').and.include('npm run -s package:executable');
  });

  describe('as a Debian package', () => {
    let file = '';
    before(async function () {
      if (spawnSync('dpkg-deb', ['--version']).status !== 0) skipTest(this, 'dpkg-deb is not installed');
      const words = ['-r', './spec/typescript.js', 'packaging/deb.ts', '--quick', '--executable', executable];
      file = (await promisify(execFile)(process.execPath, words, { cwd: root })).stdout.trim();
    });

    it('has the command, its pages and completions, and units that run what it installs', () => {
      const unpacked = join(directory, 'unpacked');
      expect(spawnSync('dpkg-deb', ['-x', file, unpacked]).status).to.equal(0);
      expect(readFileSync(join(unpacked, 'usr/bin/sendall')).equals(readFileSync(executable))).to.equal(true);
      for (const name of [
        'man/man1/sendall-send.1.gz',
        'man/man7/sendall-promises.7.gz',
        'bash-completion/completions/sendall',
        'doc/sendall/backups.md',
        'doc/sendall/copyright',
      ])
        expect(statSync(join(unpacked, 'usr/share', name)).size, name).to.be.greaterThan(100);
      for (const unit of [
        'system/sendall-receive.service',
        'system/sendall-verify.service',
        'system/sendall-relay.service',
        'user/sendall-backup.service',
      ])
        expect(readFileSync(join(unpacked, 'usr/lib/systemd', unit), 'utf8'), unit)
          .to.match(/^ExecStart=\/usr\/bin\/sendall /m)
          .and.not.include('/usr/local');
    });

    it('is installed with a user whose keys are his own, and is gone when it is purged', function () {
      const layers = join(directory, 'layers');
      mkdirSync(layers);
      // In a file system of its own, laid over that of this machine, which needs root.
      const lay = `set -e
        mount -t tmpfs none ${layers}; cd ${layers}; mkdir up work root
        mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=work root
        mount -t proc proc root/proc; mount --rbind /dev root/dev`;
      if (spawnSync('unshare', ['-m', 'sh', '-c', lay]).status !== 0) skipTest(this, 'no mounts of its own here');
      const act = `set -e
        dpkg --no-triggers -i /p.deb > /dev/null; sendall --version
        stat -c '%U %a' /var/lib/sendall
        runuser -u sendall -- env HOME=/var/lib/sendall sendall authorize laptop --address x.lan --json
        dpkg --no-triggers -P sendall > /dev/null; ls -d /usr/bin/sendall /var/lib/sendall || true`;
      const { status, stdout, stderr } = spawnSync(
        'unshare',
        ['-m', 'sh', '-c', `${lay}\ncp ${file} root/p.deb\nchroot root sh -c '${act.replaceAll("'", `'\\''`)}'`],
        { encoding: 'utf8' },
      );
      expect(status, stderr).to.equal(0);
      expect(stdout).to.match(/^[\d.]+\nsendall 700\n\{"event":"authorized",.*\}\n$/);
    });
  });
});
