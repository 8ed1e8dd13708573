import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { encodeFrame } from '../../lib/index';
import { dialRaw } from './raw-peer';
import { type Ended, eventsOf, sendall, SendallProcess } from './sendall-process';
import { lastOf, ticketOf } from './session-run';
import { skipTest } from '../skip-test';

describe('cli: two files never take one name in one transfer', () => {
  let directory: string;
  let receiver: SendallProcess;
  let address: string;
  let ticket: string;

  before(async () => {
    directory = mkdtempSync(path.join(tmpdir(), 'sendall-same-'));
    for (const [name, content] of [
      ['d1/x', 'one'],
      ['d2/x', 'two'],
      ['t1/d/y', 'three'],
      ['t2/d/z', 'four'],
      ['tree/kept', 'k'],
      ['tree/left.o', 'l'],
      ['tree/.sendallignore', '*.o\n.sendallignore\n'],
    ] as const) {
      mkdirSync(path.join(directory, path.dirname(name)), { recursive: true });
      writeFileSync(path.join(directory, name), content);
    }
    mkdirSync(path.join(directory, 'in'), { mode: 0o755 });
    receiver = new SendallProcess(['receive', 'in', '--listen', '127.0.0.1:0', '--if-exists', 'replace', '--json'], {
      cwd: directory,
    });
    ticket = await ticketOf(receiver);
    address = (await receiver.says(/"address":"(tcp:[^"]+)"/))[1] ?? '';
  });
  after(async () => {
    receiver.child.kill('SIGKILL');
    await receiver.ended;
    rmSync(directory, { recursive: true });
  });
  const received = (name: string): string => readFileSync(path.join(directory, 'in', name), 'utf8');
  const failed = (ended: Ended): unknown[] =>
    eventsOf(ended).flatMap((event) => (event.event === 'failed' ? [[event.file_name, event.code]] : []));

  for (const wire of ['plain wire', 'session'] as const) {
    it(`${wire}: the second is named and fails, with exit code 8, and the first stays`, async () => {
      const ended = await sendall(
        ['send', 'd1/x', 'd2/x', 't1/d', 't2/d', wire === 'session' ? ticket : address, '--json'],
        { cwd: directory },
      );
      expect(failed(ended)).to.deep.equal([
        ['x', 'name'],
        ['d', 'name'],
      ]);
      expect(ended.code).to.equal(8);
      expect([received('x'), received('d/y')]).to.deep.equal(['one', 'three']);
      expect(readdirSync(path.join(directory, 'in/d'))).to.deep.equal(['y']);
    });
  }

  it('a receiver refuses the later of two files of one name on a plain connection; one that was not stored may come again', async () => {
    const frame = (name: string, content: string, md5 = createHash('md5').update(content).digest('hex')): Buffer =>
      Buffer.concat([encodeFrame({ file_name: name, file_size: content.length, md5 }), Buffer.from(content)]);
    await dialRaw(address, Buffer.concat([frame('twice', 'first'), frame('twice', 'second'), frame('last', 'l')]));
    await receiver.says(/"event":"received",.*"file_name":"last"/);
    expect(received('twice')).to.equal('first');
    await receiver.says(/"event":"failed",.*"file_name":"twice","code":"name"/);
    await dialRaw(address, Buffer.concat([frame('again', 'damaged', '0'.repeat(32)), frame('other', 'o')]));
    await receiver.says(/"event":"failed",.*"file_name":"again","code":"mismatch"/);
    await dialRaw(address, frame('again', 'good'));
    await receiver.says(/"event":"received",.*"file_name":"again"/);
  });

  it('a backup of two paths of one name: said before anything moves, with exit code 2', async () => {
    for (const target of [ticket, path.join(directory, 'in')]) {
      const ended = await sendall(
        ['backup', 'd1/x', 'd2/x', ...(target === ticket ? [target] : [target]), '--name', 'b'],
        { cwd: directory },
      );
      expect(ended.code).to.equal(2);
      expect(ended.stderr).to.contain('Both d1/x and d2/x would be called "x"');
    }
    expect(readdirSync(path.join(directory, 'in'))).not.to.include('b');
  });

  it('the plain wire leaves out what .sendallignore says, as a session does', async () => {
    expect((await sendall(['send', 'tree', address], { cwd: directory })).code).to.equal(0);
    expect(readdirSync(path.join(directory, 'in/tree'))).to.deep.equal(['kept']);
  });

  it('a name on the command line that is not UTF-8 is found, whatever a receiver thinks of it', function () {
    if (process.platform !== 'linux') skipTest(this, 'it is about Linux');
    const name = Buffer.from('caf\xe9', 'latin1');
    writeFileSync(Buffer.concat([Buffer.from(`${directory}/`), name]), 'x');
    // The shell hands over bytes, which Node cannot.
    const run = `${process.execPath} ${path.join(__dirname, '../../dist/cli/main.js')} send $'caf\\xe9' ${address} --json; exit 0`;
    const stdout = execFileSync('bash', ['-c', run], {
      cwd: directory,
      encoding: 'utf8',
      env: { ...process.env, XDG_CONFIG_HOME: '/nonexistent', XDG_CACHE_HOME: directory },
    });
    expect(stdout).to.contain('caf\\udce9').and.not.to.contain('does not exist');
    const { message, hint } = lastOf(eventsOf({ code: 0, stdout, stderr: '' }), 'failed');
    expect({ message, hint }).to.deep.equal({
      message: 'The name "caf\\udce9" contains the byte E9, which is no UTF-8.',
      hint: 'With a ticket every name goes, unless the receiver has --names portable; or rename it on the sending side.',
    });
  });
});
