import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { expect } from 'chai';
import { eventsOf } from './sendall-process';
import { lastOf, SessionRun } from './session-run';
import { skipTest } from '../skip-test';

const tools = ['rsync', 'getfattr', 'setfattr', 'setfacl', 'setcap'];

/** Why owners and attributes cannot be tried here; undefined where they can. */
function missing(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root can give files away';
  const lacking = tools.filter(
    (tool) => !['/usr/bin', '/usr/sbin', '/bin', '/sbin'].some((at) => existsSync(`${at}/${tool}`)),
  );
  return lacking.length > 0 ? `not installed: ${lacking.join(', ')}` : undefined;
}

describe('cli: owners, special bits, ACLs, capabilities and extended attributes (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  before(function () {
    const why = missing();
    if (why === undefined) return;
    skipTest(this, `owners and attributes are not tried: ${why}`);
  });
  beforeEach(() => {
    run = new SessionRun();
    mkdirSync(run.at('source', 'd', 'shared'), { recursive: true });
    for (const name of ['suid', 'capable', 'listed', 'plain']) writeFileSync(run.at('source', 'd', name), `${name}\n`);
    writeFileSync(run.at('source', 'd', 'large'), randomBytes(2 * 1024 * 1024));
    sh('chown 1:2 suid && chmod 6755 suid', 'chown 7:8 large && chmod 4711 large && setfattr -n user.big -v x large');
    sh('setcap cap_net_raw+ep capable', 'setfacl -m u:1:rw listed && setfattr -n user.hello -v world listed');
    sh('ln -s nowhere link && chown -h 5:6 link', 'ln listed other', 'chown 4242:4243 plain');
    sh('setfacl -d -m g:2:rx shared && chown 3:4 shared && chmod 3775 shared && touch -d 2001-01-01 shared');
  });
  afterEach(() => run.end());

  function sh(...commands: readonly string[]): void {
    for (const command of commands) execFileSync('sh', ['-c', command], { cwd: run.at('source', 'd') });
  }

  /** What rsync -aHAX would change in `copy` to make it the same as the source, but for the time of the top. */
  function differences(...copy: readonly string[]): string {
    return execFileSync('rsync', [
      '-aHAXin',
      '--delete',
      `${run.at('source', 'd')}/`,
      `${run.at(...copy)}/`,
    ]).toString();
  }

  async function backup(): Promise<void> {
    mkdirSync(run.at('backups'), { mode: 0o755 });
    const { code, stderr } = await run.run(['backup', 'source/d', 'backups', '--name', 'b']);
    expect(code, stderr).to.equal(0);
  }

  it('come back from a backup as rsync -aHAX would copy them, and verify is content with what is stored', async () => {
    await backup();
    expect((await run.run(['verify', 'backups'])).code).to.equal(0);
    const stored = execFileSync('find', [run.at('backups', 'b'), '-perm', '/7000']).toString();
    expect(stored, 'no special bit among the backups').to.equal('');
    const { code, stderr } = await run.run(['restore', 'backups', 'b/latest', 'out']);
    expect(code, stderr).to.equal(0);
    expect(differences('out', 'd')).to.equal('');
    // The next snapshot links all of it, and one owner that changed is no link.
    sh('chown 9 plain');
    expect((await run.run(['backup', 'source/d', 'backups', '--name', 'b'])).code).to.equal(0);
    expect((await run.run(['restore', 'backups', 'b/latest', 'again'])).code).to.equal(0);
    expect(differences('again', 'd')).to.equal('');
    const inodes = (name: string): number =>
      Number(execFileSync('sh', ['-c', `stat -c %i b/*/d/${name} | sort -u | wc -l`], { cwd: run.at('backups') }));
    // `latest` is one of the three that the pattern finds.
    expect([inodes('listed'), inodes('plain')]).to.deep.equal([1, 2]);
  });

  it('come back by name first, by number alone, or not at all', async () => {
    await backup();
    const manifest = run.at('backups', 'b', 'latest', 'MANIFEST');
    const line = execFileSync('grep', ['"d/suid"', manifest]).toString();
    expect(JSON.parse(line)).to.deep.include({ special: 6, owned_by: [1, 2, 'daemon', 'bin'] });
    expect((await run.run(['restore', 'backups', 'b/latest', 'number', '--owner', 'number'])).code).to.equal(0);
    expect(differences('number', 'd')).to.equal('');
    const none = await run.run(['restore', 'backups', 'b/latest', 'none', '--owner', 'none', '--no-xattrs', '--json']);
    expect(none.code).to.equal(0);
    const found = execFileSync('find', [run.at('none'), '(', '-perm', '/6000', '-o', '!', '-user', 'root', ')']);
    expect(found.toString(), 'nothing rises, and all is of root').to.equal('');
    expect(execFileSync('getfattr', ['-Rdhm', '-', '.'], { cwd: run.at('none') }).toString()).to.equal('');
    expect(lastOf(eventsOf(none), 'lost')).to.include({ what: 'special', entries: 3 });
  });

  it('cross a session with --metadata on both sides, and are refused before anything moves without', async () => {
    const plain = await run.receive();
    const refused = await run.run(['send', 'source/d', plain.ticket, '--metadata']);
    expect(refused.code).to.equal(2);
    expect(refused.stderr).to.include('sendall receive --metadata');
    expect(run.received()).to.deep.equal([]);
    const without = await run.run(['send', 'source/d', plain.ticket, '--json']);
    expect(without.code).to.equal(0);
    expect(lastOf(eventsOf(without), 'lost')).to.include({ what: 'special', entries: 3 });
    plain.receiver.child.kill('SIGTERM');
    await plain.receiver.ended;
    mkdirSync(run.at('with'), { mode: 0o755 });
    const receiver = run.start(['receive', 'with', '--listen', '127.0.0.1:0', '--metadata']);
    const [ticket = ''] = await receiver.says(/sendall:\S+/);
    const sent = await run.run(['send', 'source/d', ticket, '--metadata', '--json']);
    expect(sent.code, sent.stderr).to.equal(0);
    expect(eventsOf(sent).filter(({ event }) => event === 'lost')).to.deep.equal([]);
    expect(differences('with', 'd')).to.equal('');
  });

  it('from another machine let no program rise unless --owner says whose files they become', async () => {
    const { ticket } = await run.receive();
    expect((await run.run(['backup', 'source/d', ticket, '--name', 'b'])).code).to.equal(0);
    const careful = await run.run(['restore', ticket, 'b/latest', 'careful', '--json']);
    expect(careful.code).to.equal(0);
    const lost = eventsOf(careful).filter((event) => event.event === 'lost');
    expect(Object.fromEntries(lost.map(({ what, entries }) => [what, entries]))).to.deep.equal({
      special: 3,
      xattrs: 1,
    });
    expect(execFileSync('find', [run.at('careful'), '-perm', '/6000']).toString()).to.equal('');
    expect(execFileSync('getcap', ['-r', '.'], { cwd: run.at('careful') }).toString()).to.equal('');
    expect((await run.run(['restore', ticket, 'b/latest', 'whole', '--owner', 'name'])).code).to.equal(0);
    expect(differences('whole', 'd')).to.equal('');
  });

  it('come back to an ordinary user as far as that one may, which is said once of each kind', async () => {
    await backup();
    const home = mkdtempSync('/tmp/sendall-nobody-');
    try {
      execFileSync('chown', ['nobody', home]);
      execFileSync('chmod', ['-R', 'a+rX', run.at('backups')]);
      chmodSync(run.directory, 0o755);
      const main = path.join(__dirname, '..', '..', 'dist', 'cli', 'main.js');
      const words = ['restore', run.at('backups'), 'b/latest', path.join(home, 'out'), '--json', '--owner', 'name'];
      const program = `process.initgroups('nobody','nogroup');process.setgid('nogroup');process.setuid('nobody');
        process.argv.splice(1, 1, ${JSON.stringify(main)}); require(${JSON.stringify(main)});`;
      let code = 0;
      let stdout = '';
      try {
        stdout = execFileSync(process.execPath, ['-e', program, 'x', ...words], {
          env: { PATH: process.env['PATH'] },
          stdio: 'pipe',
        }).toString();
      } catch (error) {
        ({ status: code, stdout } = error as { status: number; stdout: string });
        stdout = String(stdout);
      }
      const lost = eventsOf({ code, stdout, stderr: '' }).filter((event) => event.event === 'lost');
      expect(lost.map(({ what }) => what).sort()).to.deep.equal(['owner', 'special', 'xattrs']);
      expect(code).to.equal(8);
      expect(existsSync(path.join(home, 'out', 'd', 'large'))).to.equal(true);
    } finally {
      rmSync(home, { recursive: true, force: true });
    }
  });
});
