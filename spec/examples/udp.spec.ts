import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { expect } from 'chai';
import { describeWithPython, Program } from './programs';

describe('the example udp', () => {
  afterEach(() => Program.killAll());

  describeWithPython('with Python', () => {
    it('sends datagrams that arrive one by one, in utf-8 and in gbk', async () => {
      for (const encoding of ['utf-8', 'gbk']) {
        const receiving = Program.python('udp.py', encoding, 'receive', 3);
        await Program.example(
          'udp',
          'send',
          '--port',
          await receiving.port(),
          '--encoding',
          encoding,
          'one',
          '你好',
          'three',
        ).succeeds();
        expect(await receiving.succeeds()).to.match(
          encoding === 'gbk'
            ? /\n3 'one'\n4 '\\u4f60\\u597d'\n5 'three'\n$/
            : /\n3 'one'\n6 '\\u4f60\\u597d'\n5 'three'\n$/,
        );
      }
    });

    it('receives datagrams one by one', async () => {
      const receiving = Program.example('udp', 'receive', '--count', 3, '--encoding', 'gbk');
      await Program.python('udp.py', 'gbk', 'send', await receiving.port(), 'one', '你好', '').succeeds();
      expect(await receiving.succeeds()).to.match(/\n3 bytes: one\n4 bytes: 你好\n0 bytes: \n$/);
    });

    it('echoes each datagram for itself, and hi to hello', async () => {
      const port = await Program.example('udp', 'echo').port();
      expect(await Program.python('udp.py', 'utf-8', 'ask', port, 'hello', 'you', 'there').succeeds()).to.equal(
        "2 'hi'\n3 'you'\n5 'there'\n",
      );
    });

    it('asks an echo of Python', async () => {
      const port = await Program.python('udp.py', 'gbk', 'echo', 2).port();
      expect(
        await Program.example('udp', 'ask', '--port', port, '--encoding', 'gbk', 'hello', '你好').succeeds(),
      ).to.equal('2 bytes: hi\n4 bytes: 你好\n');
    });
  });

  it('ends in one line where nobody listens', async () => {
    await Program.example('udp', 'ask', '--port', 1, 'hello').fails(/Nothing listens there/);
  });

  it('ends in one line where nobody answers, or nothing comes', async () => {
    const mute = createSocket('udp4').bind(0, '127.0.0.1');
    await once(mute, 'listening');
    try {
      await Promise.all([
        Program.example('udp', 'ask', '--patience', 300, '--port', mute.address().port, 'hello').fails(
          /Nothing came within 0\.3 s/,
        ),
        Program.example('udp', 'receive', '--patience', 300, '--count', 1).fails(/Nothing came within 0\.3 s/),
      ]);
    } finally {
      mute.close();
    }
  });

  it('ends in one line where a datagram would be too long, or the port is in use', async () => {
    const port = await Program.example('udp', 'echo').port();
    await Program.example('udp', 'ask', '--port', port, 'x'.repeat(70_000)).fails(/too long for one datagram/);
    await Program.example('udp', 'echo', '--port', port).fails(/already in use/);
  });
});
