import { expect } from 'chai';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import {
  type Authorization,
  AuthorizedKeys,
  createKey,
  createReceiver,
  type Receiver,
  type WantedAuthorization,
} from '../../lib/index';
import { Heard, temporaryDirectory } from '../receive/receive-directory';
import { noise } from './pair';
import { piece, RawSession, sha256 } from './raw-session';

const large = noise(2 * piece + 5);
const small = noise(100);

describe('What the rights of a key are worth', () => {
  let outer: string;
  let directory: string;
  let authorized: AuthorizedKeys;
  let receiver: Receiver;
  let heard: Heard;
  let ticket: string;
  const keys: Record<string, Authorization> = {};
  const at = (...names: readonly string[]): string => path.join(outer, ...names);

  before(async () => {
    outer = await temporaryDirectory();
    authorized = new AuthorizedKeys(at('authorized.json'));
    for (const name of ['receive', 'destinations', 'destinations/one', 'destinations/shared', 'destinations/full'])
      await mkdir(at(name), { mode: 0o755 });
    directory = at('receive');
    const wanted: Omit<WantedAuthorization, 'name'>[] = [
      { rights: 'write' },
      { rights: 'read' },
      { rights: 'admin' },
      { rights: 'write', expires: new Date(Date.now() - 1000) },
      { rights: 'write', directory: at('destinations', 'one') },
      { rights: 'write', directory: at('destinations', 'shared'), quota: 3 * piece },
      { rights: 'write', directory: at('destinations', 'shared'), quota: 4 * piece },
      { rights: 'write', directory: at('destinations', 'nowhere') },
      { rights: 'write', quota: 5 * piece },
    ];
    const names = ['write', 'read', 'admin', 'expired', 'home', 'shared', 'sharing', 'lost', 'limited'];
    for (const [index, each] of wanted.entries())
      keys[names[index] ?? ''] = await authorized.authorize({ name: names[index] ?? '', ...each });
    heard = new Heard();
    receiver = await createReceiver({ directory, authorized, ifExists: 'replace', on: heard.on });
    ({ ticket } = await receiver.listen('127.0.0.1:0'));
  });
  after(async () => {
    await receiver.close();
    await rm(outer, { recursive: true, force: true });
  });

  const open = (name: string): Promise<RawSession> => RawSession.open(ticket, { key: keys[name] ?? createKey() });

  /** Sends one file to its end; resolves with its receipt or refusal. */
  async function send(
    raw: RawSession,
    file: number,
    name: string,
    content: Uint8Array,
  ): Promise<Record<string, unknown>> {
    await raw.offer({ [name]: content.length }, {}, file);
    const settled = raw.outcome(file);
    const wanted = await Promise.race([raw.wanted(file).then(() => true), settled.then(() => false)]);
    if (wanted && content.length > 65_536) {
      await raw.segments(file, content);
      await raw.close(file, content);
    } else if (wanted) {
      await raw.bundle([[file, content]]);
    }
    return settled;
  }

  it('write adds, and neither replaces nor learns what stands there, whatever the receiver allows others', async () => {
    for (const [name, content] of Object.entries({ large, small }))
      await writeFile(path.join(directory, name), content);
    const raw = await open('write');
    for (const [file, [name, content]] of Object.entries({
      large: Buffer.alloc(large.length),
      small: Buffer.alloc(small.length),
    }).entries()) {
      expect(await send(raw, file, name, content), name).to.include({ code: 'exists' });
    }
    for (const type of ['held', 'standing']) expect(raw.all(type)).to.deep.equal([]);
    expect(await send(raw, 2, 'more/large', large)).to.have.property('verified');
    await raw.offer({ 'more/small': 5 }, {}, 3);
    await raw.bundle([[3, noise(5)]]);
    await raw.sendList({ type: 'offer' }, [
      { file: 4, type: 'symlink', name: 'small', target: 'x', mtime: '0' },
      { file: 5, type: 'directory', name: 'large', mode: 0o755, mtime: '0' },
    ]);
    await raw.finish();
    for (const file of [4, 5]) expect(await raw.outcome(file)).to.include({ code: 'name' });
    for (const [name, content] of Object.entries({ large, small, 'more/large': large, 'more/small': noise(5) }))
      expect((await readFile(path.join(directory, name))).equals(content), name).to.equal(true);
  });

  it('write is told that the same is there already, and nothing of what it may have been', async () => {
    const raw = await open('write');
    expect(await send(raw, 0, 'large', large)).to.have.property('verified');
    for (const type of ['held', 'standing']) expect(raw.all(type)).to.deep.equal([]);
    raw.hangUp();
  });

  it('admin replaces, where the receiver lets anybody, and is told what it need not send', async () => {
    const raw = await open('admin');
    const changed = Buffer.from(large);
    changed.writeUInt8(7, piece + 3);
    await raw.offer({ large: changed.length });
    await raw.wanted(0);
    const told = (await raw.first('standing'))['list'] as [number, number, number, string][];
    expect(told).to.deep.include.members(
      [0, 1, 2].map((at) => [
        0,
        at * piece,
        Math.min(piece, 5 + (2 - at) * piece),
        sha256(large.subarray(at * piece, (at + 1) * piece)),
      ]),
    );
    await raw.send({ type: 'copy', file: 0, offset: 0, size: piece, from: 0 });
    await raw.send({ type: 'copy', file: 0, offset: 2 * piece, size: 5, from: 2 * piece });
    await raw.segment(0, piece, changed.subarray(piece, 2 * piece));
    await raw.close(0, changed);
    expect(await raw.outcome(0)).to.have.property('verified');
    expect(await send(raw, 1, 'small', Buffer.alloc(3))).to.have.property('verified');
    await raw.finish();
    expect((await readFile(path.join(directory, 'large'))).equals(changed)).to.equal(true);
    expect(await readFile(path.join(directory, 'small'))).to.deep.equal(Buffer.alloc(3));
  });

  it('read sends nothing', async () => {
    expect(await (await RawSession.dial(ticket, { key: keys['read'] ?? createKey() })).broken()).to.include({
      code: 'not-authorized',
    });
  });

  it('a key that has expired, or that nobody knows, opens nothing', async () => {
    for (const key of [keys['expired'] ?? createKey(), createKey(), { ...createKey(), id: keys['write']?.id ?? '' }]) {
      const failure = await RawSession.dial(ticket, { key }).catch((error: { code?: string }) => error.code);
      expect(failure).to.equal('not-authorized');
    }
    expect(heard.all('failed').filter(({ code }) => code === 'not-authorized')).to.have.length.of.at.least(3);
  });

  it('a key that is taken away opens no connection from then on, not even one more of its session', async () => {
    keys['gone'] = await authorized.authorize({ name: 'gone', rights: 'write' });
    const raw = await open('gone');
    await authorized.revoke('gone');
    for (const connection of [0, 1]) {
      const failure = await RawSession.dial(ticket, { key: keys['gone'], session: raw.session, connection }).catch(
        (error: { code?: string }) => error.code,
      );
      expect(failure).to.equal('not-authorized');
    }
    expect(await send(raw, 0, 'from gone', small)).to.have.property('verified');
    await raw.finish();
  });

  it('a key that is taken away while it waits for its turn begins nothing', async () => {
    keys['patient'] = await authorized.authorize({ name: 'patient', rights: 'write' });
    const sessions = await Promise.all(Array.from({ length: 48 }, () => open('patient')));
    const waiting = await RawSession.dial(ticket, { key: keys['patient'] });
    // Whoever comes behind it, and has no key to wait with, shows that it waits.
    (await open('admin')).hangUp();
    await authorized.revoke('patient');
    for (const raw of sessions) raw.hangUp();
    expect(await waiting.broken()).to.include({ code: 'not-authorized' });
  });

  it('a key with a directory stores there, and knows nothing of the others', async () => {
    const raw = await open('home');
    expect(await send(raw, 0, 'large', large)).to.have.property('verified');
    expect(await send(raw, 1, 'd/f', small)).to.have.property('verified');
    await raw.finish();
    expect(
      (await readdir(at('destinations', 'one'), { recursive: true })).filter((name) => !name.startsWith('.')).sort(),
    ).to.deep.equal(['d', 'd/f', 'large']);
    expect(await readdir(directory)).to.not.include('d');
    const busy = await createReceiver({ directory: at('destinations', 'one') }).catch(
      (error: { code?: string }) => error.code,
    );
    expect(busy, 'locked like the own directory').to.equal('directory');
  });

  it('a key whose directory is not there is refused, and not told what it is called', async () => {
    const refusal = await (await RawSession.dial(ticket, { key: keys['lost'] ?? createKey() })).broken();
    expect(refusal).to.include({ code: 'disk' });
    expect(JSON.stringify(refusal)).to.not.include('nowhere');
    expect((await heard.first('failed', ({ code }) => code === 'directory')).message).to.include('nowhere');
  });

  it('the quota of a key is for its directory, whoever else stores there', async () => {
    await writeFile(at('destinations', 'shared', 'before'), Buffer.alloc(piece));
    const one = await open('shared');
    const other = await open('sharing');
    expect(await send(one, 0, 'a', noise(piece + 5))).to.have.property('verified');
    expect(await send(one, 1, 'b', noise(piece))).to.include({ code: 'quota' });
    expect(await send(other, 0, 'c', noise(piece))).to.have.property('verified');
    expect(await send(other, 1, 'd', noise(piece))).to.include({ code: 'quota' });
    expect(await send(one, 2, 'e', noise(5))).to.include({ code: 'quota' });
    const limited = await open('limited');
    expect(await send(limited, 0, 'too much', noise(piece + 5))).to.include({ code: 'quota' });
    for (const raw of [one, other, limited]) await raw.finish();
  });
});
