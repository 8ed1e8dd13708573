import { chmodSync, existsSync, readdirSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect } from 'chai';
import { drill, type DrillOptions, type DrillReport, TransferError } from '../../../lib/index';
import type { Manifest } from '../../../lib/snapshot/manifest/manifest';
import { Heard, temporaryDirectory } from '../../receive/receive-directory';
import { MiB, noise } from '../../session/pair';
import { madeSnapshot } from '../made-snapshot';

describe('a drill', () => {
  let root: string;
  let scratch: string;
  let place: string;
  let manifest: Manifest;
  let heard: Heard;
  const id = '2026-11-20T101233Z';
  const files = Object.fromEntries(
    Array.from({ length: 40 }, (_, at) => [`home/${String(at)}`, `content ${String(at)}`]),
  );

  beforeEach(async () => {
    root = await temporaryDirectory();
    scratch = await temporaryDirectory();
    heard = new Heard();
    ({ place, manifest } = await madeSnapshot(
      root,
      { name: 'laptop', id, number: 1 },
      { ...files, 'home/large': noise(2 * MiB), 'home/link': { link: 'home/large' }, 'home/to': { symlink: 'large' } },
    ));
  });
  afterEach(async () => {
    await rm(root, { recursive: true });
    await rm(scratch, { recursive: true });
  });

  const drilling = (options: Partial<DrillOptions> = {}): Promise<DrillReport> =>
    drill({ directory: root, snapshot: 'laptop/latest', scratch, on: heard.on, ...options });
  const failure = async (options: Partial<DrillOptions>): Promise<string> => {
    const end = await drilling(options).catch((error: unknown) => error);
    return end instanceof TransferError ? end.code : 'none';
  };
  it('brings a sample back, compares it, reports, and leaves nothing behind', async () => {
    const report = await drilling({ share: 0.1 });
    expect(report).to.include({ snapshot: `laptop/${id}`, files: 5 });
    expect(report.failures).to.deep.equal([]);
    expect(report.seconds).to.be.above(0);
    expect(heard.events.at(-1)).to.deep.equal({ event: 'drill', ...report });
    expect(heard.events.map(({ event }) => event)).to.not.include.members(['received', 'sent']);
    expect(await readdir(scratch)).to.deep.equal([]);
  });

  it('takes one file at least, and all of them where that is asked for', async () => {
    expect((await drilling({ share: 0.0001 })).files).to.equal(1);
    expect((await drilling({ share: 1 })).bytes).to.equal(manifest.totals.bytes);
  });

  it('takes another sample each time', async () => {
    for (const name of Object.keys(files)) await rm(path.join(place, name));
    const samples = new Set<string>();
    // The same six of forty are not drawn five times running.
    for (let times = 0; times < 5 && samples.size < 2; times++) {
      const { failures } = await drilling({ share: 0.15 });
      samples.add(
        failures
          .map(({ file_name: name }) => name)
          .sort()
          .join(' '),
      );
    }
    expect(samples.size).to.be.above(1);
  });

  it('finds what is damaged in the snapshot', async () => {
    const { atime, mtime } = await stat(path.join(place, 'home/7'));
    await writeFile(path.join(place, 'home/7'), 'c0ntent 7');
    await utimes(path.join(place, 'home/7'), atime, mtime);
    await rm(path.join(place, 'home/8'));
    const { failures } = await drilling({ share: 1 });
    expect(failures.map(({ file_name: name, code }) => [name, code])).to.have.deep.members([
      ['home/7', 'mismatch'],
      ['home/8', 'mismatch'],
    ]);
    expect(heard.all('failed').map(({ file_name: name }) => name)).to.have.members(['home/7', 'home/8']);
    expect(await readdir(scratch)).to.deep.equal([]);
  });

  it('looks at what came back by itself, whatever the restore said', async () => {
    const spoil: Readonly<Record<string, (at: string) => void>> = {
      'home/1': (at) => writeFileSync(at, 'c0ntent 1'),
      'home/2': (at) => chmodSync(at, 0o600),
      'home/3': (at) => utimesSync(at, 1, 1),
      'home/4': (at) => rmSync(at),
      'home/large': (at) => truncateSync(at, 1),
    };
    const left = new Set(Object.keys(spoil));
    const spoiling = setInterval(() => {
      const [own] = readdirSync(scratch);
      for (const name of left) {
        const at = path.join(scratch, own ?? '', name);
        if (!existsSync(at)) continue;
        spoil[name]?.(at);
        left.delete(name);
      }
    }, 1);
    const { failures } = await drilling({ share: 1 }).finally(() => clearInterval(spoiling));
    expect(failures.map(({ file_name: name }) => name)).to.have.members(Object.keys(spoil));
  });

  it('removes the scratch directory also where it is interrupted, or the manifest is damaged', async () => {
    expect(await failure({ signal: AbortSignal.abort() })).to.equal('interrupted');
    await writeFile(path.join(place, 'MANIFEST'), (await readFile(path.join(place, 'MANIFEST'))).subarray(0, -1));
    expect(await failure({ snapshot: `laptop/${id}` })).to.equal('mismatch');
    expect(await readdir(scratch)).to.deep.equal([]);
  });

  it('is refused for a share of nothing, and for a scratch directory that is none', async () => {
    for (const share of [0, -1, 1.1, NaN]) expect(await failure({ share })).to.equal('usage');
    expect(await failure({ scratch: path.join(place, 'home/1') })).to.equal('directory');
  });

  it('of a snapshot without files is no failure', async () => {
    await madeSnapshot(root, { name: 'empty', id, number: 1 }, { only: { directory: true } });
    expect(await drilling({ snapshot: 'empty/latest' })).to.deep.include({ files: 0, bytes: 0, failures: [] });
  });
});
