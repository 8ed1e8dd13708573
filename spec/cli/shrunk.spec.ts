import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { eventsOf } from './sendall-process';
import { SessionRun } from './session-run';

describe('cli: sources that have lost most of what they had (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  beforeEach(() => {
    run = new SessionRun();
    mkdirSync(run.at('backups'), { mode: 0o755 });
    mkdirSync(run.at('home'));
    for (let at = 0; at < 40; at++) writeFileSync(run.at('home', `f${String(at)}`), 'x');
    fill();
  });
  afterEach(() => run.end());

  function fill(): void {
    mkdirSync(run.at('usb'), { recursive: true });
    for (let at = 0; at < 12; at++) writeFileSync(run.at('usb', `f${String(at)}`), 'y');
  }

  function snapshots(): string[] {
    return readdirSync(run.at('backups', 'b'))
      .filter((name) => name !== 'latest')
      .sort();
  }

  const backup = (...more: string[]): ReturnType<SessionRun['run']> =>
    run.run(['backup', 'home', 'usb', 'backups', '--name', 'b', '--json', ...more]);
  const prune = (...more: string[]): ReturnType<SessionRun['run']> =>
    run.run(['prune', 'backups', '--keep-last', '1', ...more]);
  const shrunkIn = (ended: Awaited<ReturnType<SessionRun['run']>>): unknown[] =>
    eventsOf(ended).flatMap((event) => (event.event === 'shrunk' ? [[event.path, event.entries, event.before]] : []));

  it('are named, with exit code 8, in a snapshot that is made; the one that had it all stays until it is there again', async () => {
    expect((await backup()).code).to.equal(0);
    renameSync(run.at('usb'), run.at('away'));
    mkdirSync(run.at('usb'));
    const empty = await backup();
    expect(empty.code, empty.stderr).to.equal(8);
    expect(shrunkIn(empty)).to.deep.equal([['usb', 0, 12]]);
    const next = await backup();
    expect([next.code, shrunkIn(next)], 'it is no news').to.deep.equal([0, []]);
    const [first = ''] = snapshots();
    // Neither the snapshot that lost it nor the rules say any more what the first one is worth: its entry does.
    const kept = await prune();
    expect(kept.code, kept.stderr).to.equal(0);
    expect(kept.stdout).to.match(new RegExp(`kept +b/${first} +content`));
    expect(snapshots()).to.include(first);
    expect((await prune('--allow-shrink', '--dry-run')).stdout).to.include(`would remove  b/${first}`);
    rmSync(run.at('usb'), { recursive: true });
    renameSync(run.at('away'), run.at('usb'));
    expect((await backup()).code).to.equal(0);
    expect((await prune()).code).to.equal(0);
    // One of the same second as another is dated in the next one, and may stay for that.
    expect(snapshots()).not.to.include(first);
    expect((await run.run(['verify', 'backups'])).code).to.equal(0);
  });

  it('are a program that printed nothing where it printed something before, too', async () => {
    const piped = (input: string, ...more: string[]): ReturnType<SessionRun['run']> =>
      run.run(['backup', '-', 'backups', '--name', 'b', '--stdin-name', 'shop.sql', '--json', ...more], { input });
    expect((await piped('')).code, 'nothing was there before').to.equal(0);
    expect((await piped('CREATE TABLE')).code).to.equal(0);
    const [, full = ''] = snapshots();
    const empty = await piped('');
    expect(empty.code, empty.stdout).to.equal(8);
    expect(shrunkIn(empty)).to.deep.equal([['shop.sql', 0, 1]]);
    expect((await prune()).stdout).to.match(new RegExp(`kept +b/${full} +content`));
    expect((await piped('CREATE TABLE again')).code).to.equal(0);
    expect((await prune('--dry-run')).stdout).to.match(new RegExp(`would remove +b/${full}`));
    expect((await piped('', '--allow-shrink')).code).to.equal(0);
    writeFileSync(run.at('file'), 'content');
    const file = (): ReturnType<SessionRun['run']> => run.run(['backup', 'file', 'backups', '--name', 'f']);
    expect((await file()).code).to.equal(0);
    writeFileSync(run.at('file'), '');
    expect((await file()).code, 'a file may be empty').to.equal(0);
  });

  it('are told to who backs up to another machine, and are no news with --allow-shrink', async () => {
    const receiver = run.start(['receive', 'backups', '--listen', '127.0.0.1:0']);
    const [ticket = ''] = await receiver.says(/sendall:\S+/);
    const there = (...more: string[]): ReturnType<SessionRun['run']> =>
      run.run(['backup', 'home', 'usb', ticket, '--name', 'b', ...more]);
    const shrink = (): void => {
      rmSync(run.at('usb'), { recursive: true });
      mkdirSync(run.at('usb'));
    };
    expect((await there()).code).to.equal(0);
    for (let at = 0; at < 21; at++) rmSync(run.at('home', `f${String(at)}`));
    shrink();
    const told = await there();
    expect(told.code).to.equal(8);
    expect(told.stderr).to.include('usb is empty, and had 12 entries in the snapshot before.');
    expect(told.stderr).to.include('home has 19, and had 40 entries in the snapshot before.');
    expect(told.stderr).to.include('--allow-shrink');
    fill();
    expect((await there()).code).to.equal(0);
    shrink();
    const meant = await there('--allow-shrink', '--json');
    expect([meant.code, shrunkIn(meant)]).to.deep.equal([0, []]);
    const reasons = eventsOf(await prune('--json')).map((event) => (event.event === ('kept' as string) ? event : {}));
    // The first still has more of `home` than any since; the third was let go.
    expect(
      reasons.map((event) => (event as { reasons?: string[] }).reasons?.includes('content') ?? false),
    ).to.deep.equal([true, false, false, false]);
  });
});
