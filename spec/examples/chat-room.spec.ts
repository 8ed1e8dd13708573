import { expect } from 'chai';
import type net from 'node:net';
import { HeaderDecoder } from '../../lib/index';
import { badClient, badServer, closeBadPeers, frame, huge, negative } from './bad-peer';
import { describeWithPython, Program } from './programs';

/** The headers of all frames that come before the end. */
async function framesOf(socket: net.Socket): Promise<readonly object[]> {
  const frames: object[] = [];
  const decoder = new HeaderDecoder();
  for await (let bytes of socket as AsyncIterable<Buffer>) {
    while (bytes.length > 0) {
      bytes = bytes.subarray(decoder.push(bytes));
      if (decoder.header) {
        frames.push(decoder.header);
        decoder.reset();
      }
    }
  }
  return frames;
}

describe('the example chat-room', () => {
  afterEach(closeBadPeers);
  afterEach(() => Program.killAll());

  it('lets everybody see every message, and who comes and goes', async () => {
    const port = await Program.example('chat-room', 'listen').port();
    const ann = Program.example('chat-room', 'join', '--port', port, '--name', 'ann');
    await ann.says(/\* ann joined\n/);
    const bob = Program.example('chat-room', 'join', '--port', port, '--name', 'bob');
    await ann.says(/\* bob joined\n/);
    bob.type('hello all\n');
    await Promise.all([ann.says(/^bob: hello all\n/m), bob.says(/^bob: hello all\n/m)]);
    bob.type('q\n');
    await bob.succeeds();
    await ann.says(/\* bob left\n/);
  });

  describeWithPython('with Python', () => {
    it('gives 20 members of Python every message while a slow reader never reads, and drops that one with a reason', async () => {
      const room = Program.example('chat-room', 'listen', '--queue', 80, '--patience', 8000);
      const port = await room.port();
      const slow = await badClient(port, frame({ type: 'join', name: 'slow' }));
      slow.pause();
      const watching = Program.example('chat-room', 'join', '--port', port, '--name', 'watching');
      await watching.says(/watching joined/);
      const crowd = Program.python('chat_room.py', 'crowd', port, 20, 600);
      await watching.says(/slow reads too slowly and was dropped/);
      const frames = framesOf(slow);
      expect(await crowd.succeeds()).to.equal('[600] 20\n');
      expect((await frames).at(-1)).to.deep.equal({ type: 'dropped', reason: 'slow reads too slowly and was dropped' });
      await room.says(/slow reads too slowly and was dropped/);
    });

    it('joins a room of Python', async () => {
      const port = await Program.python('chat_room.py', 'listen').port();
      const ann = Program.example('chat-room', 'join', '--port', port, '--name', 'ann');
      await ann.says(/\* ann joined\n/);
      ann.type('hello\n');
      await ann.says(/^ann: hello\n/m);
      ann.type('q\n');
      await ann.succeeds();
    });
  });

  it('closes the door with a reason to a name that is taken or is none, and stays open for others', async () => {
    const room = Program.example('chat-room', 'listen');
    const port = await room.port();
    const ann = Program.example('chat-room', 'join', '--port', port, '--name', 'ann');
    await ann.says(/ann joined/);
    await Program.example('chat-room', 'join', '--port', port, '--name', 'ann').fails(/this name is taken/);
    await Program.example('chat-room', 'join', '--port', port, '--name', '\x1b[2J').fails(
      /this name is taken, or is none/,
    );
    ann.type('still here\n');
    await ann.says(/ann: still here/);
  });

  it('says in one line each what is wrong with bad members, and serves on', async () => {
    const room = Program.example('chat-room', 'listen', '--patience', 300);
    const port = await room.port();
    await badClient(port, negative);
    await room.says(/header's length is -5/);
    await badClient(port, huge);
    await room.says(/header's length is 2147483647/);
    await badClient(port, frame({ type: 'join', name: 'x', data_size: -5 }));
    await room.says(/announced -5 bytes/);
    await badClient(port, frame({ type: 'join', name: 'x', data_size: 2 ** 40 }));
    await room.says(/announced 1099511627776 bytes/);
    await badClient(port, frame({ type: 'join', name: 'x' }).subarray(0, 9), 'closes');
    await room.says(/connection ended after/);
    await badClient(port, '');
    await room.says(/did not arrive in time/);
    const ann = Program.example('chat-room', 'join', '--port', port, '--name', 'ann');
    await ann.says(/ann joined/);
  });

  it('ends in one line where the room is none', async () => {
    const join = (port: number): Program =>
      Program.example('chat-room', 'join', '--patience', 300, '--name', 'ann', '--port', port);
    await join(await badServer('', 'closes')).fails(/closed without an answer/);
    await join(await badServer(frame({ type: 'notice', text: 'ann joined' }), 'closes')).fails(/room was closed/);
    await join(await badServer(negative)).fails(/header's length is -5/);
    await join(await badServer(huge)).fails(/header's length is 2147483647/);
    await join(await badServer('')).fails(/did not arrive in time/);
    const leaving = join(await badServer(frame({ type: 'notice', text: 'ann joined' })));
    leaving.type('q\n');
    await leaving.fails(/does not let go/);
  });
});
