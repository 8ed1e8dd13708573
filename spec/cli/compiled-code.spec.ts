import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import nodeModule from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { loadCompiled, ownDirectory } from '../../cli/compiled-code';
import { skipTest } from '../skip-test';
import { mountSmallDisk } from '../small-disk';
import { SendallProcess } from './sendall-process';

describe('cli: where compiled code is kept', () => {
  let cache: string;
  let place: string;

  beforeEach(() => {
    cache = mkdtempSync(path.join(tmpdir(), 'sendall-spec-'));
    place = path.join(cache, 'sendall', 'compiled');
  });

  afterEach(() => rmSync(cache, { recursive: true }));

  it('is a directory of this user alone, in the cache of the user', () => {
    expect(ownDirectory({ XDG_CACHE_HOME: cache })).to.equal(place);
    expect(statSync(place).mode & 0o777).to.equal(0o700);
    expect(ownDirectory({ XDG_CACHE_HOME: cache })).to.equal(place);
  });

  it('is nowhere where others may write, and nowhere where no directory can be', () => {
    mkdirSync(place, { recursive: true });
    chmodSync(place, 0o777);
    expect(ownDirectory({ XDG_CACHE_HOME: cache })).to.equal(undefined);
    rmSync(place, { recursive: true });
    writeFileSync(place, '');
    expect(ownDirectory({ XDG_CACHE_HOME: cache })).to.equal(undefined);
  });

  it('is nowhere where it belongs to somebody else', function () {
    if (process.geteuid?.() !== 0) skipTest(this, 'only root can do this');
    mkdirSync(place, { recursive: true, mode: 0o700 });
    chownSync(place, 65534, 65534);
    expect(ownDirectory({ XDG_CACHE_HOME: cache })).to.equal(undefined);
  });

  it('is told to a Node that keeps it, and never the directory that all users have', () => {
    const node = nodeModule as { enableCompileCache?: (directory?: string) => void };
    const { enableCompileCache: before } = node;
    const { XDG_CACHE_HOME: known, NODE_COMPILE_CACHE: ofSpecs } = process.env;
    const told: (string | undefined)[] = [];
    node.enableCompileCache = (directory) => void told.push(directory);
    process.env['XDG_CACHE_HOME'] = cache;
    delete process.env['NODE_COMPILE_CACHE'];
    try {
      loadCompiled(require.resolve('../../cli/words'), []);
      rmSync(place, { recursive: true });
      writeFileSync(place, '');
      loadCompiled(require.resolve('../../cli/words'), []);
    } finally {
      if (before) node.enableCompileCache = before;
      else delete node.enableCompileCache;
      if (known === undefined) delete process.env['XDG_CACHE_HOME'];
      else process.env['XDG_CACHE_HOME'] = known;
      process.env['NODE_COMPILE_CACHE'] = ofSpecs;
    }
    expect(told).to.deep.equal([place]);
    expect(existsSync(place)).to.equal(true);
  });
});

