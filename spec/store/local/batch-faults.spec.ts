import { expect } from 'chai';
import { appendFileSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { fileCalls } from '../../../lib/threads/file-calls';
import { Ring } from '../../../lib/threads/ring';
import { systemCalls } from '../../../lib/threads/system-calls';
import { Grouping, words } from './grouping';
import { expectWhole, received, run } from './grouping-run';
import { emptyDirectory } from './local-place';
import { canTrace } from './trace';
import { skipTest } from '../../skip-test';

describe('A group on a disk that does not keep what was written', function () {
  this.timeout(20_000);
  let place: Grouping;
  before(async () => (place = await Grouping.open()));
  afterEach(() => place.clear());
  after(() => place.end());

  const staged = (name: string): string => {
    const [home = ''] = readdirSync(place.at('.sendall/stage'));
    return place.at('.sendall/stage', home, 'tree', name);
  };

  it('finds every file that differs by a byte, or in length, and stores the others', async () => {
    await place.write({
      'd/good': 'good',
      'd/flipped': 'x'.repeat(9_000),
      'd/longer': 'abc',
      'd/shorter': 'abcdef',
      'd/empty': '',
      'd/filled': '',
      'e/fine': 'fine',
    });
    const bytes = readFileSync(staged('d/flipped'));
    bytes[8_999] = 0x79;
    writeFileSync(staged('d/flipped'), bytes);
    appendFileSync(staged('d/longer'), 'd');
    truncateSync(staged('d/shorter'), 5);
    writeFileSync(staged('d/filled'), 'no longer empty');
    const outcomes = await place.store.flush();
    expect(words(outcomes)).to.deep.equal([
      'stored d/good',
      'mismatch',
      'mismatch',
      'mismatch',
      'stored d/empty',
      'mismatch',
      'stored e/fine',
    ]);
    expect(outcomes[1]?.error?.message).to.match(
      /^d\/flipped does not match: its sha256 should be [0-9a-f]{64}, and is [0-9a-f]{64} on the disk\.$/,
    );
    expect(await received(place.directory)).to.deep.equal(['d/empty', 'd/good', 'e/fine']);
    expect(outcomes[1]?.stat === undefined && outcomes[1]?.committed === undefined).to.equal(true);
  });

  it('stores nothing of a bundle that is longer than its memory', async () => {
    const lease = await place.store.memory.lease();
    const { length } = lease.bytes;
    await place.store.write(lease, [
      { file: 1, name: 'f' as never, size: length + 1, digest: '', mode: 0o644, mtime: 0n, ifExists: 'refuse' },
    ]);
    expect(words(await place.store.flush())).to.deep.equal(['unexpected']);
    expect(await received(place.directory)).to.deep.equal([]);
  });
});

const traced = canTrace ? describe : describe.skip;
const canSync = systemCalls() !== undefined;
const canRing = ((linux) => linux !== undefined && Ring.open(linux) !== undefined)(fileCalls().linux);

traced('A group, as strace sees it', function () {
  this.timeout(60_000);
  let directory: string;
  let out: string;
  beforeEach(async () => {
    directory = await emptyDirectory();
    out = path.join(await emptyDirectory(), 'trace');
  });
  afterEach(async () => {
    await rm(directory, { recursive: true, force: true });
    await rm(path.dirname(out), { recursive: true, force: true });
  });

  const strace = (calls: string, ...more: string[]): string[] => [
    'strace',
    '-f',
    '-qq',
    '--seccomp-bpf',
    '-o',
    out,
    '-e',
    `trace=${calls}`,
    ...more,
  ];
  /** A failure of the nth call of a kind in a thread. */
  const failing = (calls: string, nth: string, error = 'EIO'): string[] =>
    strace(calls, '-e', `inject=${calls}:error=${error}:when=${nth}`);

  it('is one rename for a whole new tree, between two syncs of the disk, and is read back past the page cache after the first', async function () {
    if (!canSync) skipTest(this, 'the calls of Linux are not to be had here');
    expect(
      await run(
        directory,
        'tree',
        strace('rename,renameat,renameat2,link,linkat,syncfs,fsync,fdatasync,openat,write,fcntl,io_uring_enter'),
      ),
    ).to.deep.equal(['open', 'tree: stored']);
    const calls = readFileSync(out, 'utf8')
      .split('\n')
      .map((line) => line.replace(/^\d+ +/, ''));
    const all = calls.slice(calls.findIndex((call) => call.includes('"open\\n"')));
    const found = (pattern: RegExp): number[] => all.flatMap((call, at) => (pattern.test(call) ? [at] : []));
    const [renamed = -1, ...others] = found(/^(rename|link)/);
    expect(others).to.deep.equal([]);
    expect(all[renamed]).to.match(/\/tree\/tree", .*\/tree", RENAME_NOREPLACE\) += 0/);
    const [first = -1, second = -1, ...more] = found(/^syncfs/);
    expect(more).to.deep.equal([]);
    const written = found(/^openat\(\d+, "f\d+", .*O_CREAT\|O_EXCL/);
    const pastCache = found(/^fcntl\(\d+, F_SETFL, .*O_DIRECT/);
    const ring = found(/^io_uring_enter\(\d+, \d{3},/);
    const probing = await Grouping.open();
    const readBack = probing.direct ? [...pastCache, ...ring] : [renamed - 1];
    await probing.end();
    const said = found(/tree: stored/)[0] ?? -1;
    expect(
      all.slice(0, said).filter((call) => /^f(data)?sync/.test(call)),
      'what is synced by itself',
    ).to.deep.equal([]);
    expect(written).to.have.lengthOf(300);
    if (readBack.length > 1) expect([pastCache.length, ring.length > 0]).to.deep.equal([300, canRing]);
    expect(Math.max(...written)).to.be.below(first);
    expect(first).to.be.below(Math.min(...readBack));
    expect(Math.max(...readBack)).to.be.below(renamed);
    expect(renamed).to.be.below(second);
    expect(second, 'before anything is said of it').to.be.below(said);
    await expectWhole(directory);
  });

  it('fails when the first sync fails, and so does what was written until then; nothing of both is stored', async function () {
    if (!canSync) skipTest(this, 'the calls of Linux are not to be had here');
    expect(await run(directory, 'three', failing('syncfs', '1'), 'one thread')).to.deep.equal([
      'open',
      'first: disk',
      'second: disk',
      'third: stored',
    ]);
    expect([...new Set((await expectWhole(directory)).map((name) => path.dirname(name)))]).to.deep.equal(['third']);
  });

  it('is not said to be stored when the second sync fails, and is whole or not there', async function () {
    if (!canSync) skipTest(this, 'the calls of Linux are not to be had here');
    expect(await run(directory, 'tree', failing('syncfs', '2', 'ENOSPC'))).to.deep.equal(['open', 'tree: space']);
    await expectWhole(directory);
  });

  it('fails when a file of it cannot be synced, where each is synced by itself', async () => {
    expect(await run(directory, 'tree', failing('fsync,fdatasync', '3'), 'each')).to.deep.equal(['open', 'tree: disk']);
    await expectWhole(directory);
  });

  it('stores what came before the disk was full, and says which files there was no room for', async () => {
    expect(await run(directory, 'tree', failing('pwrite64', '20+', 'ENOSPC'))).to.deep.equal([
      'open',
      'tree: stored and space',
    ]);
    expect(await expectWhole(directory)).to.have.lengthOf(19);
  });

  for (const [what, fault] of [
    ['without renames that cannot replace', 'EINVAL'],
    ['with neither those nor links', 'EPERM'],
  ] as const) {
    it(`is merged on a disk ${what}`, async () => {
      for (const turn of ['stored', 'identical']) {
        expect(
          await run(directory, 'tree', failing(fault === 'EPERM' ? 'renameat2,link,linkat' : 'renameat2', '1+', fault)),
        ).to.deep.equal(['open', `tree: ${turn}`]);
        expect(await expectWhole(directory)).to.have.lengthOf(300);
      }
    });
  }
});
