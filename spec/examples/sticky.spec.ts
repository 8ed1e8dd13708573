import { expect } from 'chai';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { badClient, badServer, closeBadPeers, frame, huge, negative } from './bad-peer';
import { describeWithPython, Program } from './programs';

const cures = ['text', 'length', 'json'];

describe('the example sticky', () => {
  afterEach(closeBadPeers);
  afterEach(() => Program.killAll());

  it('shows the trap, the three cures, and what each costs in round trips', async () => {
    const said = await Program.example('sticky', 'show', '--delay', 200).succeeds();
    const answers = [...said.matchAll(/(long|short): (\d+) bytes, .*, round trips: (\d)/g)].map(([, ...found]) =>
      found.join(' '),
    );
    const whole = (trips: number): string[] => [`long 1892 ${trips}`, `short 6 ${trips}`];
    expect(answers).to.deep.equal(['long 1024 1', 'short 868 0', ...whole(2), ...whole(1), ...whole(1)]);
  });

  describeWithPython('with Python', () => {
    it('lets answers stick together for a client of Python with a bare recv, but not with a cure', async () => {
      const listening = (cure: string): Promise<number> =>
        Program.example('sticky', 'listen', '--delay', 5, '--cure', cure).port();
      const stuck = await Program.python(
        'sticky.py',
        'ask',
        'none',
        await listening('none'),
        'long',
        'short',
      ).succeeds();
      expect(stuck).to.match(/^long 1024 .*\nshort 868 .*500/);
      for (const cure of cures) {
        const whole = await Program.python('sticky.py', 'ask', cure, await listening(cure), 'long', 'short').succeeds();
        expect(whole, cure).to.equal("long 1892 '500\\n'\nshort 6 '2\\n3\\n'\n");
      }
    });

    it('gets stuck with a server of Python as well, and is cured', async () => {
      const ask = async (cure: string): Promise<string> => {
        const port = await Program.python('sticky.py', 'listen', cure).port();
        return Program.example('sticky', 'ask', '--cure', cure, '--port', port, 'long', 'short').succeeds();
      };
      expect(await ask('none')).to.match(/long: 1024 bytes.*\n.*short: 868 bytes.*500/);
      for (const cure of cures) expect(await ask(cure), cure).to.match(/long: 1892 bytes.*500.*\n.*short: 6 bytes/);
    });

    it('never sticks over UDP, but truncates, both ways round', async () => {
      const ours = await Program.example('sticky', 'listen-udp').port();
      expect(await Program.python('sticky.py', 'ask-udp', ours, 'long', 'short').succeeds()).to.equal(
        "long 1024 '283\\n'\nshort 6 '2\\n3\\n'\n",
      );
      const theirs = await Program.python('sticky.py', 'listen-udp').port();
      expect(await Program.example('sticky', 'ask-udp', '--port', theirs, 'long', 'short').succeeds()).to.match(
        /long: 1024 bytes.*283.*\n.*short: 6 bytes/,
      );
    });
  });

  it('ends in one line for lengths that are negative, huge or none, with each cure', async () => {
    const bad: readonly [cure: string, bytes: Uint8Array | string, line: RegExp][] = [
      ['text', '-5', /announced -5 bytes/],
      ['text', '99999999999', /announced 99999999999 bytes/],
      ['text', 'lots', /announced NaN bytes/],
      ['length', negative, /announced -5 bytes/],
      ['length', huge, /announced 2147483647 bytes/],
      ['json', negative, /header's length is -5/],
      ['json', frame({ data_size: -5 }), /announced -5 bytes/],
      ['json', frame({ data_size: 2 ** 40 }), /announced 1099511627776 bytes/],
      ['json', frame({ data_size: '5' }), /data_size is "5", not a number/],
    ];
    for (const [cure, bytes, line] of bad)
      await Program.example('sticky', 'ask', '--cure', cure, '--port', await badServer(bytes), 'long').fails(line);
  });

  it('ends in one line where the server closes early or never answers', async () => {
    const ask = (cure: string, port: number): Program =>
      Program.example('sticky', 'ask', '--patience', 300, '--cure', cure, '--port', port, 'long');
    for (const cure of ['none', ...cures])
      await ask(cure, await badServer('', 'closes')).fails(/closed (without an answer|after 0 of 4 bytes)/);
    await ask('length', await badServer(Buffer.from([9, 0, 0, 0, 1]), 'closes')).fails(/closed after 1 of 9 bytes/);
    const silent = await badServer('');
    await Promise.all(
      ['none', 'text', 'length', 'json'].map((cure) => ask(cure, silent).fails(/in time|within 0\.3 s/)),
    );
    const mute = createSocket('udp4').bind(0, '127.0.0.1');
    await once(mute, 'listening');
    await Program.example('sticky', 'ask-udp', '--patience', 300, '--port', mute.address().port, 'long').fails(
      /Nothing came/,
    );
    mute.close();
  });

  it('serves on after a client that closes early, keeps silent, or is never ready', async () => {
    const server = Program.example('sticky', 'listen', '--cure', 'text', '--patience', 300);
    const port = await server.port();
    await badClient(port, 'long', 'closes');
    await server.says(/not ready|connection was lost/);
    await badClient(port, '');
    await server.says(/within 0\.3 s/);
    await Program.example('sticky', 'ask', '--cure', 'text', '--port', port, 'long').succeeds();
    await Program.example('sticky', 'listen', '--cure', 'hope').fails(/--cure is one of json\|none\|text\|length/);
  });
});
