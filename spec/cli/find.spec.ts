import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { appendFileSync, linkSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import type { FoundInSnapshot } from '../../lib/index';
import { SessionRun } from './session-run';

describe('cli: what is in snapshots', function () {
  this.timeout(90_000);
  let run: SessionRun;
  let ticket: string;
  const made: string[] = [];

  before(async () => {
    run = new SessionRun({ 'a b.txt': 'other' });
    mkdirSync(run.at('tree/photos'), { recursive: true });
    writeFileSync(run.at('tree/photos/one.jpg'), 'one');
    linkSync(run.at('tree/photos/one.jpg'), run.at('tree/same.jpg'));
    symlinkSync('photos', run.at('tree/link'));
    ({ ticket } = await run.receive());
    for (const text of [undefined, 'first', 'second', 'first']) {
      if (text !== undefined) writeFileSync(run.at('tree/note'), text);
      const { stdout } = await run.run(['backup', 'tree', 'a b.txt', ticket, '--name', 'b', '--json']);
      made.push(/"snapshot":"(b\/[^"]+)"/.exec(stdout)?.[1] ?? '');
    }
  });
  after(() => run.end());

  const found = async (...words: string[]): Promise<FoundInSnapshot[]> => {
    const { code, stdout, stderr } = await run.run([...words, '--json']);
    expect(code, stderr).to.equal(0);
    return stdout
      .trim()
      .split('\n')
      .map((line) => {
        // When it was printed, which is another time with each command.
        const { time: _, ...event } = JSON.parse(line) as FoundInSnapshot & { time: string };
        return event;
      });
  };

  it('is listed: all of it, a directory, a pattern, here and from another machine alike', async () => {
    const all = await found('snapshots', 'in', 'b/latest');
    expect(all.map(({ path, type }) => [path, type])).to.deep.equal([
      ['a b.txt', 'file'],
      ['tree', 'directory'],
      ['tree/link', 'symlink'],
      ['tree/note', 'file'],
      ['tree/photos', 'directory'],
      ['tree/photos/one.jpg', 'file'],
      ['tree/same.jpg', 'link'],
    ]);
    const sum = execFileSync('sha256sum', [run.at('tree/same.jpg')], { encoding: 'utf8' }).slice(0, 64);
    expect(all.at(-1)).to.deep.include({ bytes: 3, digests: { sha256: sum }, target: 'tree/photos/one.jpg' });
    expect(await found('snapshots', ticket, 'b/latest')).to.deep.equal(all);
    for (const place of ['in', ticket]) {
      const paths = async (pattern: string): Promise<string[]> =>
        (await found('snapshots', place, made[0] ?? '', pattern)).map(({ path }) => path);
      expect(await paths('tree/photos')).to.deep.equal(['tree/photos', 'tree/photos/one.jpg']);
      expect(await paths('**/*.jpg')).to.deep.equal(['tree/photos/one.jpg', 'tree/same.jpg']);
      for (const words of [['b/latest', 'nothing'], ['b/2020-01-01T000000Z'], ['b', 'tree']])
        expect((await run.run(['snapshots', place, ...words])).code, words.join(' ')).to.equal(2);
    }
  });

  it('is found in all of them, with the contents that differ', async () => {
    for (const place of ['in', ticket]) {
      const notes = await found('find', place, 'note');
      expect(notes.map(({ snapshot, version }) => [snapshot, version])).to.deep.equal([
        [made[1], 1],
        [made[2], 2],
        [made[3], 1],
      ]);
      expect((await found('find', place, 'tree/*.jpg')).map(({ path }) => path)).to.deep.equal(
        Array.from({ length: 4 }, () => 'tree/same.jpg'),
      );
      expect((await run.run(['find', place, 'nothing'])).code).to.equal(2);
      expect((await run.run(['find', place, 'note', '--name', 'other'])).code).to.equal(2);
    }
    const words = await run.run(['find', 'in', 'note']);
    expect(words.stdout).to.match(new RegExp(`^${made[1] ?? ''}  v1 .* 5 B .* tree/note\n.*v2.*\n.*v1.*\n$`));
  });

  it('tells what each snapshot alone holds, as du does', async () => {
    for (const place of ['in', ticket]) {
      const { stdout } = await run.run(['snapshots', place, 'b', '--alone', '--json']);
      const alone = stdout
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { alone_bytes: number }).alone_bytes);
      const own = made.map((snapshot) =>
        execFileSync('find', [run.at('in', snapshot), '-type', 'f', '-links', '1', '-printf', '%s\n'], {
          encoding: 'utf8',
        })
          .trim()
          .split('\n')
          .reduce((sum, size) => sum + Number(size), 0),
      );
      expect(alone).to.deep.equal(own);
    }
  });

  it('is for those who may read, and what cannot be believed is said', async () => {
    const env = { XDG_CONFIG_HOME: run.at('config') };
    const { stdout } = await run.run(['authorize', 'w', '--rights', 'write', '--address', '127.0.0.1', '--json'], {
      env,
    });
    const token = /sendall:\/\/[^"]+/.exec(stdout)?.[0] ?? '';
    mkdirSync(run.at('other'), { mode: 0o700 });
    const receiver = run.start(['receive', 'other', '--listen', '127.0.0.1:0'], env);
    const [address = ''] = await receiver.says(/127\.0\.0\.1:\d+/);
    const own = token.replace(/\/\/[^/]*\//, `//${address}/`);
    for (const words of [
      ['find', own, 'note'],
      ['snapshots', own, 'b/latest'],
    ])
      expect((await run.run(words)).code).to.equal(3);
    truncateSync(run.at('in', made[0] ?? '', 'MANIFEST'), 100);
    appendFileSync(run.at('in', made[1] ?? '', 'MANIFEST'), 'x');
    for (const place of ['in', ticket]) {
      const { code, stdout: lines } = await run.run(['find', place, 'note', '--json']);
      expect(code).to.equal(4);
      expect(lines.match(/"event":"damaged"/g)).to.have.length(2);
      expect(lines.match(/"event":"found"/g)).to.have.length(2);
    }
  });
});