describe('cli: compiled code that is kept (the built command)', function () {
  let cache: string;
  let place: string;
  let env: NodeJS.ProcessEnv;

  before(function () {
    if ('enableCompileCache' in nodeModule) skipTest(this, 'this Node keeps it by itself');
  });
  beforeEach(() => {
    cache = mkdtempSync(path.join(tmpdir(), 'sendall-spec-'));
    place = path.join(cache, 'sendall', 'compiled');
    env = { XDG_CACHE_HOME: cache, NODE_COMPILE_CACHE: undefined };
  });
  afterEach(() => rmSync(cache, { recursive: true }));

  /** Runs the command, which must say what it always does; the names of what is kept then. */
  const help = async (...words: string[]): Promise<string[]> => {
    const { code, stdout, stderr } = await new SendallProcess([...words, '--help'], { env }).ended;
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    expect(stdout).to.match(/^Usage: sendall /);
    return readdirSync(place);
  };
  const inodeOf = (name: string): number => statSync(path.join(place, name)).ino;

  it('is one file for each command, for its user alone, which is made once and taken from then on', async () => {
    const [sends = ''] = await help('send');
    expect(sends).to.match(/^send-[0-9a-f]{32}$/);
    expect(statSync(path.join(place, sends)).mode & 0o777).to.equal(0o600);
    const made = inodeOf(sends);
    expect(await help('send')).to.deep.equal([sends]);
    expect(inodeOf(sends), 'made again, since it was not taken').to.equal(made);
    expect(await help('prune'))
      .to.have.length(2)
      .and.include(sends);
  });

  it('is taken again where threads were started, which changes the settings of V8', async () => {
    mkdirSync(path.join(cache, 'from'));
    writeFileSync(path.join(cache, 'from', 'file'), 'some words\n');
    mkdirSync(path.join(cache, 'to'), { mode: 0o700 });
    const made = [];
    for (let run = 0; run < 2; run++) {
      const words = ['backup', path.join(cache, 'from'), path.join(cache, 'to'), '--name', 'b'];
      expect((await new SendallProcess(words, { env }).ended).code).to.equal(0);
      const [name = ''] = readdirSync(place);
      made.push(inodeOf(name));
    }
    expect(made[1]).to.equal(made[0]);
  });

  it('is not believed where it is damaged, and made anew', async () => {
    const [name = ''] = await help('send');
    const file = path.join(place, name);
    const good = readFileSync(file);
    for (const damage of [
      (bytes: Buffer) => bytes.subarray(0, bytes.length >> 1),
      (bytes: Buffer) => bytes.fill(0, 5_000, 50_000),
      () => Buffer.alloc(0),
    ]) {
      writeFileSync(file, damage(Buffer.from(good)));
      const damaged = inodeOf(name);
      expect(await help('send')).to.deep.equal([name]);
      expect(inodeOf(name), 'left as it was').to.not.equal(damaged);
    }
  });

  it('is not believed where it belongs to somebody else, and made anew', async function () {
    if (process.geteuid?.() !== 0) skipTest(this, 'only root can do this');
    const [name = ''] = await help('send');
    chownSync(path.join(place, name), 65534, 65534);
    const foreign = inodeOf(name);
    expect(await help('send')).to.deep.equal([name]);
    expect(inodeOf(name), 'left as it was').to.not.equal(foreign);
  });

  it('goes with the version that made it', async () => {
    mkdirSync(place, { recursive: true, mode: 0o700 });
    for (const name of [`send-${'0'.repeat(32)}`, `prune-${'0'.repeat(32)}`]) writeFileSync(path.join(place, name), '');
    expect((await help('send')).map((name) => name.replace(/[1-9a-f][0-9a-f]+$/, '…')).sort()).to.deep.equal([
      `prune-${'0'.repeat(32)}`,
      'send-…',
    ]);
  });

  it('is made by a command that goes on, and by none that was typed wrongly', async () => {
    const wrong = await new SendallProcess(['sned'], { env }).ended;
    expect(wrong.code).to.equal(2);
    expect(readdirSync(place)).to.deep.equal([]);
    const receiver = new SendallProcess(['receive', path.join(cache, 'in'), '--listen', '127.0.0.1:0'], { env });
    try {
      for (const began = Date.now(); readdirSync(place).length === 0 && Date.now() - began < 30_000;) await sleep(20);
    } finally {
      receiver.child.kill('SIGKILL');
      await receiver.ended;
    }
    expect(readdirSync(place)[0]).to.match(/^receive-/);
  });

  it('is no reason to fail where the disk takes no more', async function () {
    if (!mountSmallDisk(cache, 'size=128k,mode=0755')) skipTest(this, 'no small disk can be mounted here');
    try {
      expect(await help('send')).to.deep.equal([]);
    } finally {
      execFileSync('umount', [cache]);
    }
  });

  it('is where NODE_COMPILE_CACHE says, and nowhere with NODE_DISABLE_COMPILE_CACHE', async () => {
    const named = path.join(cache, 'named');
    const words = ['send', '--help'];
    await new SendallProcess(words, { env: { ...env, NODE_COMPILE_CACHE: named } }).ended;
    expect(readdirSync(named)).to.have.length(1);
    await new SendallProcess(words, { env: { ...env, NODE_DISABLE_COMPILE_CACHE: '1' } }).ended;
    expect(readdirSync(cache)).to.deep.equal(['named']);
  });
});
