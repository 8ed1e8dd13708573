import { open, type FileHandle } from 'node:fs/promises';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { RawSession } from './raw-session';
import { digestOf, digestOfFile, MiB, noise, Pair, succeeded, withoutSealed, withSealed } from './pair';
import type { Relay } from './relay';

/** A peer that says nothing for half a second is gone. */
const deadlines = { heartbeat: 120, silence: 600 };

/** Every write and every fsync of this process waits for `ms` before it begins. Returns how to end that. */
async function slowDisk(ms: number): Promise<() => void> {
  const any = await open('/dev/null');
  const prototype = Object.getPrototypeOf(any) as Pick<FileHandle, 'write' | 'sync'>;
  await any.close();
  const { write, sync } = prototype;
  const late = <Call extends (...these: never[]) => Promise<unknown>>(call: Call): Call =>
    async function (this: unknown, ...these: never[]) {
      await sleep(ms);
      return call.apply(this, these);
    } as unknown as Call;
  prototype.write = late(write as never);
  prototype.sync = late(sync);
  return () => {
    prototype.write = write;
    prototype.sync = sync;
  };
}

describe('a file that was closed', () => {
  it('and of which a piece never comes, though its sender is alive, ends the conversation with timeout, and is kept', async () => {
    const pair = await Pair.make({}, { deadlines: { link: { heartbeat: 60, silence: 400 } } });
    const content = noise(3 * MiB);
    const raw = await RawSession.open(pair.ticket);
    const alive = setInterval(() => void raw.send({ type: 'heartbeat' }), 50);
    await raw.offer({ large: content.length });
    await raw.wanted(0);
    await raw.segments(0, content, [1]);
    const began = performance.now();
    await raw.close(0, content);
    expect(await raw.broken()).to.include({ code: 'timeout' });
    expect(performance.now() - began).to.be.within(3_900, 20_000);
    clearInterval(alive);
    const again = await RawSession.open(pair.ticket);
    await again.offer({ large: content.length });
    expect((await again.first('held')).list).to.have.length(2);
    again.hangUp();
    await pair.close();
  });
});

for (const sealed of [false, true]) {
  describe(`a session in which nothing is heard, ${sealed ? 'with sealed connections' : 'over TLS alone'}`, function () {
    this.timeout(60_000);
    if (sealed) withSealed();
    else withoutSealed();
    /** Beside sealed ones connection 0 does not count. */
    const lines = (connections: number): number => connections + (sealed ? 1 : 0);
    let pair: Pair;
    let relay: Relay;
    const size = 24 * MiB + 5;
    const content = noise(size);

    beforeEach(async () => {
      pair = await Pair.make(
        { large: content, medium: content.subarray(0, 8 * MiB), small: 'small' },
        { deadlines: { link: deadlines } },
      );
      relay = await pair.relay();
    });
    afterEach(() => pair.close());

    const arrived = async (): Promise<void> => {
      expect(await digestOfFile(pair.to.place + '/large')).to.equal(digestOf(content));
      expect((await pair.to.read('small')).toString()).to.equal('small');
    };

    for (const direction of ['there', 'back'] as const) {
      for (const which of [
        'all of its connections',
        'the one that carries the conversation',
        'one of the others',
      ] as const) {
        it(`since nothing comes ${direction} on ${which}, goes on over new ones`, async () => {
          const running = pair.send(['large', 'small'], { relay, connections: 3, limit: 10 * MiB, deadlines });
          await relay.until(() => relay.there > 4 * MiB && relay.lines.length === lines(3));
          const swallowed =
            which === 'all of its connections'
              ? relay.lines.slice(0, lines(3))
              : relay.lines.slice(which === 'one of the others' ? 2 : 0).slice(0, 1);
          for (const line of swallowed) line.swallow(direction);
          const began = performance.now();
          await relay.until(() => relay.lines.length > lines(3));
          const noticed = performance.now() - began;
          succeeded(await running);
          await arrived();
          expect(noticed).to.be.within(deadlines.silence - 2 * deadlines.heartbeat, deadlines.silence + 1500);
          expect(relay.there).to.be.below(size + 12 * MiB);
        });
      }
    }

    it('while nothing is sent, since the input says nothing, is kept alive by its heartbeats', async () => {
      const input = new PassThrough();
      const running = pair.send(['-'], { relay, input, name: 'slow', connections: 2, deadlines });
      input.write('first ');
      await sleep(3 * deadlines.silence);
      input.end('last');
      succeeded(await running);
      expect((await pair.to.read('slow')).toString()).to.equal('first last');
      expect(relay.lines).to.have.lengthOf(lines(2));
    });

    it('since the disk of the receiver is slow, goes on over the same connections', async () => {
      const fast = await slowDisk(2 * deadlines.silence);
      try {
        const began = performance.now();
        succeeded(await pair.send(['medium', 'small'], { relay, connections: 2, deadlines }));
        expect(performance.now() - began).to.be.above(4 * deadlines.silence);
      } finally {
        fast();
      }
      expect(await digestOfFile(pair.to.place + '/medium')).to.equal(digestOf(content.subarray(0, 8 * MiB)));
      expect(relay.lines).to.have.lengthOf(lines(2));
      expect(relay.there).to.be.below(9 * MiB);
    });
  });
}
