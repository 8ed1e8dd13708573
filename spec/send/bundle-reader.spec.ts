import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { appendFile, mkdir, mkdtemp, readFile, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createDigestOf } from '../../lib/digest/digest';
import { parseEntryName } from '../../lib/name';
import { parseBundle } from '../../lib/wire/session-list';
import { longestBundle } from '../../lib/wire/session-message';
import type { FoundFile } from '../../lib/scan/found';
import { edgesIn } from '../../lib/scan/edges';
import { packEntries } from '../../lib/scan/found-batch';
import { bundleError, BundleReader, type ReadBundle } from '../../lib/send/bundle-reader';
import { codeOf, content, md5Of } from '../store/delivery';
import { canTrace } from '../store/local/trace';

/** A file as it was offered, and what the receiver holds of it. */
type SmallSource = FoundFile & { readonly held?: string };

let known = 0;

/** Reads files that the reader was not told of before. */
async function read(
  reader: BundleReader,
  sources: readonly SmallSource[],
): Promise<ReadBundle & { readonly first: number }> {
  const first = known;
  known += sources.length;
  reader.know({ first, found: packEntries(sources) });
  const held = new Map(
    sources.flatMap(({ held: digest }, at) => (digest === undefined ? [] : [[first + at, digest] as const])),
  );
  const bundle = await reader.read(
    sources.map((_, at) => first + at),
    held,
  );
  reader.forget(first);
  return { ...bundle, first };
}

/** What a bundle has, by the places of the files in what was asked for. */
function contentsOf({ files, digests, first }: Awaited<ReturnType<typeof read>>): [at: number, digest: string][] {
  const length = digests.length / files.length;
  return [...files].map((file, at) => [file - first, digests.slice(at * length, (at + 1) * length)]);
}

