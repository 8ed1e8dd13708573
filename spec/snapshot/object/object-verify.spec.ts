import { expect } from 'chai';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TransferEvent } from '../../../lib/progress';
import { backup } from '../../../lib/snapshot/backup/backup';
import { prune, verify, type VerifyOptions } from '../../../lib/snapshot/remote/anywhere';
import type { ObjectStoreOptions } from '../../../lib/store/object/object-store';
import { failureOf } from '../../store/delivery';
import { useTiny } from '../../store/object/servers';

describe('a verification of an object store', () => {
  const server = useTiny();
  let objects: ObjectStoreOptions;
  let root: string;
  beforeEach(() => {
    objects = server.options();
    root = mkdtempSync(path.join(tmpdir(), 'sendall-verify-'));
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const files = 40;
  async function made(name: string): Promise<string> {
    const source = path.join(root, name);
    mkdirSync(source, { recursive: true });
    for (let at = 0; at < files; at++) writeFileSync(path.join(source, String(at)), `${name} ${String(at)}`);
    return (await backup({ paths: [source], objects, name })).snapshot;
  }
  const keysBelow = (below: string): string[] => server.tiny.keysBelow(objects.prefix + below);
  const remove = (below: string): void => keysBelow(below).forEach((key) => server.tiny.objects.delete(key));
  /** The paths that it finds damaged. */
  async function damaged(options: Omit<VerifyOptions, 'objects'>): Promise<string[]> {
    const found: string[] = [];
    const on = (event: TransferEvent): void => void (event.event === 'damaged' && found.push(event.path));
    const error = await failureOf(verify({ objects, ...options, on }));
    expect(error.code).to.equal('mismatch');
    return found;
  }

  it('goes on with the samples of each choice by itself', async () => {
    const snapshot = await made('one');
    await made('two');
    remove('packs/');
    const choices: Omit<VerifyOptions, 'objects'>[] = [
      { snapshot: 'one/latest' },
      { snapshot: 'two/latest' },
      { name: 'one' },
      { snapshot },
    ];
    const read = new Map(choices.map((choice) => [choice, new Set<string>()]));
    for (let turn = 0; turn < 2; turn++)
      for (const choice of choices)
        for (const each of await damaged({ ...choice, sample: 0.5 })) read.get(choice)?.add(each);
    expect([...read.values()].map(({ size }) => size)).to.deep.equal(choices.map(() => files));
  });

  it('leaves no place of a sample behind for a snapshot that is pruned', async () => {
    const first = await made('one');
    await made('one');
    await verify({ objects, snapshot: first, sample: 0.5 });
    await verify({ objects, sample: 0.5 });
    expect(keysBelow('verified/').length).to.equal(2);
    await prune({ objects, keep: { last: 1 } });
    expect(keysBelow('verified/').length).to.equal(1);
  });

  for (const lost of ['manifests/', 'packs/'])
    it(`calls no snapshot damaged that was pruned before it was read: ${lost}`, async () => {
      await made('one');
      await made('two');
      const kept = new Set(keysBelow(lost));
      await made('zero');
      let isPruned = false;
      server.tiny.seen = ({ method, key }) => {
        if (isPruned || method !== 'GET' || !kept.has(key)) return;
        isPruned = true;
        remove('snapshots/zero/');
        for (const each of keysBelow(lost)) if (!kept.has(each)) server.tiny.objects.delete(each);
      };
      expect((await verify({ objects })).snapshots).to.equal(2);
      expect(isPruned).to.equal(true);
    });
});
