import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import jsqr from 'jsqr';
import { Shell } from '../../packaging/pictures/shell';
import { guess } from './guess';
import { SessionRun } from './session-run';
import { skipTest } from '../skip-test';

const main = join(__dirname, '..', '..', 'dist', 'cli', 'main.js');
/** How many pixels a module of a code has in a picture, across and down. */
const scale = 4;

/** Reads the code that stands on a screen in half blocks. */
function readQr(lines: readonly string[]): string | undefined {
  const drawn = lines.filter((line) => /^█[█▀▄ ]{20,}█$/.test(line));
  const modules = drawn.flatMap((line) => [
    [...line].map((block) => block === '█' || block === '▀'),
    [...line].map((block) => block === '█' || block === '▄'),
  ]);
  const width = (modules[0]?.length ?? 0) * scale;
  const pixels = new Uint8ClampedArray(width * modules.length * scale * 4);
  for (let at = 0; at < pixels.length / 4; at++) {
    const [x, y] = [Math.floor((at % width) / scale), Math.floor(at / width / scale)];
    pixels.fill(modules[y]?.[x] ? 255 : 0, at * 4, at * 4 + 3).fill(255, at * 4 + 3, at * 4 + 4);
  }
  const read = (jsqr as unknown as { readonly default: typeof jsqr }).default;
  return read(pixels, width, modules.length * scale)?.data;
}

describe('cli: a receiver at a terminal (the built command)', function () {
  this.timeout(20_000);
  let run: SessionRun;
  before(function () {
    if (spawnSync('script', ['--version']).error) skipTest(this, 'script is not installed');
  });
  beforeEach(() => {
    run = new SessionRun({ 'letter.txt': 'hello\n' });
  });
  afterEach(() => run.end());

  const shell = (): Shell =>
    new Shell({
      title: '',
      cwd: run.directory,
      env: { PATH: process.env['PATH'], LANG: 'C.UTF-8', HOME: run.at('home') },
      columns: 80,
      replaced: [],
    });

  it('shows a code without being asked, and the ticket is good when the code is used up; draws it with --qr', async () => {
    const [shown, hidden] = [shell(), shell()];
    const addresses = '--address 127.0.0.1 --address 192.168.100.200 --address nas.of.somebody.example.org';
    const receive = `${process.execPath} ${main} receive`;
    const listening = '--listen 127.0.0.1:0';
    const receiver = shown.run(`${receive} in ${listening} ${addresses} --qr`);
    const without = hidden.run(`${receive} other --no-code ${listening}`);
    const [code] = await receiver.says(/\d{4}-[a-z]+-[a-z]+@127\.0\.0\.1:\d+/);
    const [ticket] = await receiver.says(/sendall:\/\/[\w.,:-]+\/[\w-]{64}/);
    await receiver.says(/▀{30,}/);
    const lines = (await shown.shot()).lines.map((line) => line.map(({ text }) => text).join(''));
    expect(ticket).to.include('nas.of');
    expect(readQr(lines)).to.equal(ticket);
    await Promise.all([guess(code), guess(code), guess(code)]);
    await receiver.says(/The code cannot be used any more; the ticket can\./);
    const sent = await run.run(['send', 'letter.txt', ticket]);
    expect(sent.code, sent.stderr).to.equal(0);
    expect(run.read('letter.txt').toString()).to.equal('hello\n');
    await receiver.interrupt();
    await without.says(/sendall:\/\//);
    expect(
      (await hidden.shot()).lines
        .flat()
        .map(({ text }) => text)
        .join(' '),
    ).to.not.match(/\d-[a-z]+-[a-z]+/);
    await without.interrupt();
  });

  it('takes the bar away with the end of a backup, and draws none into the next transfers', async () => {
    writeFileSync(run.at('large.bin'), Buffer.alloc(24 * 1024 ** 2, 'abc'));
    const shown = shell();
    const receiver = shown.run(`${process.execPath} ${main} receive in --no-code --listen 127.0.0.1:0`);
    const [ticket] = await receiver.says(/sendall:\/\/[\w.,:-]+\/[\w-]{64}/);
    const words = ['backup', 'large.bin', ticket, '--name', 'disk', '--limit', '10M', '--compress', 'off'];
    const backup = await run.run(words);
    expect(backup.code, backup.stderr).to.equal(0);
    await receiver.says(/large\.bin\s+receive/);
    await receiver.says(/disk\/\S+ .*complete/);
    for (const name of ['one', 'two', 'three']) {
      expect((await run.run(['send', 'letter.txt', '--name', name, ticket])).code).to.equal(0);
      await receiver.says(new RegExp(`${name}\\S* .*verified`));
    }
    const lines = (await shown.shot()).lines.map((line) => line.map(({ text }) => text).join(' '));
    expect(lines.filter((line) => /large\.bin|\[[=-]+\]/.test(line))).to.deep.equal([]);
    await receiver.interrupt();
  });

  it('draws the address of its page with --web and --qr, for a phone; so does a sender', async () => {
    const [receiving, sending] = [shell(), shell()];
    const receiver = receiving.run(
      `${process.execPath} ${main} receive in --no-code --listen 127.0.0.1:0 --web 127.0.0.1:0 --qr`,
    );
    const sender = sending.run(`${process.execPath} ${main} send letter.txt --web 127.0.0.1:0 --qr`);
    const read: (string | undefined)[][] = [];
    for (const [shown, said] of [
      [receiving, receiver],
      [sending, sender],
    ] as const) {
      const [url] = await said.says(/http:\/\/127\.0\.0\.1:\d+\/#[\w-]+/);
      await said.says(/▀{25,}/);
      const lines = (await shown.shot()).lines.map((line) => line.map(({ text }) => text).join(''));
      read.push([readQr(lines), url]);
    }
    await Promise.all([receiver.interrupt(), sender.interrupt()]);
    for (const [drawn, said] of read) expect(drawn).to.equal(said);
  });

  it('draws the address of a page that others reach without being asked, and not one of this machine', async () => {
    const [far, near] = [shell(), shell()];
    const receive = `${process.execPath} ${main} receive in --no-code --listen 127.0.0.1:0 --web 127.0.0.1:0`;
    const receiver = far.run(`${receive} --web-url https://files.example.org/`);
    const [url] = await receiver.says(/https:\/\/files\.example\.org\/#[\w-]+/);
    await receiver.says(/▀{25,}/);
    const lines = (await far.shot()).lines.map((line) => line.map(({ text }) => text).join(''));
    expect(readQr(lines)).to.equal(url);
    await receiver.interrupt();
    const other = near.run(receive.replace(' in ', ' other '));
    await other.says(/http:\/\/127\.0\.0\.1:\d+\/#[\w-]+/);
    await other.says(/Without encryption/);
    expect(JSON.stringify((await near.shot()).lines)).to.not.include('▀▀▀');
    await other.interrupt();
  });
});
