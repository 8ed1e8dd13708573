import net from 'node:net';
import type { NetworkInterfaceInfo } from 'node:os';
import { expect } from 'chai';
import type { Address } from '../../lib/net/address';
import { dialEach, dialFirst, onEachLink } from '../../lib/net/happy-eyeballs';
import { dial } from '../../lib/net/socket';
import { createKey } from '../../lib/net/ticket';
import { dialSecured } from '../../lib/net/tls';
import { SessionPort } from './session-port';

const at = (host: string, port: number): Address => ({ kind: 'tcp', host, port });

describe('lib/net/happy-eyeballs', () => {
  const servers: net.Server[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });

  /** A port of loopback, and who came there. */
  async function port(accept: (socket: net.Socket) => void = () => undefined): Promise<number> {
    const server = net.createServer(accept);
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as net.AddressInfo).port;
  }

  it('does not wait for an address that answers nothing: the next one is tried after a quarter of a second', async () => {
    const good = await port();
    const began = performance.now();
    const silent = at('192.0.2.99', 9);
    const dialing = dialEach([silent, at('127.0.0.1', good)], {}, (address, options) =>
      address === silent
        ? new Promise((_resolve, reject) => options?.signal?.addEventListener('abort', reject))
        : dial(address, options),
    );
    for await (const dialed of dialing) {
      dialed.stream.destroy();
      expect(dialed.address).to.deep.equal(at('127.0.0.1', good));
      break;
    }
    expect(performance.now() - began)
      .to.be.at.least(240)
      .and.below(4_000);
  });

  it('says of each address what is wrong with it, and of a single one just that', async () => {
    const closed = await port();
    servers.splice(0).forEach((server) => server.close());
    const failed = (addresses: Address[]): Promise<string> =>
      dialFirst(addresses).then(
        () => 'connected',
        ({ message }: Error) => message,
      );
    const one = `Cannot connect to tcp://127.0.0.1:${String(closed)}: nothing listens there.`;
    expect(await failed([at('127.0.0.1', closed)])).to.equal(one);
    expect(await failed([at('127.0.0.1', closed), at('127.0.0.1', closed)])).to.equal(
      `No address of the other side can be reached. ${one} ${one}`,
    );
  });

  it('closes what nobody takes', async () => {
    let open = 0;
    const counting = (socket: net.Socket): void => {
      open++;
      socket.resume().once('close', () => open--);
    };
    const ports = [await port(counting), await port(counting)];
    for await (const { stream } of dialEach(ports.map((each) => at('127.0.0.1', each)))) {
      stream.destroy();
      break;
    }
    while (open > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  });

  it('goes on to the next address where somebody else answers, who does not hold the key', async () => {
    const stranger = await port((socket) =>
      socket.on('error', () => undefined).end('HTTP/1.1 400 Bad Request\r\n\r\n'),
    );
    const key = createKey();
    const session = await SessionPort.open(key);
    try {
      const { address } = session.ticket(key);
      const ticket = { ...key, address: at('127.0.0.1', stranger), others: [address] };
      const [dialed] = await Promise.all([dialSecured(ticket), session.nextOpened()]);
      expect(dialed.address).to.deep.equal(address);
      dialed.stream.destroy();
    } finally {
      await session.close();
    }
  });

  it('tries a link-local address on each link, unless it says on which', () => {
    const found = (address: string, internal = false): NetworkInterfaceInfo =>
      ({ address, internal, family: 'IPv6' }) as NetworkInterfaceInfo;
    const interfaces = {
      lo: [found('::1', true)],
      eth0: [found('fe80::2')],
      wlan0: [found('fe80::3')],
      tun0: [found('2001:db8::1')],
    };
    const on = (host: string): string[] =>
      onEachLink(at(host, 7), interfaces).map((each) => (each.kind === 'tcp' ? each.host : ''));
    expect(on('fe80::9')).to.deep.equal(['fe80::9%eth0', 'fe80::9%wlan0']);
    expect(on('fe80::9%eth1')).to.deep.equal(['fe80::9%eth1']);
    expect(on('2001:db8::9')).to.deep.equal(['2001:db8::9']);
  });
});
