import { closeSync, openSync, statSync, utimesSync, writeFileSync, writeSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { Directory } from '../../lib/store/local/directory';
import { ReceiptIndex } from '../../lib/store/local/receipt-index';
import { eventsOf } from './sendall-process';
import { lastOf, SessionRun } from './session-run';

const mib = 1024 * 1024;

describe('cli: what is there already (the built command)', () => {
  let run: SessionRun;
  beforeEach(() => (run = new SessionRun({ 'small.txt': 'hello\n', 'large.bin': randomBytes(3 * mib) })));
  afterEach(() => run.end());

  /** Changes a byte of a received file as a failing disk does: the times of it say nothing. No receiver may run. */
  async function rot(name: string): Promise<void> {
    const at = run.at('in', name);
    const { mtime, atime } = statSync(at);
    const fd = openSync(at, 'r+');
    writeSync(fd, 'X', 3);
    closeSync(fd);
    utimesSync(at, atime, mtime);
    const own = await Directory.open(run.at('in', '.sendall'));
    const index = await ReceiptIndex.open(own);
    const receipt = index.find(name);
    if (!receipt) throw new Error(`There is no receipt of ${name}.`);
    const { mtimeNs, ctimeNs } = statSync(at, { bigint: true });
    index.remember(name, { ...receipt, mtimeNs, ctimeNs });
    await index.close();
    await own.close();
  }

  it('is said so, with the time of its verification and without a rate', async () => {
    const { ticket } = await run.receive();
    const before = Date.now();
    const first = eventsOf(await run.run(['send', 'small.txt', 'large.bin', ticket, '--json']));
    expect(lastOf(first, 'sent')).not.to.have.property('verified_at');
    const between = Date.now();
    const again = eventsOf(await run.run(['send', 'small.txt', 'large.bin', ticket, '--json']));
    for (const sent of again.filter((event) => event.event === 'sent'))
      expect(Date.parse(sent.verified_at ?? ''))
        .to.be.at.least(before)
        .and.at.most(between);
    const { stdout } = await run.run(['send', 'large.bin', ticket]);
    expect(stdout).to.match(
      /^large\.bin {2}3\.0 MiB {2}blake3 \w{16}… {2}already there, verified .*\d{4}-\d\d-\d\d \d\d:\d\d/,
    );
    expect(stdout).not.to.include('/s');
    const both = await run.run(['send', 'small.txt', 'large.bin', ticket]);
    expect(both.stdout).to.match(/\n2 files .* 2 already there/);
  });

  it('is read back with --check, which moves the time on', async () => {
    const { ticket } = await run.receive();
    await run.run(['send', 'small.txt', 'large.bin', ticket]);
    const between = Date.now();
    for (const words of [['--check'], []]) {
      const events = eventsOf(await run.run(['send', 'small.txt', 'large.bin', ticket, '--json', ...words]));
      const sent = events.filter((event) => event.event === 'sent');
      expect(sent.length).to.equal(2);
      for (const each of sent) expect(Date.parse(each.verified_at ?? '')).to.be.at.least(between);
    }
    expect((await run.run(['send', 'small.txt', 'tcp://127.0.0.1:1', '--check'])).code).to.equal(2);
  });

  for (const name of ['small.txt', 'large.bin'])
    it(`is called damaged with --check where ${name} reads otherwise, and sent again where it may be replaced`, async () => {
      const first = await run.receive();
      await run.run(['send', name, first.ticket]);
      const good = run.read(name);
      first.receiver.child.kill('SIGTERM');
      await first.receiver.ended;
      await rot(name);
      const { receiver, ticket } = await run.receive();
      expect((await run.run(['send', name, ticket])).code).to.equal(0); // nobody has looked
      const refused = await run.run(['send', name, ticket, '--check']);
      expect(refused).to.include({ code: 4, stdout: '' });
      expect(refused.stderr).to.match(/damaged on the receiver's disk/);
      receiver.child.kill('SIGTERM');
      await receiver.ended;
      const replacing = await run.receive(['--if-exists', 'replace']);
      expect((await run.run(['send', name, replacing.ticket, '--check'])).code).to.equal(0);
      expect(run.read(name).equals(good)).to.equal(true);
    });

  it('goes on where an earlier try ended, and says so', async () => {
    writeFileSync(run.at('long.bin'), randomBytes(24 * mib));
    const { ticket } = await run.receive();
    const first = run.start(['send', 'long.bin', ticket, '--limit', '8M', '--json', '--connections', '1']);
    await first.says(/"phase":"send","done":(?:[89]|1\d)\d{6},/);
    first.child.kill('SIGKILL');
    await first.ended;
    const { code, stdout, stderr } = await run.run(['send', 'long.bin', ticket]);
    expect(code).to.equal(0);
    expect(stderr).to.match(/^long\.bin {2}goes on after [\d.]+ MiB of 24\.0 MiB that came by an earlier try\n/);
    expect(stdout).to.match(/ MiB of it was there/);
  });
});
