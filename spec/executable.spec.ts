import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { SendallProcess } from './cli/sendall-process';
import { ticketOf } from './cli/session-run';

const root = join(__dirname, '..');
const executable = join(root, 'dist', 'executable', 'sendall');

describe('the single executable', function () {
  this.timeout(180_000);
  let directory: string;

  before(async function () {
    // A Node that is linked with a library of its own, as some distributions have it, cannot be one.
    if (!readFileSync(process.execPath).includes('NODE_SEA_FUSE')) this.skip();
    directory = mkdtempSync(join(tmpdir(), 'sendall-executable-'));
    for (const name of ['in', 'cache', 'tree']) mkdirSync(join(directory, name), { mode: 0o700 });
    writeFileSync(join(directory, 'tree', 'small'), 'small\n');
    writeFileSync(join(directory, 'tree', 'large'), Buffer.alloc(3_000_000, 7));
    await promisify(execFile)(process.execPath, ['-r', './spec/typescript.js', 'packaging/executable.ts'], {
      cwd: root,
    });
  });
  after(() => {
    if (directory) rmSync(directory, { recursive: true });
  });

  const sends = async (
    from: string | undefined,
    to: string | undefined,
    env: NodeJS.ProcessEnv,
    name: string,
  ): Promise<void> => {
    const where = join(directory, 'in', name);
    const receiver = new SendallProcess(['receive', where, '--listen', '127.0.0.1:0'], {
      cwd: directory,
      executable: to,
      env,
    });
    try {
      const words = ['send', 'tree', await ticketOf(receiver)];
      const sent = await new SendallProcess(words, { cwd: directory, executable: from, env }).ended;
      expect(sent.code, sent.stderr).to.equal(0);
      for (const file of ['small', 'large'])
        expect(readFileSync(join(where, 'tree', file)).equals(readFileSync(join(directory, 'tree', file)))).to.equal(
          true,
        );
    } finally {
      receiver.child.kill('SIGINT');
      await receiver.ended;
    }
  };

  it('receives what an npm build sends, with addons in a directory of its own', async () => {
    await sends(undefined, executable, { XDG_CACHE_HOME: join(directory, 'cache') }, 'a');
    const addons = join(directory, 'cache', 'sendall', 'addons');
    expect(statSync(addons).mode & 0o777).to.equal(0o700);
    for (const name of readdirSync(addons)) expect(name).to.match(/^[0-9a-f]{64}\.node$/);
    const optional = ['@napi-rs/blake-hash', '@koromix/koffi-linux-x64', '@koromix/koffi-linux-arm64'];
    const installed = optional.filter((name) => statSync(join(root, 'node_modules', name), { throwIfNoEntry: false }));
    expect(readdirSync(addons)).to.have.length(installed.length);
  });

  it('sends to an npm build, and needs no addon for it', async () => {
    await sends(executable, undefined, { XDG_CACHE_HOME: '/dev/null/none', HOME: '/dev/null/none' }, 'b');
  });

  it('says its version and names no directory of whoever built it', async () => {
    const { version } = require('../package.json') as typeof import('../package.json');
    const { stdout } = await new SendallProcess(['--version'], { executable }).ended;
    expect(stdout).to.equal(`${version}\n`);
    expect(readFileSync(executable).includes(root)).to.equal(false);
  });
});
