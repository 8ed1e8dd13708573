import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect } from 'chai';
import { DigestPool } from '../../lib/digest/digest-pool';
import { Downloads } from '../../lib/web/downloads';
import { refuseForeign, reachedAt, showsToken } from '../../lib/web/checks';
import { parseWebAddress } from '../../lib/net/address';
import { servePage } from '../../lib/web/web-server';
import { contentOf, type Visitor, WebReceiver } from './visitor';

describe('a page', () => {
  let receiver: WebReceiver;
  let visitor: Visitor;
  before(async () => {
    receiver = await WebReceiver.open({}, { headersWithin: 300, publicUrl: 'https://files.example.org/drop/' });
    visitor = receiver.visitor;
    // Its address is the public one; it is asked where it listens.
  });
  after(() => receiver.close());

  const everything = ['GET /', 'GET /page.css', 'GET /nothing', 'GET /api/session', 'POST /api/uploads', 'GET /dl/x'];

  it('is what is in the package, compressed for who takes that, with a policy that runs nothing else', async () => {
    const { status, headers, body } = await visitor.ask('GET', '/', { token: false });
    expect(status).to.equal(200);
    expect(body.equals(await readFile(path.join(__dirname, '..', '..', 'web', 'index.html')))).to.equal(true);
    expect(headers['content-security-policy'])
      .to.include("default-src 'none'")
      .and.include("frame-ancestors 'none'")
      .and.not.match(/unsafe-inline|unsafe-eval'(?<!wasm-unsafe-eval')/);
    const packed = await visitor.ask('GET', '/', { token: false, headers: { 'accept-encoding': 'gzip' } });
    expect(packed.headers).to.include({ 'content-encoding': 'gzip', vary: 'accept-encoding' });
    expect(gunzipSync(packed.body).equals(body)).to.equal(true);
    expect((await visitor.ask('POST', '/', { body: 'x' })).status).to.equal(405);
  });

  it('gives nothing but that', async () => {
    for (const asked of [
      '/..',
      '/../package.json',
      '/%2e%2e/package.json',
      '/..%2fpackage.json',
      '/page.ts',
      '/web',
      '/a%00',
      '//etc/passwd',
    ])
      expect(
        (await raw(`GET ${asked} HTTP/1.1\r\nHost: ${visitor.host}\r\nConnection: close\r\n\r\n`)).status,
        asked,
      ).to.equal(404);
    expect((await raw(`GET /%zz HTTP/1.1\r\nHost: ${visitor.host}\r\n\r\n`)).status).to.equal(400);
    expect((await raw(`GET http://x/ HTTP/1.1\r\nHost: ${visitor.host}\r\n\r\n`)).status).to.equal(400);
  });

  it('answers everything without being kept, guessed, framed or told on', async () => {
    for (const each of everything) {
      const [method = '', where = ''] = each.split(' ');
      const { headers } = await visitor.ask(method, where, method === 'POST' ? { body: '{}' } : {});
      expect(headers, each).to.include({
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'cross-origin-resource-policy': 'same-origin',
      });
      expect(headers['content-security-policy'], each).to.include("frame-ancestors 'none'");
      expect(headers, each).not.to.have.any.keys('access-control-allow-origin', 'set-cookie');
    }
  });

  it('answers to its names only, whatever is asked for', async () => {
    const { port } = visitor;
    const statusFor = async (host: string, asked: string): Promise<number> => {
      const [method = '', where = ''] = asked.split(' ');
      const length = method === 'POST' ? 'Content-Length: 0\r\n' : '';
      return (
        await raw(`${method} ${where} HTTP/1.1\r\nHost: ${host}\r\n${length}Authorization: ${visitor.bearer}\r\n\r\n`)
      ).status;
    };
    for (const each of everything)
      for (const host of [
        'evil.example',
        `evil.example:${String(port)}`,
        '127.0.0.1',
        `127.0.0.1:${String(port + 1)}`,
        `localhost.:${String(port)}`,
        '',
      ])
        expect(await statusFor(host, each), `${each} of ${host}`).to.equal(421);
    for (const host of [
      `127.0.0.1:${String(port)}`,
      `LOCALHOST:${String(port)}`,
      `[::1]:${String(port)}`,
      'files.example.org',
    ])
      expect(await statusFor(host, 'GET /'), host).to.equal(200);
    expect((await raw('GET / HTTP/1.0\r\n\r\n')).status).to.equal(421);
  });

  it('does nothing that a script of another page wants', async () => {
    const of = async (headers: Record<string, string>): Promise<number> =>
      (await visitor.ask('GET', '/api/session', { headers })).status;
    expect(await of({ origin: `http://${visitor.host}` })).to.equal(200);
    expect(await of({ origin: 'https://files.example.org' })).to.equal(200);
    expect(await of({ origin: 'https://evil.example' })).to.equal(403);
    expect(await of({ origin: 'null' })).to.equal(403);
    expect(await of({ origin: `https://${visitor.host}` })).to.equal(403);
    expect(await of({ 'sec-fetch-site': 'cross-site' })).to.equal(403);
    expect(await of({ 'sec-fetch-site': 'same-site' })).to.equal(403);
    expect(await of({ 'sec-fetch-site': 'same-origin' })).to.equal(200);
    const link = { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
    expect((await visitor.ask('GET', '/', { headers: link })).status).to.equal(200);
    const preflight = { origin: 'https://evil.example', 'access-control-request-method': 'PUT' };
    expect((await visitor.ask('OPTIONS', '/api/uploads', { headers: preflight, token: false })).status).to.equal(403);
  });

  it('does nothing for who has not the token, and reads no body of theirs', async () => {
    const { directory } = receiver;
    const refused = async (authorization?: string): Promise<number> =>
      (
        await visitor.ask('GET', '/api/session', {
          token: false,
          headers: authorization === undefined ? {} : { authorization },
        })
      ).status;
    expect(await refused()).to.equal(401);
    expect(directory.heard.all('failed')).to.deep.equal([]);
    for (const wrong of [
      'Bearer ',
      'Bearer x',
      `${visitor.bearer}x`,
      visitor.bearer.slice(0, -1),
      visitor.bearer.replace('Bearer', 'Basic'),
      `Bearer ${'x'.repeat(5000)}`,
    ])
      expect(await refused(wrong), wrong).to.equal(401);
    expect(directory.heard.all('failed').every(({ code }) => code === 'not-authorized')).to.equal(true);
    // Strangers fill no log.
    expect(directory.heard.all('failed')).to.have.length(1);
    // A body that never comes is not waited for.
    const head = `PUT /api/uploads/x/0 HTTP/1.1\r\nHost: ${visitor.host}\r\nContent-Length: 8388608\r\n\r\nsome`;
    expect((await raw(head)).status).to.equal(401);
  });

  it('hangs up on who takes too long for the head of a request, or says nothing at all', async () => {
    for (const beginning of ['', 'GET /', `GET / HTTP/1.1\r\nHost: ${visitor.host}\r\nX-A: `]) {
      const began = performance.now();
      const socket = net.connect(visitor.port, '127.0.0.1');
      socket.on('error', () => undefined).resume();
      socket.write(beginning);
      // Somebody who dribbles has no longer.
      const dribble = setInterval(() => socket.write(beginning === '' ? '' : 'a'), 50);
      // Not `once`, which rejects where the dribble meets a reset.
      await new Promise((resolve) => socket.once('close', resolve));
      clearInterval(dribble);
      expect(performance.now() - began, beginning).to.be.within(200, 30_000);
    }
  });

  it('keeps serving beside a crowd that says nothing', async () => {
    const crowd = Array.from({ length: 700 }, () =>
      net.connect(visitor.port, '127.0.0.1').on('error', () => undefined),
    );
    await Promise.all(crowd.map((socket) => once(socket, 'connect')));
    expect((await visitor.ask('GET', '/api/session')).status).to.equal(200);
    expect((await visitor.upload('beside', contentOf(100_000))).status).to.equal(200);
    for (const socket of crowd) socket.destroy();
  });

  it('answers so many requests of one packet and hangs up, since each of them is work at once', async () => {
    const { text } = await raw(`GET / HTTP/1.1\r\nHost: ${visitor.host}\r\n\r\n`.repeat(300), true);
    expect(text.split('HTTP/1.1 200 OK').length - 1).to.be.below(17);
    // One after another, as browsers ask, there may be any number.
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (let at = 0; at < 40; at++)
      expect(
        await new Promise((resolve, reject) =>
          http
            .get({ port: visitor.port, path: '/icon.svg', agent, headers: { host: visitor.host } }, (response) =>
              response.resume().once('end', () => resolve(response.statusCode)),
            )
            .once('error', reject),
        ),
      ).to.equal(200);
    agent.destroy();
  });

  it('takes no head that is too long, and nothing that is no HTTP', async () => {
    const closed = async (bytes: string): Promise<number> => (await raw(bytes)).status;
    expect(await closed(`GET / HTTP/1.1\r\nHost: ${visitor.host}\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`)).to.equal(0);
    expect(await closed('\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'.repeat(20))).to.equal(0);
    const both = `POST /api/batch HTTP/1.1\r\nHost: ${visitor.host}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`;
    expect(await closed(both)).to.equal(0);
  });

  it('ends a body that does not go on, and one that has no length', async () => {
    const chunked = `POST /api/batch HTTP/1.1\r\nHost: ${visitor.host}\r\nAuthorization: ${visitor.bearer}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`;
    expect((await raw(chunked)).status).to.equal(400);
    const large = `POST /api/uploads HTTP/1.1\r\nHost: ${visitor.host}\r\nAuthorization: ${visitor.bearer}\r\nContent-Length: 999999999\r\n\r\n`;
    expect((await raw(large)).status).to.equal(413);
  });

  /** Says these bytes; the status of the answer, 0 where there is none. All of it where `toEnd`. */
  async function raw(bytes: string, toEnd = false): Promise<{ readonly status: number; readonly text: string }> {
    const socket = net.connect(visitor.port, '127.0.0.1');
    let text = '';
    const answered = new Promise<void>((resolve) => {
      socket.on('error', () => undefined);
      socket.once('close', () => resolve());
      socket.on('data', (piece: Buffer) => {
        text += piece.toString('latin1');
        if (!toEnd && text.includes('\r\n\r\n')) resolve();
      });
    });
    socket.write(bytes, 'latin1');
    await answered;
    socket.destroy();
    return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), text };
  }
});

