import { expect } from 'chai';
import { open, readdir } from 'node:fs/promises';
import path from 'node:path';
import { ReceiveDirectory } from '../receive/receive-directory';
import { noise } from './pair';
import { piece, RawSession, type Said, sha256 } from './raw-session';

const content = noise(4 * piece + 99);
const damaged = noise(piece, 99);
const part = (at: number): Buffer => content.subarray(at * piece, (at + 1) * piece);

describe('A segment that is damaged', () => {
  let to: ReceiveDirectory;
  let raw: RawSession;
  let files = 0;
  before(async () => {
    to = await ReceiveDirectory.open({}, { onDisk: true });
    raw = await RawSession.open(to.ticket);
  });
  after(() => to.close());

  const partials = (): Promise<string[]> => readdir(path.join(to.place, '.sendall', 'partial'));
  async function offer(): Promise<number> {
    const file = files++;
    await raw.offer({ [`f${String(file)}`]: content.length }, {}, file);
    await raw.wanted(file);
    return file;
  }
  /** Which of the segments that the receiver holds are not as they should be; `round` counts from 0. */
  async function different(file: number, round = 0): Promise<number[]> {
    const of = ({ list }: Said): readonly [number, number, string][] =>
      (list as [number, number, string][]).filter(([number]) => number === file);
    const answers = (): Said[] => raw.all('answer').filter(({ list }) => (list as number[]).includes(file));
    await raw.first('answer', () => answers().length >= round + 2);
    const held =
      raw
        .all('held')
        .map(of)
        .filter((list) => list.length > 0)[round] ?? [];
    expect(held.map(([, segment]) => segment)).to.deep.equal([0, 1, 2, 3, 4]);
    return held.filter(([, segment, digest]) => digest !== sha256(part(segment))).map(([, segment]) => segment);
  }
  async function keepAllBut(file: number, segment: number): Promise<void> {
    if (segment > 0) await raw.send({ type: 'keep', file, first: 0, count: segment });
    if (segment < 4) await raw.send({ type: 'keep', file, first: segment + 1, count: 4 - segment });
  }

  it('on the disk, between writing and reading back, is found, and is sent again alone', async () => {
    const file = await offer();
    // The reading back waits for the first piece.
    await raw.segments(file, content, [0]);
    const [name = ''] = await partials();
    const disk = await open(path.join(to.place, '.sendall', 'partial', name), 'r+');
    const one = Buffer.alloc(1);
    while ((await disk.read(one, 0, 1, 4 * piece + 98)).bytesRead === 0 || one[0] !== content.at(-1))
      await new Promise((resolve) => setTimeout(resolve, 5));
    await disk.read(one, 0, 1, 2 * piece + 7);
    await disk.write(Buffer.from([(one[0] ?? 0) ^ 1]), 0, 1, 2 * piece + 7);
    await disk.close();
    await raw.segment(file, 0, part(0));
    await raw.close(file, content);
    expect(await different(file)).to.deep.equal([2]);
    await keepAllBut(file, 2);
    await raw.segment(file, 2 * piece, part(2));
    await raw.close(file, content);
    expect(await raw.outcome(file)).to.deep.include({ digests: { sha256: sha256(content) }, repaired: 1 });
    expect((await to.read('f0')).equals(content)).to.equal(true);
    const received = await to.heard.first('received');
    expect(received).to.include({ repaired: 1 });
    expect(received.bytes_on_wire).to.be.within(content.length + piece, content.length + piece + 2000);
  });

  it('on the way is found, as often as it takes three repairs', async () => {
    const file = await offer();
    await raw.segments(file, content, [3]);
    await raw.segment(file, 3 * piece, damaged);
    for (let round = 0; round < 3; round++) {
      await raw.close(file, content);
      expect(await different(file, round)).to.deep.equal([3]);
      await keepAllBut(file, 3);
      await raw.segment(file, 3 * piece, round < 2 ? damaged : part(3));
    }
    await raw.close(file, content);
    expect(await raw.outcome(file)).to.deep.include({ repaired: 1 });
    expect((await to.read(`f${String(file)}`)).equals(content)).to.equal(true);
  });

  it('is given up after three repairs: nothing is stored, and the others go on', async () => {
    const file = await offer();
    await raw.segments(file, content, [4]);
    await raw.segment(file, 4 * piece, Buffer.alloc(99));
    for (let round = 0; round < 3; round++) {
      await raw.close(file, content);
      expect(await different(file, round)).to.deep.equal([4]);
      await keepAllBut(file, 4);
      await raw.segment(file, 4 * piece, Buffer.alloc(99));
    }
    await raw.close(file, content);
    expect(await raw.outcome(file)).to.include({ code: 'mismatch' });
    const next = await offer();
    await raw.segments(next, content);
    await raw.close(next, content);
    expect(await raw.outcome(next)).to.have.property('verified');
    await raw.finish();
    expect((await readdir(to.place)).sort()).to.deep.equal(['.sendall', 'f0', 'f1', 'f3']);
    expect(await partials()).to.deep.equal([]);
    expect(to.heard.all('failed').map(({ code, file_name }) => [code, file_name])).to.deep.equal([
      ['mismatch', `f${String(file)}`],
    ]);
  });

  it('in a small file is found as well: it is asked for again alone, three times and no more', async () => {
    const session = await RawSession.open(to.ticket);
    const contents = { mended: Buffer.alloc(100, 'x'), well: Buffer.alloc(100, 'y'), hopeless: Buffer.alloc(100, 'z') };
    await session.offer({ mended: 100, well: 100, hopeless: 100 });
    /** A bundle of files that are said to be what they should be, and are something else. */
    const bundle = (...files: readonly number[]): Promise<void> =>
      session.sendList(
        { type: 'bundle', size: files.length * 100 },
        files.map((file) => [file, 100, sha256(Object.values(contents)[file] ?? Buffer.alloc(0))]),
        Buffer.alloc(files.length * 100, 'y'),
      );
    await bundle(0, 1, 2);
    expect(await session.outcome(1))
      .to.deep.include({ digests: { sha256: sha256(contents.well) } })
      .and.not.have.property('repaired');
    await session.after('answer', 1);
    expect(session.all('answer').map(({ list }) => list)).to.deep.equal([
      [0, 1, 2],
      [0, 2],
    ]);
    await session.bundle([[0, contents.mended]]);
    for (let round = 0; round < 3; round++) {
      await bundle(2);
      if (round < 2) await session.after('answer', 2 + round);
    }
    expect(await session.outcome(2)).to.include({ code: 'mismatch' });
    expect(await session.outcome(0)).to.deep.include({ repaired: 1 });
    await session.finish();
    expect((await to.read('mended')).equals(contents.mended)).to.equal(true);
    expect(await readdir(to.place))
      .to.include('well')
      .and.not.include('hopeless');
  });
});
