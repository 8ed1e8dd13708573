import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { parseEntryName } from '../../lib/name';
import { pieceSize } from '../../lib/wire/segment';
import { type Piece, SegmentReader, type SourceToRead } from '../../lib/send/segment-reader';
import { codeOf, content, failureOf, md5Of } from '../store/delivery';

const mib = pieceSize;
const algorithm = 'md5';
const slots = 3;
const made = content(8 * mib);
type Bytes = Extract<Piece, { kind: 'bytes' }>;

let directory: string;
let source: SourceToRead;
let reader: SegmentReader;

before(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'segment-reader-'));
  const place = path.join(directory, 'f');
  await writeFile(place, made);
  const { size, mtimeNs, ctimeNs } = await stat(place, { bigint: true });
  source = {
    path: place,
    name: parseEntryName('f'),
    size: Number(size),
    mtime: mtimeNs,
    ctime: ctimeNs,
    sparse: false,
  };
  reader = new SegmentReader({ slots });
});
after(async () => {
  await reader.close();
  await rm(directory, { recursive: true });
});

/** The ways to read the same bytes. */
const ways: readonly (readonly [
  string,
  (signal?: AbortSignal, from?: SegmentReader) => AsyncGenerator<Piece, void, undefined>,
])[] = [
  ['a file', (signal, from = reader) => from.read({ source, algorithm }, signal)],
  ['a stream', (signal, from = reader) => from.readStream(Readable.from([made]), algorithm, signal)],
];

/** All the bytes that come without any being released. */
async function take(pieces: AsyncGenerator<Piece, void, undefined>, count = slots): Promise<Bytes[]> {
  const taken: Bytes[] = [];
  while (taken.length < count) {
    const { value } = await pieces.next();
    if (value?.kind === 'bytes') taken.push(value);
    else throw new Error(`there were only ${taken.length} pieces of bytes`);
  }
  return taken;
}

async function isStuck(promise: Promise<unknown>): Promise<boolean> {
  return Promise.race([
    promise.then(
      () => false,
      () => false,
    ),
    pause(100, true),
  ]);
}

/** That all the memory is there again: a file can be read as far as it reaches, and to its end. */
async function expectAllMemory(): Promise<void> {
  const pieces = reader.read({ source, algorithm });
  for (const piece of await take(pieces)) piece.release();
  for await (const piece of pieces) if (piece.kind === 'bytes') piece.release();
}

for (const [what, read] of ways) {
  describe(`a segment reader in the middle of ${what}`, () => {
    it('stops when all its memory is out, leaves that alone, and goes on when some comes back', async () => {
      const pieces = read();
      const taken = await take(pieces);
      const next = pieces.next();
      expect(await isStuck(next)).to.equal(true);
      for (const { offset, bytes } of taken)
        expect(Buffer.compare(bytes, made.subarray(offset, offset + mib))).to.equal(0);
      taken[1]?.release();
      const { value } = await next;
      expect(value).to.include({ kind: 'bytes', offset: 3 * mib });
      expect((value as Bytes).bytes.byteOffset).to.equal(taken[1]?.bytes.byteOffset);
      await pieces.return();
      for (const piece of [taken[0], taken[2], value as Bytes]) piece?.release();
      await expectAllMemory();
    });

    for (const [when, count] of [
      ['at once', 0],
      ['between two pieces', 1],
      ['waiting for memory', slots],
    ] as const) {
      it(`is interrupted ${when}, and reads the next file with all its memory`, async () => {
        const abort = new AbortController();
        const pieces = read(abort.signal);
        const taken = await take(pieces, count);
        const next = count === slots ? codeOf(pieces.next()) : undefined;
        if (next) expect(await isStuck(next)).to.equal(true);
        abort.abort();
        expect(await (next ?? codeOf(pieces.next()))).to.equal('interrupted');
        expect((await pieces.next()).done).to.equal(true);
        for (const piece of taken) piece.release();
        await expectAllMemory();
      });
    }

    it('reads the next file with all its memory after one that was left', async () => {
      for await (const piece of read()) {
        if (piece.kind === 'bytes') piece.release();
        break;
      }
      await expectAllMemory();
    });

    it('is interrupted when it is closed, and what it gave out stays good', async () => {
      const closing = new SegmentReader({ slots });
      const pieces = read(undefined, closing);
      const taken = await take(pieces);
      const next = codeOf(pieces.next());
      await closing.close();
      expect(await next).to.equal('interrupted');
      for (const { offset, bytes } of taken)
        expect(Buffer.compare(bytes, made.subarray(offset, offset + mib))).to.equal(0);
      expect(await codeOf(read(undefined, closing).next())).to.equal('interrupted');
    });
  });
}

