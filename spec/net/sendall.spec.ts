import net from 'node:net';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import { sendall } from '../../lib/net/sendall';
import { bytes } from '../send/source-tree';

const mebibyte = 1024 * 1024;

async function connected(): Promise<{ socket: net.Socket; peer: net.Socket; close: () => void }> {
  const server = net.createServer({ pauseOnConnect: true });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const accepted = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
  const socket = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1').on('error', () => undefined);
  const peer = (await accepted).on('error', () => undefined);
  return {
    socket,
    peer,
    close: () => {
      socket.destroy();
      peer.destroy();
      server.close();
    },
  };
}

describe('sendall', () => {
  it('resolves only when the system has taken every byte: never while the other side does not read', async () => {
    const { socket, peer, close } = await connected();
    const content = bytes(64 * mebibyte);
    let resolved = false;
    const sending = sendall(socket, content).then(() => {
      resolved = true;
      expect(socket.writableLength, 'nothing is left in this process').to.equal(0);
    });
    await sleep(300);
    expect(resolved).to.equal(false);
    let got = 0;
    let atResolve = 0;
    peer.on('data', (piece) => {
      got += piece.length;
      if (!resolved) atResolve = got;
    });
    peer.resume();
    await sending;
    while (got < content.length) await sleep(1);
    expect(atResolve, 'most had been read by then').to.be.above(32 * mebibyte);
    close();
  });

  it('sends several pieces as one, in their order, and none at all', async () => {
    const { socket, peer, close } = await connected();
    await sendall(socket);
    await sendall(socket, Buffer.from('a'), Buffer.alloc(0), Buffer.from('bc'), Buffer.from('d'));
    const first = await new Promise((resolve) => peer.once('data', (piece) => resolve(String(piece))).resume());
    expect(first).to.equal('abcd');
    close();
  });

  it('leaves no listener behind, however often it is called', async () => {
    const { socket, peer, close } = await connected();
    peer.resume();
    const before = socket.listenerCount('close');
    for (let times = 0; times < 100; times++) await sendall(socket, Buffer.alloc(10));
    expect(socket.listenerCount('close')).to.equal(before);
    close();
  });

  for (const [how, end] of [
    ['is reset by the peer', ({ peer }: { peer: net.Socket }) => peer.resetAndDestroy()],
    ['is destroyed here', ({ socket }: { socket: net.Socket }) => socket.destroy()],
  ] as const) {
    it(`rejects with connection-lost when the stream ${how} before all is taken`, async () => {
      const all = await connected();
      const sending = sendall(all.socket, bytes(64 * mebibyte)).catch((error: unknown) => error);
      await sleep(50);
      end(all);
      expect(await sending)
        .to.be.instanceOf(TransferError)
        .and.include({ code: 'connection-lost' });
      expect(await sendall(all.socket, Buffer.alloc(1)).catch((error: unknown) => error)).to.include({
        code: 'connection-lost',
      });
      all.close();
    });
  }

  it('keeps the cause', async () => {
    const cause = new Error('the cable');
    const stream = new Writable({ write: (_piece, _encoding, callback) => callback(cause) }).on(
      'error',
      () => undefined,
    );
    const error: unknown = await sendall(stream, Buffer.alloc(1)).catch((thrown: unknown) => thrown);
    expect(error).to.include({ code: 'connection-lost', cause });
  });
});
