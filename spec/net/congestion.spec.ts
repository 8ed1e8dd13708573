import { readFileSync } from 'node:fs';
import net from 'node:net';
import { once } from 'node:events';
import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import { dial } from '../../lib/net/socket';
import { socketCalls } from '../../lib/threads/socket-calls';

const allowed = (): string[] => {
  try {
    return readFileSync('/proc/sys/net/ipv4/tcp_allowed_congestion_control', 'latin1').trim().split(/\s+/);
  } catch {
    return []; // no Linux
  }
};

(socketCalls() ? describe : describe.skip)('the congestion control of a connection', () => {
  let server: net.Server;
  let port = 0;
  before(async () => {
    server = net.createServer((socket) => socket.on('error', () => undefined)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as net.AddressInfo);
  });
  after(() => server.close());

  const used = async (congestion?: string): Promise<string | undefined> => {
    const dialed = await dial({ kind: 'tcp', host: '127.0.0.1', port }, { congestion });
    dialed.stream.destroy();
    return dialed.congestion;
  };

  for (const name of allowed()) {
    it(`is ${name}, which the system allows, where that is wanted`, async () => {
      expect(await used(name)).to.equal(name);
    });
  }

  it('is left as it is within this machine, and where nobody asked', async () => {
    expect(await used('auto')).to.equal(undefined);
    expect(await used()).to.equal(undefined);
  });

  it('that the system does not have is refused with what it allows', async () => {
    const failure = await used('nonsense').catch((error: unknown) => error);
    expect(failure).to.be.instanceOf(TransferError);
    const { code, message, hint } = failure as TransferError;
    expect(code).to.equal('usage');
    expect(message).to.equal('This system has no congestion control "nonsense".');
    for (const name of allowed()) expect(hint).to.include(name);
  });
});
