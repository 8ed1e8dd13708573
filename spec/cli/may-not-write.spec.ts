import { expect } from 'chai';
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sending, SourceTree } from '../send/source-tree';
import { SendallProcess } from './sendall-process';

const nobody = 65_534;
const asNobody = ['setpriv', `--reuid=${String(nobody)}`, `--regid=${String(nobody)}`, '--clear-groups'];

describe('cli: a receiver that may not write below its directory (the built command)', () => {
  it('says so, and what to look at', async function () {
    const isRoot = process.geteuid?.() === 0;
    const under = isRoot ? asNobody : [];
    // A user without rights may not even be able to read where this project is.
    if (
      spawnSync(under[0] ?? process.execPath, [
        ...under.slice(1),
        ...(isRoot ? [process.execPath] : []),
        '-e',
        `require(${JSON.stringify(join(__dirname, '../../dist/lib/errors.js'))})`,
      ]).status !== 0
    )
      this.skip();
    const place = mkdtempSync(join(tmpdir(), 'sendall-spec-'));
    const source = await SourceTree.make({ 'd/small': 'content', 'd/large': Buffer.alloc(3_000_000, 1) });
    mkdirSync(join(place, 'in/d'), { recursive: true });
    if (isRoot) for (const each of ['', 'in', 'in/d']) chownSync(join(place, each), nobody, nobody);
    chmodSync(join(place, 'in/d'), 0o555);
    const receiver = new SendallProcess(['receive', join(place, 'in'), '--listen', '127.0.0.1:0', '--json'], {
      under,
      env: { HOME: place },
    });
    try {
      const [, ticket = ''] = await receiver.says(/"ticket":"([^"]+)"/);
      const { heard } = await sending({ paths: [source.at('d')], target: ticket });
      const failed = heard.all('failed');
      expect(failed.map(({ message }) => message)).to.have.members(
        ['d/small', 'd/large'].map((name) => `The receiver may not write in d; ${name} was not stored.`),
      );
      for (const { hint } of failed) expect(hint).to.match(/owner and mode/);
    } finally {
      receiver.child.kill('SIGINT');
      await receiver.ended;
      rmSync(place, { recursive: true, force: true });
      await source.remove();
    }
  });
});
