import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type Journal, JournalEnd, readJournal, runsOf, writeJournal } from '../../../lib/store/local/journal';
import { emptyDirectory } from './local-place';

describe('Journal', () => {
  let directory: string;
  let place: string;
  beforeEach(async () => {
    directory = await emptyDirectory();
    place = path.join(directory, 'j');
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  const journal: Journal = {
    peer: '0123',
    name: 'a/Größe\u2028.img',
    size: 2 ** 52,
    mtime: -1_700_000_000_123_456_789n,
    segments: [0, 1, 2, 5, 65535],
  };

  it('comes back as it was written, in place of the one before', async () => {
    await writeJournal(place, { ...journal, segments: [] });
    expect((await readJournal(place))?.segments).to.deep.equal([]);
    await writeJournal(place, journal);
    expect(await readJournal(place)).to.deep.equal(journal);
    expect(await readdir(directory)).to.deep.equal(['j']);
  });

  it('is short, however many segments there are', async () => {
    const segments = Array.from({ length: 65536 }, (_, at) => at);
    await writeJournal(place, { ...journal, segments });
    expect((await readFile(place)).length).to.be.lessThan(400);
    expect(await readJournal(place)).to.deep.equal({ ...journal, segments });
    expect(runsOf([0, 1, 2, 7])).to.deep.equal([
      [0, 3],
      [7, 1],
    ]);
    expect(runsOf([])).to.deep.equal([]);
  });

  it('that is not there is none', async () => {
    expect(await readJournal(place)).to.equal(undefined);
  });

  it('is thrown away wherever it was cut off', async () => {
    await writeJournal(place, journal);
    const whole = await readFile(place);
    for (let length = 0; length < whole.length; length++) {
      await writeFile(place, whole.subarray(0, length));
      expect(await readJournal(place), `${String(length)} of ${String(whole.length)} bytes`).to.equal(undefined);
    }
  });

  it('tells of what was added to it, up to the first line that is not whole or makes no sense', async () => {
    await writeJournal(place, { ...journal, size: 100 * 1024 * 1024, segments: [3, 4] });
    const end = await JournalEnd.of(place);
    await end.add([0, 1, 7]);
    await end.add([4, 99]);
    await end.sync();
    await end.close();
    const told = [0, 1, 3, 4, 7, 99];
    expect((await readJournal(place))?.segments).to.deep.equal(told);
    const whole = await readFile(place, 'utf8');
    for (const more of ['12', '12 1', 'x\n12 1\n', '99 2\n12 1\n', '-1 1\n', '1 1 1\n', whole]) {
      await writeFile(place, whole + more);
      expect((await readJournal(place))?.segments, more).to.deep.equal(told);
    }
  });

  it('is thrown away whichever of its bits has changed', async () => {
    await writeJournal(place, journal);
    const whole = await readFile(place);
    for (let at = 0; at < whole.length; at++) {
      const flipped = Buffer.from(whole);
      flipped.writeUInt8(flipped.readUInt8(at) ^ (1 << (at % 8)), at);
      await writeFile(place, flipped);
      expect(await readJournal(place), `byte ${String(at)}`).to.equal(undefined);
    }
  });

  it('of another version, or of none, is thrown away, though its checksum is right', async () => {
    await writeJournal(place, journal);
    const [body = ''] = (await readFile(place, 'utf8')).split('\n');
    expect(body).to.include('"version":2');
    for (const other of [body.replace('"version":2', '"version":1'), body.replace('"version":2,', ''), '{}']) {
      await writeFile(place, `${other}\n${createHash('sha256').update(`${other}\n`).digest('hex')}\n`);
      expect(await readJournal(place), other).to.equal(undefined);
    }
  });

  it('that cannot be put in its place leaves nothing behind, and the failure is told', async () => {
    await mkdir(path.join(place, 'in the way'), { recursive: true });
    const failure = await writeJournal(place, journal).catch((error: unknown) => error);
    expect(failure).to.be.instanceOf(Error);
    expect(await readdir(directory)).to.deep.equal(['j']);
  });
});
