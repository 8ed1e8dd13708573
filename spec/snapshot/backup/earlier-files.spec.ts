import { createHash } from 'node:crypto';
import { expect } from 'chai';
import { parseEntryName } from '../../../lib/name';
import { EarlierFiles } from '../../../lib/snapshot/backup/earlier-files';
import {
  type ManifestEntry,
  type ManifestFile,
  ManifestEncoder,
  parseManifest,
} from '../../../lib/snapshot/manifest/manifest';
import { type OwnedSnapshots, type Snapshot, SnapshotCatalog } from '../../../lib/snapshot/manifest/snapshot-catalog';
import { parseSnapshotId } from '../../../lib/snapshot/manifest/snapshot-id';

const name = parseEntryName('laptop');
const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');

function file(path: string, more: Partial<ManifestFile> = {}): ManifestFile {
  return {
    type: 'file',
    name: parseEntryName(path),
    size: path.length,
    mode: 0o644,
    mtime: 7n,
    digests: { sha256: digestOf(path) },
    source: { ctime: 8n, inode: 9n },
    content: { key: `packs/${path}`, offset: 0 },
    ...more,
  };
}

/** The bytes of a manifest, whose sum is right whatever `spoil` makes of its lines. */
function manifest(number: number, entries: readonly ManifestEntry[], spoil = (line: string): string => line): Buffer {
  const encoder = new ManifestEncoder();
  const bytes = entries.reduce((sum, entry) => sum + (entry.type === 'file' ? entry.size : 0), 0);
  const head = encoder.head({ name, id: parseSnapshotId(`2026-11-2${number}T101233Z`), number, digest: 'sha256' });
  const lines = entries.map((entry) => spoil(encoder.entry(entry)));
  const [totals] = encoder.end({ entries: entries.length, bytes, newBytes: 0, missing: 0 }).split(/(?<=\n)/);
  const text = [head, ...lines, totals].join('');
  return Buffer.from(`${text}{"sha256":"${digestOf(text)}"}\n`);
}

/** Snapshots in memory, the oldest first. */
class MadeCatalog extends SnapshotCatalog {
  readonly directory = 'memory';
  constructor(private readonly manifests: readonly Buffer[]) {
    super();
  }

  names(): Promise<(typeof name)[]> {
    return Promise.resolve([name]);
  }

  snapshots(): Promise<Snapshot[]> {
    return Promise.resolve(
      this.manifests.map((bytes, at) => {
        const id = parseSnapshotId(`2026-11-2${at + 1}T101233Z`);
        const text = bytes.toString();
        const sum = /"sha256":"([0-9a-f]+)"\}\n$/.exec(text)?.[1] ?? '';
        return {
          name,
          id,
          pathname: id,
          directory: 'memory',
          entry: { id, number: at + 1, owner: 'me', manifest: sum, size: bytes.length },
          head: { name, id, number: at + 1, digest: 'sha256' },
          lost: false,
        };
      }),
    );
  }

  async owned(): Promise<OwnedSnapshots> {
    return { owner: 'me', snapshots: await this.snapshots() };
  }

  protected hint(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  protected async *bytesOf({ entry }: Snapshot): AsyncGenerator<Uint8Array> {
    const bytes = this.manifests[entry.number - 1] ?? Buffer.alloc(0);
    // In pieces that end within lines.
    for (let at = 0; at < bytes.length; at += 100) {
      yield bytes.subarray(at, at + 100);
      await Promise.resolve();
    }
  }
}

const of = (...manifests: readonly Buffer[]): Promise<EarlierFiles> =>
  EarlierFiles.of(new MadeCatalog(manifests), name, 'sha256', ({ content }) => content?.key !== 'packs/condemned');

