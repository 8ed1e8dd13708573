import { expect } from 'chai';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { badClient, badServer, closeBadPeers, frame, huge, negative } from './bad-peer';
import { describeWithPython, Program } from './programs';

const node = process.execPath;
const commands = {
  both: [node, '-e', 'process.stdout.write("out"); process.stderr.write("err"); process.exitCode = 3'],
  stars: ['echo', '*', '$HOME', ';', 'ls'],
  endless: [node, '-e', 'setInterval(() => {}, 1000)'],
  chatty: [node, '-e', 'for (;;) process.stdout.write("x".repeat(65536))'],
  gone: ['/nonexistent/program'],
};

describe('the example remote-command', () => {
  let directory = '';
  let allow = '';

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sendall-remote-'));
    allow = join(directory, 'allow.json');
    writeFileSync(allow, JSON.stringify(commands), { mode: 0o600 });
  });
  afterEach(closeBadPeers);
  afterEach(() => Program.killAll());
  afterEach(() => rmSync(directory, { recursive: true }));

  const listen = (...words: readonly (string | number)[]): Program =>
    Program.example('remote-command', 'listen', '--allow', allow, ...words);
  const run = (port: number, name: string, ...words: readonly (string | number)[]): Program =>
    Program.example('remote-command', 'run', name, '--port', port, ...words);

  it('returns exit status and both streams', async () => {
    expect(await run(await listen().port(), 'both').ended).to.deep.equal({ code: 3, stdout: 'out', stderr: 'err' });
  });

  it('starts no shell', async () => {
    expect(await run(await listen().port(), 'stars').succeeds()).to.equal('* $HOME ; ls\n');
  });

  it('runs nothing that is not on the list', async () => {
    const port = await listen().port();
    for (const name of ['ls', 'both; ls', '__proto__', ''])
      await run(port, name).fails(/did not end by itself: not on the list/);
  });

  it('stops what runs too long, writes too much, or is not there', async () => {
    const port = await listen('--seconds', 1, '--output', 100_000).port();
    await run(port, 'endless').fails(/did not end by itself: stopped after 1 s/);
    const { code, stdout, stderr } = await run(port, 'chatty').ended;
    expect([code, stdout.length]).to.deep.equal([1, 100_000]);
    expect(stderr).to.match(/did not end by itself: ERR_CHILD_PROCESS_STDIO_MAXBUFFER/);
    await run(port, 'gone').fails(/did not end by itself: ENOENT/);
  });

  describeWithPython('with Python', () => {
    it('serves a client of Python', async () => {
      const port = await listen().port();
      expect(await Program.python('remote_command.py', 'run', port, 'both').succeeds()).to.equal(
        "3 None b'out' b'err'\n",
      );
      expect(await Program.python('remote_command.py', 'run', port, 'ls').succeeds()).to.equal(
        "None not on the list b'' b''\n",
      );
    });

    it('asks a server of Python', async () => {
      const port = await Program.python('remote_command.py', 'listen').port();
      expect(await run(port, 'both').ended).to.deep.equal({ code: 3, stdout: 'out\n', stderr: 'err\n' });
    });
  });

  it('takes no list that others can write, or that is none', async () => {
    chmodSync(allow, 0o666);
    await listen().fails(/can be written by others/);
    chmodSync(allow, 0o600);
    writeFileSync(allow, '{"all": "rm -rf"}');
    await listen().fails(/"all" is not a list of words/);
    writeFileSync(allow, 'rm');
    await listen().fails(/JSON/);
  });

  it('says in one line each what is wrong with bad clients, and serves on', async () => {
    const server = listen('--patience', 300);
    const port = await server.port();
    const bad: readonly [bytes: Uint8Array, line: RegExp][] = [
      [negative, /header's length is -5/],
      [huge, /header's length is 2147483647/],
      [frame({ run: 'both', data_size: -5 }), /announced -5 bytes/],
      [frame({ run: 'both', data_size: 2 ** 40 }), /announced 1099511627776 bytes/],
      [frame({}).subarray(0, 5), /not arrive in time/],
    ];
    for (const [bytes, line] of bad) {
      await badClient(port, bytes);
      await server.says(line);
    }
    await run(port, 'stars').succeeds();
  });

  it('ends in one line where the server is none', async () => {
    const ask = async (bytes: Uint8Array | string, then?: 'closes'): Promise<Program> =>
      run(await badServer(bytes, then), 'both', '--patience', 300);
    await (await ask('', 'closes')).fails(/closed without an answer/);
    await (await ask(negative)).fails(/header's length is -5/);
    await (await ask(huge)).fails(/header's length is 2147483647/);
    await (await ask(frame({ data_size: -5 }))).fails(/announced -5 bytes/);
    await (await ask(frame({ data_size: 9 }, 'x'), 'closes')).fails(/closed after 1 of 9 bytes/);
    await (await ask(frame({ status: 0, stdout_size: 99, data_size: 1 }, 'x'))).fails(/makes no sense/);
    await (await ask('')).fails(/did not arrive in time/);
  });
});
