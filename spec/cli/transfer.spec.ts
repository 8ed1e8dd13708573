import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  statSync,
} from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { encodeFrame } from '../../lib/index';
import { dialRaw } from './raw-peer';
import { eventsOf, sendall, SendallProcess } from './sendall-process';

describe('cli: sending and receiving with the built command', () => {
  let directory: string;
  let options: { cwd: string };
  const processes: SendallProcess[] = [];

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sendall-cli-'));
    options = { cwd: directory };
    mkdirSync(join(directory, 'in'), { mode: 0o755 });
    chmodSync(join(directory, 'in'), 0o755);
    writeFileSync(join(directory, 'a.txt'), 'hello\n');
  });

  afterEach(async () => {
    for (const { child, ended } of processes.splice(0)) {
      child.kill('SIGKILL');
      await ended;
    }
    rmSync(directory, { recursive: true });
  });

  function start(...words: string[]): SendallProcess {
    const started = new SendallProcess(words, options);
    processes.push(started);
    return started;
  }

  const received = (name: string): string => readFileSync(join(directory, 'in', name), 'utf8');

  it('prints where it listens and the line to paste, which then works', async () => {
    const receiver = start('receive', 'in', '--listen', '127.0.0.1:0');
    const [, words = ''] = await receiver.says(/^ {4}sendall (send FILE tcp:\/\/127\.0\.0\.1:\d+)$/m);
    const sent = await sendall(words.replace('FILE', 'a.txt').split(' '), options);
    expect(sent.code).to.equal(0);
    expect(sent.stdout).to.match(
      /^a\.txt {2}6 B {2}md5 b1946ac92492d234… {2}verified (on device|\(page cache only\)) {2}/,
    );
    expect(sent.stdout.split('\n')).to.have.length(2);
    expect(sent.stderr).to.equal('');
    expect(received('a.txt')).to.equal('hello\n');
    receiver.child.kill('SIGINT');
    const { code, stdout, stderr } = await receiver.ended;
    expect(code).to.equal(130);
    expect(stdout).to.match(/^a\.txt {2}6 B .*verified [^\n]*\n$/);
    expect(stderr).to.match(
      /^Receiving into [^\n]*\/in\.\nListening on tcp:\/\/127\.0\.0\.1:\d+\.[^]*\nsendall: Stopping\.[^\n]*\n$/,
    );
  });

  it('does not say that it receives into what is no receive directory', async () => {
    const { code, stdout, stderr } = await sendall(['receive', 'a.txt', '--listen', '127.0.0.1:0'], options);
    expect({ code, stdout }).to.deep.equal({ code: 2, stdout: '' });
    expect(stderr).to.match(/^sendall: a\.txt is not a directory\.\nhint: /);
  });

  it('ends with the exit code of the transfer with --once', async () => {
    const first = start('receive', 'in', '--once', '--listen', '127.0.0.1:0');
    expect((await sendall(['send', 'a.txt', await first.address()], options)).code).to.equal(0);
    expect(await first.ended).to.include({ code: 0 });
    writeFileSync(join(directory, 'a.txt'), 'other\n');
    const second = start('receive', 'in', '--once', '--listen', '127.0.0.1:0');
    const refused = await sendall(['send', 'a.txt', await second.address()], options);
    expect(refused).to.include({ code: 6, stdout: '' });
    expect(refused.stderr).to.match(/^sendall: .*a\.txt.*\nhint: .*--if-exists.*\n$/);
    expect(await second.ended).to.include({ code: 6, stdout: '' });
    expect(received('a.txt')).to.equal('hello\n');
  });

  it('says 4 to a receiver that gets something else than announced', async () => {
    const receiver = start('receive', 'in', '--once', '--listen', '127.0.0.1:0');
    const header = encodeFrame({ file_name: 'x', file_size: 1, md5: '8f6fbf8347faa4924a76856701edb0f3' });
    await dialRaw(await receiver.address(), Buffer.concat([header, Buffer.from('x')]));
    const { code, stdout, stderr } = await receiver.ended;
    expect({ code, stdout }).to.deep.equal({ code: 4, stdout: '' });
    expect(stderr)
      .to.include('sendall: ')
      .and.not.match(/verified/);
    expect(readdirSync(join(directory, 'in')).filter((name) => name !== '.sendall')).to.deep.equal([]);
  });

  it('lets the receiver dial a sender that listens, over TCP and over a unix socket', async () => {
    for (const where of ['127.0.0.1:0', 'unix:s.sock']) {
      const sender = start('send', 'a.txt', '--listen', where, '--plain');
      const [, words = ''] = await sender.says(/^ {4}sendall (receive --from (?!sendall:)\S+)$/m);
      const receiver = await sendall([...words.split(' '), 'in', '--if-exists', 'replace'], options);
      expect(receiver.code).to.equal(0);
      expect(receiver.stdout).to.match(/^a\.txt .*verified/);
      expect(await sender.ended).to.include({ code: 0 });
    }
    expect(received('a.txt')).to.equal('hello\n');
  });

  it('sends standard input under a name, a directory without what is excluded, and sums up', async () => {
    const receiver = start('receive', 'in', '--listen', '127.0.0.1:0');
    const target = await receiver.address();
    expect(
      (await sendall(['send', '-', '--name', 'dump.sql', target], { ...options, input: 'select 1;' })).code,
    ).to.equal(0);
    expect(received('dump.sql')).to.equal('select 1;');
    mkdirSync(join(directory, 'tree', 'deep'), { recursive: true });
    for (const name of ['one', 'two.tmp', 'deep/three']) writeFileSync(join(directory, 'tree', name), name);
    const tree = await sendall(['send', 'tree', '--exclude', '*.tmp', target], options);
    expect(tree.code).to.equal(0);
    expect(tree.stdout).to.match(/^tree\/\S+ {2}.*\ntree\/\S+ {2}.*\n2 files {2}/);
    expect(received('tree/deep/three')).to.equal('deep/three');
    expect(existsSync(join(directory, 'in', 'tree', 'two.tmp'))).to.equal(false);
  });

  it('says 8 when some of several fail, and 2 for a single one that is not there', async () => {
    const receiver = start('receive', 'in', '--listen', '127.0.0.1:0');
    const target = await receiver.address();
    const some = await sendall(['send', 'a.txt', 'missing', target], options);
    expect(some.code).to.equal(8);
    expect(some.stdout).to.match(/^a\.txt .*verified[^]*\n1 file .* 1 failed/);
    expect(some.stderr).to.match(/^sendall: .*missing/);
    expect(await sendall(['send', 'missing', target], options)).to.include({ code: 2, stdout: '' });
  });

  it('says 3 where nobody listens', async () => {
    const { code, stdout, stderr } = await sendall(['send', 'a.txt', 'unix:nobody.sock'], options);
    expect({ code, stdout }).to.deep.equal({ code: 3, stdout: '' });
    expect(stderr).to.match(/^sendall: .*\nhint: .*\n$/);
  });

  it('says 7, and never verified, to a receiver that takes everything and answers nothing', async () => {
    const server = await listening(createServer((socket) => void socket.resume().on('end', () => socket.end())));
    const { port } = server.address() as AddressInfo;
    const { code, stdout, stderr } = await sendall(['send', 'a.txt', `tcp://127.0.0.1:${port.toString()}`], options);
    server.close();
    expect(code).to.equal(7);
    expect(stdout + stderr)
      .to.match(/not confirmed/)
      .and.not.match(/verified|done/);
  });

  it('makes its directory for its owner alone, leaves none where it cannot listen, and refuses one that cannot be made as wrong usage', async () => {
    const receiver = start('receive', 'made', '--listen', '127.0.0.1:0');
    const address = await receiver.address();
    expect(statSync(join(directory, 'made')).mode & 0o777).to.equal(0o700);
    const taken = await sendall(['receive', 'other', '--listen', address.replace('tcp://', '')], options);
    expect(taken.code).to.equal(3);
    expect(existsSync(join(directory, 'other'))).to.equal(false);
    const { code, stderr } = await sendall(['receive', 'nowhere/in', '--listen', '127.0.0.1:0'], options);
    expect(code).to.equal(2);
    expect(stderr).to.match(/^sendall: .*nowhere/);
  });

  it('prints nothing but errors with --quiet', async () => {
    const receiver = start('receive', 'in', '--listen', 'unix:s.sock', '--quiet');
    const socket = join(directory, 's.sock');
    while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 20));
    expect(await sendall(['send', 'a.txt', 'unix:s.sock', '--quiet'], options)).to.deep.equal({
      code: 0,
      stdout: '',
      stderr: '',
    });
    const failed = await sendall(['--quiet', 'send', 'missing', 'unix:s.sock'], options);
    expect(failed).to.include({ code: 2, stdout: '' });
    expect(failed.stderr).to.match(/^sendall: /);
    receiver.child.kill('SIGTERM');
    const stderr = 'sendall: Stopping. Press Ctrl-C again to stop at once.\n';
    expect(await receiver.ended).to.deep.equal({ code: 130, stdout: '', stderr });
  });

  it('writes no escape sequence where there is no terminal, whatever the names are', async () => {
    const receiver = start('receive', 'in', '--listen', '127.0.0.1:0');
    writeFileSync(join(directory, '\u001b[31mred'), 'x');
    const { code, stdout, stderr } = await sendall(
      ['send', 'a.txt', '\u001b[31mred', await receiver.address()],
      options,
    );
    expect(code).to.equal(8);
    expect(stdout + stderr)
      .to.include('\\u001b')
      .and.not.include('\u001b');
  });

  it('takes defaults from a file, under those of the command line', async () => {
    const defaults = { json: true, receive: { listen: 'unix:from-file.sock', 'max-size': 3 } };
    writeFileSync(join(directory, 'sendall.json'), JSON.stringify(defaults));
    const receiver = start('receive', 'in', '--config', 'sendall.json', '--once');
    await receiver.says(/"event":"listening".*from-file\.sock/);
    const { code } = await sendall(['send', 'a.txt', 'unix:from-file.sock'], options);
    expect(code).to.equal(6);
    const ended = await receiver.ended;
    expect(eventsOf(ended).map(({ event }) => event)).to.include('failed');
    expect(ended.code).to.equal(6);
  });

  it('stops a sender with Ctrl-C in the middle: 130, and nothing is left on the other side', async () => {
    const receiver = start('receive', 'in', '--listen', '127.0.0.1:0');
    writeFileSync(join(directory, 'large'), Buffer.alloc(8 * 1024 ** 2));
    const sender = start('send', 'large', '--limit', '1M', '--json', await receiver.address());
    await sender.says(/"phase":"send"/);
    sender.child.kill('SIGINT');
    const { code, stdout, stderr } = await sender.ended;
    expect(code).to.equal(130);
    expect(stdout.match(/"code":"interrupted"/g)).to.have.length(1);
    expect(stderr).to.match(/^sendall: Stopping\.[^\n]*\n$/);
    await receiver.says(
      /large: The sender ended in the middle of the file: .*\nhint: Nothing of that file is stored: /,
    );
    receiver.child.kill('SIGINT');
    expect((await receiver.ended).code).to.equal(130);
    expect(readdirSync(join(directory, 'in'))).to.deep.equal([]);
  });

  it('stops a receiver with Ctrl-C in the middle: 130, and nothing is left', async () => {
    const receiver = start('receive', 'in', '--listen', '127.0.0.1:0');
    writeFileSync(join(directory, 'large'), Buffer.alloc(8 * 1024 ** 2));
    const sender = start('send', 'large', '--limit', '1M', '--json', await receiver.address());
    await sender.says(/"phase":"send"/);
    receiver.child.kill('SIGINT');
    const stopped = await receiver.ended;
    expect(stopped.code).to.equal(130);
    expect(stopped.stderr).to.match(/\nStopped in the middle of a file, of which nothing is stored\.\n$/);
    expect((await sender.ended).code).to.equal(3); // 130 would say that the sender itself was interrupted
    expect(readdirSync(join(directory, 'in'))).to.deep.equal([]);
  });

  it('receives all the same when nobody reads its results any more, and says so', async () => {
    const receiver = start('receive', 'in', '--once', '--json', '--listen', 'unix:s.sock');
    await receiver.says(/listening/);
    receiver.child.stdout?.destroy();
    const { code } = await sendall(['send', 'a.txt', 'unix:s.sock'], options);
    expect(code).to.equal(0);
    expect(await receiver.ended).to.include({
      code: 0,
      stderr: 'sendall: The results cannot be written any more: write EPIPE.\n',
    });
  });
});

function listening(server: Server): Promise<Server> {
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}
