import { expect } from 'chai';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { badServer, closeBadPeers, frame, huge, negative } from './bad-peer';
import { describeWithPython, Program } from './programs';

describe('the example sockets', () => {
  let directory = '';

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sendall-sockets-'));
  });
  afterEach(closeBadPeers);
  afterEach(() => Program.killAll());
  afterEach(() => rmSync(directory, { recursive: true }));

  const code = async (address: string, ...words: readonly (string | number)[]): Promise<string> => {
    const { code: exit, stdout, stderr } = await Program.example('sockets', 'probe', address, ...words).ended;
    expect([exit, stderr]).to.deep.equal([stdout === 'OK\n' ? 0 : 1, '']);
    return stdout.trim();
  };

  it('shows unix sockets, IPv6 and IPv4, restarts at once, and the error codes of connect', async () => {
    const said = (await Program.example('sockets', 'show', '--patience', 500).succeeds()).trim().split('\n');
    expect(said).to.have.lengthOf(10);
    expect([said[2], said[5], said[8], said[9]]).to.deep.equal(['ENOENT', 'ECONNREFUSED', 'ECONNREFUSED', 'ETIMEDOUT']);
    for (const line of [said[0], said[3], said[6]]) {
      const [, own, asked, you, me] =
        /^I am (\S+) and asked (\S+); it says: you are (\S+), I am (\S+)$/.exec(line ?? '') ?? [];
      expect(me).to.equal(asked);
      if (!own?.startsWith('unix:')) expect(you).to.equal(own);
    }
  });

  describeWithPython('with Python', () => {
    it('agrees with a client of Python on the addresses of both ends', async () => {
      const path = `unix:${join(directory, 'ours')}`;
      await Program.example('sockets', 'listen', path).says(/listening/);
      const unix = Program.python('sockets.py', 'ask', path);
      expect(await unix.succeeds()).to.match(/ True\n$/); // a client on a unix socket has no name
      for (const host of ['::1', '127.0.0.1']) {
        const port = await Program.example('sockets', 'listen', host === '::1' ? '[::1]:0' : '127.0.0.1:0').port();
        expect(await Program.python('sockets.py', 'ask', host, port).succeeds()).to.equal('True True\n');
      }
    });

    it('agrees with a server of Python on the addresses of both ends', async () => {
      for (const host of ['::1', '127.0.0.1']) {
        const address = `${host === '::1' ? '[::1]' : host}:${await Program.python('sockets.py', 'listen', host, 0).port()}`;
        const said = await Program.example('sockets', 'ask', address).succeeds();
        const [, own, you, me] = /^I am (\S+) and .* you are (\S+), I am (\S+)\n$/.exec(said) ?? [];
        expect([you, me]).to.deep.equal([own, `tcp://${address}`]);
      }
      const path = `unix:${join(directory, 'theirs')}`;
      await Program.python('sockets.py', 'listen', path).says(/listening/);
      expect(await Program.example('sockets', 'ask', path).succeeds()).to.match(new RegExp(`I am ${path}\n$`));
    });

    it('gets an error code where connecting takes too long, is refused, or there is no such socket', async () => {
      const deaf = await Program.python('sockets.py', 'deaf').port();
      expect(await code(`127.0.0.1:${deaf}`, '--patience', 500)).to.equal('ETIMEDOUT');
      expect(await code('127.0.0.1:1')).to.equal('ECONNREFUSED');
      expect(await code(`unix:${join(directory, 'none')}`)).to.equal('ENOENT');
      expect(await code(`127.0.0.1:${await badServer('')}`)).to.equal('OK');
    });
  });

  it('restarts on the same port at once', async () => {
    const first = Program.example('sockets', 'listen', '127.0.0.1:0');
    const port = await first.port();
    await Program.example('sockets', 'ask', `127.0.0.1:${port}`).succeeds();
    first.kill();
    await first.ended;
    await Program.example('sockets', 'listen', `127.0.0.1:${port}`).says(/listening/);
    await Program.example('sockets', 'ask', `127.0.0.1:${port}`).succeeds();
  });

  it('ends in one line where the server is none, or the address is another machine', async () => {
    const ask = async (bytes: Uint8Array | string, then?: 'closes'): Promise<Program> =>
      Program.example('sockets', 'ask', '--patience', 300, `127.0.0.1:${await badServer(bytes, then)}`);
    await (await ask('', 'closes')).fails(/closed without an answer/);
    await (await ask(negative)).fails(/header's length is -5/);
    await (await ask(huge)).fails(/header's length is 2147483647/);
    await (await ask(frame({ data_size: 5 }))).fails(/announced 5 bytes/);
    await (await ask('')).fails(/did not arrive in time/);
    await Program.example('sockets', 'ask', '192.0.2.1:80').fails(/The address is unix:PATH/);
    await Program.example('sockets', 'listen', '0.0.0.0:0').fails(/The address is unix:PATH/);
  });
});
