import { expect } from 'chai';
import type { Damage } from '../../../lib/progress';
import { Catalog } from '../../../lib/snapshot/manifest/catalog';
import { damagedEntries } from '../../../lib/snapshot/repair/damaged-entries';
import { temporaryDirectory } from '../../receive/receive-directory';
import { rm } from 'node:fs/promises';
import { madeSnapshot } from '../made-snapshot';

describe('What manifests have for damages', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await temporaryDirectory();
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('is found without going through all damages for each snapshot', async () => {
    const [snapshots, files] = [12, 20];
    const names = Array.from({ length: files }, (_, at) => `home/${String(at)}`);
    const tree = Object.fromEntries(names.map((name) => [name, name]));
    let looks = 0;
    const damages: Damage[] = [];
    for (let number = 1; number <= snapshots; number++) {
      const id = `2026-11-${String(number).padStart(2, '0')}T100000Z`;
      await madeSnapshot(directory, { name: 'b', id, number }, tree);
      for (const path of names)
        damages.push({
          get snapshot() {
            looks++;
            return `b/${id}`;
          },
          path,
          reason: 'changed',
        });
    }
    const found = await damagedEntries(new Catalog(directory), damages);
    expect(found.length).to.equal(snapshots * files);
    expect(looks).to.equal(snapshots * files);
    expect(found.map(({ snapshot, path }) => `${snapshot} ${path}`)).to.deep.equal(
      damages.map(({ snapshot, path }) => `${snapshot} ${path}`),
    );
  });
});
