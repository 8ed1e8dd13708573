import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { patternsFor } from '../../lib/scan/own-patterns';
import { SessionRun } from './session-run';
import { skipTest } from '../skip-test';

describe('cli: what is left out (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  beforeEach(() => {
    run = new SessionRun();
    mkdirSync(run.at('backups'), { mode: 0o755 });
    mkdirSync(run.at('photos', 'raw'), { recursive: true });
    mkdirSync(run.at('photos', 'cache', 'deep'), { recursive: true });
    mkdirSync(run.at('photos', 'no-cache'));
    mkdirSync(run.at('photos', 'marked'));
    for (const name of ['a.jpg', 'raw/b', 'cache/deep/c', 'no-cache/d', 'marked/.nobackup', 'marked/e'])
      writeFileSync(run.at('photos', name), name);
    writeFileSync(run.at('photos/cache/CACHEDIR.TAG'), 'Signature: 8a477f597d28d172789f06886806bc55\n# mine\n');
    writeFileSync(run.at('photos/no-cache/CACHEDIR.TAG'), 'no signature of any kind, and longer than one has to be');
  });
  afterEach(() => run.end());

  /** What the newest snapshot has below `photos`. */
  function stored(): string[] {
    const place = run.at('backups/b/latest/photos');
    return execFileSync('find', ['.', '-mindepth', '1', '-printf', '%P\n'], { cwd: place })
      .toString()
      .trim()
      .split('\n')
      .sort();
  }

  const backup = (...words: string[]): ReturnType<SessionRun['run']> =>
    run.run(['backup', 'photos', 'backups', '--name', 'b', '--quiet', '--allow-shrink', ...words]);

  it('is what an absolute path says, or one that begins with the path of the source; a source alone is refused', async () => {
    for (const pattern of [run.at('photos/raw'), 'photos/raw/']) {
      const ended = await backup('--exclude', pattern);
      expect(ended.code, ended.stderr).to.equal(0);
      expect(stored(), pattern).to.include('a.jpg').and.not.include('raw');
    }
    const refused = await backup('--exclude', `${run.at('photos')}/`);
    expect(refused.code).to.equal(2);
    expect(refused.stderr).to.match(/--exclude \S+\/photos\/ leaves out all of photos\./);
    const { ticket } = await run.receive();
    expect((await run.run(['send', 'photos', ticket, '--exclude', run.at('photos')])).code).to.equal(2);
    const sent = await run.run(['send', 'photos', ticket, '--exclude', run.at('photos', '*', '*')]);
    expect(sent.code, sent.stderr).to.equal(0);
    expect([existsSync(run.at('in/photos/a.jpg')), existsSync(run.at('in/photos/raw/b'))]).to.deep.equal([true, false]);
  });

  it('is never a source that is named as the pattern is, and the help says so', async () => {
    const named = await backup('--exclude', 'photos', '--exclude', 'raw');
    expect(named.code, named.stderr).to.equal(0);
    expect(stored()).to.include('a.jpg').and.not.include('raw');
    for (const command of ['send', 'backup']) {
      const help = (await run.run([command, '--help'])).stdout.replaceAll(/\s+/g, ' ');
      expect(help, command).to.include(
        'A PATTERN of --exclude without a slash before its end matches at any depth, and never what is named itself: photos/ is sent with --exclude photos, too.',
      );
      expect(help, command).to.include('One that would leave out all of a directory that is named is refused.');
    }
  });

  it('counts from the top of the source where something there is called so', () => {
    mkdirSync(run.at('photos', 'photos'));
    symlinkSync('photos', run.at('link'));
    const [place, link] = [run.at('photos'), run.at('link')];
    const cases: readonly (readonly [string, string, string])[] = [
      ['photos/raw', place, 'photos/raw'],
      ['*.tmp', place, '*.tmp'],
      ['/raw', place, '/raw'],
      ['**/raw/x', place, '**/raw/x'],
      [`${place}/raw`, place, '/raw'],
      [`!${place}/raw/*.jpg`, place, '!/raw/*.jpg'],
      [`${run.directory}/*/raw/`, place, '/raw/'],
      [`${place}/raw`, link, '/raw'],
      [`${link}/raw`, link, '/raw'],
      [`${place}s/raw`, place, `${place}s/raw`],
      ['/var/log', '/', '/var/log'],
    ];
    for (const [pattern, source, meant] of cases)
      expect(patternsFor(source, [pattern]), pattern).to.deep.equal([meant]);
    rmSync(run.at('photos', 'photos'), { recursive: true });
    expect(patternsFor(place, ['photos/raw', './photos/raw', '!photos/raw/x'])).to.deep.equal([
      '/raw',
      '/raw',
      '!/raw/x',
    ]);
  });

  it('is what is in directories that are marked, but for the mark', async () => {
    const ended = await backup('--exclude-caches', '--exclude-if-present', '.nobackup');
    expect(ended.code, ended.stderr).to.equal(0);
    expect(stored()).to.deep.equal(
      'a.jpg cache cache/CACHEDIR.TAG marked marked/.nobackup no-cache no-cache/CACHEDIR.TAG no-cache/d raw raw/b'.split(
        ' ',
      ),
    );
    const receiver = await run.receive();
    const plain = `tcp://${/127\.0\.0\.1:\d+/.exec(receiver.ticket)?.[0] ?? ''}`;
    expect((await run.run(['send', 'photos', plain, '--exclude-caches', '--exclude', '.nobackup'])).code).to.equal(0);
    expect(existsSync(run.at('in/photos/cache/deep'))).to.equal(false);
    expect(readFileSync(run.at('in/photos/marked/e'), 'utf8')).to.equal('marked/e');
  });

  it('is what is on another file system, with --one-file-system', async function () {
    try {
      execFileSync('mount', ['-t', 'tmpfs', 'none', run.at('photos/raw')], { stdio: 'pipe' });
    } catch {
      skipTest(this, '--one-file-system is not tried: nothing can be mounted here');
    }
    try {
      writeFileSync(run.at('photos/raw/elsewhere'), 'x');
      expect((await backup('--one-file-system')).code).to.equal(0);
      expect(stored()).to.include('raw').and.not.include('raw/elsewhere');
      expect((await backup()).code).to.equal(0);
      expect(stored()).to.include('raw/elsewhere');
    } finally {
      execFileSync('umount', [run.at('photos/raw')]);
    }
  });
});
