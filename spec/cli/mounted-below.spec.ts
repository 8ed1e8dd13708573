import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { eventsOf } from './sendall-process';
import { SessionRun } from './session-run';

describe('cli: another file system that is mounted below the receive directory', function () {
  this.timeout(60_000);
  let run: SessionRun;
  const mounted: string[] = [];
  beforeEach(() => (run = new SessionRun()));
  afterEach(async () => {
    for (const at of mounted.splice(0).reverse()) execFileSync('umount', ['-l', at]);
    await run.end();
  });

  /** Where this machine, or this user, cannot mount, the test is said to be pending. */
  const mount = (context: Mocha.Context, at: string, ...words: string[]): void => {
    mkdirSync(at, { recursive: true });
    try {
      execFileSync('mount', [...words, at], { stdio: 'ignore' });
    } catch {
      context.skip();
    }
    mounted.push(at);
  };

  it('is refused by name, before anything is transferred, and all else is stored', async function () {
    mount(this, run.at('in/tree/my disk'), '-t', 'tmpfs', 'none');
    // The same disk once more: nothing can be renamed into that either.
    mkdirSync(run.at('same'));
    mount(this, run.at('in/tree/bound'), '--bind', run.at('same'));
    for (const name of ['my disk', 'bound/deep', 'own']) mkdirSync(run.at('tree', name), { recursive: true });
    const large = Buffer.alloc(3_000_000, 'large');
    const bad = ['my disk/large', 'my disk/small', 'bound/deep/small', 'my disk/link', 'bound/deep'];
    for (const name of ['own/large', 'own/small', 'small', ...bad.slice(0, 3)])
      writeFileSync(run.at('tree', name), name.endsWith('large') ? large : name);
    symlinkSync('small', run.at('tree/my disk/link'));
    const { ticket } = await run.receive();
    const sent = await run.run(['send', 'tree', ticket, '--json']);
    expect(sent.code, sent.stderr).to.equal(8);
    const events = eventsOf(sent);
    const failed = events.flatMap((event) => (event.event === 'failed' && event.file_name ? [event] : []));
    expect(failed.map(({ file_name }) => file_name).sort()).to.deep.equal(bad.map((name) => `tree/${name}`).sort());
    for (const { code, message } of failed) {
      expect(code).to.equal('name');
      expect(message).to.match(/would be on another file system/);
    }
    expect(failed.find(({ file_name }) => file_name === 'tree/my disk/large')?.message).to.match(/at tree\/my disk/);
    const summary = events.find((event) => event.event === 'summary');
    expect(summary?.bytes_on_wire).to.be.within(large.length, large.length + 100_000);
    expect(run.read('tree/own/large').equals(large)).to.equal(true);
    for (const name of ['own/small', 'small']) expect(run.read(`tree/${name}`).toString()).to.equal(name);
  });

  it('is refused on the plain wire, and as the directory of a backup or of what is staged', async function () {
    writeFileSync(run.at('file'), 'content');
    mount(this, run.at('in/d'), '-t', 'tmpfs', 'none');
    const { ticket } = await run.receive();
    const plain = `tcp://${/127\.0\.0\.1:\d+/.exec(ticket)?.[0] ?? ''}`;
    const sent = await run.run(['send', 'file', plain, '--name', 'd/file']);
    expect(sent.code).to.equal(6);
    expect(sent.stderr).to.match(/which is mounted at d,/);
    expect((await run.run(['backup', 'file', 'in', '--name', 'b'])).code).to.equal(0);
    mount(this, run.at('in/b'), '-t', 'tmpfs', 'none');
    const backup = await run.run(['backup', 'file', 'in', '--name', 'b']);
    expect(backup.code).to.equal(6);
    expect(backup.stderr).to.match(/which is mounted at b,/);
    mount(this, run.at('other/.sendall'), '-t', 'tmpfs', '-o', 'mode=0700', 'none');
    for (const command of [
      ['receive', 'other', '--listen', '127.0.0.1:0'],
      ['backup', 'file', 'other', '--name', 'b'],
    ]) {
      const refused = await run.run(command);
      expect(refused.code, refused.stdout).to.equal(2);
      expect(refused.stderr).to.match(/mounted at \.sendall/);
    }
    expect(readFileSync(run.at('file'), 'utf8')).to.equal('content');
  });
});
