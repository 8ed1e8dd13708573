import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { SessionRun } from './session-run';

const component = 'd'.repeat(200);
/** So deep that a name in it has some 3,900 bytes: no path of it is longer than the system takes. */
const deep = `
  const fs = require('node:fs');
  const walk = (make) => {
    for (let level = 0; level < 19; level++) {
      if (make) fs.mkdirSync('${component}');
      process.chdir('${component}');
    }
  };`;
const make = `${deep}
  fs.mkdirSync('tree');
  process.chdir('tree');
  walk(true);
  fs.writeFileSync('small', 'small', { mode: 0o640 });
  fs.writeFileSync('large', Buffer.alloc(300000, 'large'));
  fs.linkSync('small', 'hard');
  fs.symlinkSync('small', 'points');
  fs.mkdirSync('empty', { mode: 0o750 });
  fs.utimesSync('small', 1e9, 1e9);`;
const list = `${deep}
  process.chdir('tree');
  walk(false);
  for (const name of fs.readdirSync('.').sort()) {
    const { mode, size, mtimeMs, nlink } = fs.lstatSync(name);
    const content = ['small', 'large'].includes(name) ? fs.readFileSync(name, 'latin1').slice(-9) : '';
    console.log(name, mode, mode & 0o40000 ? '' : size, mtimeMs, nlink, content);
  }`;

describe('cli: paths that are longer than the system takes', function () {
  this.timeout(60_000);

  it('can be restored where they could be backed up, and are verified', async () => {
    const run = new SessionRun();
    const inside = (directory: string, script: string): string =>
      execFileSync(process.execPath, ['-e', script], { cwd: directory, encoding: 'utf8' });
    try {
      inside(run.directory, make);
      expect((await run.run(['backup', 'tree', 'in', '--name', 'b'])).code).to.equal(0);
      const out = run.at('out', 'e'.repeat(200), 'e'.repeat(200));
      mkdirSync(out, { recursive: true });
      for (const time of ['restored', 'there already']) {
        const restored = await run.run(['restore', 'in', 'b/latest', out]);
        expect(restored.code, `${time}: ${restored.stderr}`).to.equal(0);
      }
      expect(inside(out, list)).to.equal(inside(run.directory, list));
      expect((await run.run(['verify', 'in'])).code).to.equal(0);
    } finally {
      // Which reaches them one component at a time.
      execFileSync('rm', ['-rf', run.at('out'), run.at('tree'), run.at('in')]);
      await run.end();
    }
  });
});
