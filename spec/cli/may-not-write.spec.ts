import { expect } from 'chai';
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asNobody, nobody } from './as-nobody';
import { sending, SourceTree } from '../send/source-tree';
import { type Ended, SendallProcess } from './sendall-process';
import { skipTest } from '../skip-test';

describe('cli: who may not write below a directory (the built command)', function () {
  this.timeout(30_000);
  const isRoot = process.geteuid?.() === 0;
  const under = isRoot ? asNobody : [];
  let place: string;
  before(function () {
    // A user without rights may not even be able to read where this project is.
    if (
      spawnSync(under[0] ?? process.execPath, [
        ...under.slice(1),
        ...(isRoot ? [process.execPath] : []),
        '-e',
        `require(${JSON.stringify(join(__dirname, '../../dist/lib/errors.js'))})`,
      ]).status !== 0
    )
      skipTest(this, 'another user may not read this repository');
  });
  beforeEach(() => {
    place = mkdtempSync(join(tmpdir(), 'sendall-spec-'));
    for (const each of ['in/d', 'own/d', 'backups']) mkdirSync(join(place, each), { recursive: true });
    writeFileSync(join(place, 'own/d/small'), 'content');
    if (isRoot) for (const each of ['', 'in', 'in/d', 'backups']) chownSync(join(place, each), nobody, nobody);
    chmodSync(join(place, 'in/d'), 0o555);
  });
  afterEach(() => rmSync(place, { recursive: true, force: true }));

  it('is told so by a receiver, and what to look at', async () => {
    const source = await SourceTree.make({ 'd/small': 'content', 'd/large': Buffer.alloc(3_000_000, 1) });
    const receiver = new SendallProcess(['receive', join(place, 'in'), '--listen', '127.0.0.1:0', '--json'], {
      under,
      env: { HOME: place },
    });
    try {
      const [, ticket = ''] = await receiver.says(/"ticket":"([^"]+)"/);
      const { heard } = await sending({ paths: [source.at('d')], target: ticket });
      const failed = heard.all('failed');
      expect(failed.map(({ message }) => message)).to.have.members(
        ['d/small', 'd/large'].map(
          (name) => `There is no permission to write in the directory d where it goes; ${name} was not stored.`,
        ),
      );
      for (const { hint } of failed) expect(hint).to.match(/owner and mode/);
    } finally {
      receiver.child.kill('SIGINT');
      await receiver.ended;
      await source.remove();
    }
  });

  it('is told so by a restore, where nobody receives', async () => {
    const run = (...words: string[]): Promise<Ended> =>
      new SendallProcess(words, { under, cwd: place, env: { HOME: place, SENDALL_TICKET: '' } }).ended;
    const backup = await run('backup', 'own/d', join(place, 'backups'), '--name', 'b');
    expect(backup.code, backup.stderr).to.equal(0);
    const { code, stderr } = await run('restore', join(place, 'backups'), 'b/latest', join(place, 'in'));
    expect(code, stderr).to.not.equal(0);
    expect(stderr).to.include(
      'There is no permission to write in the directory d where it goes; d/small was not stored.',
    );
    expect(stderr).to.match(/owner and mode/);
    expect(stderr).not.to.match(/receiver|key/);
  });
});
