import { expect } from 'chai';
import { createSocket } from 'node:dgram';
import { Datagrams, TransferError } from '../../lib/index';

const caught = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no failure',
    (error: unknown) => error,
  );

describe('datagrams', () => {
  const open: Datagrams[] = [];
  const keep = async (opening: Promise<Datagrams>): Promise<Datagrams> => {
    const socket = await opening;
    open.push(socket);
    return socket;
  };
  afterEach(() => open.splice(0).forEach((socket) => socket.close()));

  for (const host of ['127.0.0.1', '[::1]']) {
    it(`keep their boundaries and say where they come from, on ${host}`, async () => {
      const listening = await keep(Datagrams.bind(`${host}:0`));
      const dialed = await keep(Datagrams.dial(listening.address));
      for (const text of ['one', '', 'three']) await dialed.send(Buffer.from(text));
      const heard = [await listening.next(), await listening.next(), await listening.next()];
      expect(heard.map(({ bytes }) => String(bytes))).to.deep.equal(['one', '', 'three']);
      expect(heard.map(({ from }) => from)).to.deep.equal([dialed.address, dialed.address, dialed.address]);
      await listening.send(Buffer.from('answer'), dialed.address);
      expect(String((await dialed.next()).bytes)).to.equal('answer');
    });
  }

  it('lose what goes beyond the room that there is for one, and only that', async () => {
    const listening = await keep(Datagrams.bind('127.0.0.1:0'));
    const dialed = await keep(Datagrams.dial(listening.address));
    for (const text of ['long one', 'b']) await dialed.send(Buffer.from(text));
    expect(String((await listening.next({ most: 4 })).bytes)).to.equal('long');
    expect(String((await listening.next({ most: 4 })).bytes)).to.equal('b');
  });

  it('of strangers do not reach who dialed somebody else', async () => {
    const listening = await keep(Datagrams.bind('127.0.0.1:0'));
    const dialed = await keep(Datagrams.dial(listening.address));
    const stranger = createSocket('udp4');
    await new Promise((resolve) => stranger.send('boo', Number(dialed.address.split(':')[1]), '127.0.0.1', resolve));
    stranger.close();
    expect(await caught(dialed.next({ within: 100 }))).to.include({ code: 'timeout' });
  });

  it('can be waited for again after a timeout', async () => {
    const listening = await keep(Datagrams.bind('127.0.0.1:0'));
    expect(await caught(listening.next({ within: 30 })))
      .to.be.instanceOf(TransferError)
      .and.include({ code: 'timeout', message: 'Nothing came within 0.03 s.' });
    const dialed = await keep(Datagrams.dial(listening.address));
    await dialed.send(Buffer.from('late'));
    expect(String((await listening.next({ within: 5000 })).bytes)).to.equal('late');
  });

  it('say when nobody listens, the address is in use, or one is too long', async () => {
    const nobody = await Datagrams.bind('127.0.0.1:0');
    const { address } = nobody;
    nobody.close();
    const dialed = await keep(Datagrams.dial(address));
    await dialed.send(Buffer.from('x'));
    expect(await caught(dialed.next({ within: 5000 }))).to.include({
      code: 'cannot-connect',
      message: 'Nothing listens there.',
    });
    const listening = await keep(Datagrams.bind('127.0.0.1:0'));
    expect(await caught(Datagrams.bind(listening.address))).to.include({
      code: 'cannot-connect',
      message: 'The address is already in use.',
    });
    expect(await caught(listening.send(Buffer.alloc(70_000), listening.address))).to.include({ code: 'usage' });
    expect(await caught(listening.send(Buffer.alloc(1), 'unix:/x'))).to.include({ code: 'usage' });
  });
});
