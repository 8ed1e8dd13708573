import { expect } from 'chai';
import {
  appendFileSync,
  chmodSync,
  closeSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TransferEvent } from '../../../lib/progress';
import { verify, type LocalVerifyOptions } from '../../../lib/snapshot/verify/verify';
import { reasonOf } from '../../../lib/snapshot/verify/verify-snapshot';
import { content, failureOf } from '../../store/delivery';
import { encoded, type MadeEntry, type MadeSnapshot, madeSnapshot, registerMade } from '../made-snapshot';
import { skipTest } from '../../skip-test';

const mib = 1024 * 1024;
const ids = ['2026-11-20T101233Z', '2026-11-21T101233Z', '2026-11-22T101233Z'] as const;

describe('snapshot/verify', () => {
  let root: string;
  let events: TransferEvent[];
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'sendall-verify-'));
    events = [];
  });
  afterEach(() => rmSync(root, { recursive: true }));

  /** So many snapshots of the same tree, whose files are hard links. */
  async function snapshots(count: number, tree: Readonly<Record<string, MadeEntry>>): Promise<MadeSnapshot[]> {
    const made: MadeSnapshot[] = [];
    for (const [at, id] of ids.slice(0, count).entries()) {
      const previous = made.at(-1)?.place;
      made.push(
        await madeSnapshot(
          root,
          { name: 'laptop', id, number: at + 1 },
          tree,
          previous === undefined ? {} : { previous },
        ),
      );
    }
    return made;
  }
  const run = (options: Partial<LocalVerifyOptions> = {}): ReturnType<typeof verify> =>
    verify({ directory: root, on: (event) => events.push(event), ...options });
  /** What is damaged, as `ID path reason`, sorted; it was a `mismatch` then, and all was summed up. */
  async function damages(options: Partial<LocalVerifyOptions> = {}): Promise<string[]> {
    events = [];
    expect((await failureOf(run(options))).code).to.equal('mismatch');
    expect(events.at(-1)?.event).to.equal('summary');
    return events
      .flatMap((event) =>
        event.event === 'damaged' ? [`${event.snapshot.replace('laptop/', '')} ${event.path} ${event.reason}`] : [],
      )
      .sort();
  }
  function flip(place: string, at: number): void {
    const { atime, mtime } = statSync(place);
    const byte = readFileSync(place)[at] ?? 0;
    const fd = openSync(place, 'r+');
    writeSync(fd, Buffer.from([byte ^ 1]), 0, 1, at);
    closeSync(fd);
    utimesSync(place, atime, mtime);
  }
  const all = {
    'a/b/deep.txt': 'deep',
    'a/other': { link: 'a/b/deep.txt' },
    'a/arrow': { symlink: 'b/deep.txt' },
    'a/none': { directory: true },
    '-': 'a name for tools',
    empty: '',
    large: content(3 * mib + 17),
    'not there': { missing: 'source-unreadable' },
  } as const;

  it('finds nothing wrong with what is as it was, reads a shared file once, and says from where', async () => {
    await snapshots(3, all);
    const { files, bytes, snapshots: count, verified } = await run();
    expect({ files, bytes, count }).to.deep.equal({ files: 4, bytes: 3 * mib + 17 + 4 + 16, count: 3 });
    expect(verified).to.be.oneOf(['device', 'cache']);
    expect(events.at(-1)).to.include({ event: 'summary', files, bytes, bytes_on_wire: 0, verified });
  });

  it('reads past the page cache where it says so', async function () {
    const size = 8 * mib;
    await snapshots(1, {
      large: Buffer.alloc(size, 1),
      ...Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`f${String(at)}`, content(100_000, at)])),
    });
    const fromDisk = (): number => Number(/read_bytes: (\d+)/.exec(readFileSync('/proc/self/io', 'utf8'))?.[1]);
    if (process.platform !== 'linux' || Number.isNaN(fromDisk())) return skipTest(this, 'it is about Linux');
    const before = fromDisk();
    const { verified } = await run();
    const read = fromDisk() - before;
    if (verified === 'device') expect(read).to.be.at.least(size + 50 * 100_000);
  });

  it('tells what is damaged from what says nothing of a file', () => {
    const failed = (code?: string): Error => Object.assign(new Error('failed'), code === undefined ? {} : { code });
    for (const code of ['EIO', 'EACCES', 'EUCLEAN']) expect(reasonOf(failed(code)), code).to.equal('unreadable');
    for (const code of ['ENOENT', 'ENOTDIR', 'ELOOP']) expect(reasonOf(failed(code)), code).to.equal('missing');
    for (const code of ['EMFILE', 'ENOMEM', undefined]) expect(() => reasonOf(failed(code)), code).to.throw('failed');
  });

  it('works with every digest', async () => {
    for (const [at, digest] of (['md5', 'sha256', 'blake3'] as const).entries()) {
      await madeSnapshot(root, { name: digest, id: ids[at] ?? ids[0], number: 1, digest }, all);
    }
    expect((await run()).snapshots).to.equal(3);
    flip(join(root, 'blake3', ids[2], 'large'), 2 * mib);
    flip(join(root, 'md5', ids[0], '-'), 3);
    expect(await damages()).to.deep.equal([`blake3/${ids[2]} large changed`, `md5/${ids[0]} - changed`]);
  });

  it('finds one flipped byte in one of many files, wherever it is, and names every snapshot that shares it', async () => {
    const tree: Record<string, MadeEntry> = { large: content(5 * mib), edge: content(mib, 3) };
    for (let each = 0; each < 200; each++) tree[`d${String(each % 7)}/f${String(each)}`] = content(each * 97 + 1, each);
    const [first] = await snapshots(2, tree);
    for (const [path, at] of [
      ['d3/f199', 0],
      ['d0/f70', 70 * 97],
      ['large', 5 * mib - 1],
      ['edge', mib - 1],
    ] as const) {
      flip(join(first?.place ?? '', path), at);
      expect(await damages()).to.deep.equal([`${ids[0]} ${path} changed`, `${ids[1]} ${path} changed`]);
      flip(join(first?.place ?? '', path), at);
    }
    expect((await run()).files).to.equal(202);
  });

  it('names those that were not asked about as well, where they share the damage, and only these', async () => {
    const [, second, third] = await snapshots(3, { a: 'a', b: 'bbbb' });
    const b = join(third?.place ?? '', 'b');
    unlinkSync(join(second?.place ?? '', 'b'));
    writeFileSync(join(second?.place ?? '', 'b'), 'bbbb');
    flip(b, 1);
    expect(await damages({ snapshot: 'laptop/latest' })).to.deep.equal([`${ids[0]} b changed`, `${ids[2]} b changed`]);
    truncateSync(b, 2);
    expect(await damages({ snapshot: `laptop/${ids[0]}` })).to.deep.equal([
      `${ids[0]} b truncated`,
      `${ids[2]} b truncated`,
    ]);
    await run({ snapshot: `laptop/${ids[1]}` }).catch(() => undefined);
    expect(events.filter(({ event }) => event === 'damaged')).to.deep.include({
      event: 'damaged',
      snapshot: `laptop/${ids[1]}`,
      path: 'b',
      reason: 'metadata',
    });
  });

  const harms: readonly (readonly [what: string, harm: (place: string) => void, found: readonly string[]])[] = [
    ['a file that is shorter', (place) => truncateSync(join(place, 'large'), 5), ['large truncated']],
    ['a file that is longer', (place) => appendFileSync(join(place, 'large'), 'x'), ['large changed']],
    [
      'a missing file',
      (place) => unlinkSync(join(place, 'a/b/deep.txt')),
      ['a/b/deep.txt missing', 'a/other metadata'],
    ],
    [
      'a missing directory',
      (place) => renameSync(join(place, 'a/b'), join(root, 'away')),
      ['a/b missing', 'a/b/deep.txt missing', 'a/other metadata'],
    ],
    ['a foreign file', (place) => writeFileSync(join(place, 'a/none/new'), 'x'), ['a/none/new foreign']],
    [
      'a foreign directory, once',
      (place) => mkdirSync(join(place, 'a/more/and/more'), { recursive: true }),
      ['a/more foreign'],
    ],
    ['a list of another tool', (place) => writeFileSync(join(place, 'MD5SUMS'), ''), ['MD5SUMS foreign']],
    ['another mode', (place) => chmodSync(join(place, 'empty'), 0o600), ['empty metadata']],
    ['another mode of a directory', (place) => chmodSync(join(place, 'a/b'), 0o700), ['a/b metadata']],
    ['another time', (place) => utimesSync(join(place, 'large'), 5, 5), ['large metadata']],
    ['another time of a directory', (place) => utimesSync(join(place, 'a/none'), 5, 5), ['a/none metadata']],
    [
      'a copy for another name',
      (place) => replace(join(place, 'a/other'), (at) => writeFileSync(at, 'deep')),
      ['a metadata', 'a/other metadata'],
    ],
    [
      'another symbolic link',
      (place) => replace(join(place, 'a/arrow'), (at) => symlinkSync('/etc/passwd', at)),
      ['a metadata', 'a/arrow changed'],
    ],
    [
      'a symbolic link for a file',
      (place) => replace(join(place, 'empty'), (at) => symlinkSync('/dev/null', at)),
      ['empty changed'],
    ],
    [
      'a symbolic link for a directory',
      (place) => linked(join(place, 'a/b'), join(root, 'elsewhere')),
      ['a metadata', 'a/b changed', 'a/b/deep.txt missing', 'a/other metadata'],
    ],
    ['a directory for a file', (place) => replace(join(place, 'empty'), (at) => mkdirSync(at)), ['empty changed']],
    [
      'another list',
      (place) => appendFileSync(join(place, 'SHA256SUMS'), `${'0'.repeat(64)}  more\n`),
      ['SHA256SUMS changed'],
    ],
    ['a shorter list', (place) => truncateSync(join(place, 'SHA256SUMS'), 75), ['SHA256SUMS changed']],
    ['no list', (place) => unlinkSync(join(place, 'SHA256SUMS')), ['SHA256SUMS missing']],
    ['a changed manifest', (place) => flip(join(place, 'MANIFEST'), 300), ['MANIFEST manifest']],
    ['a shorter manifest', (place) => truncateSync(join(place, 'MANIFEST'), 300), ['MANIFEST manifest']],
    ['no manifest', (place) => unlinkSync(join(place, 'MANIFEST')), ['MANIFEST manifest']],
  ];
  const replace = (place: string, make: (place: string) => void): void => {
    unlinkSync(place);
    make(place);
  };
  /** The directory is elsewhere, with the same things in it. */
  const linked = (place: string, elsewhere: string): void => {
    renameSync(place, elsewhere);
    symlinkSync(elsewhere, place);
  };
  for (const [what, harm, found] of harms) {
    it(`finds ${what}, and goes on with the other snapshots`, async () => {
      const [first] = await snapshots(1, { ...all, large: 'not so large' });
      await madeSnapshot(root, { name: 'laptop', id: ids[1], number: 2 }, { big: 'another' });
      harm(first?.place ?? '');
      flip(join(root, 'laptop', ids[1], 'big'), 3);
      expect(await damages()).to.deep.equal([...found.map((each) => `${ids[0]} ${each}`), `${ids[1]} big changed`]);
    });
  }

  it('believes no manifest of another snapshot, nor one that contradicts itself or the list', async () => {
    const [first] = await snapshots(1, all);
    await madeSnapshot(root, { name: 'laptop', id: ids[1], number: 2 }, { a: 'a' });
    const place = join(root, 'laptop', ids[1]);
    unlinkSync(join(place, 'MANIFEST'));
    linkSync(join(first?.place ?? '', 'MANIFEST'), join(place, 'MANIFEST'));
    expect(await damages()).to.deep.equal([`${ids[1]} MANIFEST manifest`]);
    const { manifest } = first as MadeSnapshot;
    const without = (left: string): Buffer => {
      const entries = manifest.entries.filter(({ name }) => name !== left);
      return encoded({ ...manifest, entries }, { entries: entries.length });
    };
    writeFileSync(join(first?.place ?? '', 'MANIFEST'), without('empty'));
    expect(await damages({ snapshot: `laptop/${ids[0]}` }), 'it is not the one that was committed').to.deep.equal([
      `${ids[0]} MANIFEST manifest`,
    ]);
    writeFileSync(join(first?.place ?? '', 'MANIFEST'), without('a/b/deep.txt')); // of which a/other is another name
    await registerMade(root, { name: 'laptop', id: ids[0] });
    expect(await damages({ snapshot: `laptop/${ids[0]}` })).to.deep.equal([`${ids[0]} MANIFEST manifest`]);
    writeFileSync(join(first?.place ?? '', 'MANIFEST'), without('empty'));
    await registerMade(root, { name: 'laptop', id: ids[0] });
    expect(await damages({ snapshot: `laptop/${ids[0]}` })).to.deep.equal([
      `${ids[0]} SHA256SUMS changed`,
      `${ids[0]} empty foreign`,
    ]);
  });

  it('skips a snapshot that is removed meanwhile', async () => {
    const [first, second] = await snapshots(2, { a: 'a', b: 'b' });
    unlinkSync(join(first?.place ?? '', 'a'));
    const on = (event: TransferEvent): void => {
      if (event.event === 'damaged') rmSync(second?.place ?? '', { recursive: true });
      events.push(event);
    };
    expect((await failureOf(run({ on }))).code).to.equal('mismatch');
    expect(
      events.flatMap((event) =>
        event.event === 'damaged' ? [event.path] : event.event === 'skipped' ? [event.file_name] : [],
      ),
    ).to.deep.equal(['a', `laptop/${ids[1]}`]);
  });

  it('refuses what makes no sense', async () => {
    const code = async (options: Partial<LocalVerifyOptions>): Promise<string> => (await failureOf(run(options))).code;
    expect(await code({})).to.equal('usage');
    expect(await code({ directory: join(root, 'none') })).to.equal('directory');
    await snapshots(1, all);
    expect(await code({ snapshot: 'laptop/2020-01-01T000000Z' })).to.equal('usage');
    expect(await code({ name: 'desktop' })).to.equal('usage');
    for (const sample of [0, -1, 1.1, NaN]) expect(await code({ sample }), String(sample)).to.equal('usage');
    expect(events).to.deep.equal([]);
  });
});
