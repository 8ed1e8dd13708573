import { expect } from 'chai';
import { TransferError } from '../../lib/index';
import { type MissedPiece, type Piece } from '../../lib/send/segment-reader';
import { SharedReading } from '../../lib/send/shared-reading';
import { pieceSize } from '../../lib/wire/segment';

describe('a file that several receivers share', () => {
  let released: number;
  let read: number;
  /** Pieces in memory at this moment, and the most there were. */
  let [held, most] = [0, 0];
  beforeEach(() => {
    [released, read, held, most] = [0, 0, 0, 0];
  });

  /** So many pieces of bytes, in each of which its number stands; those of `zeros` are a run. */
  async function* pieces(count: number, zeros: readonly number[] = []): AsyncGenerator<Piece, void, undefined> {
    for (let at = 0; at < count; at++) {
      const offset = at * pieceSize;
      if (zeros.includes(at)) {
        yield { kind: 'zero', offset, size: pieceSize };
        continue;
      }
      read++;
      most = Math.max(most, ++held);
      const bytes = new Uint8Array(pieceSize).fill(at);
      yield {
        kind: 'bytes',
        offset,
        bytes,
        release: () => {
          released++;
          held--;
          bytes.fill(255); // others read into it now
        },
      };
    }
    yield { kind: 'end', size: count * pieceSize, digests: { blake3: 'whole' } };
    await Promise.resolve();
  }

  /** What a receiver was handed, in words. It gives each piece back when `after` resolves. */
  async function take(
    file: SharedReading,
    after: (piece: Piece | MissedPiece) => Promise<void> = () => Promise.resolve(),
  ): Promise<string[]> {
    const told: string[] = [];
    for await (const piece of file.follow(undefined)) {
      if (piece.kind === 'bytes') told.push(`${String(piece.bytes[0])}`);
      else if (piece.kind === 'missed') told.push(`missed ${String(piece.offset / pieceSize)}`);
      else if (piece.kind === 'zero')
        told.push(`zero ${String(piece.offset / pieceSize)} ${String(piece.size / pieceSize)}`);
      else told.push(piece.kind);
      if (piece.kind === 'bytes' || piece.kind === 'missed')
        void after(piece).then(() => {
          if (piece.kind === 'bytes' && piece.bytes[0] !== piece.offset / pieceSize) told.push('overwritten');
          piece.release();
        });
    }
    return told;
  }
  const all = (count: number): string[] => [...Array.from({ length: count }, (_, at) => String(at)), 'end'];
  const nobodyWaits = (): boolean => false;

  it('reads each piece once for all, and gives it back once all have sent it', async () => {
    const file = new SharedReading({ pieces: 4, each: 2 }, nobodyWaits);
    const taking = [take(file), take(file), take(file)];
    await file.read(pieces(20));
    expect(await Promise.all(taking)).to.deep.equal([all(20), all(20), all(20)]);
    expect([read, released]).to.deep.equal([20, 20]);
    expect(most).to.be.at.most(5);
  });

  it('lets one that sends nothing leave, and memory stays what it was', async () => {
    const file = new SharedReading({ pieces: 4, each: 2 }, nobodyWaits);
    let goOn: () => void = () => undefined;
    const stalled = new Promise<void>((resolve) => (goOn = resolve));
    const slow = take(file, () => stalled);
    const fast = take(file);
    await file.read(pieces(20));
    expect(await fast).to.deep.equal(all(20));
    // What it has in its hands, and what those in the window have.
    expect(most).to.be.at.most(4 + 2 + 1);
    goOn();
    expect(await slow).to.deep.equal([
      '0',
      '1',
      ...Array.from({ length: 18 }, (_, at) => `missed ${String(at + 2)}`),
      'end',
    ]);
    expect([read, released]).to.deep.equal([20, 20]);
  });

  it('tells one that comes late what it has missed, zeros as such, and the digest that is known', async () => {
    const file = new SharedReading({ pieces: 4, each: 2 }, nobodyWaits);
    const first = take(file);
    await file.read(pieces(6, [2, 4]));
    expect(await first).to.deep.equal(['0', '1', 'zero 2 1', '3', 'zero 4 1', '5', 'end']);
    expect(await take(file)).to.deep.equal([
      'missed 0',
      'missed 1',
      'zero 2 1',
      'missed 3',
      'zero 4 1',
      'missed 5',
      'end',
    ]);
    expect(file.isRead).to.equal(true);
  });

  it('waits for all where all are slow, and leaves the reader to others who wait for it', async () => {
    let waited = false;
    const file = new SharedReading({ pieces: 4, each: 2 }, () => waited);
    let goOn: () => void = () => undefined;
    const stalled = new Promise<void>((resolve) => (goOn = resolve));
    const slow = take(file, () => stalled);
    const reading = file.read(pieces(20));
    await new Promise((resolve) => setImmediate(resolve));
    expect(read).to.be.below(7);
    waited = true;
    file.look();
    await reading;
    expect(read).to.equal(20);
    goOn();
    expect((await slow).filter((told) => told.startsWith('missed'))).to.have.length(18);
  });

  it('fails for all who follow, and ends when nobody does', async () => {
    const failing = new SharedReading({ pieces: 4, each: 2 }, nobodyWaits);
    const taking = [take(failing), take(failing)].map((each) => each.catch((error: unknown) => error));
    await failing.read(
      (async function* (): AsyncGenerator<Piece, void, undefined> {
        yield { kind: 'zero', offset: 0, size: pieceSize };
        await Promise.reject(new TransferError('source-changed', 'It has changed.'));
      })(),
    );
    for (const each of await Promise.all(taking)) expect(each).to.include({ code: 'source-changed' });
    expect(failing.hasFailed).to.equal(true);
    const left = new SharedReading({ pieces: 4, each: 2 }, nobodyWaits);
    const stop = new AbortController();
    const leaving = (async () => {
      for await (const piece of left.follow(stop.signal)) {
        if (piece.kind === 'bytes') piece.release();
        stop.abort();
      }
    })().catch((error: unknown) => error);
    await left.read(pieces(20));
    expect(await leaving).to.include({ code: 'interrupted' });
    expect(left.hasFailed).to.equal(true);
    expect(read).to.equal(released);
  });
});
