import { expect } from 'chai';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { emptyDirectory } from './local-place';
import { repeated } from './receiving';
import { type Call, canTrace, TracedProcess } from './trace';

const calls =
  'fsync,fdatasync,syncfs,io_uring_enter,link,linkat,rename,renameat,renameat2,mkdir,mkdirat,read,pread64,pwrite64,ftruncate,fchmod,write,open,openat';
const small = 5000;
const large = 3 * 1024 * 1024 + 77;
/** What a file is called while it is staged. */
const stagedFile = /<[^>]*\/\.sendall\/stage\/[0-9a-f]{32}>/;

/** What happened to one file, with the first and the last call of each kind. */
class Course {
  constructor(private readonly all: readonly Call[]) {}

  named(name: RegExp, text: RegExp): Call[] {
    return this.all.filter((call) => name.test(call.name) && text.test(call.text));
  }

  /** The only call of that kind. */
  only(name: RegExp, text: RegExp): Call {
    const found = this.named(name, text);
    expect(
      found.map((call) => call.text),
      `calls of ${String(name)} with ${String(text)}`,
    ).to.have.lengthOf(1);
    return found[0] as Call;
  }
}

function expectOrder(...steps: readonly (readonly [string, Call])[]): void {
  for (const [at, [what, call]] of steps.entries()) {
    const before = steps[at - 1];
    if (before) expect(before[1].to, `${before[0]} has ended before ${what} begins`).to.be.lessThan(call.from);
  }
}

(canTrace ? describe : describe.skip)('Durability, as strace sees it', function () {
  this.timeout(60_000);
  let directory: string;
  beforeEach(async () => (directory = await emptyDirectory()));
  afterEach(() => rm(directory, { recursive: true, force: true }));

  /** Receives one file into the directory. */
  async function receive(
    size: number,
    options: { ifExists?: 'replace' | 'refuse'; name?: string } = {},
  ): Promise<{ answer: Record<string, unknown>; course: Course }> {
    const traced = new TracedProcess(calls);
    await traced.open(directory);
    const answer = await traced.receive(options.name ?? 'a/b/f', size, {
      seed: 3,
      ifExists: options.ifExists ?? 'refuse',
    });
    await traced.ask({ order: 'close' });
    const all = await traced.calls();
    // What was tried out when the directory was opened is not about the file.
    const began = all.findIndex(({ name, text }) => name === 'write' && text.includes('verified'));
    return { answer, course: new Course(all.slice(began + 1)) };
  }

  const at = (name: string): RegExp => new RegExp(`<${path.join(directory, name)}>`);
  const root = (): RegExp => at('.');

  it('syncs the disk after a small file is written, reads it back, renames, syncs again, and only then says so', async () => {
    const { answer, course } = await receive(small);
    expect(answer).to.include({ outcome: 'stored' });
    const [first, second] = course.named(/^syncfs$/, /\/\.sendall\/stage>/);
    expectOrder(
      ['the last write', course.named(/^p?write/, /\/tree\/a\/b\/f>/).at(-1) as Call],
      ['the first sync of the disk', first as Call],
      ['reading back', course.named(/^(io_uring_enter|p?read.*)$/, /io_uring|\/tree\/a\/b\/f>/).at(-1) as Call],
      ['rename of the new directory', course.only(/^rename/, /\/tree\/a", /)],
      ['the second sync of the disk', second as Call],
      ['the answer', course.only(/^write$/, /stored/)],
    );
  });

  it(`syncs ${large} bytes, then reads them back, then links, then syncs the directory, and only then says so`, async () => {
    const { answer, course } = await receive(large);
    expect(answer).to.include({ outcome: 'stored' });
    const written = course.named(/^p?write/, stagedFile);
    const synced = course.only(/^f(data)?sync$/, stagedFile);
    const readBack = course.named(/^p?read/, stagedFile);
    const linked = course.only(/^link/, /\/f"/);
    const directorySynced = course.only(/^fsync$/, at('a/b'));
    const answered = course.only(/^write$/, /stored/);
    expectOrder(
      ['the last write', written.at(-1) as Call],
      ['fsync of the file', synced],
      ['the last reading back', readBack.at(-1) as Call],
      ['link', linked],
      ['fsync of its directory', directorySynced],
      ['the answer', answered],
    );
    const bytesRead = readBack.reduce((sum, { text }) => sum + Number(/= (\d+)/.exec(text)?.[1]), 0);
    expect(bytesRead, 'bytes read back').to.equal(large);
    expect(
      course.named(/^(fchmod|ftruncate)$/, stagedFile).every(({ to }) => to < synced.from),
      'metadata is set before the fsync',
    ).to.equal(true);
    expect(course.named(/^rename/, /./), 'a rename could replace').to.have.lengthOf(0);
  });

  it('writes and reads past the page cache', async () => {
    const { course } = await receive(large);
    const opened = course.only(/^open/, /\/[0-9a-f]{32}", [^)]*O_CREAT/);
    for (const flag of ['O_DIRECT', 'O_EXCL', 'O_NOFOLLOW', '0600']) expect(opened.text).to.contain(flag);
  });

  it('syncs every directory that it made, in its parent', async () => {
    const { course } = await receive(large);
    const linked = course.only(/^link/, /\/f"/);
    for (const [made, parent] of [
      ['a', '.'],
      ['b', 'a'],
    ] as const) {
      const mkdirCall = course.only(/^mkdir/, new RegExp(`/${made}"`));
      const synced = course.named(/^fsync$/, at(parent));
      expect(
        synced.some(({ from, to }) => mkdirCall.to < from && to < linked.from),
        `fsync for ${made}`,
      ).to.equal(true);
    }
  });

  it('syncs the directory after a rename, where a file is replaced', async () => {
    await writeFile(path.join(directory, 'f'), 'old');
    const { answer, course } = await receive(large, { ifExists: 'replace', name: 'f' });
    expect(answer).to.include({ outcome: 'replaced' });
    const renamed = course.only(/^rename/, /\/f"/);
    const synced = course.named(/^fsync$/, root()).at(-1) as Call;
    expectOrder(
      ['fsync of the file', course.only(/^fsync$/, stagedFile)],
      ['rename', renamed],
      ['fsync of its directory', synced],
      ['the answer', course.only(/^write$/, /replaced/)],
    );
  });

  it('syncs its lock before that appears: a power cut leaves none that cannot be read (found by power-cut)', async () => {
    const traced = new TracedProcess('fsync,link,linkat');
    await traced.open(directory);
    const course = new Course(await traced.calls());
    expectOrder(
      ['fsync of the lock', course.only(/^fsync$/, /<[^>]*\/\.sendall\/lock\.[0-9a-f]{16}>/)],
      ['link', course.only(/^link/, /\/lock"/)],
    );
  });

  it('syncs identical content that it finds, and reads it from where it says', async () => {
    await writeFile(path.join(directory, 'f'), Buffer.alloc(large, repeated(3)));
    const { answer, course } = await receive(large, { name: 'f' });
    expect(answer).to.include({ outcome: 'identical' });
    expectOrder(
      ['fsync of the file', course.only(/^fsync$/, at('f'))],
      ['fsync of its directory', course.named(/^fsync$/, root()).at(-1) as Call],
    );
  });
});
