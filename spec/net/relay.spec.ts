import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import { type Address, parseRelay } from '../../lib/net/address';
import { meetAtRelay, relayToken, RelayWaiter, ticketRelay, withPass } from '../../lib/net/relay';
import { relayPass } from '../../lib/net/relay-pass';
import { networkOf } from '../../lib/net/relay-crowd';
import { type RelayedPair, RelayServer, type RelayServerOptions } from '../../lib/net/relay-server';
import type { Dialed } from '../../lib/net/socket';
import { createKey, formatTicket, parseTicket, type Ticket } from '../../lib/net/ticket';
import { dialSecured } from '../../lib/net/tls';
import { ignored } from '../../lib/trace';

const token = 'ab'.repeat(32);
const [left, right] = ['0'.repeat(15) + '1', '0'.repeat(15) + '2'];

/** A socket, and what it has heard so far; `ended` once it is over. */
class Talker {
  heard = '';
  readonly ended: Promise<void>;
  readonly connected: Promise<void>;
  private readonly socket: net.Socket;
  private wake = (): void => undefined;

  /** `lingers`: it never closes its end, whatever it hears. `from`: the address that it comes from. */
  constructor(port: number, { lingers = false, from = '127.0.0.1' } = {}) {
    this.socket = net.connect({ port, host: '127.0.0.1', localAddress: from, allowHalfOpen: lingers });
    this.socket.on('data', (bytes) => {
      this.heard += bytes.toString('latin1');
      this.wake();
    });
    this.socket.on('error', () => this.socket.destroy());
    this.connected = new Promise((resolve) => this.socket.once('connect', () => resolve()));
    // Whoever lingers notices an end by writing only.
    if (lingers)
      this.socket.once('end', () => {
        const knock = setInterval(() => this.socket.write('x'), 20);
        this.socket.once('close', () => clearInterval(knock));
      });
    this.ended = new Promise((resolve) => this.socket.once('close', () => resolve()));
  }

  say(text: string): this {
    this.socket.write(text);
    return this;
  }

  please(side?: string): this {
    return this.say(`please relay ${token}${side === undefined ? '' : ` for side ${side}`}\n`);
  }

  async hears(text: string): Promise<void> {
    while (!this.heard.includes(text)) await new Promise<void>((resolve) => (this.wake = resolve));
  }

  end(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }
}

