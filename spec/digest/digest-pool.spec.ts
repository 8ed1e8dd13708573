import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { type FileHandle, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { DigestPool } from '../../lib/digest/digest-pool';
import { content } from '../store/delivery';

const mib = 1024 * 1024;

describe('DigestPool', () => {
  let directory: string;
  let pool: DigestPool;
  let files = 0;
  const handles: FileHandle[] = [];

  before(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'digest-pool-'));
    pool = new DigestPool(2);
  });
  afterEach(() => Promise.all(handles.splice(0).map((handle) => handle.close())));
  after(async () => {
    await pool.close();
    await rm(directory, { recursive: true });
  });

  /** The descriptor of a file with these bytes. */
  async function fileOf(bytes: Uint8Array): Promise<number> {
    const file = path.join(directory, String(files++));
    await writeFile(file, bytes);
    const handle = await open(file, 'r+');
    handles.push(handle);
    return handle.fd;
  }

  const hashed = (algorithm: string, bytes: Uint8Array): string => createHash(algorithm).update(bytes).digest('hex');
  const failure = (digests: Promise<unknown>): Promise<Error & { code?: string }> =>
    digests.then(
      () => new Error('it succeeded'),
      (error: Error & { code?: string }) => error,
    );

  it('computes several digests of files of all sizes in one reading', async () => {
    for (const size of [0, 1, 4097, mib - 1, mib, mib + 1, 5 * mib + 123]) {
      const bytes = content(size);
      const fd = await fileOf(bytes);
      expect(await pool.digestFile({ fd, size, algorithms: ['md5', 'sha256'] }).digests, `${size} bytes`).to.deep.equal(
        {
          md5: hashed('md5', bytes),
          sha256: hashed('sha256', bytes),
        },
      );
    }
  });

  it('reads only as far as it is allowed to', async () => {
    const bytes = content(3 * mib);
    const fd = await fileOf(Buffer.alloc(bytes.length));
    const reading = pool.digestFile({ fd, size: bytes.length, algorithms: ['md5'], upTo: 0 });
    for (let at = 0; at < bytes.length; at += mib) {
      await pause(20);
      await handles[0]?.write(bytes, at, mib, at);
      reading.advance(at + mib);
    }
    expect((await reading.digests).md5).to.equal(hashed('md5', bytes));
  });

  it('tells how far it is', async () => {
    const size = 33 * mib;
    const fd = await fileOf(Buffer.alloc(size, 'x'));
    const seen: number[] = [];
    await pool.digestFile({ fd, size, algorithms: ['sha256'], onProgress: (done) => seen.push(done) }).digests;
    expect(seen).to.have.length.of.at.least(4);
    for (const [at, done] of seen.entries()) expect(done).to.be.within((seen[at - 1] ?? 0) + 1, size);
  });

  it('fails for a file that is shorter than announced, and says where it ends', async () => {
    const fd = await fileOf(content(1000));
    expect((await failure(pool.digestFile({ fd, size: 2000, algorithms: ['md5'] }).digests)).message).to.contain(
      'byte 1000 of 2000',
    );
  });

  it('fails with the code of the system when reading fails', async () => {
    const handle = await open(directory, 'r');
    handles.push(handle);
    expect((await failure(pool.digestFile({ fd: handle.fd, size: 10, algorithms: ['md5'] }).digests)).code).to.equal(
      'EISDIR',
    );
  });

  it('stops when it is told to, also while it waits for more of the file', async () => {
    const fd = await fileOf(content(4 * mib));
    const reading = pool.digestFile({ fd, size: 4 * mib, algorithms: ['md5'], upTo: mib });
    await pause(30);
    reading.cancel();
    expect((await failure(reading.digests)).message).to.contain('cancelled');
    expect((await pool.digestFile({ fd, size: 1000, algorithms: ['md5'] }).digests).md5).to.equal(
      hashed('md5', content(4 * mib).subarray(0, 1000)),
    );
  });

  it('reads many files at once on few threads, while others wait for more of theirs', async () => {
    const all = await Promise.all(
      Array.from({ length: 30 }, async (_, at) => ({
        bytes: content(2 * mib + at, at),
        fd: await fileOf(content(2 * mib + at, at)),
      })),
    );
    const stalled = all
      .slice(0, 15)
      .map(({ bytes, fd }) => pool.digestFile({ fd, size: bytes.length, algorithms: ['md5'], upTo: mib }));
    const running = all
      .slice(15)
      .map(({ bytes, fd }) => pool.digestFile({ fd, size: bytes.length, algorithms: ['md5'] }));
    await Promise.all(running.map(({ digests }) => digests));
    for (const [at, reading] of stalled.entries()) reading.advance(all[at]?.bytes.length ?? 0);
    for (const [at, { digests }] of [...stalled, ...running].entries())
      expect((await digests).md5).to.equal(hashed('md5', all[at]?.bytes ?? Buffer.alloc(0)));
  });

  it('computes the digest of each segment that is asked for, in their order, up to the end of the file', async () => {
    const bytes = content(5 * mib + 123);
    const fd = await fileOf(bytes);
    const at = (segment: number, segmentSize: number): string =>
      hashed('sha256', bytes.subarray(segment * segmentSize, (segment + 1) * segmentSize));
    for (const [segmentSize, segments] of [
      [mib, [0, 1, 2, 3, 4, 5]],
      [mib, [5, 0, 3]],
      [2 * mib, [2, 0, 1]],
      [8 * mib, [0]],
      [mib, []],
    ] as const) {
      const digests = await pool.digestSegments({ fd, size: bytes.length, segmentSize, segments, algorithm: 'sha256' });
      expect(digests, `${segments.join()} of ${segmentSize}`).to.deep.equal(
        segments.map((segment) => at(segment, segmentSize)),
      );
    }
  });

  it('fails for segments behind the end of the file, and goes on with others', async () => {
    const fd = await fileOf(content(1000));
    const reading = { fd, segmentSize: mib, algorithm: 'md5' } as const;
    expect((await failure(pool.digestSegments({ ...reading, size: 3 * mib, segments: [0, 2] }))).message).to.contain(
      'byte 1000',
    );
    expect(await pool.digestSegments({ ...reading, size: 1000, segments: [0] })).to.deep.equal([
      hashed('md5', content(1000)),
    ]);
  });

  it('rejects what is running when it is closed', async () => {
    const closing = new DigestPool(1);
    const fd = await fileOf(content(2 * mib));
    const failed = failure(closing.digestFile({ fd, size: 2 * mib, algorithms: ['md5'], upTo: 0 }).digests);
    await closing.close();
    expect((await failed).message).to.contain('ended');
  });

  for (const use of [
    'pool.warm();',
    "pool.digestFile({ fd: 0, size: 5, algorithms: ['md5'] }).digests.catch(() => undefined);",
  ]) {
    it(`does not keep a process alive that is otherwise done: ${use}`, () => {
      const script = `const { DigestPool } = require('./lib/digest/digest-pool'); const pool = new DigestPool(); ${use}`;
      execFileSync(process.execPath, ['-r', './spec/typescript.js', '-e', script], {
        cwd: path.join(__dirname, '../..'),
        timeout: 10_000,
        input: '',
      });
    });
  }
});
