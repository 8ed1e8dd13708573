import { expect } from 'chai';
import { mkdir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { createReceiver, encodeFrame, type Receiver } from '../../lib/index';
import { Heard, temporaryDirectory } from '../receive/receive-directory';
import { noise } from './pair';
import { piece, RawSession, sha256 } from './raw-session';

type Saying = (raw: RawSession) => Promise<unknown>;
const segment =
  (changes: object): Saying =>
  (raw) =>
    raw.send({ type: 'segment', file: 0, offset: 0, size: piece, ...changes }, Buffer.alloc(10));
const offer =
  (...files: readonly object[]): Saying =>
  (raw) =>
    raw.sendList(
      { type: 'offer' },
      files.map((file) => ({ type: 'file', name: 'n', size: 5, mode: 0, mtime: '0', ...file })),
    );
const afterEnd =
  (say: Saying): Saying =>
  async (raw) => {
    await offer({ file: 0 })(raw);
    await raw.send({ type: 'end' });
    await say(raw);
  };
const digests = { sha256: '0'.repeat(64) };

/** What is said after the hellos, and the code of the refusal that ends it. */
const said: Readonly<Record<string, readonly [Saying, string?]>> = {
  'hello twice': [
    (raw) => raw.send({ type: 'hello', version: 1, role: 'sender', session: raw.session, connection: 0 }),
  ],
  'a message of receivers': [(raw) => raw.send({ type: 'taken', connection: 0, frames: 1 })],
  'an unknown message': [(raw) => raw.send({ type: 'exec', command: 'reboot' })],
  'no type at all': [(raw) => raw.send({ file: 0 })],
  'the wish for a connection that it must dial itself': [(raw) => raw.send({ type: 'connect', connection: 1 })],
  'the end twice': [afterEnd((raw) => raw.send({ type: 'end' }))],
  'an offer after the end': [afterEnd((raw) => offer({ file: 1, name: 'm' })(raw))],
  'words after the end': [afterEnd((raw) => raw.send({ type: 'text', file: 1, text: 'x' }))],
  'a segment of nothing that was offered': [segment({})],
  'what was kept of nothing that was offered': [(raw) => raw.send({ type: 'keep', file: 0, first: 0, count: 1 })],
  'the close of nothing that was offered': [(raw) => raw.send({ type: 'close', file: 0, size: 0, digests: {} })],
  'the drop of nothing that was offered': [(raw) => raw.send({ type: 'drop', file: 4_294_967_295 })],
  'a bundle of nothing that was offered': [(raw) => raw.bundle([[0, noise(5)]])],
  'an offset that is on no piece': [segment({ offset: 5 })],
  'an offset beyond what numbers can say': [segment({ offset: 2 ** 60 })],
  'a segment of no bytes': [segment({ size: 0 })],
  'a segment longer than a piece': [segment({ size: piece + 1 })],
  'a bundle longer than any': [(raw) => raw.sendList({ type: 'bundle', size: 512 * 1024 + 1 }, [])],
  'a list over the cap': [(raw) => raw.send({ type: 'offer', list: 8 * piece + 1 })],
  'a list with too many elements': [
    (raw) =>
      raw.sendList(
        { type: 'offer' },
        Array.from({ length: 65_537 }, () => 0),
      ),
    'bad-frame',
  ],
  'a list that is nested to no end': [
    (raw) => raw.send({ type: 'offer', list: 200_000 }, Buffer.alloc(200_000, '[')),
    'bad-frame',
  ],
  'a list that is no JSON': [(raw) => raw.send({ type: 'offer', list: 5 }, Buffer.from('hello')), 'bad-frame'],
  'numbers that do not ascend': [offer({ file: 1 }, { file: 1, name: 'm' })],
  'numbers that go back': [(raw) => offer({ file: 5 })(raw).then(() => offer({ file: 4, name: 'm' })(raw))],
  'an entry of a kind that there is not': [offer({ file: 0, type: 'socket' })],
  'an entry with the mode of root': [offer({ file: 0, mode: 0o4755 })],
  'a length that no header has': [(raw) => raw.sendBytes(Buffer.from([0xff, 0xff, 0xff, 0x7f])), 'bad-frame'],
};

/** The same, of the file 0 of three pieces and a bit, which is wanted, and the small file 1. */
const saidOfFiles: Readonly<Record<string, readonly [Saying, string?]>> = {
  'a segment beyond the end': [segment({ offset: 3 * piece, size: 101 })],
  'a segment behind the end': [segment({ offset: 4 * piece })],
  'a segment that ends early': [segment({ size: piece - 1 })],
  'zeros beyond the end': [segment({ offset: piece, size: 9 * piece, zero: true })],
  'zeros that are no whole pieces': [segment({ size: piece + 1, zero: true })],
  'segments kept that were not held': [(raw) => raw.send({ type: 'keep', file: 0, first: 0, count: 1 })],
  'a close with another size': [(raw) => raw.send({ type: 'close', file: 0, size: 5, digests })],
  'a close without the digest of the session': [
    (raw) => raw.send({ type: 'close', file: 0, size: 3 * piece + 100, digests: { md5: '0'.repeat(32) } }),
  ],
  'a close twice': [
    (raw) => raw.close(0, Buffer.alloc(3 * piece + 100)).then(() => raw.close(0, Buffer.alloc(3 * piece + 100))),
  ],
  'the close of a small file that was not sent': [(raw) => raw.close(1, Buffer.alloc(10))],
  'a small file of another size': [(raw) => raw.bundle([[1, noise(9)]])],
  'a bundle shorter than its files': [
    (raw) => raw.sendList({ type: 'bundle', size: 4 }, [[1, 10, digests.sha256]], Buffer.alloc(4)),
  ],
  'a bundle longer than its files': [
    (raw) => raw.sendList({ type: 'bundle', size: 14 }, [[1, 10, digests.sha256]], Buffer.alloc(14)),
  ],
  'a large file in a bundle': [(raw) => raw.bundle([[0, noise(9)]])],
  'a keep of a small file': [(raw) => raw.send({ type: 'keep', file: 1, first: 0, count: 1 })],
  'a copy of a small file': [(raw) => raw.send({ type: 'copy', file: 1, offset: 0, size: 10, from: 0 })],
  'a keep after the close': [
    (raw) =>
      raw.close(0, Buffer.alloc(3 * piece + 100)).then(() => raw.send({ type: 'keep', file: 0, first: 0, count: 1 })),
  ],
  'a copy after the close': [
    (raw) =>
      raw
        .close(0, Buffer.alloc(3 * piece + 100))
        .then(() => raw.send({ type: 'copy', file: 0, offset: 0, size: piece, from: 0 })),
  ],
};

/**
 * An offer of one large file (0), one small one (1) and a directory (2), as bytes, so that what follows it comes before
 * any answer.
 */
function offerAnd(...messages: readonly (readonly [header: object, payload?: Uint8Array])[]): Saying {
  const list = Buffer.from(
    JSON.stringify([
      { file: 0, type: 'file', name: 'large', size: 3 * piece + 100, mode: 0o644, mtime: '0' },
      { file: 1, type: 'file', name: 'small', size: 10, mode: 0o644, mtime: '0' },
      { file: 2, type: 'directory', name: 'directory', mode: 0o755, mtime: '0' },
    ]),
  );
  const said = messages.flatMap(([header, payload]) =>
    payload ? [encodeFrame(header), payload] : [encodeFrame(header)],
  );
  return (raw) => raw.sendBytes(Buffer.concat([encodeFrame({ type: 'offer', list: list.length }), list, ...said]));
}

/** PROTOCOL.md 17.1: "Before its `answer` the sender says nothing of an entry". */
const saidBeforeTheAnswer: Readonly<Record<string, Saying>> = {
  'a segment': offerAnd([{ type: 'segment', file: 0, offset: 0, size: piece }, Buffer.alloc(piece)]),
  'a run of zeros': offerAnd([{ type: 'segment', file: 0, offset: 0, size: piece, zero: true }]),
  'a keep': offerAnd([{ type: 'keep', file: 0, first: 0, count: 1 }]),
  'a copy': offerAnd([{ type: 'copy', file: 0, offset: 0, size: piece, from: 0 }]),
  'a close': offerAnd([{ type: 'close', file: 0, size: 3 * piece + 100, digests: { sha256: '0'.repeat(64) } }]),
  'a drop': offerAnd([{ type: 'drop', file: 0 }]),
  'the drop of a directory': offerAnd([{ type: 'drop', file: 2 }]),
  'the segment of a directory': offerAnd([{ type: 'segment', file: 2, offset: 0, size: piece }, Buffer.alloc(piece)]),
};

const hellos: Readonly<Record<string, readonly [object, string]>> = {
  'version 2': [{ version: 2 }, 'bad-header'],
  'that it is a receiver': [{ role: 'receiver' }, 'usage'],
  'a digest that there is not': [{ digest: 'crc32' }, 'bad-header'],
  'a session that is no number': [{ session: '../../etc' }, 'bad-header'],
  'a connection of a session that there is not': [{ connection: 1 }, 'connection-lost'],
  'anything but hello': [{ type: 'offer', list: 2 }, 'bad-header'],
};

describe('A peer with a good key and bad manners', () => {
  const heard = new Heard();
  let outer: string;
  let directory: string;
  let receiver: Receiver;
  let ticket: string;
  let bystander: RawSession;
  const content = noise(2 * piece + 5);

  before(async () => {
    outer = await temporaryDirectory(true);
    directory = path.join(outer, 'receive');
    await mkdir(directory, { mode: 0o755 });
    receiver = await createReceiver({ directory, on: heard.on });
    ({ ticket } = await receiver.listen('127.0.0.1:0'));
    bystander = await RawSession.open(ticket);
    await bystander.offer({ good: content.length });
    await bystander.wanted(0);
    await bystander.segment(0, 0, content.subarray(0, piece));
  });
  after(async () => {
    await receiver.close();
    await rm(outer, { recursive: true, force: true });
  });

  for (const [what, [hello, code]] of Object.entries(hellos)) {
    it(`that says ${what} in place of its hello is refused: ${code}`, async () => {
      const raw = await RawSession.dial(ticket, { hello });
      expect(await raw.broken()).to.include({ code });
    });
  }

  for (const [what, [say, code = 'bad-header']] of Object.entries(said)) {
    it(`that says ${what} is refused: ${code}`, async () => {
      const raw = await RawSession.open(ticket);
      await say(raw);
      const { code: found, message } = await raw.broken();
      expect(found, String(message)).to.equal(code);
    });
  }

  it('is refused whatever it says of files that it may send', async () => {
    for (const [what, [say, code = 'bad-header']] of Object.entries(saidOfFiles)) {
      const raw = await RawSession.open(ticket);
      await raw.offer({ large: 3 * piece + 100, small: 10 });
      await Promise.all([raw.wanted(0), raw.wanted(1)]);
      await say(raw);
      expect(await raw.broken(), what).to.include({ code });
    }
  }).timeout(60_000);

  for (const [what, say] of Object.entries(saidBeforeTheAnswer)) {
    it(`that says ${what} before the answer is refused, and waits for nothing`, async () => {
      const raw = await RawSession.open(ticket);
      await say(raw);
      expect(await raw.broken()).to.include({ code: 'bad-header' });
    });
  }

  it('ends its session by nonsense on another connection, too', async () => {
    const raw = await RawSession.open(ticket);
    const other = await RawSession.open(ticket, { session: raw.session, connection: 1 });
    await offer({ file: 0 })(other);
    expect(await raw.broken()).to.include({ code: 'bad-header' });
    await other.end();
  });

  it('has each connection once, and not any number of them', async () => {
    const raw = await RawSession.open(ticket);
    const open = (connection: number): Promise<RawSession> =>
      RawSession.dial(ticket, { session: raw.session, connection });
    const first = await open(1);
    await first.first('hello');
    expect(await (await open(1)).broken()).to.include({ code: 'bad-header' });
    const others = [first, ...(await Promise.all(Array.from({ length: 63 }, (_, at) => open(at + 2))))];
    await Promise.all(others.map((other) => other.first('hello')));
    expect(await (await open(65)).broken()).to.include({ code: 'bad-header' });
    raw.hangUp();
    await Promise.all(others.map((other) => other.end()));
  });

  it('is told of each entry by itself that cannot be, and goes on with the others', async () => {
    const raw = await RawSession.open(ticket);
    await raw.offer({ 'one/a': 10, 'two/b': 2 ** 53 - 1, '../c': 10, 'one/d': 0 });
    await raw.sendList({ type: 'offer' }, [
      { file: 4, type: 'file', name: 'one/a', size: 10, mode: 0o644, mtime: '0' },
      { file: 5, type: 'link', name: 'one/l', target: 'nowhere', mtime: '0' },
    ]);
    await raw.bundle([
      [0, noise(10)],
      [3, noise(0)],
    ]);
    await raw.finish();
    const codes = await Promise.all(
      [0, 1, 2, 3, 4, 5].map(async (file) => (await raw.outcome(file))['code'] ?? 'stored'),
    );
    expect(codes.slice(0, 5)).to.deep.equal(['stored', 'space', 'name', 'stored', 'name']);
    expect(codes[5]).to.not.equal('stored');
  });

  it('left nothing behind, inside or outside, and the others in peace', async () => {
    await bystander.segments(0, content, [0]);
    await bystander.close(0, content);
    expect(await bystander.outcome(0)).to.deep.include({ digests: { sha256: sha256(content) } });
    await bystander.finish();
    expect(await readdir(outer)).to.deep.equal(['receive']);
    // The directory of those who said too much too early was offered as it should be.
    expect((await readdir(directory)).filter((name) => name !== 'directory').sort()).to.deep.equal([
      '.sendall',
      'good',
      'one',
    ]);
    expect(await readdir(path.join(directory, '.sendall', 'stage'))).to.deep.equal([]);
    expect(await readdir(path.join(directory, '.sendall', 'partial'))).to.deep.equal([]);
  });
});
