import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { mkdir, mkdtemp, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createDigestOf } from '../../lib/digest/digest';
import { parseEntryName } from '../../lib/name';
import { longestBundle } from '../../lib/wire/session-message';
import { BundleReader, type ReadBundle, type SmallSource } from '../../lib/send/bundle-reader';
import { codeOf, content, md5Of } from '../store/delivery';
import { canTrace } from '../store/local/trace';

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
    const { size, mtimeNs, ctimeNs } = await stat(place, { bigint: true });
    return { file: 1000 + Number(path.basename(place).slice(1)), path: place, name: parseEntryName(path.basename(place)), size: Number(size), mtime: mtimeNs, ctime: ctimeNs };
  }
  async function sourceOf(bytes: Uint8Array): Promise<SmallSource> {
    const place = path.join(directory, `f${files++}`);
    await writeFile(place, bytes);
    return sourceAt(place);
  }
  const sourcesOf = (contents: readonly Uint8Array[]): Promise<SmallSource[]> => Promise.all(contents.map(sourceOf));
  const failuresOf = ({ failures }: ReadBundle): unknown[] => failures.map(({ file, error }) => [file, error.code, error.fileName]);
  const isStuck = (promise: Promise<unknown>): Promise<boolean> => Promise.race([promise.then(() => false, () => false), pause(100, true)]);

  for (const algorithm of ['md5', 'sha256', 'blake3'] as const) {
    it(`reads files one after another, empty ones too, with their ${algorithm}`, async () => {
      const contents = [0, 1, 4096, 65_536, 0, 777].map((size) => content(size, size + 1));
      const sources = await sourcesOf(contents);
      const own = new BundleReader(algorithm);
      const bundle = await own.read(sources);
      const digestOf = await createDigestOf(algorithm);
      expect(bundle.files).to.deep.equal(sources.map(({ file, size }, at) => ({ file, size, digest: digestOf(contents[at] ?? Buffer.alloc(0)) })));
      expect(Buffer.concat(contents).equals(bundle.bytes)).to.equal(true);
      expect(bundle).to.deep.include({ kept: [], failures: [] });
      await own.close();
    });
  }

  it('reads as much as a bundle takes, and refuses more', async () => {
    const whole = await sourcesOf([content(longestBundle - 5), content(5, 2)]);
    const bundle = await reader.read(whole);
    expect(md5Of(bundle.bytes)).to.equal(md5Of(Buffer.concat([content(longestBundle - 5), content(5, 2)])));
    bundle.release();
    expect(await codeOf(reader.read([...whole, await sourceOf(Buffer.from('x'))]))).to.equal('usage');
    (await reader.read([])).release();
  });

  it('leaves out what the receiver holds, and sends what differs from it', async () => {
    const contents = [content(100, 1), content(200, 2), content(300, 3), Buffer.alloc(0)];
    const [a, b, c, d] = (await sourcesOf(contents)).map((source, at) => ({ ...source, held: md5Of(contents[at] ?? Buffer.alloc(0)) }));
    if (!a || !b || !c || !d) throw new Error('four files');
    const bundle = await reader.read([a, { ...b, held: c.held }, c, d]);
    const told = ({ file, size, held }: typeof a): unknown => ({ file, size, digest: held });
    expect(bundle.kept).to.deep.equal([told(a), told(c), told(d)]);
    expect(bundle.files).to.deep.equal([told(b)]);
    expect(Buffer.compare(bundle.bytes, content(200, 2))).to.equal(0);
    bundle.release();
  });

  it('says of each file why it cannot be read, and reads the others', async () => {
    const [first, gone, pipe, folder, last] = await sourcesOf([1, 2, 3, 4, 5].map((seed) => content(50, seed)));
    if (!first || !gone || !pipe || !folder || !last) throw new Error('five files');
    execFileSync('mkfifo', [path.join(directory, 'fifo')]);
    await mkdir(path.join(directory, 'd'));
    await symlink(last.path, path.join(directory, 'link'));
    const paths = [first.path, path.join(directory, 'missing'), path.join(directory, 'fifo'), path.join(directory, 'd'), path.join(directory, 'link')];
    const bundle = await reader.read([first, gone, pipe, folder, last].map((source, at) => ({ ...source, path: paths[at] ?? '' })));
    expect(failuresOf(bundle)).to.deep.equal([gone, pipe, folder].map(({ file, name }) => [file, 'source-unreadable', name]));
    expect(bundle.failures.map(({ error }) => error.message.replace(/^f\d+ /, ''))).to.deep.equal(['does not exist (any more).', 'is not a regular file.', 'is not a regular file.']);
    expect(bundle.files.map(({ file }) => file)).to.deep.equal([first.file, last.file]);
    expect(Buffer.compare(bundle.bytes, Buffer.concat([content(50, 1), content(50, 5)]))).to.equal(0);
    bundle.release();
  });

  it('a file that is not what was offered: source-changed, and not a byte of it', async () => {
    const [good, other] = await sourcesOf([content(60, 1), content(70, 2)]);
    if (!good || !other) throw new Error('two files');
    for (const wrong of [{ size: 69 }, { size: 71 }, { size: 0 }, { mtime: other.mtime + 1n }, { ctime: other.ctime - 1n }]) {
      const bundle = await reader.read([{ ...other, ...wrong }, good]);
      expect(failuresOf(bundle), Object.keys(wrong)[0]).to.deep.equal([[other.file, 'source-changed', other.name]]);
      expect(Buffer.compare(bundle.bytes, content(60, 1))).to.equal(0);
      bundle.release();
    }
  });

  (canTrace ? it : it.skip)('a file that is rewritten between the first byte and the look after the last: source-changed (through strace)', async () => {
    const source = await sourceOf(content(5000));
    await utimes(source.path, 1e9, 1e9);
    const { mtime, ctime } = await sourceAt(source.path);
    // The reading thread is held for a second when it has the bytes, and the file rewritten meanwhile.
    const script = `
      const { BundleReader } = require('./lib/send/bundle-reader');
      const fs = require('node:fs');
      const [path, mtime, ctime] = process.argv.slice(1);
      const reader = new BundleReader('md5');
      (async () => {
        await reader.read([]);
        const reading = reader.read([{ file: 1, path, name: 'f', size: 5000, mtime: BigInt(mtime), ctime: BigInt(ctime) }]);
        setTimeout(() => fs.writeSync(fs.openSync(path, 'r+'), 'x', 0), 300);
        const { files, failures } = await reading;
        console.log(files.length, failures[0]?.error.code);
        await reader.close();
      })();`;
    const node = [process.execPath, '-r', './spec/typescript.js', '-e', script, source.path, String(mtime), String(ctime)];
    const strace = ['-f', '-qq', '--seccomp-bpf', '-o', '/dev/null', '-P', source.path, '-e', 'trace=read,pread64', '-e', 'inject=read,pread64:delay_exit=1000000'];
    expect(execFileSync('strace', [...strace, ...node], { cwd: path.join(__dirname, '../..'), encoding: 'utf8' }).trim()).to.equal('0 source-changed');
  });

  it('answers in order, waits while all its memory is out, and leaves that alone', async () => {
    const sources = await sourcesOf(Array.from({ length: 5 }, (_, at) => content(1000, at + 1)));
    const done: number[] = [];
    const bundles = sources.map(async (source, at) => {
      const bundle = await reader.read([source]);
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
      const bundle = await own.read([source]);
      const pending = [own.read([source]), own.read([source])].map(codeOf);
      await own.close();
      expect(await Promise.all([...pending, codeOf(own.read([source]))])).to.deep.equal(['interrupted', 'interrupted', 'interrupted']);
      expect(Buffer.compare(bundle.bytes, content(2000))).to.equal(0);
      bundle.release();
      expect(await codeOf(own.read([source]))).to.equal('interrupted');
    }
  });

  it('does not keep a process alive that is otherwise done', () => {
    const script = "const { BundleReader } = require('./lib/send/bundle-reader'); new BundleReader('blake3');";
    execFileSync(process.execPath, ['-r', './spec/typescript.js', '-e', script], { cwd: path.join(__dirname, '../..'), timeout: 10_000 });
  });

  (process.platform === 'linux' ? it : it.skip)('starts no thread once it is closed, however late somebody asks (the faults of fuzz)', async () => {
    const closed = new BundleReader('md5');
    await closed.close();
    const threads = (): number => readdirSync('/proc/self/task').length;
    const before = threads();
    closed.warm();
    expect(await codeOf(closed.read([]))).to.equal('interrupted');
    expect(threads()).to.equal(before);
  });
});
