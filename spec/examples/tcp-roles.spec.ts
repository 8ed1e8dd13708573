import { expect } from 'chai';
import { badClient, badServer, closeBadPeers } from './bad-peer';
import { describeWithPython, Program } from './programs';

const text = '你好, world';
const shown = ascii(text);

/** As Python's ascii() writes it. */
function ascii(plain: string): string {
  return `'${[...plain].map((sign) => (sign < '\x7f' ? sign : `\\u${sign.charCodeAt(0).toString(16)}`)).join('')}'`;
}

describe('the example tcp-roles', () => {
  afterEach(closeBadPeers);
  afterEach(() => Program.killAll());

  describeWithPython('with Python', () => {
    for (const [encoding, bytes] of [
      ['utf-8', 13],
      ['gbk', 11],
    ] as const) {
      it(`sends as a client, and as a server, in ${encoding}`, async () => {
        const receiving = Program.python('tcp_roles.py', encoding, 'server-receives');
        await Program.example(
          'tcp-roles',
          'client-sends',
          '--port',
          await receiving.port(),
          '--encoding',
          encoding,
          text,
        ).succeeds();
        expect(await receiving.succeeds())
          .to.match(/^listening on \d+\n/)
          .and.include(`\n${shown}\n`);
        const sending = Program.example('tcp-roles', 'server-sends', '--encoding', encoding, text);
        expect(
          await Program.python('tcp_roles.py', encoding, 'client-receives', await sending.port()).succeeds(),
        ).to.equal(`${shown}\n`);
        await sending.succeeds();
      });

      it(`receives as a client, and as a server, in ${encoding}`, async () => {
        const sending = Program.python('tcp_roles.py', encoding, 'server-sends', text);
        const line = `${bytes} bytes of ${encoding}: ${text}\n`;
        expect(
          await Program.example(
            'tcp-roles',
            'client-receives',
            '--port',
            await sending.port(),
            '--encoding',
            encoding,
          ).succeeds(),
        ).to.equal(line);
        const receiving = Program.example('tcp-roles', 'server-receives', '--encoding', encoding);
        await Program.python('tcp_roles.py', encoding, 'client-sends', await receiving.port(), text).succeeds();
        expect(await receiving.succeeds()).to.match(new RegExp(`\n${line}$`));
      });
    }
  });

  it('ends in one line where the peer closes without a word, whoever dialed', async () => {
    await Program.example('tcp-roles', 'client-receives', '--port', await badServer('', 'closes')).fails(
      /closed without a word/,
    );
    const receiving = Program.example('tcp-roles', 'server-receives');
    await badClient(await receiving.port(), '', 'closes');
    await receiving.fails(/closed without a word/);
  });

  it('ends in one line where the peer never ends, whoever speaks', async () => {
    const port = await badServer('');
    await Promise.all([
      Program.example('tcp-roles', 'client-receives', '--patience', 300, '--port', port).fails(/within 0\.3 s/),
      Program.example('tcp-roles', 'client-sends', '--patience', 300, '--port', port, 'hello').fails(/within 0\.3 s/),
    ]);
  });

  it('ends in one line where the text is endless', async () => {
    await Program.example('tcp-roles', 'client-receives', '--port', await badServer('x'.repeat(1_500_000))).fails(
      /more than the 1000000 bytes/,
    );
  });

  it('ends in one line where there is no such encoding', async () => {
    await Program.example('tcp-roles', 'server-receives', '--encoding', 'klingon').fails(/klingon/);
  });
});
