import net from 'node:net';
import { once } from 'node:events';
import { expect } from 'chai';
import { encodeFrame } from '../../lib/wire/frame';
import { freshLength } from '../../lib/wire/record';
import { sealedHello } from '../../lib/wire/sealed-hello';
import { Connection } from '../../lib/net/connection';
import { listen } from '../../lib/net/socket';
import { SealedArrivals } from '../../lib/session/sealed-arrivals';
import { answerSealed, dialSealed, readSealedHello } from '../../lib/session/sealed-opening';
import { SealedSending } from '../../lib/session/sealed-sending';
import { digestOf, digestOfFile, MiB, noise, Pair, succeeded, withoutSealed, withSealed } from './pair';

const size = 24 * MiB + 4321;
const content = noise(size);

describe('sealed connections', function () {
  withSealed();
  // Each of their threads compiles what it runs.
  this.timeout(60_000);
  let pair: Pair;
  beforeEach(async () => {
    pair = await Pair.make({ large: content });
  });
  afterEach(() => pair.close());

  const expectThere = async (): Promise<void> => {
    expect(await digestOfFile(`${pair.to.place}/large`)).to.equal(digestOf(content));
  };

  it('carry large files where both sides can, beside a connection 0 that rests', async () => {
    const relay = await pair.relay();
    const { files } = succeeded(await pair.send(['large'], { relay, connections: 3 }));
    await expectThere();
    expect(files.map(({ file_size }) => file_size)).to.deep.equal([size]);
    expect(relay.lines).to.have.lengthOf(4);
    expect(relay.there).to.be.within(size, size + 2 * MiB);
    expect(relay.lines[0]?.bytes.there).to.be.below(8 * MiB);
    expect(files[0]?.bytes_on_wire).to.be.within(size, size + 64 * 1024);
  });

  it('are made without being asked for once there is much to send, and not for little', async () => {
    const relay = await pair.relay();
    succeeded(await pair.send(['large'], { relay }));
    await expectThere();
    expect(relay.lines.length).to.be.within(2, 4);
    const little = await Pair.make({ small: noise(MiB) });
    try {
      const way = await little.relay();
      succeeded(await little.send(['small'], { relay: way }));
      expect(way.lines).to.have.lengthOf(1);
    } finally {
      await little.close();
    }
  });

  for (const what of ['flip', 'reset', 'end'] as const) {
    it(`that are disturbed by a ${what} end, and what they carried goes again on another one`, async () => {
      const relay = await pair.relay();
      // Slow enough that a busy receiver has said what it took: what was not said goes again.
      const running = pair.send(['large'], { relay, connections: 2, limit: 20 * MiB });
      await relay.until(() => relay.lines.length >= 3 && (relay.lines[2]?.bytes.there ?? 0) > MiB);
      relay.lines[2]?.set({ direction: 'there', at: (relay.lines[2]?.bytes.there ?? 0) + 200_000, what });
      succeeded(await running);
      await expectThere();
      expect(relay.lines.length).to.be.at.least(4);
      expect(relay.there).to.be.below(size + 8 * MiB);
    });
  }

  it('are answered to nobody who names no session, and to nobody who has no secret', async () => {
    const dialed = async (bytes: Uint8Array): Promise<Buffer> => {
      const socket = net.connect(pair.to.port, '127.0.0.1');
      const heard: Buffer[] = [];
      socket.on('data', (some: Buffer) => heard.push(some));
      socket.on('error', () => undefined); // a reset is as good an end
      socket.write(bytes);
      await once(socket, 'close');
      return Buffer.concat(heard);
    };
    const hello = {
      session: 'ab'.repeat(16),
      connection: 1,
      suite: 'aes-256-gcm',
      fresh: Buffer.alloc(freshLength),
    } as const;
    expect(await dialed(encodeFrame(sealedHello(hello)))).to.have.lengthOf(0);
    // One of a session that runs: the session id can be seen on the way.
    const relay = await pair.relay();
    const running = pair.send(['large'], { relay, connections: 1, limit: 12 * MiB });
    await relay.until(() => relay.lines.length > 1 && (relay.lines[1]?.bytes.there ?? 0) > MiB);
    const session = /"session":"([0-9a-f]{32})"/.exec(relay.lines[1]?.begins.toString('latin1') ?? '')?.[1] ?? '';
    const answer = await dialed(
      Buffer.concat([encodeFrame(sealedHello({ ...hello, session, connection: 9 })), noise(47)]),
    );
    expect(answer.toString('latin1')).to.match(/^.\0\0\0{"type":"sealed","nonce":"[0-9a-f]{64}"}$/s);
    succeeded(await running);
    await expectThere();
  });
});

describe('the sending end of a sealed connection', () => {
  withSealed();

  // Each had waited for its next look at heartbeats, half a second on average.
  for (const how of ['when it is closed', 'when both sides have finished'] as const)
    it(`ends at once ${how}`, async () => {
      const basis = { session: 'ab'.repeat(16), secret: Buffer.alloc(32, 7) };
      const answered: Promise<SealedArrivals>[] = [];
      const listening = await listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, ({ stream, peer }) => {
        const connection = new Connection(stream, peer);
        answered.push(
          readSealedHello(connection)
            .then((hello) => answerSealed(connection, hello, basis))
            .then((sealed) => new SealedArrivals(sealed)),
        );
      });
      try {
        let took = 0;
        for (let number = 1; number <= 8; number++) {
          const sending = new SealedSending(await dialSealed(listening.address, basis, 'aes-256-gcm', number, {}));
          const arrivals = await answered[number - 1];
          await sending.send({ type: 'heartbeat' });
          const began = performance.now();
          if (how === 'when it is closed') sending.close();
          else await sending.finish();
          await Promise.all([sending.ended(), arrivals?.closed]);
          took += performance.now() - began;
        }
        expect(took).to.be.below(2_000);
      } finally {
        await listening.close();
      }
    });
});

describe('a session without sealed connections', function () {
  this.timeout(60_000);
  withoutSealed();

  it('carries the same over TLS', async () => {
    const pair = await Pair.make({ large: content });
    try {
      const relay = await pair.relay();
      succeeded(await pair.send(['large'], { relay, connections: 2 }));
      expect(await digestOfFile(`${pair.to.place}/large`)).to.equal(digestOf(content));
      expect(relay.lines).to.have.lengthOf(2);
      expect(relay.lines.map(({ begins }) => begins[0])).to.deep.equal([0x16, 0x16]);
    } finally {
      await pair.close();
    }
  });
});
