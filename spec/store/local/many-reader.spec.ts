import { expect } from 'chai';
import { closeSync, constants, fsyncSync, openSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { createDigestOf } from '../../../lib/digest/digest';
import { ManyReader, type ReadWay } from '../../../lib/store/local/many-reader';
import { answersFromDevice } from '../../../lib/store/local/local-probe';
import { fileCalls, plainFileCalls } from '../../../lib/threads/file-calls';
import { Grouping, sha256Of, words } from './grouping';
import { emptyDirectory } from './local-place';
import { skipTest } from '../../skip-test';

const { O_DIRECT = 0 } = constants as typeof constants & { readonly O_DIRECT?: number };
const sizes = [
  0,
  1,
  4_095,
  4_096,
  4_097,
  65_536,
  1_048_576,
  ...Array.from({ length: 600 }, (_, at) => (at * 37) % 9_000),
];

describe('Reading many files at once', function () {
  this.timeout(30_000);
  let directory: string;
  let fds: number[] = [];
  before(async () => {
    directory = await emptyDirectory();
    for (const [at, size] of sizes.entries()) writeFileSync(path.join(directory, String(at)), Buffer.alloc(size, at));
    const fd = openSync(path.join(directory, String(sizes.length - 1)), 'r+');
    fsyncSync(fd);
    closeSync(fd);
  });
  afterEach(() => {
    for (const fd of fds.splice(0)) closeSync(fd);
  });
  after(() => rm(directory, { recursive: true }));

  for (const [name, calls] of [
    ['the calls of this machine', fileCalls()],
    ['the calls of every system', plainFileCalls],
  ] as const) {
    for (const way of ['ring', 'drop', 'single', 'cache'] as const satisfies ReadWay[]) {
      it(`gives every digest, and tells what is shorter or fails: ${way}, with ${name}`, async function () {
        if (way !== 'cache' && !(await answersFromDevice(directory)))
          skipTest(this, 'what is here is not read from a device');
        const reader = ManyReader.create(calls, way !== 'cache', way);
        if (reader.way !== way) {
          // Where the machine has no such way, the next one is taken.
          if (way === 'ring') expect(reader.way).to.be.oneOf(['drop', 'single']);
          else expect([way, reader.way]).to.deep.equal(['drop', 'single']);
        }
        fds = sizes.map((_, at) =>
          openSync(path.join(directory, String(at)), constants.O_RDONLY | (reader.direct ? O_DIRECT : 0)),
        );
        const asked = Float64Array.from([...sizes, 10, 10]);
        const short = openSync(path.join(directory, '1'), constants.O_RDONLY | (reader.direct ? O_DIRECT : 0));
        const wrong = openSync(directory, constants.O_RDONLY);
        fds.push(short, wrong);
        const found = reader.digests(Int32Array.from(fds), asked, asked.length, await createDigestOf('sha256'));
        expect(found.slice(0, sizes.length)).to.deep.equal(sizes.map((size, at) => sha256Of(Buffer.alloc(size, at))));
        expect(found[sizes.length], 'shorter than it should be').to.equal(undefined);
        expect(found[sizes.length + 1], 'a directory').to.be.an('error');
        reader.close();
      });
    }
  }
});

describe('A batch, in each way of reading it back', function () {
  this.timeout(30_000);
  for (const way of ['ring', 'drop', 'single'] as const) {
    it(`is stored whole, also when many files wait for that: ${way}`, async () => {
      const before = process.env['SENDALL_READ_BACK'];
      process.env['SENDALL_READ_BACK'] = way;
      try {
        const place = await Grouping.open();
        const files = Object.fromEntries(
          Array.from({ length: 300 }, (_, at) => [
            `d${String(at % 7)}/f${String(at)}`,
            `content ${String(at)}`.repeat(at),
          ]),
        );
        for (const turn of ['stored', 'identical'])
          expect(await place.put(files)).to.deep.equal(Object.keys(files).map((name) => `${turn} ${name}`));
        await place.write({ 'd0/bad': 'x' }, { digest: '0'.repeat(64) });
        expect(words(await place.store.flush())).to.deep.equal(['mismatch']);
        await place.end();
      } finally {
        if (before === undefined) delete process.env['SENDALL_READ_BACK'];
        else process.env['SENDALL_READ_BACK'] = before;
      }
    });
  }
});