describe('a crowd at a page', () => {
  for (const [scheme, web] of [
    ['HTTP', {}],
    ['HTTPS', { selfSigned: true }],
  ] as const)
    it(`cuts nobody off who has shown the token, by ${scheme}`, async () => {
      const receiver = await WebReceiver.open({}, { ...web, read: true });
      const { visitor } = receiver;
      const content = contentOf(24 * 1024 * 1024);
      await visitor.upload('large', content);
      const { href } = (await visitor.post('api/links', { path: 'large' })).json;
      const watching = visitor.watch();
      const crowd: net.Socket[] = [];
      try {
        await watching.tells(({ event }) => event === 'totals');
        // Whoever has a link is no stranger either, and need not show the token.
        const download = await visitor.open(String(href));
        // More than there may be of strangers, the oldest of whom make room.
        let gone = 0;
        // Fewer at a time than the system lets wait to be accepted: it would try the others again seconds later.
        for (let group = 0; group < 6; group++) {
          const sockets = Array.from({ length: 100 }, () =>
            net
              .connect(visitor.port, '127.0.0.1')
              .on('error', () => undefined)
              .once('close', () => gone++),
          );
          await Promise.all(sockets.map((socket) => once(socket, 'connect')));
          crowd.push(...sockets);
        }
        const [oldest] = crowd;
        if (oldest && !oldest.closed) await once(oldest, 'close');
        expect(gone).to.be.below(300);
        expect((await visitor.upload('beside', contentOf(10))).status).to.equal(200);
        await watching.tells(({ event, name }) => event === 'received' && name === 'beside');
        let fetched = 0;
        for await (const piece of download) fetched += (piece as Buffer).length;
        expect(fetched).to.equal(content.length);
      } finally {
        watching.close();
        for (const socket of crowd) socket.destroy();
        await receiver.close();
      }
    });
});

