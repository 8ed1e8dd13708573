import { createHash, randomBytes } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { tmpdir } from 'node:os';
import { execFileSync } from 'node:child_process';
import { source as axe } from 'axe-core';
import { expect } from 'chai';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { SendallProcess } from '../cli/sendall-process';
import { chromiumPath, launchChromium } from './chromium';
import { mountSmallDisk } from '../small-disk';
import { Front, ServedPage } from './served-page';
import { skipTest } from '../skip-test';

/** `npm run page:large` sends as much as people do; here as much as shows that it works. */
const large = process.env['SENDALL_PAGE_DOSE'] === 'large';
const MiB = 1024 * 1024;
const segment = 8 * MiB;
const bigFile = large ? 200 * MiB : 40 * MiB;
const manyFiles = large ? 10_000 : 1500;
const chromium = chromiumPath();
const root = join(__dirname, '..', '..');
const takesPictures = process.env['SENDALL_PAGE_PICTURES'] !== undefined;
const looks = [
  [1280, 'light'],
  [390, 'dark'],
  ...(takesPictures
    ? ([
        [1280, 'dark'],
        [390, 'light'],
      ] as const)
    : []),
] as const;

describe('the page of --web, in Chromium', function () {
  this.timeout(large ? 600_000 : 60_000);
  let directory: string;
  let browser: Browser;
  let served: ServedPage;
  let inbox: string;
  const contexts: BrowserContext[] = [];

  before(async function () {
    if (chromium === undefined) {
      return skipTest(this, 'No Chromium here (apt-get install chromium, or CHROMIUM=/path): the page is not tried.');
    }
    directory = mkdtempSync(join(tmpdir(), 'sendall-page-'));
    inbox = join(directory, 'inbox');
    [browser, served] = await Promise.all([launchChromium(chromium), ServedPage.receive(inbox, ['--web-read'])]);
  });

  after(async () => {
    if (directory === undefined) return;
    await Promise.all([browser.close(), served.end()]);
    rmSync(directory, { recursive: true, force: true });
  });

  afterEach(async () => {
    await Promise.all(contexts.splice(0).map((context) => context.close()));
  });

  /** A page of a browser of its own; what it asked for is counted. */
  async function open(url: string, options: Parameters<Browser['newContext']>[0] = {}): Promise<Page> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    contexts.push(context);
    const page = await context.newPage();
    await page.goto(url);
    return page;
  }

  async function opened(url = served.url): Promise<Page> {
    const page = await open(url);
    await page.locator('#receive').waitFor();
    return page;
  }

  function source(name: string, size: number): string {
    const path = join(directory, name);
    const bytes = randomBytes(Math.min(size, 4 * MiB));
    writeFileSync(path, '');
    for (let left = size; left > 0; left -= bytes.length) appendFileSync(path, bytes.subarray(0, left));
    return path;
  }

  const sha256 = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
  const row = (page: Page, name: string) => page.locator('#uploads-list .row', { hasText: name });
  const verified = (page: Page, name: string, timeout = 30_000) =>
    row(page, name).and(page.locator('[data-state=verified]')).waitFor({ timeout });
  const drop = (page: Page, paths: readonly string[]) => page.setInputFiles('#files-input', [...paths]);
  /** The segments that the page sends from now on, by their numbers. */
  function segmentsOf(page: Page): number[] {
    const sent: number[] = [];
    page.on('request', (request) => {
      if (request.method() === 'PUT') sent.push(Number(/\d+$/.exec(request.url())?.[0]));
    });
    return sent;
  }
  /** From its third segment on nothing goes out; resolves when the two before are with the receiver. */
  async function heldUp(page: Page): Promise<void> {
    await page.route(/\/api\/uploads\/[^/]+\/\d+$/, (route) => {
      if (Number(/\d+$/.exec(route.request().url())?.[0]) < 2) void route.continue();
    });
    let taken = 0;
    await page.waitForResponse((response) => response.request().method() === 'PUT' && ++taken === 2);
  }

  it('paints at once, is small, and takes its token out of sight', async () => {
    const asked: string[] = [];
    const context = await browser.newContext();
    contexts.push(context);
    const page = await context.newPage();
    page.on('request', (request) => asked.push(request.url()));
    await page.goto(served.url);
    await page.locator('#receive').waitFor();
    const [painted, bytes] = await page.evaluate<[number, number]>(`[
      performance.getEntriesByName('first-contentful-paint')[0].startTime,
      performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))
        .reduce((sum, { transferSize }) => sum + transferSize, 0),
    ]`);
    if (large) console.log(`      first paint ${painted.toFixed(0)} ms, ${(bytes / 1024).toFixed(1)} KB`);
    expect(bytes).to.be.below(60_000);
    if (large) expect(painted).to.be.below(300);
    expect(new URL(page.url()).hash).to.equal('');
    expect(asked.join()).to.not.include(served.token);
    await page.reload();
    await page.locator('#receive').waitFor(); // the history entry still has it
  });

  it('sends what is dropped, digests it, and shows it verified, here and in the list of what arrives', async () => {
    const page = await opened();
    const path = source('big.bin', bigFile);
    const folder = join(directory, 'folder');
    mkdirSync(join(folder, 'deep'), { recursive: true });
    writeFileSync(join(folder, 'deep', 'one.txt'), 'one');
    writeFileSync(join(folder, 'empty'), '');
    await dragIn(page, [path, folder]);
    await Promise.all(['big.bin', 'folder/deep/one.txt', 'folder/empty'].map((name) => verified(page, name)));
    expect(await row(page, 'big.bin').innerText()).to.match(
      /Verified (on device|\(page cache only\)) · blake3 [0-9a-f]{64}/,
    );
    await page.locator('#arrivals-list .row[data-state=verified]', { hasText: 'big.bin' }).waitFor();
    expect(await page.locator('#uploads-words').innerText()).to.equal('All 3 files verified.');
    expect(sha256(join(inbox, 'big.bin'))).to.equal(sha256(path));
    expect(readFileSync(join(inbox, 'folder', 'deep', 'one.txt'), 'utf8')).to.equal('one');
    expect(readFileSync(join(inbox, 'folder', 'empty'), 'utf8')).to.equal('');

    const sent = segmentsOf(page);
    await drop(page, [path]); // again: it is there, and nothing moves
    await verified(page, 'big.bin');
    expect(sent).to.deep.equal([]);
  });

  it(`sends ${String(manyFiles)} files without a stall, and draws only those in sight`, async () => {
    const folder = join(directory, 'many');
    mkdirSync(folder);
    for (let index = 0; index < manyFiles; index++)
      writeFileSync(join(folder, `${String(index)}.txt`), randomBytes(4096));
    const page = await opened();
    await page.evaluate(`{
      // What the browser itself does with so many files comes before.
      window.longest = 0;
      let chosen = Infinity;
      document.getElementById('folder-input').addEventListener('change', () => { chosen = performance.now(); });
      new PerformanceObserver((list) => {
        for (const { startTime, duration } of list.getEntries())
          if (startTime > chosen) window.longest = Math.max(window.longest, duration);
      }).observe({ entryTypes: ['longtask'] });
    }`);
    const began = performance.now();
    await page.setInputFiles('#folder-input', folder);
    await page.locator('#uploads-words', { hasText: /^All .* verified\.$/ }).waitFor({ timeout: 300_000 });
    const seconds = (performance.now() - began) / 1000;
    const longest = await page.evaluate<number>('window.longest');
    if (large)
      console.log(
        `      ${String(manyFiles)} files of 4 KiB: ${seconds.toFixed(1)} s, longest task ${longest.toFixed(0)} ms`,
      );
    expect(readdirSync(join(inbox, 'many'))).to.have.lengthOf(manyFiles);
    expect(await page.locator('#uploads-list .row').count()).to.be.below(40);
    expect(longest).to.be.below(1000);
    await page.evaluate(`document.getElementById('uploads-scroll').scrollTop = 1e9`);
    await page.locator(`#uploads-list .row[aria-posinset="${String(manyFiles)}"]`).waitFor();
  });

  for (const [how, end] of [
    ['closed', (page: Page) => page.close()],
    ['killed', (page: Page) => page.goto('chrome://crash').catch(() => undefined)],
  ] as const)
    it(`goes on where it was after its tab was ${how}`, async () => {
      const path = source(`${how}.bin`, 5 * segment - 1);
      const first = await opened();
      const held = heldUp(first);
      await drop(first, [path]);
      await held;
      await end(first);
      const second = await opened();
      const sent = segmentsOf(second);
      await drop(second, [path]);
      await verified(second, `${how}.bin`);
      expect(sent.sort()).to.deep.equal([2, 3, 4]);
      expect(sha256(join(inbox, `${how}.bin`))).to.equal(sha256(path));
    });

  it('goes on by itself, below a path, after a cut, a killed receiver, and one with a new token', async () => {
    const front = await Front.open();
    const own = join(directory, 'own');
    const words = ['--web-url', front.url];
    const token = 'the-same-token-each-time';
    const { behind: address } = front;
    let receiver = await ServedPage.receive(own, words, { address, token });
    const again = async (options: { token?: string }) => {
      receiver = await ServedPage.receive(own, words, { address, ...options });
      front.mend();
    };
    try {
      const path = source('going-on.bin', 5 * segment);
      const page = await opened(`${front.url}#${token}`);
      const held = heldUp(page);
      await drop(page, [path]);
      await held;

      front.break();
      await row(page, 'going-on.bin').getByText('Connection lost. It goes on by itself.').waitFor();
      await page.locator('#connection[data-state=lost]').waitFor();
      await receiver.end('SIGKILL');
      const sent = segmentsOf(page);
      await page.unrouteAll();
      await page.route(/\/api\/uploads\/[^/]+\/[34]$/, () => undefined);
      // Listened for before there is anybody to answer: it may come as soon as the page is connected.
      const third = page.waitForResponse((response) => response.request().method() === 'PUT');
      await again({ token });
      await page.locator('#connection[data-state=connected]').waitFor();
      await third;
      expect(sent.filter((one) => one < 2)).to.deep.equal([]);

      front.break();
      await receiver.end('SIGKILL');
      await page.unrouteAll();
      await again({});
      await page.getByText('This address is not valid any more').waitFor();
      await page.evaluate(`location.hash = ${JSON.stringify(receiver.token)}`);
      await verified(page, 'going-on.bin');
      expect(sent.filter((one) => one < 2)).to.deep.equal([]);
      expect(sha256(join(own, 'going-on.bin'))).to.equal(sha256(path));
    } finally {
      await receiver.end();
      await front.close();
    }
  });

  it('says that a source has changed, and nothing is stored', async () => {
    const path = source('changing.bin', 5 * segment);
    const page = await opened();
    const held = heldUp(page);
    await drop(page, [path]);
    await held;
    writeFileSync(path, randomBytes(5 * segment));
    await page.unrouteAll();
    await page.context().setOffline(true); // what goes out is begun again
    await page.context().setOffline(false);
    await row(page, 'changing.bin').getByText('changed on this device').waitFor();
    expect(existsSync(join(inbox, 'changing.bin'))).to.equal(false);
    await drop(page, [path]);
    await verified(page, 'changing.bin');
    expect(sha256(join(inbox, 'changing.bin'))).to.equal(sha256(path));
  });

  it('lets two tabs send the same file, of which one is stored', async () => {
    const path = source('twice.bin', 3 * segment);
    const [one, two] = await Promise.all([opened(), opened()]);
    await Promise.all([drop(one, [path]), drop(two, [path])]);
    await Promise.all([verified(one, 'twice.bin'), verified(two, 'twice.bin')]);
    expect(readdirSync(inbox).filter((name) => name.startsWith('twice'))).to.deep.equal(['twice.bin']);
    expect(sha256(join(inbox, 'twice.bin'))).to.equal(sha256(path));
  });

  it('shows hostile names as text, and refusals in words', async () => {
    const names = ['<img src=x onerror=alert(1)>.txt', 'gnp.\u202eexe', `${'long'.repeat(62)}end.txt`, '&lt;b&gt;'];
    expect(Buffer.byteLength(names[2] ?? '')).to.equal(255);
    const paths = names.map((name) => source(name, 10));
    const page = await opened();
    page.on('dialog', () => expect.fail('a name was run'));
    await drop(page, paths);
    await page.locator('#uploads-words', { hasText: 'All 4 files verified.' }).waitFor();
    expect(await page.locator('#receive img, #receive b').count()).to.equal(0);
    const titles = await page.evaluate(
      `[...document.querySelectorAll('#uploads-list .name')].map(({ title }) => title)`,
    );
    expect(titles).to.deep.equal([names[0], 'gnp.\\u202eexe', names[2], names[3]]);
    expect(readdirSync(inbox)).to.include.members(names);

    writeFileSync(paths[3] ?? '', 'other content');
    await drop(page, [paths[3] ?? '']);
    const refused = row(page, '&lt;b&gt;').and(page.locator('[data-state=refused]'));
    await refused.waitFor();
    expect(await refused.innerText()).to.match(/already exists/);
    expect(await page.locator('#uploads-refused').innerText()).to.equal('1 refused');
    rmSync(join(inbox, '&lt;b&gt;'));
    await refused.getByRole('button', { name: 'Try again' }).press('Enter'); // by keyboard
    await verified(page, '&lt;b&gt;');
  });

  it('keeps what is dropped before it is connected, and a page that gives files stays where it is', async () => {
    const path = source('early.bin', 3000);
    const early = await open(served.url.replace(/#.*/, ''));
    await early.getByText('This page needs its whole address').waitFor();
    await dragIn(early, [path]);
    await early.locator('#held', { hasText: 'not connected yet' }).waitFor();
    expect(early.url()).to.match(/^http:/); // and no file: of its own
    await early.getByLabel('Address').fill(served.url);
    await early.keyboard.press('Enter');
    await verified(early, 'early.bin');
    expect(await early.locator('#held').isVisible()).to.equal(false);

    const giving = await ServedPage.of(new SendallProcess(['send', path, '--web', '0', '--json']));
    try {
      const page = await open(giving.url);
      await page.locator('#send').waitFor();
      await dragIn(page, [path]);
      await page.getByText('This page gives files, and takes none.').waitFor();
      expect(page.url()).to.match(/^http:/);
    } finally {
      await giving.end();
    }
  });

  it('wants its token, and takes an address that is pasted', async () => {
    const wrong = await open(served.url.replace(/#.*/, `#${'x'.repeat(40)}`));
    await wrong.getByText('This address is not valid any more').waitFor();
    const none = await open(served.url.replace(/#.*/, ''));
    await none.getByText('This page needs its whole address').waitFor();
    await none.getByLabel('Address').fill('http://127.0.0.1/');
    await none.keyboard.press('Enter');
    await none.getByText('There is no secret in it').waitFor();
    await none.getByLabel('Address').fill(served.url);
    await none.keyboard.press('Enter');
    await none.locator('#receive').waitFor();
  });

  for (const [what, words, plain] of [
    ['in plain http', ['--insecure-plain'], true],
    ['with a certificate that nobody vouches for', ['--tls-self-signed'], false],
  ] as const)
    it(`takes files from the network ${what}`, async () => {
      const own = join(directory, words.join());
      const receiver = await ServedPage.receive(own, words, { address: '0.0.0.0:0' });
      try {
        const page = await open(receiver.url, { ignoreHTTPSErrors: true });
        await page.locator('#receive').waitFor();
        // An insecure context has no crypto.subtle and no Service Worker. Loopback alone is secure without TLS.
        const local = /\/\/(?:127\.|localhost|\[::1\])/.test(receiver.url);
        expect(await page.evaluate('isSecureContext')).to.equal(!plain || local);
        expect(await page.locator('#plain').isVisible()).to.equal(plain);
        const paths = [source(`over ${words.join()}.bin`, segment + 1), source(`over ${words.join()}.txt`, 100)];
        await drop(page, paths);
        await Promise.all(paths.map((path) => verified(page, basename(path))));
        for (const path of paths) expect(sha256(join(own, basename(path)))).to.equal(sha256(path));
      } finally {
        await receiver.end();
      }
    });

  it('says when a disk is full, and goes on with what fits', async function () {
    const full = join(directory, 'full');
    mkdirSync(full, { mode: 0o700 });
    if (!mountSmallDisk(full, 'size=24m,mode=700')) return skipTest(this, 'no small disk can be mounted here');
    const small = await ServedPage.receive(full);
    try {
      const page = await opened(small.url);
      await drop(page, [source('too-big.bin', 5 * segment), source('fits.bin', MiB)]);
      const refused = row(page, 'too-big.bin').and(page.locator('[data-state=refused]'));
      await Promise.all([refused.waitFor(), verified(page, 'fits.bin')]);
      expect(await refused.innerText()).to.match(/space|room|free/i);
    } finally {
      await small.end();
      execFileSync('umount', [full]);
    }
  });

  it('lists and fetches with --web-read', async () => {
    mkdirSync(join(inbox, 'shelf'), { recursive: true });
    writeFileSync(join(inbox, 'shelf', 'book & co.txt'), 'pages');
    const page = await opened();
    await page.locator('#listing-list').getByRole('button', { name: 'shelf' }).click();
    const download = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Download: book & co.txt' }).click();
    expect(readFileSync(await (await download).path(), 'utf8')).to.equal('pages');
    await page.locator('#trail').getByRole('button', { name: 'All files' }).click();
    await page.locator('#listing-list').getByRole('button', { name: 'shelf' }).waitFor();
  });

  it('offers the files of send --web with their SHA-256, and says that plain http is open to others', async () => {
    const paths = [source('offered <i>.bin', 3 * MiB), source('Holiday in Brittany.mp4', 2 * MiB)];
    const [path = ''] = paths;
    const words = ['send', ...paths, '--web', '0.0.0.0:0', '--insecure-plain', '--json'];
    const sender = await ServedPage.of(new SendallProcess(words));
    try {
      for (const [width, colorScheme] of looks) {
        const page = await open(sender.url, { viewport: { width, height: width === 390 ? 760 : 600 }, colorScheme });
        await page.locator('#send').getByText(sha256(path)).waitFor();
        await page.getByText('This connection is plain http.').waitFor();
        await page.evaluate(axe);
        expect(await violations(page)).to.deep.equal([]);
        await picture(page, `web-send-${String(width)}-${colorScheme}`);
        if (width !== 1280) continue;
        const download = page.waitForEvent('download');
        await page.getByRole('button', { name: 'Download: offered <i>.bin' }).click();
        expect(sha256(await (await download).path())).to.equal(sha256(path));
      }
    } finally {
      await sender.end();
    }
  });

  describe('with files in all states', () => {
    let scene: ServedPage;
    let paths: readonly string[];

    before(async () => {
      const photos = join(directory, 'Photos');
      mkdirSync(photos);
      for (let index = 1; index <= 7; index++)
        writeFileSync(join(photos, `IMG_204${String(index)}.jpg`), randomBytes(1_300_000 + index * 170_000));
      paths = [
        source('interview.wav', 5 * segment),
        source('notes.txt', 2000),
        source('Quarterly report.pdf', 3 * MiB),
      ];
      scene = await ServedPage.receive(join(directory, 'scene', 'inbox'), ['--web-read']);
      writeFileSync(join(directory, 'scene', 'inbox', 'notes.txt'), 'other content');
    });

    after(() => scene.end());

    for (const [width, colorScheme] of looks)
      it(`is accessible and not too wide at ${String(width)} pixels, ${colorScheme}`, async () => {
        const page = await open(scene.url, { viewport: { width, height: width === 390 ? 844 : 900 }, colorScheme });
        await page.locator('#receive').waitFor();
        const other = await page.context().newPage();
        await other.goto(scene.url);
        await other.locator('#receive').waitFor();
        await other.route(/\/api\/uploads\/[^/]+\/3$/, () => undefined); // never goes out
        await drop(other, [source(`backup ${String(width)} ${colorScheme}.tar`, 4 * segment)]);
        await row(other, 'backup').getByText('Sending 75 %').waitFor();
        await page.route(/\/api\/uploads\/[^/]+\/4$/, () => undefined);
        await dragIn(page, [...paths, join(directory, 'Photos')]);
        await row(page, 'interview.wav').getByText('Sending 80 %').waitFor();
        await page.locator('#uploads-words', { hasText: '8 of 10 files verified.' }).waitFor();
        await page.locator('#listing-list').getByRole('button', { name: 'Photos' }).waitFor();
        await page.evaluate(axe);
        expect(await violations(page)).to.deep.equal([]);
        expect(await page.evaluate('document.documentElement.scrollWidth')).to.equal(width);
        await picture(page, `web-receive-${String(width)}-${colorScheme}`);
        const reached: unknown[] = [];
        for (let press = 0; press < 4; press++) {
          await page.keyboard.press('Tab');
          reached.push(await page.evaluate('document.activeElement.id || document.activeElement.className'));
        }
        expect(reached.slice(0, 2)).to.deep.equal(['choose-files', 'choose-folder']);
        expect(reached).to.include('filter');
        await row(page, 'interview.wav').getByRole('button', { name: 'Cancel' }).click();
        await page.locator('#uploads-words', { hasText: '8 files verified.' }).waitFor();
      });
  });

  it('stands in the documentation as these tests saw it', () => {
    const text = readFileSync(join(root, 'docs', 'web.md'), 'utf8');
    const pictures = readdirSync(join(root, 'docs', 'pictures')).filter((name) => name.endsWith('.png'));
    expect(pictures).to.not.deep.equal([]);
    for (const name of pictures) expect(text).to.include(`(pictures/${name})`);
  });
});

/** With SENDALL_PAGE_PICTURES, which `npm run pictures:page` sets, what is seen goes into docs/pictures. */
async function picture(page: Page, name: string): Promise<void> {
  if (!takesPictures) return;
  await page.screenshot({
    path: join(root, 'docs', 'pictures', `${name}.png`),
    fullPage: true,
    animations: 'disabled',
  });
}

/** Files and folders, dragged from outside onto the page. */
async function dragIn(page: Page, files: readonly string[]): Promise<void> {
  const drag = await page.context().newCDPSession(page);
  const data = { items: [], files: [...files], dragOperationsMask: 1 };
  for (const type of ['dragEnter', 'dragOver', 'drop'] as const)
    await drag.send('Input.dispatchDragEvent', { type, x: 200, y: 200, data });
}

/** What axe-core complains of, in short. */
async function violations(page: Page): Promise<unknown> {
  return page.evaluate(`axe.run().then(({ violations }) =>
    violations.map(({ id, nodes }) => id + ' ' + nodes.map(({ html }) => html).join(' ')))`);
}
