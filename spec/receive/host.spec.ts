import { expect } from 'chai';
import { createServer, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { AuthorizedKeys, createKey, formatTicket } from '../../lib/index';
import { ReceiveDirectory } from './receive-directory';
import { sending, SourceTree } from '../send/source-tree';
import { noise } from '../session/pair';
import { newSession, piece, RawSession, sha256 } from '../session/raw-session';

const content = noise(3 * piece);

describe('SessionHost', () => {
  let to: ReceiveDirectory;
  let source: SourceTree;
  before(async () => {
    source = await SourceTree.make({ 'a.txt': 'hello', large: content });
    to = await ReceiveDirectory.open(
      { authorized: new AuthorizedKeys(source.at('authorized.json')) },
      { onDisk: true },
    );
  });
  after(async () => {
    await to.close();
    await source.remove();
  });

  async function offered(raw: RawSession, name: string): Promise<void> {
    await raw.offer({ [name]: content.length });
    await raw.wanted(0);
  }

  it('answers sessions and the plain wire on one port, at the same time', async () => {
    const raw = await RawSession.open(to.ticket);
    await offered(raw, 'in a session');
    const plain = await sending({ paths: [source.at('a.txt')], target: to.target });
    expect(plain.error).to.equal(undefined);
    expect(plain.result?.files[0]?.digests).to.have.property('md5');
    const session = await sending({ paths: [source.at('a.txt')], target: to.ticket });
    expect(session.error).to.equal(undefined);
    expect(session.result?.files[0]?.digests).to.have.property('blake3');
    await raw.segments(0, content);
    await raw.close(0, content);
    await raw.finish();
    expect((await to.read('in a session')).equals(content)).to.equal(true);
  });

  it('a sender with a ticket never speaks the plain wire, whoever answers', async () => {
    const heard: Buffer[] = [];
    const sockets = new Set<Socket>();
    for (const answer of ['', 'hangs up', '{"type":"receipt"}']) {
      const server = createServer((socket) => {
        sockets.add(socket.on('error', () => undefined));
        socket.on('data', (bytes) => {
          heard.push(bytes);
          if (answer === 'hangs up') socket.destroy();
          else socket.write(answer === '' ? Buffer.alloc(100) : answer);
        });
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const { port } = server.address() as AddressInfo;
      const ticket = formatTicket({ ...createKey(), address: { kind: 'tcp', host: '127.0.0.1', port } });
      const { error } = await sending({ paths: [source.at('a.txt')], target: ticket, retryFor: 0 });
      expect(error?.code).to.be.oneOf(['not-authorized', 'cannot-connect']);
      for (const socket of sockets) socket.destroy();
      server.close();
    }
    expect(heard.map((bytes) => bytes.toString('hex', 0, 2))).to.deep.equal(['1603', '1603', '1603']);
    expect(Buffer.concat(heard).includes('file_name')).to.equal(false);
  });

  it('lets a sender come back before it was noticed that it is gone, and go on with what is here', async () => {
    const first = await RawSession.open(to.ticket);
    await offered(first, 'back');
    await first.segment(0, 0, content.subarray(0, piece));
    await pause(100);
    const again = await RawSession.open(to.ticket, { session: first.session });
    await first.end();
    expect(first.all('refusal')).to.deep.equal([]);
    await offered(again, 'back');
    expect((await again.first('held')).list).to.deep.equal([[0, 0, sha256(content.subarray(0, piece))]]);
    await again.send({ type: 'keep', file: 0, first: 0, count: 1 });
    await again.segments(0, content, [0]);
    await again.close(0, content);
    expect(await again.outcome(0)).to.have.property('verified');
    await again.finish();
  });

  it('goes on with what another session of the same key left, and tells that one if it is still there', async () => {
    const first = await RawSession.open(to.ticket);
    await offered(first, 'taken over');
    await first.segment(0, 0, content.subarray(0, piece));
    await pause(100);
    const second = await RawSession.open(to.ticket);
    await offered(second, 'taken over');
    expect((await second.first('held')).list).to.have.lengthOf(1);
    await first.segment(0, piece, content.subarray(piece, 2 * piece));
    expect(await first.outcome(0)).to.include({ code: 'exists' });
    await first.finish();
    await second.segments(0, content);
    await second.close(0, content);
    expect(await second.outcome(0)).to.have.property('verified');
    await second.finish();
  });

  it('keeps the sessions of one key from all others', async () => {
    const keys = new AuthorizedKeys(source.at('authorized.json'));
    const key = await keys.authorize({ name: 'other', rights: 'admin' });
    const raw = await RawSession.open(to.ticket);
    await offered(raw, 'mine');
    await raw.segment(0, 0, content.subarray(0, piece));
    for (const connection of [0, 1]) {
      const stranger = await RawSession.dial(to.ticket, { key, session: raw.session, connection });
      expect(await stranger.broken()).to.include({ code: 'connection-lost' });
    }
    const own = await RawSession.open(to.ticket, { key });
    await offered(own, 'mine');
    expect(own.all('held'), 'what the ticket left unfinished').to.deep.equal([]);
    own.hangUp();
    await raw.segments(0, content, [0]);
    await raw.close(0, content);
    expect(await raw.outcome(0)).to.have.property('verified');
    await raw.finish();
  });

  it('takes so many sessions at once, and the next one when one of them ends (found by crowd-session)', async function () {
    this.timeout(60_000);
    const many = await Promise.all(Array.from({ length: 48 }, () => RawSession.open(to.ticket)));
    const next = await RawSession.dial(to.ticket);
    await pause(300);
    expect(next.heard, 'it waits in line').to.deep.equal([]);
    await many[0]?.finish();
    await next.first('hello');
    for (const raw of many) raw.hangUp();
    await next.finish();
  });

  it('does not know a session that has ended', async () => {
    const raw = await RawSession.open(to.ticket);
    await raw.finish();
    expect(await (await RawSession.dial(to.ticket, { session: raw.session, connection: 1 })).broken()).to.include({
      code: 'connection-lost',
    });
    expect(await (await RawSession.dial(to.ticket, { session: newSession(), connection: 1 })).broken()).to.include({
      code: 'connection-lost',
    });
  });

  it('tells everybody when it is stopped, and keeps what is here', async () => {
    const raw = await RawSession.open(to.ticket);
    await offered(raw, 'unfinished');
    await raw.segments(0, content, [2]);
    const silent = await RawSession.dial(to.ticket, { hello: undefined });
    await pause(100);
    const began = performance.now();
    await to.receiver.close();
    expect(await raw.broken()).to.include({ code: 'interrupted' });
    await silent.end();
    expect(performance.now() - began, 'nobody is waited for').to.be.lessThan(5_000);
    expect(await readdir(path.join(to.place, '.sendall', 'partial'))).to.have.lengthOf(2);
    expect(await readdir(path.join(to.place, '.sendall'))).to.not.include('stage');
  });
});
