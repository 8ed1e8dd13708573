import { open, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect } from 'chai';
import { Heard, ReceiveDirectory } from '../receive/receive-directory';
import { sending, SourceTree } from '../send/source-tree';
import { noise } from './pair';
import { piece, RawSession, sha256 } from './raw-session';

const basis = noise(4 * piece + 99);
const length = basis.length;

describe('What a receiver copies from the basis of a file', () => {
  let to: ReceiveDirectory;
  let pathname: string;
  const sessions: RawSession[] = [];

  const prepare = async (ifExists: 'replace' | 'refuse' = 'replace'): Promise<void> => {
    to = await ReceiveDirectory.open({ ifExists });
    pathname = path.join(to.place, 'f');
    await writeFile(pathname, basis);
  };
  afterEach(async () => {
    for (const session of sessions.splice(0)) session.hangUp();
    await to.close();
  });

  async function offered(size = length): Promise<RawSession> {
    const raw = await RawSession.open(to.ticket);
    sessions.push(raw);
    await raw.offer({ f: size });
    await raw.wanted(0);
    return raw;
  }
  const copy = (raw: RawSession, offset: number, size: number, from: number): Promise<void> =>
    raw.send({ type: 'copy', file: 0, offset, size, from });
  const stands = async (content: Buffer): Promise<void> =>
    void expect((await to.read('f')).equals(content)).to.equal(true);

  it('is told before it is wanted: content-defined segments without a gap, and pieces', async () => {
    await prepare();
    const raw = await offered();
    expect(raw.heard.map(({ type }) => type)).to.deep.equal(['hello', 'standing', 'answer']);
    const list = raw.all('standing')[0]?.list as [number, number, number, string][];
    for (const [file, offset, size, digest] of list)
      expect([file, digest]).to.deep.equal([0, sha256(basis.subarray(offset, offset + size))]);
    const pieces = list.filter(([, offset, size]) => offset % piece === 0 && (size === piece || size === 99));
    expect(pieces.map(([, offset]) => offset / piece)).to.include.members([0, 1, 2, 3, 4]);
    let end = 0;
    for (const [, offset, size] of list.filter((each) => !pieces.includes(each))) {
      expect(offset).to.equal(end);
      end = offset + size;
    }
    expect(end).to.equal(length);
  });

  it('may be anywhere in it, and more than once, among what is sent', async () => {
    await prepare();
    const content = Buffer.concat([
      basis.subarray(5, 5 + 2 * piece),
      noise(piece, 7),
      basis.subarray(5, 5 + piece),
      basis.subarray(1, 50),
    ]);
    const raw = await offered(content.length);
    await copy(raw, 0, 2 * piece, 5);
    await raw.segment(0, 2 * piece, content.subarray(2 * piece, 3 * piece));
    await copy(raw, 3 * piece, piece, 5);
    await copy(raw, 4 * piece, 49, 1);
    await raw.close(0, content);
    expect(await raw.outcome(0)).to.deep.include({ digests: { sha256: sha256(content) } });
    await stands(content);
  });

  const spoilt: Readonly<Record<string, () => Promise<void>>> = {
    'was written to': async () => {
      const handle = await open(pathname, 'r+');
      await handle.write(Buffer.alloc(9, 'X'), 0, 9, piece + 7);
      await handle.close();
    },
    'was cut off': () => truncate(pathname, piece + 7),
  };
  for (const [what, spoil] of Object.entries(spoilt)) {
    it(`${what} after it was told: that is found when all is read back, asked for again, and not copied again`, async () => {
      await prepare();
      const raw = await offered();
      await spoil();
      await copy(raw, 0, length, 0);
      await raw.close(0, basis);
      await raw.after('answer', 1);
      const held = (raw.all('held')[0]?.list as [number, number, string][]).map(
        ([, segment, digest]) => digest === sha256(basis.subarray(segment * piece, (segment + 1) * piece)),
      );
      expect(held.slice(0, 2)).to.deep.equal([true, false]);
      expect(raw.all('standing')).to.have.lengthOf(1);
      for (const [segment, good] of held.entries()) {
        if (good) await raw.send({ type: 'keep', file: 0, first: segment, count: 1 });
        else await raw.segment(0, segment * piece, basis.subarray(segment * piece, (segment + 1) * piece));
      }
      await raw.close(0, basis);
      expect(await raw.outcome(0)).to.deep.include({ repaired: held.filter((good) => !good).length });
      await stands(basis);
    });
  }

  it('is refused as soon as it is from elsewhere, where only the same content is taken', async () => {
    await prepare('refuse');
    const raw = await offered();
    await copy(raw, 0, piece, 0);
    await copy(raw, piece, piece, 0);
    expect(await raw.outcome(0)).to.include({ code: 'exists' });
    const same = await offered();
    await copy(same, 0, length, 0);
    await same.close(0, basis);
    expect(await same.outcome(0)).to.have.property('verified');
    await stands(basis);
  });

  const wrong: Readonly<Record<string, object>> = {
    'from beyond its end': { from: 1 },
    'from where nothing can be': { from: 2 ** 52 },
    'to no whole pieces': { size: piece + 1 },
    'to beyond the end of the new file': { offset: piece, from: 0 },
    'to no place of a piece': { offset: 5, size: piece },
    'of nothing that was offered': { file: 1 },
  };
  for (const [what, changes] of Object.entries(wrong)) {
    it(`${what} ends the conversation`, async () => {
      await prepare();
      const raw = await offered();
      await raw.send({ type: 'copy', file: 0, offset: 0, size: length, from: 0, ...changes });
      expect(await raw.broken()).to.include({ code: 'bad-header' });
      await stands(basis);
    });
  }

  it('is nothing where nothing stands, and once it was found damaged', async () => {
    await prepare();
    const raw = await RawSession.open(to.ticket);
    sessions.push(raw);
    await raw.offer({ new: length });
    await raw.wanted(0);
    await copy(raw, 0, length, 0);
    expect(await raw.broken()).to.include({ code: 'bad-header' });
    const again = await offered();
    await copy(again, 0, length, 0);
    await again.close(0, noise(length, 5));
    await again.after('answer', 1);
    await copy(again, 0, length, 0);
    expect(await again.broken()).to.include({ code: 'bad-header' });
    await stands(basis);
  });
});

describe('What a sender is told of files that stand at the receiver', () => {
  it('is no more than there may be of one file: whoever tells more ends the conversation', async () => {
    const source = await SourceTree.make({ f: basis });
    const heard = new Heard();
    const running = sending({ paths: [source.at('f')], listen: '127.0.0.1:0', retryFor: 0 }, heard);
    const { ticket = '' } = await heard.first('listening');
    const raw = await RawSession.open(ticket, { hello: { role: 'receiver', digest: undefined } });
    const { list } = await raw.first('offer');
    expect(list).to.have.lengthOf(1);
    const digest = '0'.repeat(64);
    const some = Array.from({ length: 32_768 }, (_, at) => [0, at, 1, digest]);
    for (let times = 0; times < 4; times++) await raw.sendList({ type: 'standing' }, some);
    expect(raw.ended).to.equal(false);
    await raw.sendList({ type: 'standing' }, [[0, 0, 1, digest]]);
    expect((await running).error?.code).to.equal('bad-header');
    await raw.end();
    await source.remove();
  });
});