describe('files of earlier snapshots', () => {
  const entries: readonly ManifestEntry[] = [
    { type: 'directory', name: parseEntryName('d'), mode: 0o755, mtime: 1n },
    file('d/plain'),
    file('d/kept', { kept: { mode: 0o600 } }),
    file('d/a"b'),
    file('d/two', { digests: { sha256: digestOf('two'), md5: 'ab'.repeat(16) } }),
    { type: 'link', name: parseEntryName('d/link'), target: parseEntryName('d/plain'), mtime: 7n },
    file('e'),
  ];

  it('are unchanged, however their lines are spelled, and counted with everything else', async () => {
    const spaced = manifest(1, entries, (line) => line.replace('"d/plain","size":', '"d/plain", "size":'));
    for (const bytes of [manifest(1, entries), spaced]) {
      const before = await of(bytes);
      for (const each of parseManifest(bytes).entries)
        if (each.type === 'file') expect({ ...before.unchanged(each) }, each.name).to.deep.include({ ...each });
      expect(before.unchanged(file('d/plain', { size: 3 }))).to.equal(undefined);
      expect(before.unchanged(file('d/link')), 'another name of a file').to.equal(undefined);
      expect(before.unchanged(file('f'))).to.equal(undefined);
      // A file that is a source by itself counts where it has content.
      expect(before.counts.asRecord()).to.deep.equal({ d: 5, e: 1 });
    }
  });

  it('are found by what is in them, in the newest and, once asked for, in others', async () => {
    const before = await of(manifest(1, [file('old'), file('e')]), manifest(2, entries));
    const contents = await before.contents();
    expect(contents.has(digestOf('d/plain'))).to.equal(true);
    expect(contents.at(digestOf('d/plain'), 7)).to.deep.equal({ key: 'packs/d/plain', offset: 0 });
    expect(contents.at(digestOf('d/plain'), 8), 'of another size').to.equal(undefined);
    expect(contents.at(digestOf('old'), 3)).to.equal(undefined);
    const all = await before.allContents();
    expect(all.at(digestOf('old'), 3)).to.deep.equal({ key: 'packs/old', offset: 0 });
  });

  it('of which there are many are looked through in turns with other work', async () => {
    const many = Array.from({ length: 12_000 }, (_, at) => file(`d/${String(at).padStart(5, '0')}`));
    const before = await of(manifest(1, many));
    let turns = 0;
    let isLooking = true;
    const count = (): void => {
      turns++;
      if (isLooking) setImmediate(count);
    };
    setImmediate(count);
    await before.find({ ...file('moved'), type: 'file', file: 0, mtime: 5n, ctime: 5n, inode: 1n }, false);
    await before.contents();
    isLooking = false;
    expect(turns).to.be.greaterThan(9);
  });

  it('are found by a digest that is not the first of its line, or is spelled otherwise', async () => {
    const both = file('both', { digests: { md5: 'ab'.repeat(16), sha256: digestOf('both') } });
    const before = await of(manifest(1, [both, file('e')], (line) => line.replace('"sha256":"', '"sha256": "')));
    const contents = await before.contents();
    for (const name of ['both', 'e']) {
      expect(contents.has(digestOf(name)), name).to.equal(true);
      expect(contents.at(digestOf(name), name.length), name).to.deep.equal({ key: `packs/${name}`, offset: 0 });
    }
    expect((await (await of(manifest(1, [both]))).contents()).has(digestOf('both'))).to.equal(true);
  });

  it('are as if they were not there where their content is not to be used', async () => {
    const condemned = file('gone', { content: { key: 'packs/condemned', offset: 0 } });
    const before = await of(manifest(1, [condemned, file('e')]));
    expect(before.unchanged(condemned)).to.equal(undefined);
    expect((await before.contents()).at(digestOf('gone'), 4)).to.equal(undefined);
    expect(before.unchanged(file('e'))).to.not.equal(undefined);
  });

  it('are as if they were not there where their line cannot be believed, though its manifest is whole', async () => {
    const before = await of(manifest(1, entries, (line) => line.replace('"d/plain","size":7', '"d/plain","size":-7')));
    expect(before.unchanged(file('d/plain'))).to.equal(undefined);
    expect((await before.contents()).at(digestOf('d/plain'), 7)).to.equal(undefined);
    expect(before.unchanged(file('e'))).to.not.equal(undefined);
  });

  it('of a manifest that was changed are those of the one before', async () => {
    const spoilt = manifest(2, [file('new')]);
    spoilt[spoilt.indexOf('new')] = 0x6d;
    const before = await of(manifest(1, entries), spoilt);
    expect(before.number).to.equal(1);
    expect(before.unchanged(file('e'))).to.not.equal(undefined);
  });
});
