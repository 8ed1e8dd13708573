import { expect } from 'chai';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TransferEvent } from '../../../lib/progress';
import { backup } from '../../../lib/snapshot/backup/backup';
import { forget } from '../../../lib/snapshot/forget/forget';
import { Catalog, type Snapshot } from '../../../lib/snapshot/manifest/catalog';
import { DeviceReader } from '../../../lib/snapshot/verify/device-reader';
import { choosePass } from '../../../lib/snapshot/verify/verify-pass';
import { VerifyRun } from '../../../lib/snapshot/verify/verify-run';
import { SnapshotCheck, SnapshotRenewed } from '../../../lib/snapshot/verify/verify-snapshot';
import { parseEntryName } from '../../../lib/name';

describe('snapshot/verify: what is taken out of a snapshot meanwhile', function () {
  this.timeout(30_000);
  let root: string;
  let directory: string;
  beforeEach(async () => {
    root = mkdtempSync(path.join(tmpdir(), 'sendall-forgotten-'));
    directory = path.join(root, 'backups');
    mkdirSync(directory, { mode: 0o700 });
    mkdirSync(path.join(root, 'src/sub'), { recursive: true });
    for (const name of ['a', 'sub/secret', 'sub/b']) writeFileSync(path.join(root, 'src', name), name);
    await backup({ paths: [path.join(root, 'src')], directory, name: 'laptop' });
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  it('is no damage: the snapshot is verified as it is by then', async () => {
    const catalog = new Catalog(directory);
    const chosen = await catalog.snapshots(parseEntryName('laptop'));
    const reader = await DeviceReader.open(directory, `laptop/${chosen[0]?.id ?? ''}/MANIFEST`);
    const events: TransferEvent[] = [];
    try {
      await forget({ directory, pattern: 'secret' });
      const { signal } = new AbortController();
      const work = { catalog, chosen, called: directory, reader, share: 1, signal };
      const result = await new VerifyRun({ ...work, on: (event) => events.push(event) }).run();
      expect(result).to.include({ files: 2, snapshots: 1 });
    } finally {
      await reader.close();
    }
    expect(events.filter(({ event }) => event !== 'progress').map(({ event }) => event)).to.deep.equal(['summary']);
  });

  /** Checks the newest snapshot. Resolves with what is damaged in it, and how often it was looked for. */
  async function checked(
    work: (check: SnapshotCheck, snapshot: Snapshot) => Promise<void>,
  ): Promise<{ readonly damages: readonly string[]; readonly looks: number }> {
    const catalog = new Catalog(directory);
    const snapshot = (await catalog.snapshots(parseEntryName('laptop'))).at(-1);
    if (!snapshot) throw new Error('There is no snapshot.');
    const { pathname } = snapshot;
    let looks = 0;
    const watched = Object.defineProperty({ ...snapshot }, 'pathname', { get: () => (looks++, pathname) });
    const reader = await DeviceReader.open(directory, `laptop/${snapshot.id}/MANIFEST`);
    const damages: string[] = [];
    const check = new SnapshotCheck(watched, await catalog.manifest(snapshot), [], {
      reader,
      pass: choosePass([], 1).pass,
      signal: new AbortController().signal,
      known: new Map(),
      onDamage: (name, reason) => damages.push(`${name} ${reason}`),
      onWithoutModes: () => undefined,
      onProgress: () => undefined,
    });
    try {
      await work(check, snapshot);
    } finally {
      await check.close();
      await reader.close();
    }
    return { damages, looks };
  }

  it('is no damage either where its manifest was read before', async () => {
    const { damages } = await checked(async (check) => {
      await forget({ directory, pattern: 'secret' });
      const error: unknown = await check.survey().catch((thrown: unknown) => thrown);
      expect(error).to.be.instanceOf(SnapshotRenewed);
    });
    expect(damages).to.deep.equal([]);
  });

  it('is no damage either where it had been looked at before', async () => {
    const { damages } = await checked(async (check) => {
      await check.survey();
      await forget({ directory, pattern: 'secret' });
      const error: unknown = await check.read().catch((thrown: unknown) => thrown);
      expect(error).to.be.instanceOf(SnapshotRenewed);
    });
    expect(damages).to.deep.equal([]);
  });

  it('is not looked for once for each file that is missing', async () => {
    const files = Array.from({ length: 100 }, (_, at) => `many/${String(at)}`);
    mkdirSync(path.join(root, 'src/many'));
    for (const name of files) writeFileSync(path.join(root, 'src', name), name);
    await backup({ paths: [path.join(root, 'src')], directory, name: 'laptop' });
    const { damages, looks } = await checked(async (check, { pathname }) => {
      await check.survey();
      for (const name of files) rmSync(path.join(pathname, 'src', name));
      await check.read();
    });
    expect([...damages].sort()).to.deep.equal(files.map((name) => `src/${name} missing`).sort());
    expect(looks).to.be.at.most(2);
  });
});
