import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { expect } from 'chai';
import { createKey } from '../../lib/net/ticket';
import { dialSecured, type Secured } from '../../lib/net/tls';
import { codeOf, dialTls, endOf, hear, SessionPort, Wiretap } from './session-port';

const record = (length: number, first: number): Buffer =>
  Buffer.from([0x16, 0x03, 0x01, length >> 8, length & 0xff, first]);

describe('a port of sessions', () => {
  const key = createKey();
  let port: SessionPort;
  let good: [Secured, Secured];
  beforeEach(async () => {
    port = await SessionPort.at('127.0.0.1:0', 1000, key);
    good = await Promise.all([dialSecured(port.ticket(key)), port.nextOpened()]);
  });
  afterEach(async () => {
    const [near, far] = good;
    await near.stream.write(Buffer.from('still'));
    expect(await hear(far, 5)).to.equal('still');
    await far.stream.write(Buffer.from('here'));
    expect(await hear(near, 4), 'a good session beside it is not disturbed').to.equal('here');
    near.stream.destroy();
    await port.close();
  });

  /** What the server says to who dials like that, byte for byte, and what the dialing side makes of it. */
  async function refused(dial: (tap: Wiretap) => Promise<unknown>): Promise<string> {
    const tap = await Wiretap.before(port.number);
    expect(await codeOf(dial(tap))).to.not.equal('no error');
    expect(await port.nextFailed()).to.equal('not-authorized');
    await tap.close();
    expect(port.opened).to.have.length(1);
    return Buffer.concat(tap.toClient).toString('hex');
  }

  it('refuses a wrong key, and the dialing side is told that it is one', async () => {
    const dialing = codeOf(dialSecured(port.ticket({ ...createKey(), id: key.id })));
    expect(await port.nextFailed()).to.equal('not-authorized');
    expect(await dialing).to.equal('not-authorized');
    expect(port.opened).to.have.length(1);
  });

  it('says the same bytes to a wrong key, an unknown id, a removed one and one that is no id', async () => {
    const said = new Set<string>();
    said.add(await refused((tap) => dialSecured({ ...createKey(), id: key.id, address: tap.address })));
    said.add(await refused((tap) => dialSecured({ ...createKey(), address: tap.address })));
    port.keys.delete(key.id);
    said.add(await refused((tap) => dialSecured({ ...key, address: tap.address })));
    for (const id of ['x', '__proto__', key.id.toUpperCase(), `${key.id}0`, '\u{1f512}'])
      said.add(await refused((tap) => dialSecured({ key: key.key, id, address: tap.address })));
    expect([...said]).to.have.length(1);
    expect([...said][0], 'one alert, and nothing before it').to.match(/^15030300020[12][0-9a-f]{2}$/);
  });

  it('asks for keys by well-formed ids only', async () => {
    for (const id of ['__proto__', key.id.toUpperCase(), `${key.id}\n`])
      await refused((tap) => dialSecured({ key: key.key, id, address: tap.address }));
    expect(port.asked).to.deep.equal([key.id]);
  });

  it('takes nobody any more whose key was removed, while sessions that are open go on', async () => {
    const before = await dialSecured(port.ticket(key));
    await port.nextOpened();
    port.keys.delete(key.id);
    expect(await codeOf(dialSecured(port.ticket(key)))).to.equal('not-authorized');
    expect(await port.nextFailed()).to.equal('not-authorized');
    await before.stream.write(Buffer.from('open'));
    expect(await hear(port.opened[1] ?? before, 4)).to.equal('open');
    before.stream.destroy();
  });

  it('takes no session ticket of an earlier connection in place of a key', async () => {
    const first = dialTls(port.number, key);
    const session = await new Promise<Buffer>((resolve) => first.once('session', resolve));
    await port.nextOpened();
    first.destroy();
    port.keys.delete(key.id);
    const second = dialTls(port.number, createKey(), { session });
    expect(await endOf(second)).to.be.instanceOf(Error);
    expect(await port.nextFailed()).to.equal('not-authorized');
  });

  it('refuses TLS without a key, and TLS 1.2 with the right one', async () => {
    const attempts: readonly (() => TLSSocket)[] = [
      () => dialTls(port.number, key, { pskCallback: () => null }),
      () =>
        dialTls(port.number, key, {
          minVersion: 'TLSv1.2',
          maxVersion: 'TLSv1.2',
          ciphers: 'PSK-AES128-GCM-SHA256:DHE-PSK-AES128-GCM-SHA256',
        }),
    ];
    for (const attempt of attempts) {
      expect(await endOf(attempt()))
        .to.have.property('code')
        .that.matches(/^ERR_SSL_.*ALERT/);
      expect(await port.nextFailed()).to.equal('not-authorized');
    }
  });

  it('opens no second session for recorded bytes, and receives nothing of them', async () => {
    const tap = await Wiretap.before(port.number);
    const first = await dialSecured({ ...key, address: tap.address });
    await first.stream.write(Buffer.from('pay 100'));
    expect(await hear(await port.nextOpened(), 7)).to.equal('pay 100');
    first.stream.destroy();
    for (const pause of [0, 20]) {
      const socket = net.connect(port.number, '127.0.0.1');
      const end = endOf(socket);
      for (const piece of tap.toServer) {
        socket.write(piece);
        await sleep(pause);
      }
      expect(await port.nextFailed()).to.equal('not-authorized');
      await end;
    }
    expect(port.opened).to.have.length(2);
    await tap.close();
  });

  for (const [what, pieces] of [
    ['three bytes and then nothing', [Buffer.from([0x16, 0x03, 0x01])]],
    ['a hello that stops in the middle', [record(300, 1), Buffer.alloc(100)]],
    ['a hello that dribbles', Array.from({ length: 100 }, (_, at) => (at === 0 ? record(300, 1) : Buffer.alloc(1)))],
  ] as const) {
    it(`gives up ${what} at the deadline`, async () => {
      const socket = net.connect(port.number, '127.0.0.1');
      const end = endOf(socket);
      const began = performance.now();
      const failed = port.nextFailed();
      void (async () => {
        for (const piece of pieces) {
          if (!socket.destroyed) socket.write(piece);
          await sleep(20);
        }
      })();
      expect(await failed).to.equal('timeout');
      expect(performance.now() - began).to.be.within(950, 3000);
      await end;
    });
  }

  for (const [what, attack] of [
    ['noise', Buffer.concat([Buffer.from([0x16, 0x03, 0x01]), randomBytes(70_000)])],
    ['a record that is longer than any', Buffer.concat([record(0xffff, 1), Buffer.alloc(70_000)])],
    [
      'a hello of 16 MiB',
      Buffer.concat([
        record(16_384, 1),
        Buffer.from([0xff, 0xff, 0xff]),
        Buffer.alloc(16_380),
        ...Array.from({ length: 99 }, () => Buffer.concat([record(16_384, 0), Buffer.alloc(16_383)])),
      ]),
    ],
    [
      'empty records without end',
      Buffer.concat(Array.from({ length: 10_000 }, () => Buffer.from([0x16, 0x03, 0x01, 0, 0]))),
    ],
    ['an alert', Buffer.from([0x16, 0x03, 0x01, 0, 2, 2, 40, 0x15, 0x03, 0x03, 0, 2, 2, 40])],
  ] as const) {
    it(`ends cleanly after ${what}`, async () => {
      const socket = net.connect(port.number, '127.0.0.1');
      const end = endOf(socket);
      socket.write(attack);
      expect(await port.nextFailed()).to.equal('not-authorized');
      await end;
    });
  }

  it('serves the next one at once while others stall', async () => {
    const stalling = Array.from({ length: 20 }, () => net.connect(port.number, '127.0.0.1'));
    for (const socket of stalling) socket.on('error', () => undefined).write(record(300, 1));
    await sleep(50);
    const began = performance.now();
    const opened = await dialSecured(port.ticket(key));
    expect(performance.now() - began).to.be.below(900);
    opened.stream.destroy();
    for (const socket of stalling) socket.destroy();
  });
});
