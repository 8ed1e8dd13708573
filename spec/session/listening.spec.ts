import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { createReceiver, formatTicket, parseTicket, type SendOptions, TransferError } from '../../lib/index';
import { Heard, ReceiveDirectory } from '../receive/receive-directory';
import { type Sent, sending, SourceTree } from '../send/source-tree';
import { digestOf, digestOfFile, MiB, noise, succeeded } from './pair';
import { Relay } from './relay';

describe('a session to whose sender the receiver dials', () => {
  let source: SourceTree;
  let to: ReceiveDirectory;
  const relays: Relay[] = [];
  const size = 32 * MiB + 5;
  const content = noise(size);

  beforeEach(async () => {
    source = await SourceTree.make({ large: content, 'tree/small': 'small', 'tree/middle': noise(MiB) });
    to = await ReceiveDirectory.open();
  });
  afterEach(async () => {
    for (const relay of relays.splice(0)) await relay.close();
    await to.close();
    await source.remove();
  });

  /** Starts a sender that listens, and a network in front of it. */
  const listening = async (
    options: Partial<SendOptions> = {},
  ): Promise<{
    running: Promise<Sent>;
    ticket: string;
    relay: Relay;
    straight: string;
    port: number;
    heard: Heard;
  }> => {
    const heard = new Heard();
    const running = sending(
      { paths: [source.at('large'), source.at('tree')], listen: '127.0.0.1:0', ...options },
      heard,
    );
    const { ticket, port } = await heard.first('listening');
    const relay = await Relay.to(port ?? 0);
    relays.push(relay);
    return { running, relay, ticket: relay.through(ticket ?? ''), straight: ticket ?? '', port: port ?? 0, heard };
  };
  const arrived = async (): Promise<void> => {
    expect(await digestOfFile(`${to.place}/large`)).to.equal(digestOf(content));
    expect(await to.read('tree/middle')).to.deep.equal(noise(MiB));
  };
  const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
    promise.then(
      () => undefined,
      (error: unknown) => (error instanceof TransferError ? error.code : error),
    );

  for (const connections of [1, 4]) {
    it(`goes over ${String(connections)} connections, all of them dialed by the receiver`, async () => {
      const { running, relay, ticket } = await listening({ connections });
      const summary = await to.receiver.dial(ticket);
      succeeded(await running);
      await arrived();
      expect(summary).to.include({ files: 3 });
      expect(relay.lines).to.have.lengthOf(connections);
      if (connections > 1) expect(relay.lines.filter(({ bytes }) => bytes.back > MiB).length).to.equal(connections);
    });
  }

  it('replaces a connection that is lost', async () => {
    const { running, relay, ticket } = await listening({ connections: 4, limit: 40 * MiB });
    const received = to.receiver.dial(ticket);
    await relay.until(() => (relay.lines[3]?.bytes.back ?? 0) > 2 * MiB);
    relay.lines[3]?.cut();
    succeeded(await running);
    await received;
    await arrived();
    expect(relay.lines).to.have.lengthOf(5);
  });

  it('goes on when all of them are lost', async () => {
    const { running, relay, ticket } = await listening({ connections: 3, limit: 40 * MiB });
    const received = to.receiver.dial(ticket);
    await relay.until(() => relay.lines.reduce((sum, { bytes }) => sum + bytes.back, 0) > 20 * MiB);
    await relay.fall();
    await sleep(500);
    await relay.accept();
    succeeded(await running);
    await received;
    await arrived();
    expect(relay.lines.reduce((sum, { bytes }) => sum + bytes.back, 0)).to.be.below(size + 12 * MiB);
  });

  it('fails with connection-lost on both sides when the receiver does not come back within the time to retry', async () => {
    const { running, relay, ticket } = await listening({ connections: 2, limit: 40 * MiB, retryFor: 1000 });
    const received = codeOf(to.receiver.dial(ticket, { retryFor: 1000 }));
    await relay.until(() => relay.lines.reduce((sum, { bytes }) => sum + bytes.back, 0) > 8 * MiB);
    await relay.fall();
    const began = performance.now();
    expect((await running).error?.code).to.equal('connection-lost');
    expect(await received).to.equal('connection-lost');
    expect(performance.now() - began).to.be.within(900, 3000);
  });

  it('goes on with a receiver that was ended in the middle, and is started again with the same ticket', async () => {
    const { running, relay, ticket } = await listening({ connections: 2, limit: 30 * MiB });
    const first = codeOf(to.receiver.dial(ticket));
    await to.heard.first('progress', ({ phase, done }) => phase === 'receive' && done > 12 * MiB);
    // As when it is killed: it cannot say that it ends.
    await relay.fall();
    await to.receiver.close({ now: true });
    expect(await first).not.to.equal(undefined);
    await relay.accept();
    const second = await createReceiver({ directory: to.place });
    await second.dial(ticket);
    const { files } = succeeded(await running);
    await second.close();
    await arrived();
    expect(files.find(({ file_name: name }) => name === 'large')?.bytes_on_wire).to.be.below(size + 12 * MiB);
  });

  it('is for one receiver: another one with the same ticket is refused, and the first one is not disturbed', async () => {
    const { running, straight } = await listening({ limit: 30 * MiB, connections: 2 });
    const first = to.receiver.dial(straight);
    await to.heard.first('started');
    const other = await ReceiveDirectory.open();
    expect(await codeOf(other.receiver.dial(straight))).to.equal('not-authorized');
    await other.close();
    await first;
    succeeded(await running);
    await arrived();
  });

  it('is not begun by somebody without the key, or by one who says nothing and leaves', async () => {
    const { running, straight, port, heard } = await listening();
    const wrong = formatTicket({ ...parseTicket(straight), key: new Uint8Array(32).fill(7) });
    expect(await codeOf(to.receiver.dial(wrong))).to.equal('not-authorized');
    const scan = net.connect(port, '127.0.0.1');
    scan.write(Buffer.from([0x16, 0x03, 0x01, 0x00]));
    await sleep(50);
    scan.destroy();
    await to.receiver.dial(straight);
    await heard.first('sent');
    const began = performance.now();
    succeeded(await running);
    expect(performance.now() - began).to.be.below(5000);
    await arrived();
  });

  it('is measured from when somebody is there, and not from when it began to wait', async () => {
    for (const plain of [false, true]) {
      const began = performance.now();
      const { running, straight, port, heard } = await listening({ plain });
      await sleep(1500);
      const waited = (performance.now() - began) / 1000;
      await to.receiver.dial(plain ? `tcp://127.0.0.1:${String(port)}` : straight);
      await running;
      const whole = (performance.now() - began) / 1000;
      expect(heard.all('summary')[0]?.seconds).to.be.at.most(whole - waited + 0.1);
    }
  });

  it('is a plain one for whoever dials from this machine without a ticket; who comes later is hung up on', async () => {
    const { running, port } = await listening({ limit: 12 * MiB, plain: true });
    const received = to.receiver.dial(`tcp://127.0.0.1:${String(port)}`);
    await to.heard.first('started');
    const late = net.connect(port, '127.0.0.1');
    late.on('error', () => undefined);
    await new Promise((resolve) => late.once('close', resolve).resume());
    await received;
    expect((await running).error).to.equal(undefined);
    await arrived();
  });

  it('ends at once when it is interrupted, in the middle or before anyone came', async () => {
    for (const middle of [true, false]) {
      const abort = new AbortController();
      const { running, straight } = await listening({
        limit: 20 * MiB,
        connections: 4,
        signal: abort.signal,
        retryFor: 0,
      });
      const received = middle ? codeOf(to.receiver.dial(straight, { retryFor: 0 })) : undefined;
      if (middle) await to.heard.first('progress', ({ phase }) => phase === 'receive');
      const began = performance.now();
      abort.abort();
      const { error, heard } = await running;
      expect(error?.code).to.equal('interrupted');
      expect(performance.now() - began).to.be.below(1000);
      expect(heard.all('failed').map(({ code }) => code)).to.deep.equal(['interrupted']);
      if (middle) expect(await received).to.equal('stopped');
    }
  });
});
