import { createSocket } from 'node:dgram';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeWithPython, Program } from './programs';

describe('the example chat-udp', () => {
  let directory = '';
  let book = '';
  const write = (names: object): void => writeFileSync(book, JSON.stringify(names));

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sendall-chat-'));
    book = join(directory, 'book.json');
    write({ ann: '127.0.0.1:0' });
  });
  afterEach(() => Program.killAll());
  afterEach(() => rmSync(directory, { recursive: true }));

  describeWithPython('with Python', () => {
    it('writes to nicknames and shows answers by nickname, in colour; q leaves', async () => {
      const bob = Program.python('chat_udp.py');
      write({ ann: '127.0.0.1:0', bob: `127.0.0.1:${await bob.port()}` });
      const ann = Program.example('chat-udp', 'chat', '--book', book, '--me', 'ann');
      await ann.port();
      ann.type('bob: hello\n');
      await bob.says(/^hello$/m);
      await ann.says(/\x1b\[36mbob: I heard hello\x1b\[39m\n/);
      ann.type('how are you\n');
      await ann.says(/bob: I heard how are you/);
      ann.type('bob: bye\n');
      await bob.succeeds();
      ann.type('q\n');
      await ann.succeeds();
    });
  });

  it('chats between two of ours, one of whom is added to the book while they chat', async () => {
    const ann = Program.example('chat-udp', 'chat', '--book', book, '--me', 'ann');
    const port = await ann.port();
    const otherBook = join(directory, 'other.json');
    writeFileSync(otherBook, JSON.stringify({ bob: '127.0.0.1:0', ann: `127.0.0.1:${port}` }));
    const bob = Program.example('chat-udp', 'chat', '--book', otherBook, '--me', 'bob');
    const bobsPort = await bob.port();
    bob.type('ann: here I am\n');
    await ann.says(new RegExp(`127\\.0\\.0\\.1:${bobsPort}: here I am`));
    write({ ann: '127.0.0.1:0', bob: `127.0.0.1:${bobsPort}` });
    ann.type('bob: I see\n');
    await bob.says(/ann: I see/);
    bob.type('good\n');
    await ann.says(/bob: good/);
  });

  it('shows no escape sequences of strangers', async () => {
    const ann = Program.example('chat-udp', 'chat', '--book', book, '--me', 'ann');
    const stranger = createSocket('udp4');
    stranger.send('\x1b[2Jboo', await ann.port(), '127.0.0.1');
    await ann.says(/\\x1b\[2Jboo|\\u001b\[2Jboo|\\u\{1b\}\[2Jboo/);
    stranger.close();
  });

  it('ends in one line for a name or a book that is not there, or is none', async () => {
    const ann = Program.example('chat-udp', 'chat', '--book', book, '--me', 'ann');
    await ann.port();
    ann.type('carl: hello\n');
    await ann.fails(/Nobody called "carl"/);
    await Program.example('chat-udp', 'chat', '--book', book, '--me', 'zoe').fails(/zoe is not in/);
    await Program.example('chat-udp', 'chat', '--book', join(directory, 'none'), '--me', 'ann').fails(
      /cannot be read as an address book/,
    );
    write({ ann: '192.0.2.1:99' });
    await Program.example('chat-udp', 'chat', '--book', book, '--me', 'ann').fails(/not 127\.0\.0\.1:PORT/);
  });
});
