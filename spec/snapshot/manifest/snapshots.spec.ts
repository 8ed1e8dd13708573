import { expect } from 'chai';
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type LocalListOptions, listSnapshots } from '../../../lib/snapshot/manifest/snapshots';
import { failureOf } from '../../store/delivery';
import { madeSnapshot } from '../made-snapshot';

const [monday, tuesday, wednesday] = ['2026-11-16T100000Z', '2026-11-17T100000Z', '2026-11-18T100000Z'];

describe('listSnapshots', () => {
  let root: string;
  beforeEach(async () => (root = await mkdtemp(path.join(tmpdir(), 'sendall-snapshots-'))));
  afterEach(() => rm(root, { recursive: true, force: true }));

  const list = (options: Partial<LocalListOptions> = {}): ReturnType<typeof listSnapshots> =>
    listSnapshots({ directory: root, ...options });
  const listed = async (options?: Partial<LocalListOptions>): Promise<string[]> =>
    (await list(options)).flatMap((each) => (each.event === 'foreign' ? [] : [each.snapshot]));

  /** What a verification leaves behind. */
  async function verified(id: string, text: string): Promise<void> {
    const own = path.join(root, '.sendall', 'snapshots', 'laptop');
    await mkdir(own, { recursive: true, mode: 0o700 });
    await writeFile(path.join(own, `${id}.verified`), text);
  }

  it('tells how much a snapshot holds, how much of that is new, what is missing, and when it was verified', async () => {
    const { place } = await madeSnapshot(root, { name: 'laptop', id: monday, number: 1 }, { 'd/a': 'same', b: 'one' });
    await madeSnapshot(
      root,
      { name: 'laptop', id: tuesday, number: 2 },
      { 'd/a': 'same', b: 'three', gone: { missing: 'source-unreadable' } },
      { previous: place },
    );
    await verified(tuesday, JSON.stringify({ manifest: '00', verified_at: '2026-11-19T08:00:00.000Z' }));
    expect(await list()).to.deep.equal([
      {
        event: 'snapshot',
        snapshot: `laptop/${monday}`,
        time: '2026-11-16T10:00:00.000Z',
        entries: 3,
        bytes: 7,
        new_bytes: 7,
        missing: 0,
        verified_at: null,
      },
      {
        event: 'snapshot',
        snapshot: `laptop/${tuesday}`,
        time: '2026-11-17T10:00:00.000Z',
        entries: 4,
        bytes: 9,
        new_bytes: 5,
        missing: 1,
        verified_at: '2026-11-19T08:00:00.000Z',
      },
    ]);
  });

  it('goes by the numbers where a clock went back, and by the names of the backups', async () => {
    for (const [name, id, number] of [
      ['laptop', wednesday, 1],
      ['laptop', monday, 2],
      ['desk', tuesday, 1],
    ] as const)
      await madeSnapshot(root, { name, id, number }, { a: '1' });
    await mkdir(path.join(root, 'no backup'));
    expect(await listed()).to.deep.equal([`desk/${tuesday}`, `laptop/${wednesday}`, `laptop/${monday}`]);
    expect(await listed({ name: 'desk' })).to.deep.equal([`desk/${tuesday}`]);
  });

  it('says which manifest is damaged wherever in it that is, and lists the others', async () => {
    for (const [at, id] of [monday, tuesday, wednesday].entries())
      await madeSnapshot(root, { name: 'laptop', id, number: at + 1 }, { a: '1' });
    await truncate(path.join(root, 'laptop', monday, 'MANIFEST'), 300);
    await rm(path.join(root, 'laptop', tuesday, 'MANIFEST'));
    const all = await list();
    expect(all.map(({ event }) => event)).to.deep.equal(['damaged', 'damaged', 'snapshot']);
    for (const each of all)
      if (each.event === 'damaged')
        expect([each.path, each.reason, each.failure.code]).to.deep.equal(['MANIFEST', 'manifest', 'mismatch']);
  });

  it('believes no state of verification that makes no sense', async () => {
    await madeSnapshot(root, { name: 'laptop', id: monday, number: 1 }, { a: '1' });
    for (const text of ['', '{', '[]', '{"manifest":"00"}', '{"manifest":"00","verified_at":5}']) {
      await verified(monday, text);
      expect(
        (await list()).map((each) => (each.event === 'snapshot' ? each.verified_at : each)),
        text,
      ).to.deep.equal([null]);
    }
  });

  it('finds nothing in an empty directory, and refuses what is none, a backup that is not there, and to go on when interrupted', async () => {
    expect(await list()).to.deep.equal([]);
    await madeSnapshot(root, { name: 'laptop', id: monday, number: 1 }, { a: '1' });
    for (const name of ['desk', '..', '', 'laptop/latest'])
      expect((await failureOf(list({ name }))).code, name).to.equal('usage');
    expect((await failureOf(list({ directory: path.join(root, 'gone') }))).code).to.equal('directory');
    expect((await failureOf(list({ signal: AbortSignal.abort() }))).code).to.equal('interrupted');
  });
});