describe('the relay', () => {
  let relay: RelayServer;
  let pairs: RelayedPair[];
  const open = async (options: Partial<RelayServerOptions> = {}): Promise<void> => {
    pairs = [];
    const where: Address & { kind: 'tcp' } = { kind: 'tcp', host: '127.0.0.1', port: 0 };
    relay = await RelayServer.at(where, { waitFor: 60_000, ...options, on: (pair) => pairs.push(pair) });
  };
  const where = (): Address => ({ kind: 'tcp', host: '127.0.0.1', port: relay.port });
  const talker = (): Talker => new Talker(relay.port);
  /** Until so many wait. */
  const waiting = async (count: number): Promise<void> => {
    while (relay.figures.waiting !== count) await sleep(1);
  };
  afterEach(() => relay.close());

  it('joins two sides of one token, and the end of one is the end of both', async () => {
    await open();
    const first = talker().please(left);
    await waiting(1);
    const second = talker().please(right);
    await Promise.all([first.hears('ok\n'), second.hears('ok\n')]);
    first.say('to the second');
    second.say('to the first');
    await Promise.all([first.hears('to the first'), second.hears('to the second')]);
    first.end();
    await second.ended;
    expect(pairs.map(({ bytes, overQuota }) => ({ bytes, overQuota }))).to.deep.equal([
      { bytes: 25, overQuota: false },
    ]);
  });

  it('never joins one side with itself; others who wait are closed once two have met; old ones say no side', async () => {
    await open();
    const stale = talker().please(left);
    await waiting(1);
    const first = talker().please(left);
    await waiting(2);
    const second = talker().please(right);
    await second.hears('ok\n');
    await Promise.race([stale.ended, first.ended]);
    expect([stale.heard, first.heard].sort()).to.deep.equal(['', 'ok\n']);
    await waiting(0);
    const [old, older] = [talker().please(), talker().please()];
    await Promise.all([old.hears('ok\n'), older.hears('ok\n')]);
  });

  it('turns away what is no request, who does not wait for ok, and who waits too long', async () => {
    await open({ waitFor: 50 });
    for (const text of ['GET / HTTP/1.1\r\n\r\n', `please relay ${token} for side zz\n`, 'x'.repeat(1000)]) {
      const noise = talker().say(text);
      await noise.ended;
      expect(noise.heard).to.equal('bad handshake\n');
    }
    const hasty = talker().say(`please relay ${token} for side ${left}\nhello`);
    await hasty.ended;
    expect(hasty.heard).to.equal('impatient\n');
    const alone = talker().please(left);
    await alone.ended;
    expect(alone.heard).to.equal('');
    await waiting(0);
  });

  it('keeps nobody whom it has refused, though they never close their end', async function () {
    this.timeout(8_000);
    await open({ password: 'eight times two and more' });
    const refused = ['x\n', `please relay ${token}\n`, `please relay ${token}\nhello`].map((text) =>
      new Talker(relay.port, { lingers: true }).say(text),
    );
    await Promise.all(refused.map(({ ended }) => ended));
    expect(refused.map(({ heard }) => heard)).to.deep.equal(['bad handshake\n', 'wrong password\n', 'impatient\n']);
    expect(relay.figures.refused).to.equal(3);
  });

  it('counts whom it has refused as one who says nothing until they are gone, and closes them first', async () => {
    await open({ most: { silent: 16, silentOfOne: 8 } });
    const { server } = relay as unknown as { readonly server: net.Server };
    const connections = (): Promise<number> =>
      new Promise((resolve) => server.getConnections((_error, count) => resolve(count)));
    const slow = talker();
    await slow.connected;
    const crowd: Talker[] = [];
    for (let at = 0; at < 60; at++) {
      const from = `127.0.0.${String(2 + (at % 4))}`;
      const refused = new Talker(relay.port, { lingers: true, from }).say('x\n');
      await Promise.race([refused.hears('bad handshake\n'), refused.ended]);
      crowd.push(refused);
      expect(await connections()).to.be.at.most(17); // one more while it makes room
    }
    expect(relay.figures.refused).to.equal(60);
    slow.please(left);
    await waiting(1);
    await Promise.all(crowd.map(({ ended }) => ended));
  });

  it('joins nobody with one who did not wait for ok', async function () {
    this.timeout(8_000);
    await open();
    const hasty = new Talker(relay.port, { lingers: true }).please(left);
    await waiting(1);
    hasty.say('hello');
    await hasty.hears('impatient\n');
    expect(relay.figures).to.include({ waiting: 0, refused: 1 });
    const [first, second] = [talker().please(right), talker().please(left)];
    await Promise.all([first.hears('ok\n'), second.hears('ok\n'), hasty.ended]);
    expect(hasty.heard).to.equal('impatient\n');
  });

  it('has the oldest who say nothing make room, first of the same address', async () => {
    await open({ most: { silent: 4, silentOfOne: 2 } });
    const crowd: Talker[] = [];
    const come = async (from: string): Promise<void> => {
      const comer = new Talker(relay.port, { from });
      crowd.push(comer);
      await comer.connected;
    };
    await come('127.0.0.2');
    for (let at = 0; at < 3; at++) await come('127.0.0.3');
    await crowd[1]?.ended;
    for (let at = 0; at < 2; at++) await come(`127.0.0.${String(4 + at)}`);
    await crowd[0]?.ended;
    const [first, second] = [talker().please(left), talker().please(right)];
    await Promise.all([first.hears('ok\n'), second.hears('ok\n')]);
    for (const each of crowd) each.destroy();
  });

  it('lets one address have some of the places only, waiting and joined, and tells it so', async () => {
    await open({ most: { waitingOfOne: 2, joinedOfOne: 3 } });
    const tokens = Array.from({ length: 4 }, (_, at) => String(at).repeat(64));
    const ask = (at: number, side: string, from: string): Talker =>
      new Talker(relay.port, { from }).say(`please relay ${tokens[at] ?? ''} for side ${side}\n`);
    ask(0, left, '127.0.0.2');
    await waiting(1);
    ask(1, left, '127.0.0.2');
    await waiting(2);
    const third = ask(2, left, '127.0.0.2');
    await third.ended;
    expect(third.heard).to.equal('no room\n');
    ask(2, left, '127.0.0.3');
    await waiting(3);
    // Who is met by somebody of another address needs no place to wait.
    await ask(2, right, '127.0.0.2').hears('ok\n');
    await ask(0, right, '127.0.0.2').hears('ok\n');
    const fourth = ask(1, right, '127.0.0.2');
    await fourth.ended;
    expect(fourth.heard).to.equal('no room\n');
    await ask(1, right, '127.0.0.4').hears('ok\n');
  });

  it('tells who gets no place to wait, and asks again later', async () => {
    await open({ most: { waitingOfOne: 0 } });
    const why = await meetAtRelay({ relay: where(), token, side: 'listening' }).then(
      () => expect.fail('it was let in'),
      (error: unknown) => error as TransferError,
    );
    expect(why.message).to.match(/The relay 127\.0\.0\.1:\d+ has no room for another one of this address\./);
  });

  it('counts an address of IPv6 by its network', () => {
    expect(networkOf('2001:db8:1:2:3:4:5:6')).to.equal(networkOf('2001:DB8:1:2::1'));
    expect(networkOf('2001:db8:1:3::1')).to.not.equal(networkOf('2001:db8:1:2::1'));
    expect(networkOf('2001:db8::1')).to.equal('2001:db8:0:0');
    expect(networkOf('::1')).to.equal('0:0:0:0');
    expect(networkOf('::ffff:10.0.0.1')).to.equal('10.0.0.1');
    expect(networkOf('fe80::1%eth0')).to.equal('fe80:0:0:0');
  });

  it('ends a pair that carries more than its quota', async () => {
    await open({ quota: 1000 });
    const [first, second] = [talker().please(left), talker().please(right)];
    await first.hears('ok\n');
    first.say('x'.repeat(1001));
    await Promise.all([first.ended, second.ended]);
    expect(pairs[0]).to.include({ overQuota: true, bytes: 1000 });
  });

  it('with a password joins only who shows that it has it, for the one meeting that it names', async () => {
    const password = 'eight times two and more';
    await open({ password });
    const pass = (side: string): string => relayPass(password, token, side);
    const ask = (side: string, shown: string): Talker =>
      talker().say(`please relay ${token} for side ${side} pass ${shown}\n`);
    const other = relayPass(password, 'cd'.repeat(32), left);
    for (const noise of [talker().please(left), talker().please(), ask(left, pass(right)), ask(left, other)]) {
      await noise.ended;
      expect(noise.heard).to.equal('wrong password\n');
    }
    const [first, second] = [ask(left, pass(left)), ask(right, pass(right))];
    await Promise.all([first.hears('ok\n'), second.hears('ok\n')]);
    expect(relay.figures).to.include({ open: 1, refused: 4 });
    // Of two sides that have a ticket only the one that shows it needs the password.
    const { id, key } = createKey();
    const request = { relay: where(), token: relayToken(key), side: 'listening' } as const;
    const waiter = new RelayWaiter(
      withPass(request, password),
      ({ stream }) => stream.destroy(),
      ignored('it is let in'),
    );
    await waiting(1);
    const ticket = { id, key, address: { kind: 'tcp', host: '127.0.0.1', port: 1 }, relay: where() } as const;
    const failing = async (more: Pick<Ticket, 'relayPass'>): Promise<string> =>
      dialSecured(parseTicket(formatTicket({ ...ticket, ...more })), { timeout: 2000 }).then(
        () => '',
        (error: unknown) => (error as TransferError).message,
      );
    expect(await failing({})).to.match(/has a password, and was not given it/);
    expect(await failing(ticketRelay(where(), { key }, password))).to.match(/hung up before/);
    waiter.close();
    const vector = Buffer.from('50555a5f64696e73787d82878c91969ba0a5aaafb4b9bec3c8cdd2d7dce1e6eb', 'hex');
    expect(ticketRelay(where(), { key: vector }, 'crane velvet orchid').relayPass).to.equal(
      'bd1333c1a902e7ea657020d24bba5a94', // fixtures/vectors/tickets.json
    );
    expect(JSON.stringify([pairs, formatTicket(ticket)])).to.not.include(password);
  });

  it('64 at once each meet the one with their token', async () => {
    await open();
    const tokens = Array.from({ length: 32 }, (_, at) => relayToken(Buffer.from([at])));
    await Promise.all(
      tokens.flatMap((each) =>
        (['listening', 'dialing'] as const).map(async (side) => {
          const { stream } = await meetAtRelay({ relay: where(), token: each, side });
          await stream.write(Buffer.from(each));
          while (stream.peek().length < each.length && (await stream.more()));
          expect(Buffer.from(stream.peek()).toString()).to.equal(each);
          stream.destroy();
        }),
      ),
    );
    expect(relay.figures.pairs).to.equal(32);
  });

  it('leads to nobody but who holds the key, and says so where nobody waits', async () => {
    await open();
    const { id, key } = createKey();
    const unreachable: Address = { kind: 'tcp', host: '127.0.0.1', port: 1 };
    const ticket = { id, key, address: unreachable, relay: where() };
    const failure = (timeout: number): Promise<TransferError> =>
      dialSecured(ticket, { timeout }).then(
        () => expect.fail('somebody was met'),
        (error: unknown) => error as TransferError,
      );
    expect((await failure(300)).message).to.match(/nothing listens there.*Nobody waits for us at the relay/);
    const said: string[] = [];
    // Somebody else who knows the token, but not the key.
    const waiter = new RelayWaiter(
      { relay: where(), token: relayToken(key), side: 'listening' },
      ({ stream, local }: Dialed) => {
        said.push(String(local));
        void stream.write(Buffer.from('HTTP/1.1 400 no\r\n\r\n'));
      },
      (error) => said.push(error.message),
    );
    await waiting(1);
    const { code, message } = await failure(2000);
    waiter.close();
    expect({ code, message }).to.satisfy(() => code === 'cannot-connect' && /does not hold the key/.test(message));
    expect(said, 'nobody behind a relay is on this machine').to.deep.equal(['false']);
  });

  it('is called by its host, by default at port 4001', async () => {
    await open();
    expect(parseRelay('relay.example.org')).to.deep.equal({ kind: 'tcp', host: 'relay.example.org', port: 4001 });
    expect(parseRelay('[::1]')).to.deep.equal({ kind: 'tcp', host: '::1', port: 4001 });
    expect(parseRelay('10.0.0.1:80')).to.deep.equal({ kind: 'tcp', host: '10.0.0.1', port: 80 });
    for (const text of ['', 'unix:/x', 'a b', 'host:0']) expect(() => parseRelay(text)).to.throw(TransferError);
  });
});
