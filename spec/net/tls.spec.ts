import { rm } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { Connection } from '../../lib/net/connection';
import { createKey } from '../../lib/net/ticket';
import { beginsTls, dialSecured, type Secured } from '../../lib/net/tls';
import { temporaryDirectory } from '../receive/receive-directory';
import { bytes } from '../send/source-tree';
import { codeOf, dialTls, hear, SessionPort, Wiretap } from './session-port';

const mebibyte = 1024 * 1024;

describe('the first bytes of a connection', () => {
  for (const [shown, answer] of [
    [[], undefined],
    [[0x16], undefined],
    [[0x16, 0x03], undefined],
    [[0x16, 0x03, 0x01], true],
    [[0x16, 0x03, 0x03, 0x00, 0x00], true],
    [[0x16, 0x03, 0xff], true],
    [[0x16, 0x03, 0x00], false],
    [[0x16, 0x03, 0x00, 0x00], false],
    [[0x16, 0x02], false],
    [[0x16, 0x02, 0x01], false],
    [[0x15], false],
    [[0x00], false],
    [[0x80, 0x03, 0x01], false],
  ] as const) {
    it(`${Buffer.from(shown).toString('hex') || 'nothing yet'}: ${answer === undefined ? 'open' : answer ? 'TLS' : 'not TLS'}`, () => {
      expect(beginsTls(Uint8Array.from(shown))).to.equal(answer);
    });
  }
});

describe('a session', () => {
  const key = createKey();
  let port: SessionPort;
  let near: Secured;
  let far: Secured;
  beforeEach(async () => {
    port = await SessionPort.open(key);
    [near, far] = await Promise.all([dialSecured(port.ticket(key)), port.nextOpened()]);
  });
  afterEach(async () => {
    near.stream.destroy();
    await port.close();
  });

  it('opens between two who hold the same key, and each knows which, and who the other is', () => {
    expect([near.keyId, far.keyId]).to.deep.equal([key.id, key.id]);
    expect([near.local, far.local]).to.deep.equal([true, true]);
    expect(near.peer).to.equal(far.own);
    expect(far.peer).to.equal(near.own);
  });

  it('carries bytes in both directions at once', async () => {
    const [there, back] = [bytes(5 * mebibyte + 7, 3), bytes(3 * mebibyte + 1, 4)];
    const receive = async ({ stream }: Secured, size: number): Promise<Buffer> => {
      const memory = Buffer.alloc(size + 1);
      return memory.subarray(0, await stream.fill(memory));
    };
    const speak = async ({ stream }: Secured, content: Buffer): Promise<void> => {
      for (let at = 0; at < content.length; at += 300_000) await stream.write(content.subarray(at, at + 300_000));
      await stream.finish();
    };
    const [gotThere, gotBack] = await Promise.all([
      receive(far, there.length),
      receive(near, back.length),
      speak(near, there),
      speak(far, back),
    ]);
    expect(gotThere.equals(there)).to.equal(true);
    expect(gotBack.equals(back)).to.equal(true);
    expect([near.stream.atEnd, far.stream.atEnd]).to.deep.equal([true, true]);
  });

  it('carries small and large pieces that wait together, in their order', async () => {
    const sizes = [7, 100, 200_000, 65_536, 65_535, 1, 0, 300_000, 5];
    const pieces = Array.from({ length: 12 }, (_, at) => sizes.map((size) => bytes(size, at + 1)));
    const all = Buffer.concat(pieces.flat());
    const writing = Promise.all(pieces.map((each) => near.stream.write(...each)));
    const memory = Buffer.alloc(all.length);
    expect(await far.stream.fill(memory)).to.equal(all.length);
    await writing;
    expect(memory.equals(all)).to.equal(true);
  });

  it('counts what it carries, not what TLS adds', async () => {
    await near.stream.write(bytes(100_000));
    await hear(far, 100_000);
    expect([near.stream.bytesWritten, far.stream.bytesRead]).to.deep.equal([100_000, 100_000]);
  });

  it('half closed by either side, still carries what the other one says', async () => {
    for (const [first, second] of [
      [near, far],
      [far, near],
    ] as const) {
      if (!first.stream.closed) await first.stream.finish();
      while (await second.stream.more());
      if (second === far) await second.stream.write(bytes(mebibyte, 8), Buffer.from('last words'));
      if (second === far) expect((await hear(near, mebibyte + 10)).slice(-10)).to.equal('last words');
    }
    expect([near.stream.atEnd, far.stream.atEnd]).to.deep.equal([true, true]);
  });

  it('half closed while more of the peer is on its way, loses nothing of it', async () => {
    const content = bytes(400_000, 6);
    const writing = near.stream.write(content);
    await far.stream.more();
    const finished = far.stream.finish();
    const memory = Buffer.alloc(content.length);
    expect(await far.stream.fill(memory)).to.equal(content.length);
    expect(memory.equals(content)).to.equal(true);
    await Promise.all([writing, finished]);
    expect(await near.stream.more()).to.equal(false);
  });

  it('that lingers gets its last words through to a peer that is still sending', async () => {
    const sending = (async () => {
      for (;;) await near.stream.write(bytes(100_000));
    })().catch(() => undefined);
    await far.stream.more();
    const connection = new Connection(far.stream, far.peer);
    await connection.sendBytes(Buffer.from('refused'));
    const lingering = connection.linger();
    expect(await hear(near, 100)).to.equal('refused');
    near.stream.destroy();
    await Promise.all([sending, lingering]);
    expect(far.stream.closed).to.equal(true);
  });

  it('shows nothing of what it carries to who listens in', async () => {
    const tap = await Wiretap.before(port.number);
    const secret = await dialSecured({ ...key, address: tap.address });
    await secret.stream.write(Buffer.from('the plain text'));
    expect(await hear(await port.nextOpened(), 14)).to.equal('the plain text');
    const seen = Buffer.concat([...tap.toServer, ...tap.toClient]);
    for (const text of [Buffer.from('plain text'), Buffer.from(key.key)]) expect(seen.includes(text)).to.equal(false);
    expect(seen.includes(key.id), 'the id is no secret').to.equal(true);
    secret.stream.destroy();
    await tap.close();
  });

  it('of which one byte is changed on the way ends with connection-lost', async () => {
    let count = 0;
    const tap = await Wiretap.before(port.number, (bytes) => {
      count += bytes.length;
      if (count > 50_000) bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
      return bytes;
    });
    const secret = await dialSecured({ ...key, address: tap.address });
    const { stream } = await port.nextOpened();
    const writing = codeOf(secret.stream.write(bytes(200_000)));
    expect(await codeOf(stream.fill(new Uint8Array(200_000)))).to.equal('connection-lost');
    secret.stream.destroy();
    await writing;
    await tap.close();
  });

  it('can be held with any TLS 1.3 that takes such a key', async () => {
    const socket = dialTls(port.number, key);
    socket.write('ping');
    const secured = await port.nextOpened();
    expect(await hear(secured, 4)).to.equal('ping');
    await secured.stream.write(Buffer.from('pong'));
    expect(String(await new Promise((resolve) => socket.once('data', resolve)))).to.equal('pong');
    socket.destroy();
  });

  it('opens however the first bytes are cut', async () => {
    const socket = net.connect({ port: port.number, host: '127.0.0.1', noDelay: true });
    const cut = new Duplex({
      write: (bytes: Buffer, _encoding, taken) => {
        void (async () => {
          for (let at = 0; at < bytes.length; at += 7)
            await new Promise<void>((sent) => socket.write(bytes.subarray(at, at + 7), () => sent()));
          taken();
        })();
      },
      read: () => undefined,
    });
    socket.on('data', (bytes) => cut.push(bytes)).on('error', () => undefined);
    const peer = dialTls(port.number, key, { socket: cut });
    peer.write('in pieces');
    expect(await hear(await port.nextOpened(), 9)).to.equal('in pieces');
    peer.destroy();
    socket.destroy();
  });

  it('mixes a fresh secret into each key, so that a key stolen later does not open what was recorded', async () => {
    const tap = await Wiretap.before(port.number);
    (await dialSecured({ ...key, address: tap.address })).stream.destroy();
    await port.next();
    const [asked, answered] = [tap.toServer, tap.toClient].map((pieces) => Buffer.concat(pieces).toString('hex'));
    expect(asked, 'psk_key_exchange_modes: psk_dhe_ke alone').to.include('002d00020101');
    expect(answered, 'key_share: x25519, alone or with ML-KEM').to.match(/0033(?:0024001d0020|046411ec0460)/);
    await tap.close();
  });
});

