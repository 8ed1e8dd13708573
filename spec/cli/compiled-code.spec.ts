import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import nodeModule from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { keepCompiledCode, ownDirectory } from '../../cli/compiled-code';
import { skipTest } from '../skip-test';

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
    const { XDG_CACHE_HOME: known } = process.env;
    const told: (string | undefined)[] = [];
    node.enableCompileCache = (directory) => void told.push(directory);
    process.env['XDG_CACHE_HOME'] = cache;
    try {
      keepCompiledCode();
      rmSync(place, { recursive: true });
      writeFileSync(place, '');
      keepCompiledCode();
    } finally {
      if (before) node.enableCompileCache = before;
      else delete node.enableCompileCache;
      if (known === undefined) delete process.env['XDG_CACHE_HOME'];
      else process.env['XDG_CACHE_HOME'] = known;
    }
    expect(told).to.deep.equal([place]);
    expect(existsSync(place)).to.equal(true);
  });
});
