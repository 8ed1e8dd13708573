import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { spawnSync } from 'node:child_process';
import { Shell } from '../../packaging/pictures/shell';
import { noise } from '../session/pair';
import { skipTest } from '../skip-test';

const main = join(__dirname, '..', '..', 'dist', 'cli', 'main.js');
const names = 40;

describe('cli: the screens of both sides (the built command)', function () {
  this.timeout(60_000);
  let directory: string;
  before(function () {
    if (spawnSync('script', ['--version']).error) skipTest(this, 'script is not installed');
    directory = mkdtempSync(join(tmpdir(), 'sendall-screens-'));
    for (const home of ['a', 'b']) mkdirSync(join(directory, home), { mode: 0o700 });
    mkdirSync(join(directory, 'a', 'tree'));
    for (let at = 0; at < names; at++)
      writeFileSync(join(directory, 'a', 'tree', `small-${String(at)}`), noise(2000 + at));
    writeFileSync(join(directory, 'a', 'tree', 'z-large'), noise(24 * 1024 * 1024));
  });
  after(() => {
    if (directory) rmSync(directory, { recursive: true });
  });

  const shell = (home: string, columns = 80): Shell =>
    new Shell({
      title: home,
      cwd: join(directory, home),
      env: { PATH: process.env['PATH'] ?? '', HOME: join(directory, home), LANG: 'C.UTF-8' },
      columns,
      replaced: [],
    });
  const textOf = async (screen: Shell): Promise<string> =>
    (await screen.shot()).lines.map((line) => line.map(({ text }) => text).join('')).join('\n');

  const command = (words: string): string => `'${process.execPath}' '${main}' ${words}`;

  it('a tree is one bar of files done of files; a sender that is stopped is said to be, with what is kept', async () => {
    const [here, there] = [shell('b'), shell('a')];
    const receiver = here.run(command('receive inbox --listen 127.0.0.1:0 --no-plain'));
    try {
      const [ticket] = await receiver.says(/sendall:\/\/[\w.:]+\/[\w-]{64}/);
      const words = `send tree ${ticket}`;
      const sender = there.run(command(`${words} --limit 6M`));
      await sender.says(/40 of 41 files/);
      await receiver.says(/40 of 41 files/);
      await sender.interrupt();
      await receiver.says(/started\s+again/);

      const stopped = await textOf(here);
      expect(stopped).to.match(
        /\nsendall: The sender was stopped\.\nhint: What came is kept: [^\n]*started\n {4}again\.$/,
      );
      expect(stopped).to.not.match(/small-|%|failed/);
      expect(await textOf(there)).to.match(
        /\nsendall: Stopping[^\n]*\n40 of 41 files [^%]*\nStopped\. 40 of 41 files are there\. What came is kept; the same command goes on\.$/,
      );

      await there.run(command(words)).ended;
      await receiver.says(/41 files[^]* in \S*inbox/);
      const done = await textOf(here);
      expect(done).to.match(/\n41 files {2}24\.\d MiB {2}verified /);
      expect(done.replaceAll(/\n {4}/g, '  ')).to.match(/  in \S+\/b\/inbox$/);
      expect(done).to.not.include('1 failed');
      // Of the first that were offered, before it is known how many there are, the names may stand there.
      expect(done.match(/small-/g) ?? []).to.have.length.below(9);
    } finally {
      await receiver.interrupt();
    }
  });

  for (const columns of [40, 120])
    it(`Ctrl-C on both sides leaves whole sentences and nothing of a bar, ${String(columns)} columns wide`, async () => {
      const [here, there] = [shell('b', columns), shell('a', columns)];
      const receiver = here.run(command(`receive at-${String(columns)} --listen 127.0.0.1:0 --no-plain`));
      const [ticket] = await receiver.says(/sendall:\/\/[\w.:]+\/[\w-]{64}/);
      const sender = there.run(command(`send tree/z-large ${ticket} --limit 6M`));
      await receiver.says(/receive[^\n]* [1-9]\d? %/);
      await sender.says(/send[^\n]* [1-9]\d? %/);
      await receiver.interrupt();
      await sender.ended;
      /** What stands below the command, each sentence in one line. */
      const sentences = async (screen: Shell): Promise<string[]> =>
        (await textOf(screen)).replaceAll(/\n {4}(?! *sendall)/g, ' ').split('\n');
      const stopped =
        'Stopped in the middle of a transfer. What came is kept: start this again, and the sender with the new ticket or code (a key stays as it is).';
      expect((await sentences(here)).slice(-2)).to.deep.equal([
        'sendall: Stopping. Press Ctrl-C again to stop at once.',
        stopped,
      ]);
      expect((await sentences(there)).slice(-2)).to.deep.equal([
        'sendall: The receiver was stopped.',
        'What came is kept: send it again once the receiver runs, with its new ticket (a key stays as it is).',
      ]);
      for (const screen of [here, there]) expect(await textOf(screen)).to.not.match(/\^C|\d %/);
    });

  it('Ctrl-C where nothing is drawn is overwritten, so that the sentence after it is whole', async () => {
    const screen = shell('b', 40);
    const receiver = screen.run(command('receive idle --listen 127.0.0.1:0 --no-plain'));
    await receiver.says(/sendall:\/\/[\w.:]+\/[\w-]{64}/);
    await receiver.interrupt();
    expect((await textOf(screen)).split('\n').slice(-2)).to.deep.equal([
      'sendall: Stopping. Press Ctrl-C again to',
      '    stop at once.',
    ]);
  });
});
