import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { appendFile, mkdir, mkdtemp, open, rm, stat, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createDigestOf, type DigestAlgorithm } from '../../lib/digest/digest';
import { parseEntryName } from '../../lib/name';
import { pieceSize } from '../../lib/wire/segment';
import { systemCalls } from '../../lib/threads/system-calls';
import { type Piece, type ReadOrder, SegmentReader, type SourceToRead } from '../../lib/send/segment-reader';
import { codeOf, content, failureOf } from '../store/delivery';
import { skipTest } from '../skip-test';

const mib = pieceSize;
const algorithm = 'sha256';

describe('a segment reader', () => {
  let directory: string;
  let reader: SegmentReader;
  let digestOf: (bytes: Uint8Array) => string;
  let files = 0;

  before(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'segment-reader-'));
    digestOf = await createDigestOf(algorithm);
    reader = new SegmentReader({ slots: 3 });
  });
  after(async () => {
    await reader.close();
    await rm(directory, { recursive: true });
  });

  async function sourceAt(place: string, sparse = false): Promise<SourceToRead> {
    const { size, mtimeNs, ctimeNs } = await stat(place, { bigint: true });
    return {
      path: place,
      name: parseEntryName(path.basename(place)),
      size: Number(size),
      mtime: mtimeNs,
      ctime: ctimeNs,
      sparse,
    };
  }
  /** Long ago, so that whatever is written later shows. */
  async function sourceOf(bytes: Uint8Array): Promise<SourceToRead> {
    const place = path.join(directory, String(files++));
    await writeFile(place, bytes);
    await utimes(place, 1e9, 1e9);
    return sourceAt(place);
  }
  /** All of `size` bytes a hole but what is in `data` by offset. */
  async function sparseFile(size: number, data: Readonly<Record<number, Uint8Array>>): Promise<string> {
    const place = path.join(directory, String(files++));
    const handle = await open(place, 'w');
    await handle.truncate(size);
    for (const [offset, bytes] of Object.entries(data)) await handle.write(bytes, 0, bytes.length, Number(offset));
    await handle.close();
    return place;
  }

  /** All pieces, each released; and the file put together from them, where kept segments are 0xff. */
  async function read(
    order: Omit<ReadOrder, 'algorithm'> & { readonly algorithm?: DigestAlgorithm },
    from = reader,
  ): Promise<{ told: string[]; bytes: Buffer; end: Piece | undefined }> {
    const bytes = Buffer.alloc(order.source.size, 0xaa);
    const { segmentSize = mib } = order;
    const told: string[] = [];
    let end: Piece | undefined;
    for await (const piece of from.read({ algorithm, ...order })) {
      expect(end).to.equal(undefined);
      told.push(wordsFor(piece));
      if (piece.kind === 'bytes') bytes.set(piece.bytes, piece.offset);
      if (piece.kind === 'bytes') piece.release();
      if (piece.kind === 'zero') bytes.fill(0, piece.offset, piece.offset + piece.size);
      if (piece.kind === 'keep')
        bytes.fill(0xff, piece.first * segmentSize, Math.min(bytes.length, (piece.first + piece.count) * segmentSize));
      if (piece.kind === 'end') end = piece;
    }
    return { told, bytes, end };
  }
  function wordsFor(piece: Piece): string {
    if (piece.kind === 'bytes') return `bytes ${piece.offset / mib}`;
    if (piece.kind === 'zero') return `zero ${piece.offset / mib}+${piece.size / mib}`;
    return piece.kind === 'keep' ? `keep ${piece.first}+${piece.count}` : 'end';
  }
  const heldOf = (bytes: Uint8Array, segments: readonly number[], length = mib): Map<number, string> =>
    new Map(segments.map((segment) => [segment, digestOf(bytes.subarray(segment * length, (segment + 1) * length))]));

  for (const each of ['md5', 'sha256', 'blake3'] as const) {
    it(`gives files of all sizes byte for byte, in order, with their ${each}`, async () => {
      for (const size of [0, 1, mib - 1, mib, mib + 1, 4 * mib, 5 * mib + 123]) {
        const made = content(size, size);
        const { told, bytes, end } = await read({ source: await sourceOf(made), algorithm: each });
        expect(bytes.equals(made), `${size} bytes`).to.equal(true);
        expect(told).to.deep.equal([
          ...Array.from({ length: Math.ceil(size / mib) }, (_, piece) => `bytes ${piece}`),
          'end',
        ]);
        expect(end).to.deep.equal({ kind: 'end', size, digests: { [each]: (await createDigestOf(each))(made) } });
      }
    });
  }

  it('tells whole pieces of zeros in runs, and no piece with a single other byte as one', async () => {
    const made = Buffer.alloc(10 * mib + 500);
    for (const offset of [3 * mib + 77, 6 * mib, 8 * mib - 1]) made[offset] = 1;
    const { told, bytes, end } = await read({ source: await sourceOf(made) });
    expect(told).to.deep.equal([
      'zero 0+3',
      'bytes 3',
      'zero 4+2',
      'bytes 6',
      'bytes 7',
      `zero 8+${2 + 500 / mib}`,
      'end',
    ]);
    expect(bytes.equals(made)).to.equal(true);
    expect(end).to.deep.include({ digests: { sha256: digestOf(made) } });
  });

  it('finds the same in a file with holes, and does not read them', async function () {
    const size = 40 * mib + 5000;
    const place = await sparseFile(size, { [5 * mib - 100]: content(200), [30 * mib]: content(mib) });
    const made = readFileSync(place);
    const bytesRead = async (sparse: boolean): Promise<number> => {
      const count = (): number => Number(/rchar: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]);
      const before = count();
      const { told, bytes, end } = await read({ source: await sourceAt(place, sparse) });
      expect(told).to.deep.equal([
        'zero 0+4',
        'bytes 4',
        'bytes 5',
        'zero 6+24',
        'bytes 30',
        `zero 31+${9 + 5000 / mib}`,
        'end',
      ]);
      expect(bytes.equals(made)).to.equal(true);
      expect(end).to.deep.include({ digests: { sha256: digestOf(made) } });
      return count() - before;
    };
    if (!systemCalls()) skipTest(this, 'the calls of Linux are not to be had here');
    expect(await bytesRead(false)).to.be.greaterThan(size - 1);
    expect(await bytesRead(true)).to.be.within(3 * mib, 4 * mib);
  });

  it('keeps the held segments that are as they should be, and sends all others', async () => {
    const made = content(6 * mib + 99, 6);
    made.fill(0, 4 * mib, 5 * mib);
    const source = await sourceOf(made);
    const end = { kind: 'end', size: made.length, digests: { sha256: digestOf(made) } };
    const all = heldOf(made, [0, 1, 2, 3, 4, 5, 6]);
    expect(await read({ source, held: all })).to.deep.include({ told: ['keep 0+7', 'end'], end });
    expect(await read({ source, held: new Map() })).to.deep.include({
      told: ['bytes 0', 'bytes 1', 'bytes 2', 'bytes 3', 'zero 4+1', 'bytes 5', 'bytes 6', 'end'],
      end,
    });
    all
      .set(1, digestOf(Buffer.from('something else')))
      .set(4, digestOf(Buffer.from('too')))
      .delete(3);
    const some = await read({ source, held: all });
    expect(some).to.deep.include({
      told: ['keep 0+1', 'bytes 1', 'keep 2+1', 'bytes 3', 'zero 4+1', 'keep 5+2', 'end'],
      end,
    });
    expect(some.bytes.subarray(mib, 2 * mib).equals(made.subarray(mib, 2 * mib))).to.equal(true);
  });

  it('keeps segments longer than a piece only whole', async () => {
    const segmentSize = 4 * mib;
    const made = content(14 * mib + 5, 14);
    const held = heldOf(made, [0, 1, 3], segmentSize).set(1, digestOf(Buffer.from('something else')));
    const { told, bytes, end } = await read({ source: await sourceOf(made), held, segmentSize });
    expect(told).to.deep.equal([
      'keep 0+1',
      ...[4, 5, 6, 7, 8, 9, 10, 11].map((piece) => `bytes ${piece}`),
      'keep 3+1',
      'end',
    ]);
    expect(bytes.subarray(4 * mib, 12 * mib).equals(made.subarray(4 * mib, 12 * mib))).to.equal(true);
    expect(end).to.deep.include({ digests: { sha256: digestOf(made) } });
  });

  it('tells of what is kept and of zeros every 64 MiB', async () => {
    const size = 130 * mib;
    const source = await sourceAt(await sparseFile(size, {}), true);
    const digest = (await createDigestOf('blake3'))(Buffer.alloc(mib));
    const held = new Map(Array.from({ length: 130 }, (_, segment) => [segment, digest] as const));
    expect((await read({ source, held, algorithm: 'blake3' })).told).to.deep.equal([
      'keep 0+64',
      'keep 64+64',
      'keep 128+2',
      'end',
    ]);
    expect((await read({ source, algorithm: 'blake3' })).told).to.deep.equal([
      'zero 0+64',
      'zero 64+64',
      'zero 128+2',
      'end',
    ]);
  });

  it('a file that is not what was offered: source-changed, and not a byte of it', async () => {
    const source = await sourceOf(content(3 * mib));
    for (const wrong of [{ size: source.size + 1 }, { mtime: source.mtime + 1n }, { ctime: source.ctime - 1n }]) {
      const failure = await failureOf(reader.read({ source: { ...source, ...wrong }, algorithm }).next());
      expect(failure).to.include({ code: 'source-changed', fileName: source.name });
    }
  });

  const changes: readonly (readonly [string, (place: string) => Promise<void>])[] = [
    ['grows, and is rewritten,', (place) => appendFile(place, 'x').then(() => rewrite(place))],
    ['shrinks', (place) => truncate(place, 9 * mib)],
    ['shrinks to where it was read already', (place) => truncate(place, 100)],
    ['is written to in place, and gets its old time back', (place) => rewrite(place)],
  ];
  async function rewrite(place: string): Promise<void> {
    await pause(20); // the clock of a file system ticks every few ms
    const handle = await open(place, 'r+');
    await handle.write('x', 20);
    await handle.close();
    await utimes(place, 1e9, 1e9);
  }
  for (const [what, change] of changes) {
    for (const held of [undefined, new Map([[1, 'a digest of a longer segment, read twice']])]) {
      it(`a file that ${what} while it is read${held ? ' by long segments' : ''}: source-changed in place of its last piece`, async () => {
        const source = await sourceOf(content(10 * mib));
        const told: string[] = [];
        const failure = await failureOf(
          (async () => {
            for await (const piece of reader.read({
              source,
              algorithm,
              ...(held ? { held, segmentSize: 8 * mib } : {}),
            })) {
              told.push(wordsFor(piece));
              if (told.length === 1) await change(source.path); // the reader is three slots ahead at most
              if (piece.kind === 'bytes') piece.release();
            }
          })(),
        );
        expect(failure).to.include({ code: 'source-changed', fileName: source.name });
        expect(told).not.to.include('bytes 9').and.not.to.include('end');
      });
    }
  }

  it('a file that only grows while it is read: what it had, and that is said', async () => {
    const source = await sourceOf(content(10 * mib));
    const pieces: Piece[] = [];
    for await (const piece of reader.read({ source, algorithm })) {
      pieces.push(piece);
      if (pieces.length === 1) await appendFile(source.path, 'more');
      if (piece.kind === 'bytes') piece.release();
    }
    expect(pieces.at(-1)).to.deep.include({ kind: 'end', size: 10 * mib, grew: true });
  });

  it('what cannot be read: source-unreadable, and nobody waits for the writer of a FIFO', async () => {
    const source = await sourceOf(content(10));
    const fifo = path.join(directory, 'fifo');
    execFileSync('mkfifo', [fifo]);
    await mkdir(path.join(directory, 'd'));
    for (const place of [fifo, path.join(directory, 'd'), path.join(directory, 'missing'), directory + '/a\0b']) {
      const failure = await failureOf(reader.read({ source: { ...source, path: place }, algorithm }).next());
      expect(failure).to.include({ code: 'source-unreadable', fileName: source.name });
    }
    await symlink(source.path, path.join(directory, 'link'));
    expect((await read({ source: { ...source, path: path.join(directory, 'link') } })).told).to.deep.equal([
      'bytes 0',
      'end',
    ]);
  });

  it('refuses a second file at a time, and goes on with the first', async () => {
    const source = await sourceOf(content(100));
    const first = reader.read({ source, algorithm });
    await first.next();
    expect(await codeOf(reader.read({ source, algorithm }).next())).to.equal('usage');
    expect((await first.next()).value).to.include({ kind: 'end' });
  });
});
