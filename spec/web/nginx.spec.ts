// The configuration that docs/web.md shows, in the real nginx, with a receiver behind it.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createServer, connect, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { makeCertificates } from '../net/certificates';
import { chromiumPath, launchChromium } from './chromium';
import { contentOf, Visitor, WebReceiver } from './visitor';
import { skipTest } from '../skip-test';

const MiB = 1024 * 1024;
const root = path.join(__dirname, '..', '..');

function hasNginx(): boolean {
  try {
    execFileSync('nginx', ['-v'], { stdio: 'ignore' });
    return true;
  } catch {
    return false; // the spec says that it is skipped
  }
}

/** The `server` of the documentation, with its sockets and files replaced by these. */
function documented(replaced: Readonly<Record<string, string>>): string {
  const text = readFileSync(path.join(root, 'docs', 'web.md'), 'utf8');
  let server = /^```nginx\n(.*?)^```$/ms.exec(text)?.[1] ?? '';
  for (const [from, to] of Object.entries(replaced)) {
    expect(server.split(from), from).to.have.length(2);
    server = server.replace(from, to);
  }
  return server;
}

/** A real nginx with that `server`, on a socket of `place`, and a port of loopback that leads there. */
class Nginx {
  private constructor(
    private readonly child: ChildProcess,
    private readonly server: Server,
    /** HOST:PORT. */
    readonly address: string,
  ) {}