describe('a segment reader', () => {
  it('gives back the memory of bytes that were read and never asked for', async () => {
    const place = path.join(directory, 'zeros-first');
    await writeFile(place, Buffer.concat([Buffer.alloc(mib), made]));
    const { size, mtimeNs, ctimeNs } = await stat(place, { bigint: true });
    const pieces = reader.read({
      source: { ...source, path: place, size: Number(size), mtime: mtimeNs, ctime: ctimeNs },
      algorithm,
    });
    expect((await pieces.next()).value).to.include({ kind: 'zero' });
    await pieces.return();
    await expectAllMemory();
  });

  it('gives back the memory of what is kept, and is done with a file when it has told its end', async () => {
    const pieces = reader.read({
      source,
      algorithm,
      held: new Map(
        Array.from({ length: 8 }, (_, at) => [at, md5Of(made.subarray(at * mib, (at + 1) * mib))] as const),
      ),
    });
    expect((await pieces.next()).value).to.deep.equal({ kind: 'keep', first: 0, count: 8 });
    expect((await pieces.next()).value).to.deep.equal({
      kind: 'end',
      size: made.length,
      digests: { md5: md5Of(made) },
    });
    await expectAllMemory();
  });

  it('does not keep a process alive that is otherwise done', () => {
    const script = "const { SegmentReader } = require('./lib/send/segment-reader'); new SegmentReader();";
    execFileSync(process.execPath, ['-r', './spec/typescript.js', '-e', script], {
      cwd: path.join(__dirname, '../..'),
      timeout: 10_000,
    });
  });
});

describe('a segment reader of streams', () => {
  async function read(
    input: Readable,
    from = reader,
  ): Promise<{ told: string[]; bytes: Buffer; end: Piece | undefined }> {
    const parts: Buffer[] = [];
    const told: string[] = [];
    let end: Piece | undefined;
    for await (const piece of from.readStream(input, 'sha256')) {
      if (piece.kind === 'bytes' || piece.kind === 'zero') expect(piece.offset).to.equal(Buffer.concat(parts).length);
      if (piece.kind === 'bytes') parts.push(Buffer.from(piece.bytes));
      if (piece.kind === 'zero') parts.push(Buffer.alloc(piece.size));
      told.push(piece.kind === 'end' ? 'end' : `${piece.kind} ${parts.at(-1)?.length}`);
      if (piece.kind === 'bytes') piece.release();
      end = piece;
    }
    return { told, bytes: Buffer.concat(parts), end };
  }

  for (const [count, each] of [
    [slots, 65_536],
    [1, 100_003],
    [2, 3 * mib + 5],
    [slots, 1],
  ] as const) {
    it(`cuts what comes by ${each} bytes into whole pieces, with memory for ${count}`, async () => {
      const some = new SegmentReader({ slots: count });
      const bytes =
        each === 1
          ? content(1000)
          : Buffer.concat([made.subarray(0, 2 * mib), Buffer.alloc(2 * mib), made.subarray(0, mib + 77)]);
      const chunks = Array.from({ length: Math.ceil(bytes.length / each) }, (_, at) =>
        bytes.subarray(at * each, (at + 1) * each),
      );
      const result = await read(Readable.from(chunks), some);
      await some.close();
      const whole = [`bytes ${mib}`, `bytes ${mib}`, `zero ${mib}`, `zero ${mib}`, `bytes ${mib}`];
      expect(result.told).to.deep.equal(each === 1 ? ['bytes 1000', 'end'] : [...whole, 'bytes 77', 'end']);
      expect(result.bytes.equals(bytes)).to.equal(true);
      expect(result.end).to.deep.equal({
        kind: 'end',
        size: bytes.length,
        digests: { sha256: createHash('sha256').update(bytes).digest('hex') },
      });
    });
  }

  it('takes what ends at the end of a piece, what is empty, and text', async () => {
    expect((await read(Readable.from([made.subarray(0, 2 * mib)]))).told).to.deep.equal([
      `bytes ${mib}`,
      `bytes ${mib}`,
      'end',
    ]);
    expect((await read(Readable.from([]))).told).to.deep.equal(['end']);
    const text = new PassThrough({ encoding: 'utf8' });
    text.end('grüße');
    expect((await read(text)).bytes.toString()).to.equal('grüße');
  });

  it('fails with what the input fails with: source-unreadable', async () => {
    const input = new PassThrough();
    input.write('something');
    const failure = failureOf(read(input));
    input.destroy(new Error('the pipe burst'));
    expect(await failure)
      .to.include({ code: 'source-unreadable', fileName: undefined })
      .and.property('message')
      .to.contain('the pipe burst');
    await expectAllMemory();
  });

  it('is interrupted while the input is silent, and ends it', async () => {
    const input = new PassThrough();
    input.write('something');
    const abort = new AbortController();
    const next = codeOf(reader.readStream(input, algorithm, abort.signal).next());
    expect(await isStuck(next)).to.equal(true);
    abort.abort();
    expect(await next).to.equal('interrupted');
    expect(input.destroyed).to.equal(true);
    await expectAllMemory();
  });
});
