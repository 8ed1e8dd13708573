import { expect } from 'chai';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseEntryName } from '../../../lib/name';
import type { TransferEvent } from '../../../lib/progress';
import { backup } from '../../../lib/snapshot/backup/backup';
import { readersOf } from '../../../lib/snapshot/object/object-repair';
import { repair } from '../../../lib/snapshot/repair/repair';
import type { ObjectStoreOptions } from '../../../lib/store/object/object-store';
import { useTiny } from '../../store/object/servers';

describe('a repair of an object store', () => {
  const server = useTiny();
  let objects: ObjectStoreOptions;
  let root: string;
  beforeEach(() => {
    objects = server.options();
    root = mkdtempSync(path.join(tmpdir(), 'sendall-repair-'));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  it('does not go through all that is damaged for each of it', async () => {
    const [snapshots, files] = [4, 30];
    const source = path.join(root, 'home');
    mkdirSync(source);
    for (let at = 0; at < files; at++) writeFileSync(path.join(source, String(at)), `content ${String(at)}`);
    for (let at = 0; at < snapshots; at++) await backup({ paths: [source], objects, name: 'b' });
    for (const key of server.tiny.objects.keys())
      if (key.startsWith(`${objects.prefix}packs/`)) server.tiny.objects.delete(key);
    let [looks, damaged] = [0, 0];
    const on = (event: TransferEvent): void => {
      if (event.event !== 'damaged') return;
      damaged++;
      const { snapshot } = event;
      const get = (): string => {
        looks++;
        return snapshot;
      };
      Object.defineProperty(event, 'snapshot', { get });
    };
    const { repaired } = await repair({ objects, sources: [source], on });
    expect([damaged, repaired]).to.deep.equal([snapshots * files, snapshots * files]);
    expect(looks).to.be.within(damaged, 2 * damaged);
  });

  it('opens a file of this machine once, however many snapshots know it', async () => {
    const source = path.join(root, 'home');
    mkdirSync(source);
    writeFileSync(path.join(source, 'a'), 'content');
    const name = parseEntryName('home/a');
    const entry = { type: 'file' as const, name, size: 7, mode: 0o644, mtime: 0n, digests: {}, source: {} };
    const damaged = ['b/1', 'b/2', 'b/3'].map((snapshot) => {
      return { snapshot, path: name, entry, algorithm: 'blake3' as const };
    });
    const read: string[] = [];
    for await (const fill of readersOf({ damaged, size: 7 }, [source])) {
      const memory = Buffer.alloc(7);
      await fill(memory, 0);
      read.push(memory.toString());
    }
    expect(read).to.deep.equal(['content']);
  });
});