  /** `behind` is told the address that browsers have, and tells HOST:PORT of the page. */
  static async open(place: string, behind: (url: string) => Promise<string>): Promise<Nginx> {
    const socket = path.join(place, 'nginx.sock');
    const server = createServer((from) => {
      const to = connect(socket);
      for (const [one, other] of [
        [from, to],
        [to, from],
      ] as const)
        one.on('error', () => other.destroy()).pipe(other);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = `127.0.0.1:${String((server.address() as AddressInfo).port)}`;
    const page = await behind(`https://${address}/drop/`);
    await makeCertificates(place);
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
    await Promise.all(temporary.map((each) => mkdir(path.join(place, each))));
    const words = [
      'daemon off; master_process off; error_log stderr notice;',
      `pid ${place}/nginx.pid;`,
      'events {}',
      'http {',
      'access_log off;',
      ...temporary.map((each) => `${each}_temp_path ${place}/${each};`),
      documented({
        'listen 443 ssl;': `listen unix:${socket} ssl;`,
        '/etc/ssl/files.pem': `${place}/leaf.pem`,
        '/etc/ssl/files.key': `${place}/leaf.key`,
        'http://127.0.0.1:8899/': `http://${page}/`,
      }),
      '}',
    ];
    writeFileSync(path.join(place, 'nginx.conf'), words.join('\n'));
    const child = spawn('nginx', ['-p', place, '-c', path.join(place, 'nginx.conf')], { stdio: 'pipe' });
    // It says so once it listens.
    await new Promise<void>((resolve, reject) => {
      let said = '';
      child.stderr.on('data', (bytes: Buffer) => {
        said += bytes.toString();
        if (said.includes('event method')) resolve();
      });
      child.once('exit', () => reject(new Error(`nginx has ended: ${said}`)));
    });
    return new Nginx(child, server, address);
  }

  async close(): Promise<void> {
    const ended = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await ended;
    this.server.close();
  }
}

describe('a page behind nginx, as documented', () => {
  let place: string;
  let receiver: WebReceiver;
  let nginx: Nginx | undefined;
  let visitor: Visitor;

  before(async function () {
    if (!hasNginx()) {
      return skipTest(this, 'No nginx here (apt-get install nginx-light): what docs/web.md shows is not tried.');
    }
    place = mkdtempSync(path.join(tmpdir(), 'sendall-nginx-'));
    nginx = await Nginx.open(place, async (publicUrl) => {
      receiver = await WebReceiver.open({ names: 'any' }, { read: true, publicUrl });
      return receiver.visitor.host;
    });
    visitor = new Visitor(receiver.page.url);
  });
  after(async () => {
    if (!nginx) return;
    await receiver.close();
    await nginx.close();
    rmSync(place, { recursive: true, force: true });
  });

  it('is served below its path, and leads there without the last slash', async () => {
    expect(receiver.page.url).to.match(/^https:\/\/127\.0\.0\.1:\d+\/drop\/#/);
    const { status, headers, body } = await visitor.ask('GET', '', { token: false });
    expect([status, headers['content-security-policy']]).to.satisfy(
      ([code, policy]: [number, string]) => code === 200 && policy.includes("default-src 'none'"),
    );
    expect(body.toString()).not.to.match(/(?:src|href)="\//);
    expect((await visitor.ask('GET', 'page.css', { token: false })).status).to.equal(200);
    expect((await visitor.ask('GET', '/drop', { token: false })).headers.location).to.match(/\/drop\/$/);
    expect((await visitor.ask('GET', '/api/session')).status).to.equal(404);
  });

  it('takes a file of several slices, each larger than the limits that nginx has by itself', async () => {
    const content = contentOf(17 * MiB + 5);
    expect((await visitor.upload('film.mp4', content)).json).to.include({ name: 'film.mp4', size: content.length });
    expect((await receiver.directory.read('film.mp4')).equals(content)).to.equal(true);
    expect((await visitor.batch({ small: contentOf(60_000), 'dir/s': contentOf(5) })).json['results'])
      .to.have.length(2)
      .and.satisfy((ends: object[]) => ends.every((end) => !('code' in end)));
  });

  it('is told of half a slice while the other half is not sent, and tells who watches at once', async () => {
    const content = contentOf(8 * MiB);
    const begun = await visitor.begin('half', content);
    const slice = visitor.dribble('PUT', `api/uploads/${begun.json['id'] as string}/0`, content.length);
    const seen = visitor.live(({ event, done }) => event === 'progress' && Number(done) >= 2 * MiB);
    slice.write(content.subarray(0, 4 * MiB));
    const lines = await seen;
    expect(lines.find(({ event, name }) => event === 'started' && name === 'half')).to.not.equal(undefined);
    slice.end(content.subarray(4 * MiB));
    expect((await slice.answer).status).to.equal(204);
    expect((await visitor.close(begun, content)).status).to.equal(200);
  });

  it('gives ranges of a file', async () => {
    const content = contentOf(3 * MiB);
    await visitor.upload('ranges', content);
    const { href } = (await visitor.post('api/links', { path: 'ranges' })).json as { href: string };
    const part = await visitor.ask('GET', href, { token: false, headers: { range: 'bytes=1048576-' } });
    expect([part.status, part.headers['content-range']]).to.deep.equal([206, 'bytes 1048576-3145727/3145728']);
    expect(part.body.equals(content.subarray(MiB))).to.equal(true);
  });

  it('answers to its name and its own scripts only, and refuses before a body was sent', async () => {
    const statusWith = async (headers: Record<string, string>): Promise<number> =>
      (await visitor.ask('GET', 'api/session', { headers })).status;
    expect(await statusWith({ origin: `https://${visitor.host}` })).to.equal(200);
    expect(await statusWith({ host: 'evil.example' })).to.equal(421);
    expect(await statusWith({ host: '127.0.0.1' })).to.equal(421);
    expect(await statusWith({ origin: 'https://evil.example' })).to.equal(403);
    expect(await statusWith({ origin: `http://${visitor.host}` })).to.equal(403);
    expect(await statusWith({ 'sec-fetch-site': 'cross-site' })).to.equal(403);
    expect((await visitor.ask('GET', 'api/session', { token: false })).status).to.equal(401);
    const body = contentOf(8 * MiB);
    expect((await visitor.ask('PUT', 'api/uploads/x/0', { token: false, body })).status).to.equal(401);
    expect((await visitor.ask('PUT', 'api/uploads/x/0', { body })).status).to.equal(404);
  });

  it('works in Chromium, with an upload, the live list and a download', async function () {
    const program = chromiumPath();
    if (program === undefined) return skipTest(this, 'no Chromium here');
    this.timeout(120_000);
    const browser = await launchChromium(program);
    try {
      const context = await browser.newContext({ ignoreHTTPSErrors: true });
      context.setDefaultTimeout(100_000);
      const page = await context.newPage();
      await page.goto(receiver.page.url);
      await page.locator('#receive').waitFor(); // before that, nothing takes files
      const content = contentOf(9 * MiB, 3);
      writeFileSync(path.join(place, 'by browser.bin'), content);
      await page.setInputFiles('#files-input', path.join(place, 'by browser.bin'));
      for (const list of ['#uploads-list', '#arrivals-list'])
        await page.locator(`${list} .row[data-state=verified]`, { hasText: 'by browser.bin' }).waitFor();
      expect((await receiver.directory.read('by browser.bin')).equals(content)).to.equal(true);
      const download = page.waitForEvent('download');
      await page.getByRole('button', { name: 'Download: by browser.bin' }).click();
      expect(readFileSync(await (await download).path()).equals(content)).to.equal(true);
    } finally {
      await browser.close();
    }
  });
});
