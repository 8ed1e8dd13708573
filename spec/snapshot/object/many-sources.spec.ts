import { expect } from 'chai';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { backup } from '../../../lib/snapshot/backup/backup';
import { parseEntryName } from '../../../lib/name';
import { parseSnapshotId } from '../../../lib/snapshot/manifest/snapshot-id';
import {
  encodeSnapshotRecord,
  notedSources,
  parseSnapshotRecord,
  recordKey,
  type SnapshotRecord,
} from '../../../lib/snapshot/object/snapshot-record';
import { listSnapshots, prune, restore, verify } from '../../../lib/snapshot/remote/anywhere';
import type { ObjectStoreOptions } from '../../../lib/store/object/object-store';
import { codeOf } from '../../store/delivery';
import { useTiny } from '../../store/object/servers';

describe('sources of a backup in an object store', () => {
  const server = useTiny();
  let objects: ObjectStoreOptions;
  let root: string;
  beforeEach(() => {
    objects = server.options();
    root = mkdtempSync(path.join(tmpdir(), 'sendall-sources-'));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  /** Makes a source with so many files. */
  function source(name: string, files: number): string {
    const directory = path.join(root, name);
    mkdirSync(directory);
    for (let at = 0; at < files; at++) writeFileSync(path.join(directory, String(at)), name.slice(-9) + String(at));
    return directory;
  }

  it('may be so many that not all of them fit into the record of the snapshot', async () => {
    const paths = Array.from({ length: 1500 }, (_, at) => source(`${'s'.repeat(240)}${String(at)}`, at % 2));
    paths.push(source('large', 20));
    await backup({ paths, objects, name: 'laptop' });
    const records = [...server.tiny.objects].filter(([key]) => key.startsWith(`${objects.prefix}snapshots/`));
    expect(Math.max(...records.map(([, { body }]) => body.length))).to.be.lessThan(1024 * 1024);
    expect((await listSnapshots({ objects })).map(({ event }) => event)).to.deep.equal(['snapshot']);
    // Of the largest ones it is noticed first that they have lost what they had.
    rmSync(path.join(root, 'large'), { recursive: true });
    source('large', 0);
    expect(await codeOf(backup({ paths, objects, name: 'laptop' }))).to.equal('some-failed');
    await backup({ paths, objects, name: 'laptop' });
    const kept = await prune({ objects, keep: { last: 1 } });
    expect(kept[0]).to.deep.include({ event: 'kept', reasons: ['content'] });
  });

  it('are noted as far as there is room for their names, the largest first', () => {
    const name = (at: number): string => '\udc80'.repeat(255) + String(at);
    const counts = Object.fromEntries(Array.from({ length: 600 }, (_, at) => [name(at), at]));
    const noted = Object.values(notedSources(counts));
    expect(Buffer.byteLength(JSON.stringify(notedSources(counts)))).to.be.within(400 * 1024, 512 * 1024);
    expect(noted).to.deep.equal(Array.from(noted, (_, at) => 599 - at));
    expect(notedSources({ none: 0, one: 1 })).to.deep.equal({ one: 1 });
  });

  it('may be more in a record of an earlier version', () => {
    const name = parseEntryName('laptop');
    const sources = Object.fromEntries(Array.from({ length: 19_000 }, (_, at) => [`source ${String(at)}`, at]));
    const record: SnapshotRecord = {
      name,
      id: parseSnapshotId('2026-11-20T101233Z'),
      number: 1,
      digest: 'blake3',
      owner: 'local',
      manifest: '0'.repeat(64),
      size: 1,
      content: 'manifests/x',
      totals: { entries: 1, bytes: 1, newBytes: 1, missing: 0 },
      verified: 'store',
      sources,
      shrunk: {},
    };
    const text = encodeSnapshotRecord(record).toString();
    expect(parseSnapshotRecord(text, recordKey(record)).sources).to.deep.equal(sources);
  });

  it('may have names with the words of an answer', async () => {
    const paths = [source('<Error>', 2), source('a<Error>b', 1)];
    await backup({ paths, objects, name: 'laptop' });
    const again = await backup({ paths, objects, name: 'laptop' });
    expect((await verify({ objects })).snapshots).to.equal(2);
    const { files } = await restore({ objects, snapshot: again.snapshot, destination: path.join(root, 'back') });
    expect(files.length).to.equal(3);
    await prune({ objects, keep: { last: 1 } });
  });
});
