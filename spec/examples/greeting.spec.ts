import { expect } from 'chai';
import { badClient, badServer, closeBadPeers } from './bad-peer';
import { describeWithPython, Program } from './programs';

describe('the example greeting', () => {
  afterEach(closeBadPeers);
  afterEach(() => Program.killAll());

  describeWithPython('with Python', () => {
    it('greets a visitor of Python by address, and the next one too', async () => {
      const port = await Program.example('greeting', 'listen').port();
      for (let n = 0; n < 2; n += 1) {
        expect(await Program.python('greeting.py', 'visit', port).succeeds()).to.match(
          /^Hello, tcp:\/\/127\.0\.0\.1:\d+\. Good to see you\.\n$/,
        );
      }
    });

    it('visits a service of Python', async () => {
      const port = await Program.python('greeting.py', 'listen').port();
      expect(await Program.example('greeting', 'visit', '--port', port).succeeds()).to.match(
        /^Hello, 127\.0\.0\.1:\d+, from Python\.\n$/,
      );
    });
  });

  it('says what to do about an address that is already in use', async () => {
    const port = await Program.example('greeting', 'listen').port();
    await Program.example('greeting', 'listen', '--port', port).fails(/already in use.*choose another port/);
  });

  it('serves on after a visitor that closes at once', async () => {
    const service = Program.example('greeting', 'listen', '--backlog', 1);
    const port = await service.port();
    for (let n = 0; n < 3; n += 1) await badClient(port, '', 'closes');
    await Program.example('greeting', 'visit', '--port', port).succeeds();
  });

  it('ends in one line where nobody listens', async () => {
    await Program.example('greeting', 'visit', '--port', 1).fails(/nothing listens there/);
  });

  it('ends in one line where the service closes without a word', async () => {
    await Program.example('greeting', 'visit', '--port', await badServer('', 'closes')).fails(
      /closed without a greeting/,
    );
  });

  it('ends in one line where the service never ends its greeting', async () => {
    await Program.example('greeting', 'visit', '--patience', 300, '--port', await badServer('Hel')).fails(
      /within 0\.3 s/,
    );
  });

  it('ends in one line where the greeting is endless', async () => {
    await Program.example('greeting', 'visit', '--port', await badServer('x'.repeat(100_000))).fails(
      /more than the 1024 bytes/,
    );
  });

  it('says what is wrong with a command line', async () => {
    await Program.example('greeting', 'visit', '--port', '-5').fails(/--port/);
    await Program.example('greeting', 'wave').fails(/has the commands listen, visit/);
    await Program.example('nothing').fails(/no program nothing; there are chat-room/);
  });
});
