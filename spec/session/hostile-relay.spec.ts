import { rm } from 'node:fs/promises';
import net from 'node:net';
import { expect } from 'chai';
import { HostileRelay, type Treatment } from '../net/hostile-relay';
import { ReceiveDirectory } from '../receive/receive-directory';
import { type Sent, sending, SourceTree } from '../send/source-tree';
import { MiB, noise } from './pair';

const large = noise(6 * MiB + 5);
const soon = { link: { heartbeat: 100, silence: 600 } } as const;

describe('a session through a relay that is an enemy', function () {
  this.timeout(30_000);
  let tree: SourceTree;
  let relay: HostileRelay;
  const directories: ReceiveDirectory[] = [];
  before(async () => {
    tree = await SourceTree.make({ large, letter: 'a letter to somebody\n'.repeat(100) });
  });
  after(() => tree.remove());
  beforeEach(async () => {
    relay = await HostileRelay.open();
  });
  afterEach(async () => {
    for (const directory of directories.splice(0)) await directory.close();
    await relay.close();
  });

  /** A receiver of whom its ticket says no address that leads to it. */
  async function receiver(): Promise<{ directory: ReceiveDirectory; ticket: string }> {
    const directory = await ReceiveDirectory.open({ relayAt: relay.where, deadlines: soon });
    directories.push(directory);
    return { directory, ticket: directory.ticket.replace(/127\.0\.0\.1:\d+\//, '127.0.0.1:1/') };
  }
  const send = (ticket: string, name = 'large', retryFor = 20): Promise<Sent> =>
    sending({ paths: [tree.at(name)], target: ticket, retryFor: retryFor * 1000, deadlines: soon.link });

  /** Once: from the first byte behind 2 MiB to the receiver, or behind 100 bytes to the sender. */
  function once(
    evil: (piece: Buffer) => Buffer | 'stop' | undefined,
    to: 'dialing' | 'listening' = 'listening',
  ): Treatment {
    let done = false;
    return (piece, direction, before) => {
      if (done || direction !== to || before < (to === 'listening' ? 2 * MiB : 400)) return piece;
      done = true;
      return evil(piece);
    };
  }
  const flipped = (piece: Buffer): Buffer => {
    const other = Buffer.from(piece);
    const at = other.length - 1; // not in the length of a record, whose rest would be waited for
    other[at] = (other[at] ?? 0) ^ 1;
    return other;
  };

  for (const [what, treatment] of [
    ['flips a bit', (): Treatment => once(flipped)],
    ['flips a bit of what the receiver says', (): Treatment => once(flipped, 'dialing')],
    ['says a piece twice', (): Treatment => once((piece) => Buffer.concat([piece, piece]))],
    ['leaves a piece out', (): Treatment => once(() => Buffer.alloc(0))],
    ['leaves out the end of a piece', (): Treatment => once((piece) => piece.subarray(0, -1))],
    ['cuts', (): Treatment => once(() => undefined)],
  ] as const)
    it(`that ${what}: the connection ends there, the session goes on, and what arrives is what was sent`, async () => {
      relay.treat = treatment();
      const { directory, ticket } = await receiver();
      const { error, result } = await send(ticket);
      expect(error?.message).to.equal(undefined);
      expect(relay.pairs).to.be.greaterThan(1);
      expect((await directory.read('large')).equals(large)).to.equal(true);
      expect(result?.summary.route).to.equal(`relay ${relay.where}`);
    });

  it('that flips a bit in each connection lets nothing through, however often it is tried', async () => {
    const stop = new AbortController();
    relay.treat = (piece, to, before) => {
      if (relay.pairs > 3) stop.abort();
      return to === 'listening' && before > 600 ? flipped(piece) : piece;
    };
    const { directory, ticket } = await receiver();
    const options = { paths: [tree.at('letter')], target: ticket, deadlines: soon.link, signal: stop.signal };
    expect((await sending(options)).error?.code).to.be.oneOf(['interrupted', 'cannot-connect']); // while it dialed
    expect(directory.heard.all('received')).to.deep.equal([]);
  });

  it('that stops in the middle is noticed by both within their deadline; the session goes on through it', async () => {
    relay.treat = once(() => 'stop');
    const { directory, ticket } = await receiver();
    const { error, heard } = await send(ticket);
    expect(error?.message).to.equal(undefined);
    // A machine that is busy may be silent for as long, so that there may be more of them.
    const states = heard.all('connection').map(({ state }) => state);
    expect([states.slice(0, 2), states.at(-1)]).to.deep.equal([['lost', 'back'], 'back']);
    expect(directory.heard.all('failed')).to.not.deep.equal([]);
    expect((await directory.read('large')).equals(large)).to.equal(true);
  });

  it('that stops in the middle: the session goes on directly, where that has become possible', async () => {
    const { directory } = await receiver();
    let reachable = false;
    relay.treat = (piece, to, before) => {
      reachable ||= to === 'listening' && before > 2 * MiB;
      return reachable ? 'stop' : piece;
    };
    const way = net.createServer((near) => {
      if (!reachable) return void near.destroy();
      const far = net.connect(directory.port, '127.0.0.1');
      for (const [one, other] of [
        [near, far],
        [far, near],
      ] as const)
        one.pipe(other).on('error', () => one.destroy());
    });
    await new Promise<void>((resolve) => way.listen(0, '127.0.0.1', resolve));
    const { port } = way.address() as net.AddressInfo;
    const { error, result } = await send(directory.ticket.replace(/:\d+\//, `:${String(port)}/`));
    way.close();
    expect(error?.message).to.equal(undefined);
    expect(relay.pairs).to.equal(1);
    expect(result?.summary).to.not.include.keys('route');
    expect((await directory.read('large')).equals(large)).to.equal(true);
  });

  it('that joins those who belong to others: neither gets a byte of the other', async () => {
    relay.joins = (one, other) => one.token !== other.token;
    const [first, second] = [await receiver(), await receiver()];
    const ends = await Promise.all([send(first.ticket, 'large', 0), send(second.ticket, 'letter', 0)]);
    expect(ends.map(({ error }) => error?.code)).to.satisfy((codes: unknown[]) =>
      codes.every((code) => code === 'not-authorized' || code === 'cannot-connect'),
    );
    expect(relay.pairs).to.be.greaterThan(0);
    for (const { directory } of [first, second]) expect(directory.heard.all('received')).to.deep.equal([]);
    relay.joins = (one, other) => one.token === other.token;
    expect((await send(second.ticket, 'letter')).error?.message).to.equal(undefined);
  });

  it('that repeats to another receiver what it has heard gets nothing stored', async () => {
    const { directory, ticket } = await receiver();
    expect((await send(ticket, 'letter')).error?.message).to.equal(undefined);
    const [, heard = ''] = /ok|please relay[^\n]*\n([^]*)/.exec(relay.captured.toString('latin1')) ?? [];
    await rm(`${directory.place}/letter`);
    relay.treat = (piece, to, before) =>
      to === 'listening' ? (before === 0 ? Buffer.from(heard, 'latin1') : Buffer.alloc(0)) : piece;
    const again = await send(ticket, 'letter', 1);
    expect(again.error?.code).to.be.oneOf(['connection-lost', 'cannot-connect', 'not-authorized']);
    expect(directory.heard.all('received')).to.have.length(1);
  });
});
