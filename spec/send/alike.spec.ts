import { expect } from 'chai';
import { mkdtemp, open, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseEntryName } from '../../lib/name';
import { contentSizesOf } from '../../lib/wire/content-segments';
import { pieceSize as mib } from '../../lib/wire/segment';
import type { BasisSegment } from '../../lib/wire/basis';
import { ContentDigests } from '../../lib/digest/content-digests';
import { type ReadOrder, SegmentReader } from '../../lib/send/segment-reader';
import { content, md5Of } from '../store/delivery';

const algorithm = 'md5';
const standing = content(9 * mib + 777);

describe('A segment reader that knows what stands at the receiver', () => {
  let directory: string;
  let reader: SegmentReader;
  before(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'alike-'));
    reader = new SegmentReader({ slots: 3 });
  });
  after(async () => {
    await reader.close();
    await rm(directory, { recursive: true });
  });

  /** As a receiver tells it: content-defined segments, and pieces. */
  async function told(bytes: Uint8Array, size: number): Promise<BasisSegment[]> {
    const segments = await ContentDigests.create(algorithm, contentSizesOf(size));
    const pieces = Array.from({ length: Math.ceil(bytes.length / mib) }, (_, at) =>
      bytes.subarray(at * mib, (at + 1) * mib),
    );
    return [
      ...(await segments.push(bytes, true)),
      ...pieces.map((piece, at) => ({ offset: at * mib, size: piece.length, digest: md5Of(piece) })),
    ];
  }

  /** What is told of the file, which is put together from what is sent and copied, and must come to `bytes`. */
  async function read(
    bytes: Uint8Array,
    others: Partial<ReadOrder> & { readonly from?: Uint8Array; readonly place?: string } = {},
  ): Promise<string[]> {
    const { from = standing, place = path.join(directory, 'f'), ...order } = others;
    if (others.place === undefined) await writeFile(place, bytes);
    await utimes(place, 1e9, 1e9);
    const { size, mtimeNs, ctimeNs } = await stat(place, { bigint: true });
    const source = {
      path: place,
      name: parseEntryName('f'),
      size: Number(size),
      mtime: mtimeNs,
      ctime: ctimeNs,
      sparse: others.place !== undefined,
    };
    const made = Buffer.alloc(bytes.length, 0xaa);
    const words: string[] = [];
    for await (const piece of reader.read({ source, algorithm, basis: await told(from, source.size), ...order })) {
      const at = 'offset' in piece ? piece.offset / mib : 0;
      if (piece.kind === 'end') {
        expect(piece.digests).to.deep.equal({ md5: md5Of(bytes) });
      } else if (piece.kind === 'bytes') {
        made.set(piece.bytes, piece.offset);
        piece.release();
        words.push(`bytes ${String(at)}`);
      } else if (piece.kind === 'copy') {
        expect(piece.from + piece.size).to.be.at.most(from.length);
        made.set(from.subarray(piece.from, piece.from + piece.size), piece.offset);
        words.push(`copy ${String(at)}+${String(Math.ceil(piece.size / mib))} from ${String(piece.from)}`);
      } else if (piece.kind === 'zero') {
        made.fill(0, piece.offset, piece.offset + piece.size);
        words.push(`zero ${String(at)}+${String(piece.size / mib)}`);
      } else {
        const { segmentSize = mib } = order;
        made.set(
          bytes.subarray(piece.first * segmentSize, (piece.first + piece.count) * segmentSize),
          piece.first * segmentSize,
        );
        words.push(`keep ${String(piece.first)}+${String(piece.count)}`);
      }
    }
    expect(made.equals(bytes)).to.equal(true);
    return words;
  }

  it('reads the same file as one copy', async () => {
    expect(await read(standing)).to.deep.equal(['copy 0+10 from 0']);
  });

  it('finds what has moved, and sends what is around a change', async () => {
    const words = await read(
      Buffer.concat([standing.subarray(0, 4 * mib), Buffer.from('inserted'), standing.subarray(4 * mib)]),
    );
    expect(words[0]).to.match(/^copy 0\+[34] from 0$/);
    expect(words.at(-1)).to.match(/^copy \d\+\d from \d+$/);
    expect(words.filter((word) => word.startsWith('bytes')).length).to.be.within(1, 3);
  });

  it('sends no more of what was overwritten in place than its pieces', async () => {
    const changed = Buffer.from(standing);
    for (const at of [0, 3 * mib, 5 * mib - 1, 9 * mib + 776]) changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
    expect(await read(changed)).to.deep.equal([
      'bytes 0',
      `copy 1+2 from ${String(mib)}`,
      'bytes 3',
      'bytes 4',
      `copy 5+4 from ${String(5 * mib)}`,
      'bytes 9',
    ]);
  });

  it('keeps what is held, and looks for the rest in what stands there', async () => {
    const moved = Buffer.concat([Buffer.from('x'), standing]);
    const held = new Map(
      [1, 2, 5].map((segment) => [segment, md5Of(moved.subarray(segment * mib, (segment + 1) * mib))]),
    );
    const words = await read(moved, { held });
    expect(words.filter((word) => word.startsWith('keep'))).to.deep.equal(['keep 1+2', 'keep 5+1']);
    expect(words.filter((word) => word.startsWith('bytes')).length).to.be.at.most(1);
  });

  it('finds the same content as often as it comes', async () => {
    const words = await read(Buffer.concat([standing, standing, standing]));
    expect(words.filter((word) => word.startsWith('bytes')).length).to.be.at.most(6);
  });

  it('copies zeros where they stand in one run, whatever else is zeros there', async () => {
    const zeros = Buffer.concat([standing.subarray(0, mib), Buffer.alloc(6 * mib), standing.subarray(mib)]);
    expect(await read(zeros, { from: zeros })).to.deep.equal(['copy 0+16 from 0']);
    expect(await read(zeros)).to.include.members([`zero 1+6`]);
  });

  it('is taken in by nobody: what is told wrongly is not there', async () => {
    const wrong = [{ offset: 0, size: mib, digest: '0'.repeat(32) }];
    expect(await read(standing, { basis: wrong })).to.deep.equal(
      Array.from({ length: 10 }, (_, at) => `bytes ${String(at)}`),
    );
  });

  it('reads what comes before a hole again as it is', async () => {
    const place = path.join(directory, 'sparse');
    const handle = await open(place, 'w');
    await handle.write(standing, 0, mib, 0);
    await handle.truncate(8 * mib);
    await handle.close();
    const bytes = Buffer.concat([standing.subarray(0, mib), Buffer.alloc(7 * mib)]);
    const held = new Map([[0, '0'.repeat(32)]]);
    expect(await read(bytes, { place, held, segmentSize: 4 * mib, basis: [] })).to.deep.equal(['bytes 0', 'zero 1+7']);
    expect(await read(bytes, { place, from: content(mib) })).to.deep.equal(['copy 0+1 from 0', 'zero 1+7']);
    expect(await read(bytes, { place, from: Buffer.alloc(100, 'x') })).to.deep.equal(['bytes 0', 'zero 1+7']);
  });
});
