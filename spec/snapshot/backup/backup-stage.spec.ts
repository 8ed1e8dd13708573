import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { parseEntryName } from '../../../lib/name';
import { mostHeldText } from '../../../lib/receive/limits';
import type { SnapshotStage } from '../../../lib/receive/snapshot-stage';
import { SnapshotStages } from '../../../lib/snapshot/backup/snapshot-stages';
import { Allowance, type KeptFiles, Usage } from '../../../lib/store/limited';
import type { SymlinkEntry } from '../../../lib/wire/session-list';

describe('what a snapshot on its way takes', () => {
  let directory: string;
  let stages: SnapshotStages;
  beforeEach(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'sendall-stage-'));
    stages = new SnapshotStages(() => undefined);
  });
  afterEach(async () => {
    await stages.close();
    rmSync(directory, { recursive: true });
  });

  const take = (allowance: Allowance, session = 'session'): Promise<SnapshotStage> =>
    stages.take({
      name: parseEntryName('laptop'),
      repairs: false,
      checksum: false,
      algorithm: 'md5',
      destination: { directory, allowance },
      peer: 'peer',
      mayCompare: true,
      session,
    });

  const unreadable = {
    name: 'Müll\u0001/“夏”\n',
    code: 'source-unreadable',
    message: 'é\u0002 is no file: “”.',
  } as const;
  const file = {
    type: 'file',
    file: 0,
    name: parseEntryName('file'),
    size: 0,
    mode: 0o644,
    mtime: 0n,
    ctime: undefined,
  } as const;

  it('is as many bytes of a quota as the line has that says what is missing', async () => {
    const stage = await take(new Allowance({ quota: 1_000_000 }));
    stage.stored(file, { md5: '0'.repeat(32) });
    await stage.unsent([unreadable]);
    const snapshot = await stage.commit(1);
    const manifest = readFileSync(path.join(directory, 'laptop', snapshot?.id ?? '', 'MANIFEST'), 'utf8');
    const line = manifest.split('\n').find((each) => each.includes('"missing","name"')) ?? '';
    await stage.leave();
    const bytes = Buffer.byteLength(`${line}\n`);
    expect(bytes).to.be.greaterThan(100);
    for (const [quota, outcome] of [
      [bytes, undefined],
      [bytes - 1, 'quota'],
    ] as const) {
      const another = await take(new Allowance({ quota }), String(quota));
      const error: unknown = await another.unsent([unreadable]).catch((thrown: unknown) => thrown);
      expect(error === undefined ? undefined : (error as { readonly code?: string }).code).to.equal(outcome);
      await another.leave();
    }
  });

  it('is counted once more before there is said to be no room for a line', async () => {
    const count = (): Promise<KeptFiles> => Promise.resolve({ bytes: 0, names: 0, unfinished: new Map() });
    const stage = await take(new Allowance({ quota: 900 }, new Usage(count, 1000)));
    await stage.unsent([unreadable]);
    await stage.leave();
  });

  it('is no room any more after its end, whatever is told of as missing then', async () => {
    const allowance = new Allowance({ quota: 1000, quotaFiles: 1 });
    const late = allowance.openLines();
    allowance.closeLines(late);
    await allowance.takeLine('late', 1000, late);
    await allowance.takeLine('next', 1000, allowance.openLines());
  });

  it('is no more memory where the same entry is stored again, as one that is damaged is, and more where it has more text', async () => {
    const stage = await take(new Allowance({}));
    const symlink = (name: string, target: string): SymlinkEntry => ({
      type: 'symlink',
      file: 0,
      name: parseEntryName(name),
      target,
      mtime: 0n,
    });
    const text = 'x'.repeat(mostHeldText / 100);
    let ended = false;
    void stage.superseded.then(() => (ended = true));
    for (let at = 0; at < 200; at++) stage.stored(symlink('link', text));
    await Promise.resolve();
    expect(ended, 'one symbolic link, again and again').to.equal(false);
    for (let at = 0; at < 200; at++) {
      const name = `link${String(at)}`;
      stage.missing({ name, code: 'source-changed', message: 'short' });
      stage.stored(symlink(name, text));
    }
    await Promise.resolve();
    expect(ended, 'symbolic links that were told of as missing before').to.equal(true);
    await stage.leave();
  });
});
