import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { expect } from 'chai';
import { noise } from '../session/pair';
import { eventsOf } from './sendall-process';
import { lastOf, SessionRun } from './session-run';

/** Names as bytes, one character each, of what machines hold that Windows and macOS cannot. */
const odd = [
  'Maildir/cur/1234.M5P6.host:2,S',
  'aux.c',
  'con',
  'trail.',
  'trail ',
  'a\nb',
  'a\\b',
  'a\rb',
  'tab\there',
  '.git/refs/heads/x:y',
  'caf\xe9.txt', // Latin-1
  'd\xe9j\xe0/vu',
  'mixed \xc3\xa9 \xe9',
  '\xff\xfe',
];

describe('Names that only this system can have (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  const bytes = (path: string): Buffer => Buffer.from(path, 'latin1');
  const write = (name: string, content: string | Uint8Array): void => {
    mkdirSync(bytes(run.at('src', dirname(name))), { recursive: true });
    writeFileSync(bytes(run.at('src', name)), content);
  };
  /** What differs between two trees, by the standard tool; symbolic links as they are. */
  const difference = (one: string, other: string): string => {
    try {
      return execFileSync('diff', ['-r', '--no-dereference', one, other], { encoding: 'latin1' });
    } catch (error) {
      return (error as { stdout: string }).stdout;
    }
  };

  beforeEach(() => {
    run = new SessionRun();
    for (const name of odd) write(name, name);
    write('large \xe9:', noise(100_000));
    symlinkSync(bytes('nowhere \xe9'), bytes(run.at('src', 'link \xe8')));
  });
  afterEach(() => run.end());

  it('arrive in a session, are backed up, found in order by sha256sum, verified and restored byte for byte', async () => {
    const { ticket } = await run.receive();
    const sent = await run.run(['send', 'src', ticket, '--json']);
    expect(sent.code, sent.stdout).to.equal(0);
    expect(difference(run.at('src'), run.at('in/src'))).to.equal('');
    expect(lastOf(eventsOf(await run.run(['send', 'src', ticket, '--json'])), 'summary').bytes_on_wire).to.equal(0);
    expect(sent.stdout).to.include('caf\\udce9.txt');

    const made = await run.run(['backup', 'src', ticket, '--name', 'n', '--json']);
    expect(made.code, made.stdout).to.equal(0);
    const snapshot = run.at('in', lastOf(eventsOf(made), 'snapshot').snapshot);
    execFileSync('sha256sum', ['--check', '--strict', '--quiet', 'SHA256SUMS'], { cwd: snapshot });
    expect((await run.run(['verify', 'in'])).code).to.equal(0);
    expect((await run.run(['restore', 'in', 'n/latest', 'restored'])).code).to.equal(0);
    expect(difference(run.at('src'), run.at('restored/src'))).to.equal('');
    expect((await run.run(['restore', 'in', 'n/latest', 'some', 'src/Maildir/**'])).code).to.equal(0);
    expect(readdirSync(run.at('some/src'))).to.deep.equal(['Maildir']);
  });

  it('are refused one by one where the receiver was told to take what every system can have', async () => {
    const { ticket } = await run.receive(['--names', 'portable']);
    write('plain', 'plain');
    const ended = await run.run(['send', 'src', ticket, '--json']);
    expect(ended.code).to.equal(8);
    const failed = eventsOf(ended).filter((event) => event.event === 'failed');
    expect(new Set(failed.map(({ code }) => code))).to.deep.equal(new Set(['name']));
    expect(failed.length).to.be.greaterThan(odd.length);
    expect(readdirSync(run.at('in/src')).sort())
      .to.include.members(['plain'])
      .and.to.not.include('aux.c');
  });

  it('are refused on the plain wire, unless the receiver was told to take them', async () => {
    const strict = await run.receive(['--allow-hidden']);
    const address = `tcp://${new URL(strict.ticket.replace('sendall', 'http')).host}`;
    expect((await run.run(['send', 'src/aux.c', address])).code).to.equal(6);
    strict.receiver.child.kill('SIGTERM');
    await strict.receiver.ended;
    const { ticket } = await run.receive(['--allow-hidden', '--names', 'any']);
    const ended = await run.run(['send', 'src', `tcp://${new URL(ticket.replace('sendall', 'http')).host}`]);
    expect(ended.code, ended.stderr).to.equal(0);
    expect(difference(run.at('src'), run.at('in/src'))).to.equal(`Only in ${run.at('src')}: link \xe8\n`);
  });
});
