import { expect } from 'chai';
import net from 'node:net';
import { converse, type Conversation, encodeFrame, serve, type Serving, TransferError } from '../../lib/index';

/** Holds `talk` with a peer that does what `script` says with its raw socket; returns what came of it. */
async function against<T>(
  script: (socket: net.Socket) => void,
  talk: (conversation: Conversation) => Promise<T>,
  patience = 200,
): Promise<T | TransferError> {
  const sockets: net.Socket[] = [];
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket.on('error', () => undefined));
    script(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await converse(`tcp://127.0.0.1:${(server.address() as net.AddressInfo).port}`, talk, { patience });
  } catch (error) {
    if (error instanceof TransferError) return error;
    throw error;
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

const frame = (header: object, payload = ''): Buffer => Buffer.concat([encodeFrame(header), Buffer.from(payload)]);

describe('a conversation', () => {
  it('receives at most as much as asked for, and nothing once the peer has finished', async () => {
    const heard = await against(
      (socket) => socket.end('abcde'),
      async (peer) => [await peer.receive(2), await peer.receive(9), await peer.receive(9)].map(String),
    );
    expect(heard).to.deep.equal(['ab', 'cde', '']);
  });

  it('reads exactly as much as asked for, from pieces of any size', async () => {
    const script = (socket: net.Socket): void =>
      [...'abcdef'].forEach((sign, n) => setTimeout(() => socket.write(sign), n * 5));
    expect(
      await against(script, async (peer) => [await peer.read(4), await peer.read(0), await peer.read(2)].map(String)),
    ).to.deep.equal(['abcd', '', 'ef']);
  });

  it('reads messages that arrive stuck together, one by one, with and without a payload', async () => {
    const heard = await against(
      (socket) =>
        socket.end(
          Buffer.concat([frame({ n: 1, data_size: 3 }, 'abc'), frame({ n: 2 }), frame({ n: 3, data_size: 0 })]),
        ),
      async (peer) => [
        await peer.readMessage(9),
        await peer.readMessage(9),
        await peer.readMessage(9),
        await peer.readMessage(9),
      ],
    );
    expect(heard).to.deep.equal([
      { header: { n: 1, data_size: 3 }, payload: Buffer.from('abc') },
      { header: { n: 2 }, payload: Buffer.alloc(0) },
      { header: { n: 3, data_size: 0 }, payload: Buffer.alloc(0) },
      undefined,
    ]);
  });

  const refused: readonly [
    what: string,
    script: (socket: net.Socket) => void,
    talk: (peer: Conversation) => Promise<unknown>,
    code: string,
    message: RegExp,
  ][] = [
    ['a negative length', () => undefined, (peer) => peer.read(-5, 10), 'bad-frame', /-5 bytes; from 0 to 10/],
    [
      'a length above the cap, before anything is allocated',
      () => undefined,
      (peer) => peer.read(2 ** 50, 10),
      'bad-frame',
      /1125899906842624 bytes/,
    ],
    ['a length that is no number', () => undefined, (peer) => peer.read(NaN, 10), 'bad-frame', /NaN bytes/],
    [
      'a data_size above the cap',
      (socket) => socket.write(frame({ data_size: 11 })),
      (peer) => peer.readMessage(10),
      'bad-frame',
      /11 bytes; from 0 to 10/,
    ],
    [
      'a data_size that is negative',
      (socket) => socket.write(frame({ data_size: -1 })),
      (peer) => peer.readMessage(10),
      'bad-frame',
      /-1 bytes/,
    ],
    [
      'a data_size that is no number',
      (socket) => socket.write(frame({ data_size: '3' })),
      (peer) => peer.readMessage(10),
      'bad-header',
      /"3", not a number/,
    ],
    [
      'a text without an end in sight',
      (socket) => socket.write('x'.repeat(99)),
      (peer) => peer.readToEnd(98),
      'bad-frame',
      /more than the 98 bytes/,
    ],
    [
      'an end in the middle of bytes',
      (socket) => socket.end('ab'),
      (peer) => peer.read(3),
      'connection-lost',
      /after 2 of 3 bytes/,
    ],
    [
      'an end in the middle of a payload',
      (socket) => socket.end(frame({ data_size: 3 }, 'ab')),
      (peer) => peer.readMessage(9),
      'connection-lost',
      /after 2 of 3 bytes/,
    ],
    [
      'an end in the middle of a header',
      (socket) => socket.end(frame({ a: 1 }).subarray(0, 6)),
      (peer) => peer.readMessage(9),
      'bad-frame',
      /connection ended after 2/,
    ],
    [
      'an end in place of an answer',
      (socket) => socket.end(),
      (peer) => peer.readAnswer(9),
      'connection-lost',
      /closed without an answer/,
    ],
    [
      'an end in place of bytes',
      (socket) => socket.end(),
      (peer) => peer.receiveAnswer(9),
      'connection-lost',
      /closed without an answer/,
    ],
    ['silence in place of bytes', () => undefined, (peer) => peer.receive(9), 'timeout', /within 0\.2 s/],
    ['silence in place of a message', () => undefined, (peer) => peer.readMessage(9), 'timeout', /in time/],
    [
      'silence in the middle of a header that one could wait for',
      (socket) => socket.write('\x09'),
      (peer) => peer.readMessage(9, { idle: true }),
      'timeout',
      /in time/,
    ],
    [
      'silence in the middle of a payload',
      (socket) => socket.write(frame({ data_size: 3 }, 'a')),
      (peer) => peer.readMessage(9),
      'timeout',
      /within 0\.2 s/,
    ],
    [
      'a peer that dribbles',
      (socket) => void setInterval(() => socket.write('x'), 50).unref(),
      (peer) => peer.read(100),
      'timeout',
      /within 0\.2 s/,
    ],
    [
      'a peer that dribbles a text',
      (socket) => void setInterval(() => socket.write('x'), 50).unref(),
      (peer) => peer.readToEnd(100),
      'timeout',
      /within 0\.2 s/,
    ],
    [
      'a peer that does not read',
      (socket) => void socket.pause(),
      (peer) => peer.send(Buffer.alloc(40_000_000)),
      'timeout',
      /did not take/,
    ],
  ];
  for (const [what, script, talk, code, message] of refused) {
    it(`ends at ${what} with ${code}`, async () => {
      const error = await against(script, talk);
      expect(error).to.be.instanceOf(TransferError).and.include({ code });
      expect((error as TransferError).message).to.match(message);
    });
  }

  it('waits for the beginning of a message as long as it takes where idling is fine', async () => {
    const script = (socket: net.Socket): void => void setTimeout(() => socket.write(frame({ n: 1 })), 400);
    expect(await against(script, async (peer) => (await peer.readMessage(9, { idle: true }))?.header)).to.deep.equal({
      n: 1,
    });
  });

  it('gives both ends the same names for both ends', async () => {
    let serving: Serving | undefined;
    const names = await new Promise<readonly string[]>((resolve, reject) => {
      const talk = async (peer: Conversation): Promise<void> => peer.sendMessage({ own: peer.own, peer: peer.peer });
      serve('127.0.0.1:0', talk)
        .then((server) =>
          converse((serving = server).address, async (peer) => [
            peer.own,
            peer.peer,
            ...Object.values((await peer.readAnswer(0)).header).map(String),
          ]),
        )
        .then(resolve, reject);
    });
    await serving?.close();
    expect([names[3], names[2]]).to.deep.equal([names[0], names[1]]);
    expect(names[1]).to.equal(serving?.address);
  });
});
