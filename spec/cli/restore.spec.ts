import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { madeSnapshot } from '../snapshot/made-snapshot';
import { noise } from '../session/pair';
import { type Ended, eventsOf, sendall, SendallProcess } from './sendall-process';
import { eventually, lastOf } from './session-run';

describe('sendall restore', function () {
  this.timeout(60_000);
  const id = '2026-11-20T101233Z';
  let directory: string;
  let place: string;
  const at = (...names: readonly string[]): string => join(directory, ...names);
  const restore = (...words: readonly string[]): Promise<Ended> =>
    sendall(['restore', 'backups', ...words], { cwd: directory });
  /** With the time that it had: only its content tells. */
  const damage = (name: string): void => {
    const { atime, mtime, size } = statSync(join(place, name));
    writeFileSync(join(place, name), 'x'.repeat(size));
    utimesSync(join(place, name), atime, mtime);
  };

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'sendall-restore-'));
    const tree = {
      'home/a.txt': 'a',
      'home/photos/b.jpg': noise(1_500_000),
      'home/photos/c.jpg': 'c',
      'home/link': { link: 'home/a.txt' },
    };
    ({ place } = await madeSnapshot(at('backups'), { name: 'laptop', id, number: 1 }, tree));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('brings a snapshot back, which the standard tool then finds in order', async () => {
    const { code, stdout } = await restore('laptop/latest', 'restored');
    expect(code).to.equal(0);
    expect(stdout)
      .to.match(/home\/photos\/b\.jpg .* verified (on device|\(page cache only\))/)
      .and.to.match(/^3 files/m);
    execFileSync('sha256sum', ['--check', '--strict', join(place, 'SHA256SUMS')], { cwd: at('restored') });
    expect(readdirSync(at('restored'))).to.deep.equal(['home']);
  });

  it('brings back what paths and patterns choose, and says with exit code 2 what chooses nothing', async () => {
    expect((await restore(`laptop/${id}`, 'restored', 'home/a.txt', 'home/**/c.*')).code).to.equal(0);
    expect(readdirSync(at('restored'), { recursive: true }).map(String).sort()).to.deep.equal([
      'home',
      'home/a.txt',
      'home/photos',
      'home/photos/c.jpg',
    ]);
    const { code, stderr } = await restore('laptop/latest', 'restored', 'home/nothing');
    expect(code).to.equal(2);
    expect(stderr).to.include('home/nothing');
  });

  it('names what is damaged, and brings the rest, with exit code 4', async () => {
    damage('home/photos/b.jpg');
    const ended = await restore('laptop/latest', 'restored', '--json');
    expect(ended.code).to.equal(4);
    const failed = eventsOf(ended).filter(({ event }) => event === 'failed');
    expect(failed[0]).to.include({ file_name: 'home/photos/b.jpg', code: 'mismatch' });
    expect(failed[1]).to.include({ code: 'mismatch', message: '1 of 3 files is not what was stored.' });
    expect(failed).to.have.length(2);
    expect(lastOf(eventsOf(ended), 'summary').files).to.equal(2);
    expect(readFileSync(at('restored/home/photos/c.jpg'), 'utf8')).to.equal('c');
    const alone = await restore('laptop/latest', 'restored', 'home/photos/b.jpg');
    expect(alone.code).to.equal(4);
    expect(alone.stderr).to.include('home/photos/b.jpg is damaged').and.to.include('hint: ');
  });

  it('says of a file that was cut off only that it is damaged, here and through a receiver', async () => {
    writeFileSync(join(place, 'home/photos/b.jpg'), 'cut');
    const receiver = new SendallProcess(['receive', 'backups', '--listen', '127.0.0.1:0'], { cwd: directory });
    try {
      const [ticket = ''] = await receiver.says(/sendall:\/\/\S+/);
      for (const from of ['backups', ticket])
        for (const [words, count] of [
          [['home/photos/b.jpg'], 1],
          [[], 2],
        ] as const) {
          const to = `to-${String(from === ticket)}-${String(count)}`;
          const ended = await sendall(['restore', from, 'laptop/latest', to, ...words, '--json'], { cwd: directory });
          expect(ended.code, ended.stdout).to.equal(4);
          const failed = eventsOf(ended).filter(({ event }) => event === 'failed');
          expect(failed, ended.stdout).to.have.length(count);
          for (const event of failed) expect(event).to.include({ code: 'mismatch' });
          expect(statSync(at(to, 'home/photos')).isDirectory()).to.equal(true);
        }
    } finally {
      receiver.child.kill('SIGTERM');
      await receiver.ended;
    }
  });

  it('leaves no directory that it made where nothing comes into it', async () => {
    expect((await restore('laptop/latest', 'backups/laptop/deep/er')).code).to.equal(2);
    expect(existsSync(at('backups/laptop/deep'))).to.equal(false);
    const receiver = new SendallProcess(['receive', 'backups', '--listen', '127.0.0.1:0'], { cwd: directory });
    try {
      const [ticket = ''] = await receiver.says(/sendall:\/\/\S+/);
      const words = ['restore', ticket, 'laptop/2020-01-01T000000Z', 'made/deep/er'];
      expect((await sendall(words, { cwd: directory })).code).to.equal(2);
      expect(existsSync(at('made'))).to.equal(false);
    } finally {
      receiver.child.kill('SIGTERM');
      await receiver.ended;
    }
  });

  it('replaces nothing unless told, with exit code 6', async () => {
    expect((await restore('laptop/latest', 'restored', 'home/a.txt')).code).to.equal(0);
    writeFileSync(at('restored/home/a.txt'), 'mine');
    expect((await restore('laptop/latest', 'restored', 'home/a.txt')).code).to.equal(6);
    expect(readFileSync(at('restored/home/a.txt'), 'utf8')).to.equal('mine');
    expect((await restore('laptop/latest', 'restored', 'home/a.txt', '--if-exists', 'replace')).code).to.equal(0);
    expect(readFileSync(at('restored/home/a.txt'), 'utf8')).to.equal('a');
  });

  it('leaves modes and times of directories that were there, whatever comes into them', async () => {
    const large = { 'home/photos/large.jpg': noise(5_000_000), 'home/new/n': 'n' };
    await madeSnapshot(at('backups'), { name: 'more', id, number: 1 }, large);
    const were = ['restored', 'restored/home', 'restored/home/photos'];
    mkdirSync(at('restored/home/photos'), { recursive: true });
    for (const name of were) {
      chmodSync(at(name), 0o700);
      execFileSync('touch', ['-d', '2001-02-03 04:05:06.123456789Z', at(name)]);
    }
    const states = (): string[] =>
      were.map((name) => {
        const { mode, mtimeNs } = statSync(at(name), { bigint: true });
        return `${(mode & 0o7777n).toString(8)} ${String(mtimeNs)}`;
      });
    const before = states();
    expect((await restore('laptop/latest', 'restored', 'home/photos/c.jpg')).code).to.equal(0);
    expect(states()).to.deep.equal(before);
    expect((await restore('more/latest', 'restored')).code).to.equal(0);
    expect(states()).to.deep.equal(before);
    expect(statSync(at('restored/home/new')).mode & 0o777).to.equal(0o755);
    // Only what was asked for is replaced, not what it lies in.
    const replacing = ['home/photos/c.jpg', 'home/link', '--if-exists', 'replace'];
    expect((await restore('laptop/latest', 'restored', ...replacing)).code).to.equal(0);
    expect(states()).to.deep.equal(before);
    expect((await restore('laptop/latest', 'restored', 'home/photos', '--if-exists', 'replace')).code).to.equal(0);
    expect(statSync(at('restored/home/photos')).mode & 0o777).to.equal(0o755);
    expect(statSync(at('restored/home')).mode & 0o777).to.equal(0o700);
  });

  it('stopped in the middle with exit code 130, goes on with what it had brought', async () => {
    const size = 96 * 1024 * 1024;
    await madeSnapshot(at('backups'), { name: 'large', id, number: 1 }, { large: noise(size) });
    const first = new SendallProcess(['restore', 'backups', 'large/latest', 'restored'], { cwd: directory });
    const unfinished = at('restored', '.sendall', 'partial');
    await eventually(
      () =>
        (existsSync(unfinished) &&
          readdirSync(unfinished).some((name) => statSync(join(unfinished, name)).blocks * 512 > size / 2)) ||
        undefined,
    );
    first.child.kill('SIGINT');
    expect((await first.ended).code).to.equal(130);
    const again = await restore('large/latest', 'restored', '--json');
    expect(again.code).to.equal(0);
    expect(lastOf(eventsOf(again), 'summary').bytes_on_wire).to.be.below(size * 0.75);
    expect(readFileSync(at('restored/large')).equals(noise(size))).to.equal(true);
    expect(readdirSync(at('restored'))).to.deep.equal(['large']);
  });

  it('holds a drill: one line, or one object of JSON, and nothing left behind', async () => {
    const { code, stdout } = await restore('laptop/latest', '--drill', '100%', '--scratch', 'scratch');
    expect(code).to.equal(0);
    expect(stdout).to.match(new RegExp(`^laptop/${id}  3 files  1\\.4 MiB  came back as they were`));
    const ended = await restore('laptop/latest', '--drill', '1%', '--scratch', 'scratch', '--json');
    expect(lastOf(eventsOf(ended), 'drill')).to.deep.include({ snapshot: `laptop/${id}`, files: 1, failures: [] });
    expect(readdirSync(at('scratch'))).to.deep.equal([]);
  });

  it('says with exit code 4 what did not come back in a drill', async () => {
    damage('home/photos/c.jpg');
    damage('home/a.txt');
    const { code, stdout, stderr } = await restore('laptop/latest', '--drill', '100%', '--scratch', 'scratch');
    expect(code).to.equal(4);
    expect(stdout).to.include('2 did not come back as they were');
    expect(stderr).to.include('home/a.txt is damaged').and.to.include('home/photos/c.jpg is damaged');
    const ended = await restore('laptop/latest', '--drill', '100%', '--json');
    expect(lastOf(eventsOf(ended), 'drill').failures.map(({ code: each }) => each)).to.deep.equal([
      'mismatch',
      'mismatch',
    ]);
  });

  for (const words of [
    ['laptop/latest'],
    ['laptop/latest', 'restored', '--drill', '1%'],
    ['laptop/latest', 'restored', '--scratch', 's'],
    ['laptop/latest', '--drill', '0'],
    ['laptop/latest', '--drill', '101%'],
    ['laptop', 'restored'],
    ['other/latest', 'restored'],
  ]) {
    it(`does not understand ${words.join(' ')}`, async () => {
      expect((await restore(...words)).code).to.equal(2);
      expect(readdirSync(directory)).to.deep.equal(['backups']);
    });
  }
});
