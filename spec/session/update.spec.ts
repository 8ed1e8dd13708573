import { stat, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect } from 'chai';
import { createReceiver } from '../../lib/index';
import { sending } from '../send/source-tree';
import { digestOf, digestOfFile, MiB, noise, Pair, succeeded } from './pair';

const size = 24 * MiB + 12_345;
const standing = noise(size, 3);
const inserted = noise(MiB, 4);

/**
 * What becomes of the file, and how many MiB of it travel at most. The content-defined segments around a change are
 * part of it.
 */
const changes: readonly (readonly [what: string, content: Buffer, atMost: number])[] = [
  [
    '1 MiB inserted in the middle',
    Buffer.concat([standing.subarray(0, 12 * MiB), inserted, standing.subarray(12 * MiB)]),
    6,
  ],
  [
    'an odd number of bytes inserted in the middle',
    Buffer.concat([standing.subarray(0, 9_999_999), inserted.subarray(0, 12_321), standing.subarray(9_999_999)]),
    4,
  ],
  ['one byte inserted at the beginning', Buffer.concat([Buffer.from('x'), standing]), 3],
  ['much removed from the middle', Buffer.concat([standing.subarray(0, 5_000_001), standing.subarray(15_000_000)]), 3],
  ['its halves exchanged', Buffer.concat([standing.subarray(12_000_007), standing.subarray(0, 12_000_007)]), 5],
  [
    '1 MiB overwritten in place',
    Buffer.concat([standing.subarray(0, 7 * MiB), inserted, standing.subarray(8 * MiB)]),
    1,
  ],
  [
    '1 MiB overwritten across two pieces',
    Buffer.concat([standing.subarray(0, 7 * MiB + 500), inserted, standing.subarray(8 * MiB + 500)]),
    2,
  ],
  ['more at its end', Buffer.concat([standing, inserted]), 3],
  ['its end cut off', standing.subarray(0, 10_000_000), 1],
  ['the same content twice', Buffer.concat([standing, standing]), 4],
];

describe('An update of a large file', () => {
  let pair: Pair;
  afterEach(() => pair.close());

  const sent = async (content: Uint8Array): Promise<number> => {
    await pair.source.write('f', content);
    const { summary } = succeeded(await pair.send(['f'], { connections: 2 }));
    expect(await digestOfFile(path.join(pair.to.place, 'f'))).to.equal(await digestOfFile(pair.source.at('f')));
    return summary.bytes_on_wire;
  };

  it('moves what changed and what is right beside it, wherever the rest is now', async function () {
    this.timeout(60_000);
    pair = await Pair.make({}, { ifExists: 'replace' });
    for (const [what, content, atMost] of changes) {
      await writeFile(path.join(pair.to.place, 'f'), standing);
      expect(await sent(content), what).to.be.below(atMost * MiB + 5000);
    }
  });

  it('counts what there is, both ways: the lists are small', async () => {
    pair = await Pair.make({}, { ifExists: 'replace' });
    await writeFile(path.join(pair.to.place, 'f'), standing);
    const relay = await pair.relay();
    await pair.source.write('f', changes[0]?.[1] ?? '');
    const { summary } = succeeded(await pair.send(['f'], { relay, connections: 2 }));
    expect(relay.there).to.be.within(summary.bytes_on_wire, summary.bytes_on_wire + 20_000);
    expect(relay.lines.reduce((sum, { bytes }) => sum + bytes.back, 0)).to.be.below(30_000);
  });

  it('moves all of a file in which nothing is the same, once', async () => {
    pair = await Pair.make({}, { ifExists: 'replace' });
    await writeFile(path.join(pair.to.place, 'f'), standing);
    expect(await sent(noise(size, 8))).to.be.within(size, size + 10_000);
  });

  it('leaves holes where there are zeros', async () => {
    pair = await Pair.make({}, { ifExists: 'replace' });
    const place = path.join(pair.to.place, 'f');
    await writeFile(place, standing.subarray(0, 3 * MiB));
    await truncate(place, 40 * MiB);
    await pair.source.write('f', Buffer.concat([Buffer.from('x'), standing.subarray(0, 3 * MiB)]));
    await truncate(pair.source.at('f'), 40 * MiB);
    const { summary } = succeeded(await pair.send(['f']));
    expect(summary.bytes_on_wire).to.be.below(4 * MiB + 5000);
    expect(await digestOfFile(place)).to.equal(await digestOfFile(pair.source.at('f')));
    expect((await stat(place)).blocks * 512).to.be.below(6 * MiB);
  });

  it('is the copy under another name where it may not replace', async () => {
    pair = await Pair.make({}, { ifExists: 'rename' });
    await writeFile(path.join(pair.to.place, 'f'), standing);
    await pair.source.write('f', changes[2]?.[1] ?? '');
    const { summary, files } = succeeded(await pair.send(['f']));
    expect(summary.bytes_on_wire).to.be.below(3 * MiB + 5000);
    expect(files.map(({ path: stored }) => stored)).to.deep.equal(['f (1)']);
    expect((await pair.to.read('f')).equals(standing)).to.equal(true);
    expect((await pair.to.read('f (1)')).equals(changes[2]?.[1] ?? Buffer.alloc(0))).to.equal(true);
  });

  it('that was interrupted goes on with all that was there, sent or copied', async () => {
    pair = await Pair.make({}, { ifExists: 'replace' });
    const place = path.join(pair.to.place, 'f');
    await writeFile(place, standing);
    // First what is copied, then what is sent, then more to copy.
    const content = Buffer.concat([
      Buffer.from('x'),
      standing.subarray(0, 12 * MiB),
      noise(12 * MiB, 9),
      standing.subarray(12 * MiB),
    ]);
    await pair.source.write('f', content);
    const relay = await pair.relay();
    const running = pair.send(['f'], { relay, limit: 12 * MiB, connections: 2, retryFor: 0 });
    await relay.until(() => relay.there > 8 * MiB);
    await relay.fall();
    expect((await running).error?.code).to.equal('connection-lost');
    await pair.to.receiver.close();
    expect(await digestOfFile(place)).to.equal(digestOf(standing));
    const receiver = await createReceiver({ directory: pair.to.place, ifExists: 'replace' });
    const { ticket = '' } = await receiver.listen('127.0.0.1:0');
    const { summary } = succeeded(await sending({ paths: [pair.source.at('f')], target: ticket }));
    await receiver.close();
    expect(summary.bytes_on_wire).to.be.within(5 * MiB, 10 * MiB);
    expect(await digestOfFile(place)).to.equal(digestOf(content));
  });
});
