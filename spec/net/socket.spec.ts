import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import { parseAddress } from '../../lib/net/address';
import { adoptSecured, dial, type Dialed, listen } from '../../lib/net/socket';
import { createKey } from '../../lib/net/ticket';
import { temporaryDirectory } from '../receive/receive-directory';
import { dialTls, SessionPort } from './session-port';

async function failing(promise: Promise<unknown>): Promise<TransferError> {
  const error: unknown = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof TransferError)) throw new Error(`not a TransferError: ${String(error)}`);
  return error;
}

describe('dialing and listening', () => {
  let place: string;
  beforeEach(async () => {
    place = await temporaryDirectory();
  });
  afterEach(() => rm(place, { recursive: true, force: true }));

  for (const where of ['127.0.0.1:0', '[::1]:0', '[::]:0', 'localhost:0', 'unix:SOCKET']) {
    it(`${where}: both sides know the other, that it is local, and bytes go both ways`, async () => {
      let take: (accepted: Dialed) => void = () => undefined;
      const accepted = new Promise<Dialed>((resolve) => {
        take = resolve;
      });
      const listening = await listen(parseAddress(where.replace('SOCKET', path.join(place, 's'))), take);
      const { address } = listening;
      const near = await dial(
        address.kind === 'tcp' && address.host === '::' ? { ...address, host: '127.0.0.1' } : address,
      );
      const far = await accepted;
      expect([near.local, far.local]).to.deep.equal([true, true]);
      expect(near.peer).to.match(/^(?:tcp|unix):/);
      await near.stream.write(Buffer.from('ping'));
      await far.stream.more();
      expect(Buffer.from(far.stream.peek()).toString()).to.equal('ping');
      await far.stream.write(Buffer.from('pong'));
      await near.stream.more();
      expect(Buffer.from(near.stream.peek()).toString()).to.equal('pong');
      near.stream.destroy();
      far.stream.destroy();
      await listening.close();
      if (address.kind === 'unix') expect(existsSync(address.path)).to.equal(false);
    });
  }

  it('nobody there: cannot-connect, with a sentence and the cause', async () => {
    for (const address of ['tcp://127.0.0.1:1', `unix:${place}/none`, 'tcp://no-such-host.invalid:1']) {
      const error = await failing(dial(parseAddress(address)));
      expect(error.code).to.equal('cannot-connect');
      expect(error.cause).to.be.instanceOf(Error);
    }
  });

  it('the round trip is that of the connection alone, and none over a unix socket', async () => {
    for (const where of ['localhost:0', `unix:${path.join(place, 's')}`]) {
      const listening = await listen(parseAddress(where), ({ stream }) => stream.destroy());
      const began = performance.now();
      const { rtt, stream } = await dial(listening.address);
      if (listening.address.kind === 'unix') expect(rtt).to.equal(0);
      else
        expect(rtt)
          .to.be.above(0)
          .and.below(performance.now() - began);
      stream.destroy();
      await listening.close();
    }
  });

  it('somebody who does not answer: cannot-connect after the timeout', async () => {
    const began = performance.now();
    const error = await failing(dial(parseAddress('tcp://192.0.2.77:9'), { timeout: 200 }));
    expect(error.code).to.equal('cannot-connect');
    expect(performance.now() - began).to.be.below(2000);
  });

  it('an abort, before or while it dials: interrupted', async () => {
    expect((await failing(dial(parseAddress('tcp://127.0.0.1:1'), { signal: AbortSignal.abort() }))).code).to.equal(
      'interrupted',
    );
    const abort = new AbortController();
    const dialing = failing(dial(parseAddress('tcp://192.0.2.77:9'), { signal: abort.signal }));
    setTimeout(() => abort.abort(), 20);
    expect(['interrupted', 'cannot-connect']).to.include((await dialing).code);
  });

  it('an address that is taken: cannot-connect, and the one who has it keeps it', async () => {
    for (const where of ['127.0.0.1:0', `unix:${place}/live`]) {
      let accepted = 0;
      const first = await listen(parseAddress(where), ({ stream }) => {
        accepted++;
        stream.destroy();
      });
      expect((await failing(listen(first.address, () => undefined))).code).to.equal('cannot-connect');
      const dialed = await dial(first.address);
      await dialed.stream.more().catch(() => undefined);
      expect(accepted).to.be.at.least(1);
      await first.close();
    }
  });

  it('the socket file of a process that is gone is replaced', async () => {
    const dead = path.join(place, 'dead');
    spawnSync(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    expect(existsSync(dead)).to.equal(true);
    const listening = await listen({ kind: 'unix', path: dead }, ({ stream }) => stream.destroy());
    (await dial(listening.address)).stream.destroy();
    await listening.close();
  });

  it('what stands there and is no socket is left alone', async () => {
    const file = path.join(place, 'file');
    await writeFile(file, 'precious');
    expect((await failing(listen({ kind: 'unix', path: file }, () => undefined))).code).to.equal('cannot-connect');
    expect(execFileSync('cat', [file]).toString()).to.equal('precious');
  });

  it('close frees the address while an accepted connection lives on', async () => {
    let far: Dialed | undefined;
    const listening = await listen(parseAddress('127.0.0.1:0'), (accepted) => {
      far = accepted;
    });
    const near = await dial(listening.address);
    while (!far) await new Promise((resolve) => setTimeout(resolve, 1));
    const closed = listening.close();
    const again = await listen(listening.address, () => undefined);
    await near.stream.write(Buffer.from('still here'));
    expect(await far.stream.more()).to.equal(true);
    near.stream.destroy();
    far.stream.destroy();
    await closed;
    await again.close();
  });

  it('a peer of a raw client is shown as its address', async () => {
    let take: (accepted: Dialed) => void = () => undefined;
    const accepted = new Promise<Dialed>((resolve) => {
      take = resolve;
    });
    const listening = await listen(parseAddress('[::]:0'), take);
    const port = listening.address.kind === 'tcp' ? listening.address.port : 0;
    const client = net.connect(port, '127.0.0.1');
    const { peer, stream, local } = await accepted;
    expect(peer).to.match(/^tcp:\/\/\[::ffff:127\.0\.0\.1\]:\d+$/);
    expect(local).to.equal(true);
    client.destroy();
    stream.destroy();
    await listening.close();
  });
});

describe('a stream over TLS', () => {
  const without: Readonly<Record<string, (socket: object) => void>> = {
    'into our memory': () => undefined,
    'as events where the handle cannot take memory': (socket) =>
      Object.defineProperty((socket as { _handle: object })._handle, 'useUserBuffer', { value: undefined }),
    'as events where Node keeps its memory elsewhere': (socket) => {
      for (const symbol of Object.getOwnPropertySymbols(socket).filter(
        ({ description }) => description === 'kBufferGen',
      ))
        Reflect.deleteProperty(socket, symbol);
    },
  };
  for (const [how, change] of Object.entries(without)) {
    it(`reads ${how}`, async () => {
      const key = createKey();
      const port = await SessionPort.open(key);
      const socket = dialTls(port.number, key);
      await new Promise((resolve) => socket.once('secureConnect', resolve));
      change(socket);
      const stream = adoptSecured(socket);
      expect(socket.listenerCount('data')).to.equal(how.startsWith('as events') ? 1 : 0);
      const { stream: far } = await port.nextOpened();
      await far.write(Buffer.alloc(100_000, 7));
      const memory = Buffer.alloc(100_000);
      expect(await stream.fill(memory)).to.equal(100_000);
      expect(memory.equals(Buffer.alloc(100_000, 7))).to.equal(true);
      stream.destroy();
      await port.close();
    });
  }
});