describe('a bundle reader', () => {
  let directory: string;
  let reader: BundleReader;
  let files = 0;

  before(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'bundle-reader-'));
    reader = new BundleReader('md5', { slots: 2 });
  });
  after(async () => {
    await reader.close();
    await rm(directory, { recursive: true });
  });

  async function sourceAt(place: string): Promise<SmallSource> {
    const { size, mtimeNs, ctimeNs, ino } = await stat(place, { bigint: true });
    return {
      type: 'file',
      path: place,
      name: parseEntryName(path.basename(place)),
      size: Number(size),
      mode: 0o644,
      sparse: false,
      mtime: mtimeNs,
      ctime: ctimeNs,
      inode: ino,
      edges: edgesIn(await readFile(place)),
    };
  }
  async function sourceOf(bytes: Uint8Array): Promise<SmallSource> {
    const place = path.join(directory, `f${files++}`);
    await writeFile(place, bytes);
    return sourceAt(place);
  }
  const sourcesOf = (contents: readonly Uint8Array[]): Promise<SmallSource[]> => Promise.all(contents.map(sourceOf));
  const failuresOf = (
    { failures, first }: Awaited<ReturnType<typeof read>>,
    sources: readonly SmallSource[],
  ): unknown[] =>
    failures.map(({ file, failure }) => [file - first, bundleError(sources[file - first]?.name ?? '', failure).code]);
  const isStuck = (promise: Promise<unknown>): Promise<boolean> =>
    Promise.race([
      promise.then(
        () => false,
        () => false,
      ),
      pause(100, true),
    ]);

  for (const algorithm of ['md5', 'sha256', 'blake3'] as const) {
    it(`reads files one after another, empty ones too, with their ${algorithm}`, async () => {
      const contents = [0, 1, 4096, 65_536, 0, 777].map((size) => content(size, size + 1));
      const sources = await sourcesOf(contents);
      const own = new BundleReader(algorithm);
      const bundle = await read(own, sources);
      const digestOf = await createDigestOf(algorithm);
      const digests = contents.map((each) => digestOf(each));
      expect(contentsOf(bundle)).to.deep.equal(digests.map((digest, at) => [at, digest]));
      expect(parseBundle(bundle.list, algorithm)).to.deep.equal(
        sources.map(({ size }, at) => ({ file: bundle.first + at, size, digest: digests[at] })),
      );
      expect(Buffer.concat(contents).equals(bundle.bytes)).to.equal(true);
      expect(bundle).to.deep.include({ kept: [], failures: [] });
      await own.close();
    });
  }

  it('reads as much as a bundle takes', async () => {
    const whole = await sourcesOf([content(longestBundle - 5), content(5, 2)]);
    const bundle = await read(reader, whole);
    expect(md5Of(bundle.bytes)).to.equal(md5Of(Buffer.concat([content(longestBundle - 5), content(5, 2)])));
    bundle.release();
    (await reader.read([], new Map())).release();
  });

  it('leaves out what the receiver holds, and sends what differs from it', async () => {
    const contents = [content(100, 1), content(200, 2), content(300, 3), Buffer.alloc(0)];
    const [a, b, c, d] = (await sourcesOf(contents)).map((source, at) => ({
      ...source,
      held: md5Of(contents[at] ?? Buffer.alloc(0)),
    }));
    if (!a || !b || !c || !d) throw new Error('four files');
    const bundle = await read(reader, [a, { ...b, held: c.held }, c, d]);
    expect(bundle.kept).to.deep.equal(
      [
        { at: 0, held: a.held },
        { at: 2, held: c.held },
        { at: 3, held: d.held },
      ].map(({ at, held }) => ({ file: bundle.first + at, digest: held })),
    );
    expect(contentsOf(bundle)).to.deep.equal([[1, b.held]]);
    expect(Buffer.compare(bundle.bytes, content(200, 2))).to.equal(0);
    bundle.release();
  });

  it('says of each file why it cannot be read, and reads the others', async () => {
    const [first, gone, pipe, folder, last] = await sourcesOf([1, 2, 3, 4, 5].map((seed) => content(50, seed)));
    if (!first || !gone || !pipe || !folder || !last) throw new Error('five files');
    execFileSync('mkfifo', [path.join(directory, 'fifo')]);
    await mkdir(path.join(directory, 'd'));
    await symlink(last.path, path.join(directory, 'link'));
    const paths = [
      first.path,
      path.join(directory, 'missing'),
      path.join(directory, 'fifo'),
      path.join(directory, 'd'),
      path.join(directory, 'link'),
    ];
    const sources = [first, gone, pipe, folder, last].map((source, at) => ({ ...source, path: paths[at] ?? '' }));
    const bundle = await read(reader, sources);
    expect(failuresOf(bundle, sources)).to.deep.equal([1, 2, 3].map((at) => [at, 'source-unreadable']));
    const messages = bundle.failures.map(({ failure }) => bundleError('f', failure).message);
    expect(messages).to.deep.equal([
      'f does not exist (any more).',
      'f is not a regular file.',
      'f is not a regular file.',
    ]);
    expect(contentsOf(bundle).map(([at]) => at)).to.deep.equal([0, 4]);
    expect(Buffer.compare(bundle.bytes, Buffer.concat([content(50, 1), content(50, 5)]))).to.equal(0);
    bundle.release();
  });

  it('a file that is not what was offered: source-changed, and not a byte of it', async () => {
    const [good, other] = await sourcesOf([content(60, 1), content(70, 2)]);
    if (!good || !other) throw new Error('two files');
    for (const wrong of [{ size: 71 }, { mtime: other.mtime + 1n }, { ctime: other.ctime - 1n }]) {
      const bundle = await read(reader, [{ ...other, ...wrong }, good]);
      expect(failuresOf(bundle, [other, good]), Object.keys(wrong)[0]).to.deep.equal([[0, 'source-changed']]);
      expect(Buffer.compare(bundle.bytes, content(60, 1))).to.equal(0);
      bundle.release();
    }
  });

  it('a file that has grown since it was offered: what it had then, and that is said', async () => {
    const [good, other] = await sourcesOf([content(60, 1), content(70, 2)]);
    if (!good || !other) throw new Error('two files');
    await appendFile(other.path, 'more');
    const bundle = await read(reader, [other, good]);
    expect(bundle.failures).to.deep.equal([]);
    expect(bundle.grew).to.deep.equal([bundle.files[0]]);
    expect(Buffer.compare(bundle.bytes, Buffer.concat([content(70, 2), content(60, 1)]))).to.equal(0);
    bundle.release();
  });

  for (const size of [70, 20_000]) {
    it(`a file of ${String(size)} bytes in whose place a longer one is: changed, and not its beginning`, async () => {
      const sources = await sourcesOf(Array.from({ length: 4 }, () => content(size, 2)));
      const [replaced, rewritten, unknown, empty] = sources;
      if (!replaced || !rewritten || !unknown || !empty) throw new Error('four files');
      // The same content, and more: of another file, which nobody knows to be its continuation.
      await writeFile(`${replaced.path}.new`, Buffer.concat([content(size, 2), content(10)]));
      await rename(`${replaced.path}.new`, replaced.path);
      await writeFile(rewritten.path, content(size + 10, 3));
      await appendFile(unknown.path, 'more');
      const { edges: _, ...nothingKnown } = unknown;
      const bundle = await read(reader, [replaced, rewritten, nothingKnown, { ...empty, size: 0 }]);
      expect(failuresOf(bundle, sources)).to.deep.equal([0, 1, 2].map((at) => [at, 'source-changed']));
      expect(bundle.grew).to.deep.equal([bundle.files[0]]); // what was empty begins like anything
      bundle.release();
    });
  }

  it('a file that is not what someone vouches for: mismatch, and not a byte of it; another ctime alone is no change then', async () => {
    const [good, other] = await sourcesOf([content(60, 1), content(70, 2)]);
    if (!good || !other) throw new Error('two files');
    const vouched = (source: SmallSource, digest: string): SmallSource => ({
      ...source,
      ctime: 1n,
      vouched: { digest, mtime: 0n },
    });
    const bundle = await read(reader, [vouched(other, md5Of(content(60, 1))), vouched(good, md5Of(content(60, 1)))]);
    expect(failuresOf(bundle, [other, good])).to.deep.equal([[0, 'mismatch']]);
    expect(Buffer.compare(bundle.bytes, content(60, 1))).to.equal(0);
    bundle.release();
  });

  it('reads nothing that it was not told of, or is to forget', async () => {
    const source = await sourceOf(content(60));
    const bundle = await read(reader, [source]);
    bundle.release();
    const again = await reader.read([bundle.first, 2 ** 31], new Map());
    expect(again.failures).to.deep.equal([bundle.first, 2 ** 31].map((file) => ({ file, failure: 'changed' })));
    again.release();
  });

  (canTrace ? it : it.skip)(
    'a file that is rewritten between the first byte and the look after the last: source-changed (through strace)',
    async () => {
      const source = await sourceOf(content(5000));
      await utimes(source.path, 1e9, 1e9);
      const { mtime, ctime } = await sourceAt(source.path);
      // The reading thread is held for a second when it has the bytes, and the file rewritten meanwhile.
      const script = `
      const { BundleReader } = require('./lib/send/bundle-reader');
      const fs = require('node:fs');
      const [path, mtime, ctime] = process.argv.slice(1);
      const { packEntries } = require('./lib/scan/found-batch');
      const { bundleError } = require('./lib/send/bundle-reader');
      const reader = new BundleReader('md5');
      (async () => {
        reader.warm();
        await reader.read([], new Map());
        reader.know({ first: 1, found: packEntries([{ type: 'file', path, name: 'f', size: 5000, mode: 0, sparse: false, mtime: BigInt(mtime), ctime: BigInt(ctime) }]) });
        const reading = reader.read([1], new Map());
        setTimeout(() => fs.writeSync(fs.openSync(path, 'r+'), 'x', 0), 300);
        const { files, failures } = await reading;
        console.log(files.length, failures[0] && bundleError('f', failures[0].failure).code);
        await reader.close();
      })();`;
      const node = [
        process.execPath,
        '-r',
        './spec/typescript.js',
        '-e',
        script,
        source.path,
        String(mtime),
        String(ctime),
      ];
      const strace = [
        '-f',
        '-qq',
        '--seccomp-bpf',
        '-o',
        '/dev/null',
        '-P',
        source.path,
        '-e',
        'trace=read,pread64',
        '-e',
        'inject=read,pread64:delay_exit=1000000',
      ];
      expect(
        execFileSync('strace', [...strace, ...node], { cwd: path.join(__dirname, '../..'), encoding: 'utf8' }).trim(),
      ).to.equal('0 source-changed');
    },
  );

  it('answers in order, waits while all its memory is out, and leaves that alone', async () => {
    const sources = await sourcesOf(Array.from({ length: 5 }, (_, at) => content(1000, at + 1)));
    const done: number[] = [];
    const bundles = sources.map(async (source, at) => {
      const bundle = await read(reader, [source]);
      done.push(at);
      return bundle;
    });
    const [first, second] = await Promise.all(bundles.slice(0, 2));
    expect(await isStuck(bundles[2] as Promise<ReadBundle>)).to.equal(true);
    expect(Buffer.compare(first?.bytes ?? Buffer.alloc(0), content(1000, 1))).to.equal(0);
    second?.release();
    const third = await bundles[2];
    expect(Buffer.compare(first?.bytes ?? Buffer.alloc(0), content(1000, 1))).to.equal(0);
    expect(Buffer.compare(third?.bytes ?? Buffer.alloc(0), content(1000, 3))).to.equal(0);
    for (const bundle of [first, third]) bundle?.release();
    for (const bundle of await Promise.all(bundles.slice(3))) bundle.release();
    expect(done).to.deep.equal([0, 1, 2, 3, 4]);
  });

  it('is interrupted when it is closed: what is read, what waits for memory, and what comes after', async () => {
    const source = await sourceOf(content(2000));
    for (const slots of [1, 2]) {
      const own = new BundleReader('md5', { slots });
      own.warm();
      const bundle = await read(own, [source]);
      const pending = [read(own, [source]), read(own, [source])].map(codeOf);
      await own.close();
      expect(await Promise.all([...pending, codeOf(read(own, [source]))])).to.deep.equal([
        'interrupted',
        'interrupted',
        'interrupted',
      ]);
      expect(Buffer.compare(bundle.bytes, content(2000))).to.equal(0);
      bundle.release();
      expect(await codeOf(read(own, [source]))).to.equal('interrupted');
    }
  });

  it('reads a few named files without a thread, and just as with one', async () => {
    const sources = await Promise.all(Array.from({ length: 8 }, (_, at) => sourceOf(content(100 + at))));
    const gone = { ...(sources[7] as SmallSource), path: path.join(directory, 'gone') };
    let threads = 0;
    const count = (): number => threads++;
    process.on('worker', count);
    try {
      const [few, many] = [new BundleReader('md5'), new BundleReader('md5')];
      const one = await read(few, [...sources.slice(0, 7), gone]);
      expect(threads).to.equal(0);
      many.warm();
      const other = await read(many, [...sources.slice(0, 7), gone]);
      expect(threads).to.equal(1);
      const [here, there] = [one, other].map(({ first, files, digests, bytes, failures }) => ({
        files: [...files].map((file) => file - first),
        digests,
        bytes: Buffer.from(bytes),
        failures: failures.map(({ file, failure }) => ({
          file: file - first,
          code: (failure as { code?: string }).code,
        })),
      }));
      expect(here).to.deep.equal(there);
      expect(here?.files).to.have.lengthOf(7);
      expect(here?.failures).to.deep.equal([{ file: 7, code: 'ENOENT' }]);
      for (const answer of [one, other]) answer.release();
      // What was found below a directory is for a thread: nobody named it.
      const below = { ...(sources[0] as SmallSource), path: directory, below: path.basename(sources[0]?.path ?? '') };
      (await read(few, [below])).release();
      expect(threads).to.equal(2);
      await Promise.all([few, many].map((own) => own.close()));
    } finally {
      process.off('worker', count);
    }
  });

  it('tells a thread that is started later of what it was told before', async () => {
    const sources = await Promise.all(Array.from({ length: 9 }, (_, at) => sourceOf(content(10 + at))));
    const own = new BundleReader('md5');
    const bundle = await read(own, sources);
    expect(bundle.files).to.have.lengthOf(9);
    bundle.release();
    await own.close();
  });

  it('does not keep a process alive that is otherwise done', () => {
    const script = "const { BundleReader } = require('./lib/send/bundle-reader'); new BundleReader('blake3');";
    execFileSync(process.execPath, ['-r', './spec/typescript.js', '-e', script], {
      cwd: path.join(__dirname, '../..'),
      timeout: 10_000,
    });
  });

  (process.platform === 'linux' ? it : it.skip)(
    'starts no thread once it is closed, however late somebody asks (the faults of fuzz)',
    async () => {
      const closed = new BundleReader('md5');
      await closed.close();
      const threads = (): number => readdirSync('/proc/self/task').length;
      const before = threads();
      closed.warm();
      expect(await codeOf(closed.read([], new Map()))).to.equal('interrupted');
      expect(threads()).to.equal(before);
    },
  );
});