describe('who may ask a page', () => {
  const reached = reachedAt([new URL('http://192.168.1.20:8899/'), new URL('https://files.example.org/drop/')]);
  const head = {
    method: 'GET',
    host: 'files.example.org',
    origin: undefined,
    site: undefined,
    authorization: undefined,
  };

  it('has its name and its origin, exactly', () => {
    expect(refuseForeign(head, reached)).to.equal(undefined);
    expect(refuseForeign({ ...head, host: 'files.example.org:443' }, reached)?.status).to.equal(421);
    expect(refuseForeign({ ...head, host: 'FILES.example.org' }, reached)).to.equal(undefined);
    expect(refuseForeign({ ...head, host: undefined }, reached)?.status).to.equal(421);
    expect(refuseForeign({ ...head, origin: 'https://files.example.org' }, reached)).to.equal(undefined);
    expect(refuseForeign({ ...head, origin: 'http://files.example.org' }, reached)?.status).to.equal(403);
  });

  it('shows the token, all of it', () => {
    expect(showsToken('Bearer abc', 'abc')).to.equal(true);
    expect(showsToken('bearer abc', 'abc')).to.equal(true);
    for (const wrong of [undefined, '', 'abc', 'Bearer', 'Bearer ', 'Bearer ab', 'Bearer abcd', 'Bearer abc '])
      expect(showsToken(wrong, 'abc'), String(wrong)).to.equal(false);
  });

  it('asks on this machine, or encrypted, or where that was said not to matter', async () => {
    const routes = {
      api: () => Promise.resolve(),
      downloads: new Downloads(new DigestPool(1)),
      close: () => Promise.resolve(),
    };
    const served = async (options: Parameters<typeof servePage>[0]): Promise<string> =>
      servePage(options, () => routes).then(
        async (page) => {
          await page.close();
          return page.url;
        },
        (error: unknown) => (error as { code?: string }).code ?? String(error),
      );
    expect(await served({ address: '0.0.0.0:0' })).to.equal('usage');
    expect(await served({ address: '[::]:0' })).to.equal('usage');
    expect(await served({ address: '0.0.0.0:0', insecurePlain: true })).to.match(/^http:\/\/.+:\d+\/#[\w-]{32}$/);
    expect(await served({ address: '127.0.0.1:0', publicUrl: 'ftp://x/' })).to.equal('usage');
    expect(await served({ address: '127.0.0.1:0', token: 'short' })).to.equal('usage');
    expect(await served({ address: 'localhost:0' })).to.match(/^http:/);
    expect(parseWebAddress('8000')).to.deep.equal({ kind: 'tcp', host: '127.0.0.1', port: 8000 });
    expect(parseWebAddress()).to.deep.equal({ kind: 'tcp', host: '127.0.0.1', port: 8899 });
    expect(parseWebAddress('192.168.1.20')).to.deep.equal({ kind: 'tcp', host: '192.168.1.20', port: 8899 });
    expect(() => parseWebAddress('unix:/run/x')).to.throw(/HOST:PORT/);
    expect(() => parseWebAddress('99999999')).to.throw('A port is 0 to 65535, and 99999999 is none.');
  });
});
