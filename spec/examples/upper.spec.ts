import { expect } from 'chai';
import { badClient, badServer, closeBadPeers, frame, huge, negative } from './bad-peer';
import { describeWithPython, Program } from './programs';

describe('the example upper', () => {
  afterEach(closeBadPeers);
  afterEach(() => Program.killAll());

  describeWithPython('with Python', () => {
    it('serves 100 clients of Python at once', async () => {
      const port = await Program.example('upper', 'listen').port();
      const said = await Program.python('upper.py', 'shout', port, 100, 'one', 'straße', '').succeeds();
      expect(said).to.equal("100 'ONE'\n100 'STRASSE'\n100 ''\n");
    });

    it('is 100 clients at once of a server of Python', async () => {
      const port = await Program.python('upper.py', 'listen').port();
      expect(
        await Program.example('upper', 'shout', '--clients', 100, '--port', port, 'one', 'straße').succeeds(),
      ).to.equal('100 × ONE STRASSE\n');
    });
  });

  it('says in one line each what is wrong with bad clients, and serves on', async () => {
    const server = Program.example('upper', 'listen', '--patience', 300);
    const port = await server.port();
    const bad: readonly [bytes: Uint8Array | string, line: RegExp][] = [
      [negative, /header's length is -5/],
      [huge, /header's length is 2147483647/],
      [frame({ data_size: -5 }), /announced -5 bytes/],
      [frame({ data_size: 65537 }), /announced 65537 bytes/],
      [frame({ data_size: 9 }, 'x'), /within 0\.3 s/],
      ['', /not arrive in time/],
    ];
    for (const [bytes, line] of bad) {
      await badClient(port, bytes);
      await server.says(line);
    }
    await badClient(port, frame({ data_size: 9 }, 'x'), 'closes');
    await server.says(/closed after 1 of 9 bytes/);
    expect(await Program.example('upper', 'shout', '--port', port, 'still', 'here').succeeds()).to.equal(
      '1 × STILL HERE\n',
    );
  });

  it('ends in one line where the server is none', async () => {
    const shout = async (bytes: Uint8Array | string, then?: 'closes'): Promise<Program> =>
      Program.example(
        'upper',
        'shout',
        '--patience',
        300,
        '--clients',
        3,
        '--port',
        await badServer(bytes, then),
        'hello',
      );
    await (await shout('', 'closes')).fails(/closed without an answer/);
    await (await shout(negative)).fails(/header's length is -5/);
    await (await shout(huge)).fails(/header's length is 2147483647/);
    await (await shout(frame({ data_size: -5 }))).fails(/announced -5 bytes/);
    await (await shout('')).fails(/did not arrive in time/);
  });
});
