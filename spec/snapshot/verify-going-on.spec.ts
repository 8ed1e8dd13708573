import { expect } from 'chai';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TransferEvent } from '../../lib/progress';
import { verify, type LocalVerifyOptions } from '../../lib/snapshot/verify/verify';
import { content, failureOf } from '../store/delivery';
import { encoded, type MadeEntry, type MadeSnapshot, madeSnapshot, registerMade } from './made-snapshot';

const mib = 1024 * 1024;
const id = '2026-11-20T101233Z';
const next = '2026-11-21T101233Z';

describe('snapshot/verify: going on and sampling', () => {
  let root: string;
  let events: TransferEvent[];
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'sendall-verify-'));
    events = [];
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const make = (
    tree: Readonly<Record<string, MadeEntry>>,
    which = id,
    number = 1,
    previous?: string,
  ): Promise<MadeSnapshot> =>
    madeSnapshot(root, { name: 'laptop', id: which, number }, tree, previous === undefined ? {} : { previous });
  const run = (options: Partial<LocalVerifyOptions> = {}): ReturnType<typeof verify> =>
    verify({ directory: root, on: (event) => events.push(event), ...options });
  const stateOf = (which = id): string => join(root, '.sendall', 'snapshots', 'laptop', `${which}.verified`);
  const state = (which = id): Record<string, unknown> =>
    JSON.parse(readFileSync(stateOf(which), 'utf8')) as Record<string, unknown>;
  const files = (count: number, size: number): Record<string, MadeEntry> =>
    Object.fromEntries(Array.from({ length: count }, (_, at) => [`f${String(at)}`, content(size, at + 1)]));
  it('goes on where it was interrupted, as often as it is, and reads nothing twice', async () => {
    const large = Array.from({ length: 6 }, (_, at): [string, Buffer] => [
      `large${String(at)}`,
      Buffer.alloc(16 * mib, at + 1),
    ]);
    await make({ ...files(1000, 100), ...Object.fromEntries(large) });
    let read = { files: 0, bytes: 0 };
    const on = (event: TransferEvent): void => {
      if (event.event === 'summary') read = { files: read.files + event.files, bytes: read.bytes + event.bytes };
    };
    /** Whether it came to its end within `wait` ms. */
    const endsWithin = async (wait: number): Promise<boolean> => {
      const abort = new AbortController();
      const timer = setTimeout(() => abort.abort(), wait);
      const ended = await run({ on, signal: abort.signal }).catch((error: unknown) => error);
      clearTimeout(timer);
      if (ended instanceof Error) expect(ended).to.include({ code: 'interrupted' });
      return !(ended instanceof Error);
    };
    // How long it takes is the disk's to say: what ends is begun anew, until it is interrupted in the middle.
    let wait = 120;
    while (read.files === 0)
      if (await endsWithin(wait)) {
        read = { files: 0, bytes: 0 };
        wait *= 0.6;
      } else if (read.files === 0) wait *= 1.2;
    while (!(await endsWithin(wait))) wait += 60;
    expect(read).to.deep.equal({ files: 1006, bytes: 1000 * 100 + 6 * 16 * mib });
    expect(await run())
      .to.include({ files: 1006 })
      .and.not.have.property('continued');
  });

  it('goes on behind the snapshots that were verified, and does not read what they share', async () => {
    const { place } = await make({ ...files(50, 100), own: 'x' });
    await make({ ...files(50, 100), other: 'y' }, next, 2, place);
    await run({ snapshot: `laptop/${id}` });
    // As it is when the run is killed between the two: the first is through, the run is not.
    const { full, ...others } = state() as { full: object };
    writeFileSync(stateOf(), JSON.stringify({ ...others, full: { ...full, complete: false } }));
    expect(await run()).to.include({ files: 1, bytes: 1, snapshots: 2 });
    expect(await run()).to.include({ files: 52 });
  });

  it('reads again what was damaged before it was interrupted', async () => {
    const { place } = await make(files(50, 100));
    truncateSync(join(place, 'f7'), 99);
    appendFileSync(join(place, 'f7'), 'x');
    utimesSync(join(place, 'f7'), statSync(join(place, 'f8')).atime, statSync(join(place, 'f8')).mtime);
    expect((await failureOf(run())).code).to.equal('mismatch');
    const { full, ...others } = state() as { full: object };
    writeFileSync(stateOf(), JSON.stringify({ ...others, full: { ...full, complete: false } }));
    events = [];
    expect((await failureOf(run())).code).to.equal('mismatch');
    expect(events).to.deep.include({ event: 'damaged', snapshot: `laptop/${id}`, path: 'f7', reason: 'changed' });
    expect(events.at(-1)).to.include({ event: 'summary', files: 1 });
  });

  it('keeps when a snapshot was verified as a whole, until damage is found, privately', async () => {
    const { place } = await make(files(3, 10));
    await run({ sample: 0.5 });
    expect(state()).not.to.have.property('verified_at');
    const before = new Date().toISOString();
    await run();
    expect(state()['verified_at'])
      .to.be.a('string')
      .and.satisfy((at: string) => at >= before && at <= new Date().toISOString());
    expect(statSync(join(root, '.sendall')).mode & 0o777).to.equal(0o700);
    await run({ sample: 0.5 });
    expect(state()['verified_at']).to.be.a('string');
    chmodSync(join(place, 'f1'), 0o600);
    await failureOf(run({ sample: 0.01 }));
    expect(state()).not.to.have.property('verified_at');
  });

  it('forgets it all when the manifest is another one, and takes no notice of nonsense', async () => {
    const { place, manifest } = await make(files(20, 10));
    await run();
    const { full, ...others } = state() as { full: object };
    writeFileSync(stateOf(), JSON.stringify({ ...others, full: { ...full, complete: false } }));
    expect(await run()).to.include({ files: 0 });
    writeFileSync(stateOf(), JSON.stringify({ ...others, full: { ...full, complete: false } }));
    writeFileSync(join(place, 'MANIFEST'), encoded({ ...manifest, head: { ...manifest.head, number: 2 } }));
    await registerMade(root, { name: 'laptop', id });
    expect(await run()).to.include({ files: 20 });
    for (const nonsense of [
      '',
      '{',
      '[]',
      '{"manifest":1}',
      '{"manifest":"a","full":{}}',
      JSON.stringify({ ...others, full: { ...full, complete: false, done: [[5, 1]] } }),
    ]) {
      writeFileSync(stateOf(), nonsense);
      expect(await run(), nonsense).to.include({ files: 20 });
    }
  });

  it('verifies where nothing may be written, and says so once', async () => {
    await make(files(3, 10));
    await make(files(3, 10), next, 2);
    // Where it is kept how far each is.
    for (const each of [id, next]) mkdirSync(`${stateOf(each)}.new`);
    expect(await run()).to.include({ files: 6, snapshots: 2 });
    const skipped = events.flatMap((event) => (event.event === 'skipped' ? [event] : []));
    expect(skipped).to.have.length(1);
    expect(skipped[0]?.reason).to.match(/cannot be kept/);
    expect(existsSync(stateOf())).to.equal(false);
  });

  it('samples about its share, of the same files in all snapshots, and leaves nothing out in the end', async () => {
    const tree = files(400, 1000);
    const { place } = await make(tree);
    await make(tree, next, 2, place);
    let sum = 0;
    for (let turn = 0; turn < 4; turn++) {
      const { files: read, bytes } = await run({ sample: 0.25 });
      expect(read, `turn ${String(turn)}`).to.be.within(60, 140);
      expect(bytes).to.equal(read * 1000);
      sum += read;
    }
    expect(sum).to.equal(400);
  });

  it('goes on with a sample too, and lets neither break off the other', async () => {
    await make(files(100, 1000));
    const { files: all } = await run({ sample: 0.2 });
    const { sample, ...others } = state() as { sample: { from: number } };
    writeFileSync(stateOf(), JSON.stringify({ ...others, sample: { ...sample, complete: false, done: [] } }));
    expect(await run()).to.include({ files: 100 });
    const again = await run({ sample: 0.2 });
    expect(again).to.include({ files: all });
    expect((state()['sample'] as { from: number }).from).to.equal(sample.from);
  });
});
