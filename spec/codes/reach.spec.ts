import { chmodSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import net from 'node:net';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Code, formatCode, parseCodeTarget } from '../../lib/codes/code';
import { dialByCode } from '../../lib/codes/exchange';
import { type Reached, reachByCode } from '../../lib/codes/reach';
import { OpenCode } from '../../lib/codes/open-code';
import { TransferError } from '../../lib/errors';
import { formatAddress, parseAddress } from '../../lib/net/address';
import { Connection } from '../../lib/net/connection';
import { dial, listen } from '../../lib/net/socket';
import { formatTicket } from '../../lib/net/ticket';
import { dialSecured } from '../../lib/net/tls';
import { directAlone } from '../../lib/session/deadlines';
import { HostileRelay } from '../net/hostile-relay';
import { ReceiveDirectory, temporaryDirectory } from '../receive/receive-directory';
import { sending, SourceTree } from '../send/source-tree';

describe('a code that leads through a relay, or directly', () => {
  const configBefore = process.env['XDG_CONFIG_HOME'];
  let relay: HostileRelay;
  let receiver: ReceiveDirectory;
  let code: Code;
  let settings: string;
  const closing: (() => void)[] = [];

  beforeEach(async () => {
    settings = await temporaryDirectory();
    process.env['XDG_CONFIG_HOME'] = settings;
    relay = await HostileRelay.open();
    receiver = await ReceiveDirectory.open({ codeWords: 2, relayAt: relay.where });
    code = parseCodeTarget(receiver.heard.all('listening')[0]?.code ?? '').code;
  });
  afterEach(async () => {
    if (configBefore === undefined) delete process.env['XDG_CONFIG_HOME'];
    else process.env['XDG_CONFIG_HOME'] = configBefore;
    for (const close of closing.splice(0)) close();
    await receiver.close();
    await relay.close();
    await rm(settings, { recursive: true });
  });

  /** The address of somebody who takes connections, and says what `answer` does with them. */
  async function somebody(answer: (socket: net.Socket) => unknown): Promise<string> {
    const open = new Set<net.Socket>();
    const server = net.createServer((socket) => {
      open.add(socket.on('error', () => socket.destroy()));
      answer(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
    closing.push(() => {
      server.close();
      for (const socket of open) socket.destroy();
    });
    return `127.0.0.1:${String((server.address() as net.AddressInfo).port)}`;
  }

  const reach = (at: string, words: Code = code): Promise<Reached | TransferError> =>
    reachDirectly(`${at}?relay=${relay.where}`, words);
  const reachDirectly = (at: string, words: Code = code): Promise<Reached | TransferError> =>
    reachByCode(parseCodeTarget(`${formatCode(words)}@${at}`), 'sender').catch((error: unknown) => {
      if (error instanceof TransferError) return error;
      throw error;
    });
  const ticketOf = (reached: Reached | TransferError): Reached['ticket'] => {
    if (reached instanceof TransferError) throw reached;
    return reached.ticket;
  };
  const wrongTries = (): string[] =>
    receiver.heard.all('failed').flatMap(({ message }) => (/wrong code/.test(message) ? [message] : []));
  const other = (): Code => ({ ...code, words: code.words[0] === 'abandon' ? ['zoo', 'zoo'] : ['abandon', 'zoo'] });

  it('does not wait for an address that takes connections and says nothing: the relay is met beside it', async () => {
    let met = 0;
    const silent = await somebody(() => met++);
    const ticket = ticketOf(await reach(silent));
    expect(met).to.equal(1);
    expect(formatAddress(ticket.address), 'what the other side says of itself').to.match(
      new RegExp(`:${String(receiver.port)}$`),
    );
    expect(ticket.relay).to.deep.equal(parseAddress(`tcp://${relay.where}`));
    expect(ticket.relayFrom).to.be.a('number');
  });

  it('needs no relay where an address answers', async () => {
    relay.joins = () => false;
    const ticket = ticketOf(await reach(`127.0.0.1:${String(receiver.port)}`));
    expect(formatAddress(ticket.address)).to.equal(`tcp://127.0.0.1:${String(receiver.port)}`);
    expect(ticket).to.not.include.keys('relayFrom');
  });

  it('is reached although what came of it cannot be kept', async () => {
    const open = join(settings, 'sendall');
    mkdirSync(open);
    chmodSync(open, 0o777); // whoever else writes there could put another ticket in its place
    ticketOf(await reach(`127.0.0.1:${String(receiver.port)}`));
    expect(readdirSync(open)).to.deep.equal([]);
  });

  it('costs one of three tries where its words are wrong, though the other side is met in two ways', async () => {
    // It answers when the relay would be tried, were it not for the try that is running.
    const slow = await somebody((socket) => {
      const far = net.connect(receiver.port, '127.0.0.1').on('error', () => socket.destroy());
      socket.pipe(far);
      setTimeout(() => far.pipe(socket), 2 * directAlone);
    });
    const said = await reach(slow, other());
    expect(relay.pairs).to.equal(1);
    expect(said).to.include({ code: 'not-authorized', message: 'The other side has another code.' });
    await receiver.heard.first('failed');
    expect(wrongTries()).to.deep.equal(['Somebody tried a wrong code: 2 tries are left.']);
    const late = await reach('127.0.0.1:1', other());
    expect(late).to.include({ code: 'not-authorized', message: 'The other side has another code.' });
    await receiver.heard.first('failed', ({ message }) => message.includes('1 try is left'));
    expect(wrongTries()).to.have.length(2);
    // The words themselves are good as before.
    ticketOf(await reach('127.0.0.1:1'));
  });

  it('leads past somebody else who shows a code with the same number', async () => {
    relay.joins = () => false;
    const shown = new OpenCode('receiver', other());
    const wrong: string[] = [];
    const listening = await listen(parseAddress('tcp://127.0.0.1:0'), ({ stream, peer }) => {
      const answered = shown.answer(new Connection(stream, peer), () => wrong.push('a key'));
      void answered.catch((error: unknown) => wrong.push((error as Error).message));
    });
    const { host, port } = listening.address as { host: string; port: number };
    const ticket = ticketOf(await reach(`${host}:${String(port)},127.0.0.1:${String(receiver.port)}`));
    expect(formatAddress(ticket.address)).to.equal(`tcp://127.0.0.1:${String(receiver.port)}`);
    expect(wrong).to.deep.equal(['Somebody tried a wrong code: 2 tries are left.']);
    shown.close();
    await listening.close();
  });

  /** A way to the receiver whose first connection is cut before what `of` says the second time; then it is closed. */
  async function cutOnce(of: 'dialing' | 'listening', stays: boolean): Promise<string> {
    let met = 0;
    return somebody((near) => {
      if (met++ > 0 && !stays) return void near.destroy();
      const far = net.connect(receiver.port, '127.0.0.1').on('error', () => near.destroy());
      const cut = met === 1;
      for (const [side, from, to] of [
        ['dialing', near, far],
        ['listening', far, near],
      ] as const) {
        let said = 0;
        from.on('close', () => to.destroy());
        from.on('data', (bytes) => {
          if (cut && side === of && ++said === 2) near.destroy();
          else to.write(bytes);
        });
      }
    });
  }

  /** Somebody else who has the same words comes too late. */
  async function expectUsed(): Promise<void> {
    const dialed = await dial(parseAddress(`tcp://127.0.0.1:${String(receiver.port)}`));
    const late = await dialByCode(new Connection(dialed.stream, dialed.peer), code, 'sender').catch(
      (error: unknown) => (error as TransferError).message,
    );
    expect(late).to.equal('That code has been used.');
  }

  it('leads to the ticket although the last frame is lost', async () => {
    const way = await cutOnce('listening', true);
    const ticket = ticketOf(await reachDirectly(way));
    await expectUsed();
    const { stream } = await dialSecured({ ...ticket, address: parseAddress(`tcp://${way}`) });
    stream.destroy();
    expect(receiver.heard.all('failed').map(({ message }) => message)).to.deep.equal(['That code has been used.']);
  });

  it('leads to the ticket when the same command is started again, where all is cut with the last frame', async () => {
    expect(await reachDirectly(await cutOnce('listening', false))).to.include({ code: 'connection-lost' });
    expect(readFileSync(join(settings, 'sendall', 'codes.json'), 'utf8')).to.match(/"agreed": false/);
    await expectUsed();
    const ticket = ticketOf(await reachDirectly(`127.0.0.1:${String(receiver.port)}`));
    const tree = await SourceTree.make({ letter: Buffer.from('hello') });
    const sent = await sending({ paths: [tree.at('letter')], target: formatTicket(ticket) });
    await tree.remove();
    expect(sent.error?.message).to.equal(undefined);
  });

  it('has cost a try where it is our proof that is lost', async () => {
    expect(await reachDirectly(await cutOnce('dialing', true))).to.include({ code: 'connection-lost' });
    await receiver.heard.first('failed', ({ message }) => message.includes('2 tries are left'));
    ticketOf(await reachDirectly(`127.0.0.1:${String(receiver.port)}`));
    await expectUsed();
  });

  it('leads one of two who come through the relay with it, and tells the other one that it is used', async () => {
    const both = await Promise.all([0, 1].map(() => reach('127.0.0.1:1')));
    const [lost, ...more] = both.filter((each) => each instanceof TransferError);
    expect(more).to.deep.equal([]);
    expect(lost).to.include({ code: 'not-authorized', message: 'That code has been used.' });
  });

  it('is tried three times at most by who types it, and nobody waits at the relay then', async () => {
    relay.joins = () => false;
    let tried = 0;
    const rude = await somebody((socket) =>
      socket.once('data', () => {
        tried++;
        socket.end();
      }),
    );
    const elsewhere = rude.split(':')[1] ?? '';
    const said = await reach(
      ['127.0.0.1', '127.0.0.2', '127.0.0.3', '127.0.0.4'].map((host) => `${host}:${elsewhere}`).join(','),
      code,
    );
    expect(said).to.be.instanceOf(TransferError);
    expect(tried).to.equal(3);
  });
});
