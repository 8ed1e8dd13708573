import { expect } from 'chai';
import { parseEntryName } from '../../../lib/name';
import { Bucket } from '../../../lib/store/object/bucket';
import type { ObjectStoreOptions } from '../../../lib/store/object/object-store';
import { StagedNames } from '../../../lib/store/object/staged-names';
import { useTiny } from './servers';

describe('notes of what a backup has stored', () => {
  const server = useTiny();
  let objects: ObjectStoreOptions;
  let bucket: Bucket;
  beforeEach(() => {
    objects = server.options();
    bucket = new Bucket(objects, objects.prefix, objects.deadlines);
  });
  afterEach(() => bucket.close());

  const open = (backup: string): Promise<StagedNames> =>
    StagedNames.open(bucket, { backup, peer: 'local', verified: 'store' }, () => true);
  async function note(names: StagedNames, file: string): Promise<void> {
    const content = { key: `packs/${file}`, offset: 0 };
    names.note(parseEntryName(file), { size: 1, digests: { blake3: '0'.repeat(64) }, content }, 1n);
    await names.settle();
  }
  async function noted(backup: string, files: readonly string[]): Promise<string[]> {
    const names = await open(backup);
    return files.filter((file) => names.file(file) !== undefined);
  }

  it('stay where another backup of the same name is complete first', async () => {
    const first = await open('laptop');
    await note(first, 'a');
    const second = await open('laptop');
    await note(second, 'b');
    await note(first, 'c');
    await second.forget();
    expect(await noted('laptop', ['a', 'b', 'c'])).to.deep.equal(['a', 'c']);
    await first.forget();
    expect(await noted('laptop', ['a', 'b', 'c'])).to.deep.equal([]);
  });

  it('of a try that was broken off go with the backup that went on with it', async () => {
    await note(await open('laptop'), 'a');
    const again = await open('laptop');
    await note(again, 'b');
    await again.forget();
    expect(server.tiny.keysBelow(`${objects.prefix}stages/`)).to.deep.equal([]);
  });

  it('are no others that are kept below the same name', async () => {
    const repair = await open('laptop/repair');
    await note(repair, 'a');
    const backup = await open('laptop');
    expect(backup.file('a')).to.equal(undefined);
    await note(backup, 'b');
    await backup.forget();
    expect(await noted('laptop/repair', ['a', 'b'])).to.deep.equal(['a']);
  });
});
