import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import tls from 'node:tls';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { SendallProcess, sendall } from '../cli/sendall-process';
import { makeCertificates } from '../net/certificates';
import { contentOf, Visitor } from './visitor';

const MiB = 1024 * 1024;

describe('sendall receive --web and send --web', () => {
  let place: string;
  const running: SendallProcess[] = [];
  before(async () => {
    place = await mkdtemp(path.join(tmpdir(), 'sendall-web-'));
  });
  afterEach(() => {
    for (const { child } of running.splice(0)) child.kill('SIGKILL');
  });
  after(() => rm(place, { recursive: true, force: true }));
  const start = async (...words: string[]): Promise<{ process: SendallProcess; visitor: Visitor }> => {
    const process = new SendallProcess(words, { cwd: place });
    running.push(process);
    const [, url = ''] = await process.says(/(https?:\/\/\S+#[\w-]{32})/);
    return { process, visitor: new Visitor(url) };
  };

  it('an upload goes on after the receiver was killed: at most what was in flight is sent again', async () => {
    const content = contentOf(112 * MiB);
    const words = ['receive', 'in', '--listen', '127.0.0.1:0', '--web', '0'];
    const first = await start(...words);
    const begun = await first.visitor.begin('film.mp4', content);
    const sent = [...Array(12).keys()];
    // One after another: of slices that come at once each may be whole but for a piece.
    for (const slice of sent) expect(await first.visitor.slices(begun, content, [slice])).to.deep.equal([204]);
    first.process.child.kill('SIGKILL');
    await first.process.ended;
    expect(await readdir(path.join(place, 'in'))).to.deep.equal(['.sendall']);
    const { visitor, process } = await start(...words);
    const again = await visitor.begin('film.mp4', content);
    const held = (again.json['held'] as [number, number][]).flatMap(([from, count]) =>
      Array.from({ length: count }, (_, at) => from + at),
    );
    expect(held.length).to.be.at.least(12 - 64 / 8);
    await visitor.slices(
      again,
      content,
      [...Array(14).keys()].filter((slice) => !held.includes(slice)),
    );
    const closed = await visitor.close(again, content);
    expect([closed.status, closed.json['verified']]).to.deep.equal([200, 'device']);
    expect((await readFile(path.join(place, 'in', 'film.mp4'))).equals(content)).to.equal(true);
    process.child.kill('SIGINT');
    expect((await process.ended).code).to.equal(130);
  });

  it('a visitor of the page adds, and neither replaces nor reads', async () => {
    const { visitor, process } = await start(
      'receive',
      'adds',
      '--listen',
      '127.0.0.1:0',
      '--web',
      '0',
      '--if-exists',
      'replace',
    );
    expect((await visitor.upload('a', contentOf(2 * MiB))).status).to.equal(200);
    expect((await visitor.upload('a', contentOf(2 * MiB + 1))).json['code']).to.equal('exists');
    expect((await visitor.upload('../a', contentOf(2 * MiB))).json['code']).to.equal('name');
    expect((await visitor.ask('GET', 'api/files?path=')).status).to.equal(403);
    expect((await visitor.post('api/links', { path: 'a' })).status).to.equal(403);
    expect(await readdir(path.join(place, 'adds'))).to.have.members(['.sendall', 'a']);
    process.child.kill('SIGINT');
    expect((await process.ended).code).to.equal(130);
  });

  it('nobody without the token, or from another page, has anything but the page', async () => {
    const { visitor } = await start('receive', 'closed', '--listen', '127.0.0.1:0', '--web', '0', '--web-read');
    const statusOf = async (...how: Parameters<Visitor['ask']>): Promise<number> => (await visitor.ask(...how)).status;
    for (const each of ['api/session', 'api/live', 'api/files?path=']) {
      expect(await statusOf('GET', each, { token: false }), each).to.equal(401);
      expect(await statusOf('GET', each, { headers: { host: 'evil.example' } }), each).to.equal(421);
      expect(await statusOf('GET', each, { headers: { origin: 'https://evil.example' } }), each).to.equal(403);
    }
    expect(await statusOf('POST', 'api/uploads', { token: false, body: '{}' })).to.equal(401);
    expect(await statusOf('GET', '/', { token: false })).to.equal(200);
    expect(await readdir(path.join(place, 'closed'))).to.deep.equal(['.sendall']);
  });

  it('a crowd that says nothing keeps nobody from the page', async () => {
    const { visitor } = await start('receive', 'crowd', '--listen', '127.0.0.1:0', '--web', '0');
    // More than may be connected at all.
    const crowd = Array.from({ length: 1_100 }, () =>
      net.connect(visitor.port, '127.0.0.1').on('error', () => undefined),
    );
    try {
      await Promise.all(crowd.map((socket) => once(socket, 'connect')));
      expect((await visitor.upload('a', contentOf(100_000))).status).to.equal(200);
    } finally {
      for (const socket of crowd) socket.destroy();
    }
  });

  it('offer a certificate that nobody vouches for with its fingerprint, and never by themselves', async () => {
    const words = ['receive', 'own', '--listen', '127.0.0.1:0', '--web', '0.0.0.0:0', '--tls-self-signed'];
    const { process, visitor } = await start(...words);
    const [, half = '', other = ''] = await process.says(/fingerprint:\n {4}([\dA-F:]+)\n {4}([\dA-F:]+)\n/);
    const shown = await new Promise<string>((resolve) => {
      const socket = tls.connect({ port: visitor.port, host: '127.0.0.1', rejectUnauthorized: false }, () => {
        resolve(socket.getPeerX509Certificate()?.fingerprint256 ?? '');
        socket.destroy();
      });
    });
    expect(`${half}:${other}`).to.equal(shown);
    expect((await visitor.ask('GET', 'api/session')).json['insecure']).to.equal(false);
    const plain = await start('receive', 'plain', '--listen', '127.0.0.1:0', '--web', '0');
    expect((await plain.visitor.ask('GET', 'api/session')).status).to.equal(200);
  });

  it('serve by HTTPS, and give each file once', async () => {
    await makeCertificates(place);
    await writeFile(path.join(place, 'a.txt'), 'some words');
    const { process, visitor } = await start(
      'send',
      'a.txt',
      '--web',
      '0',
      '--once',
      '--tls-cert',
      'leaf.pem',
      '--tls-key',
      'leaf.key',
    );
    const { href } = (await visitor.post('api/links', { id: '0' })).json;
    expect((await visitor.ask('GET', String(href), { token: false })).body.toString()).to.equal('some words');
    expect((await process.ended).code).to.equal(0);
  });

  it('end with 2 for what cannot be meant', async () => {
    const table: readonly (readonly [readonly string[], RegExp])[] = [
      [['receive', 'in', '--web', '0.0.0.0:0'], /--insecure-plain/],
      [['receive', 'in', '--web', '--once'], /does not go with --once/],
      [['receive', 'in', '--web-read'], /go with --web/],
      [['receive', 'in', '--web', '0', '--tls-cert', 'x'], /go together/],
      [
        ['receive', 'in', '--web', '0', '--tls-self-signed', '--tls-cert', 'x', '--tls-key', 'y'],
        /makes a certificate/,
      ],
      [['receive', 'in', '--tls-self-signed'], /go with --web/],
      [['send', '--web'], /gives files/],
    ];
    const ends = await Promise.all(table.map(([words]) => sendall(words, { cwd: place })));
    for (const [at, [words, says]] of table.entries()) {
      expect(ends[at]?.code, words.join(' ')).to.equal(2);
      expect(ends[at]?.stderr).to.match(says);
    }
  });
});