describe('dialing a session', () => {
  const key = createKey();

  it('tells the round trip of the network, and over a unix socket none', async () => {
    const place = await temporaryDirectory();
    for (const where of ['127.0.0.1:0', '[::1]:0', `unix:${path.join(place, 's')}`]) {
      const port = await SessionPort.at(where, 5000, key);
      const { stream, rtt, peer } = await dialSecured(port.ticket(key));
      expect(rtt, peer)[where.startsWith('unix') ? 'equal' : 'above'](0).and.below(1000);
      await stream.write(Buffer.from('hello'));
      expect(await hear(await port.nextOpened(), 5)).to.equal('hello');
      stream.destroy();
      await port.close();
    }
    await rm(place, { recursive: true });
  });

  async function against(
    answer: (socket: net.Socket) => void,
    use: (address: { kind: 'tcp'; host: string; port: number }) => Promise<void>,
  ): Promise<void> {
    const sockets: net.Socket[] = [];
    const server = net.createServer((socket) => {
      sockets.push(socket.on('error', () => undefined));
      answer(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    await use({ kind: 'tcp', host: '127.0.0.1', port: (server.address() as net.AddressInfo).port });
    for (const socket of sockets) socket.destroy();
    server.close();
  }

  it('where nobody listens, or somebody who says nothing or hangs up: cannot-connect', async () => {
    expect(await codeOf(dialSecured({ ...key, address: { kind: 'tcp', host: '127.0.0.1', port: 1 } }))).to.equal(
      'cannot-connect',
    );
    await against(
      (socket) => socket.once('data', () => socket.end()),
      async (address) => {
        expect(await codeOf(dialSecured({ ...key, address }))).to.equal('cannot-connect');
      },
    );
    await against(
      (socket) => socket.resume(),
      async (address) => {
        const began = performance.now();
        expect(await codeOf(dialSecured({ ...key, address }, { timeout: 200 }))).to.equal('cannot-connect');
        expect(performance.now() - began).to.be.within(150, 2000);
      },
    );
  });

  it('somebody who answers something else: not-authorized', async () => {
    await against(
      (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'),
      async (address) => {
        expect(await codeOf(dialSecured({ ...key, address }))).to.equal('not-authorized');
      },
    );
  });

  it('an abort, before it dials or while the other side thinks: interrupted, and the connection is closed', async () => {
    let closed: Promise<unknown> = Promise.resolve();
    await against(
      (socket) => void (closed = new Promise((resolve) => socket.resume().once('close', resolve))),
      async (address) => {
        expect(await codeOf(dialSecured({ ...key, address }, { signal: AbortSignal.abort() }))).to.equal('interrupted');
        const abort = new AbortController();
        const dialing = codeOf(dialSecured({ ...key, address }, { signal: abort.signal }));
        await sleep(50);
        abort.abort();
        expect(await dialing).to.equal('interrupted');
        await closed;
      },
    );
  });
});
