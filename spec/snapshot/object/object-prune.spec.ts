import { expect } from 'chai';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { backup, type BackupOptions } from '../../../lib/snapshot/backup/backup';
import { TransferError } from '../../../lib/errors';
import type { TransferEvent } from '../../../lib/progress';
import type { Pruned, PruneEvent } from '../../../lib/snapshot/prune/prune';
import type { KeepRules } from '../../../lib/snapshot/prune/retention';
import { listSnapshots, prune, type PruneOptions, verify } from '../../../lib/snapshot/remote/anywhere';
import type { ObjectStoreOptions } from '../../../lib/store/object/object-store';
import type { SnapshotRecord } from '../../../lib/snapshot/object/snapshot-record';
import { failureOf } from '../../store/delivery';
import { useTiny } from '../../store/object/servers';

const hour = 3_600_000;

describe('what a prune of an object store keeps', () => {
  const server = useTiny();
  let objects: ObjectStoreOptions;
  let root: string;
  let source: string;
  beforeEach(() => {
    objects = server.options();
    root = mkdtempSync(path.join(tmpdir(), 'sendall-prune-'));
    source = path.join(root, 'usb');
    fill(20);
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  /** The source has so many files, and nothing else. */
  function fill(files: number): void {
    rmSync(source, { recursive: true, force: true });
    mkdirSync(source);
    for (let at = 0; at < files; at++) writeFileSync(path.join(source, String(at)), `file ${String(at)}`);
  }
  async function made(more: Partial<BackupOptions> = {}): Promise<string> {
    let called = '';
    const on = (event: TransferEvent): void => void (event.event === 'snapshot' && (called = event.snapshot));
    // One that has lost most of its entries is made, and told of.
    await backup({ paths: [source], objects, name: 'laptop', on, ...more }).catch((error: unknown) => {
      if (called === '') throw error;
    });
    return called;
  }
  async function pruned(keep: KeepRules, more: { allowShrink?: boolean; dryRun?: boolean } = {}): Promise<string[]> {
    const told: string[] = [];
    const on = (event: PruneEvent): void => {
      if (event.event === 'kept') told.push(`${event.snapshot} ${event.reasons.join(' ')}`);
      if (event.event === 'removed') told.push(`${event.snapshot} removed`);
    };
    await prune({ objects, keep, ...more, on }).catch((error: unknown) => {
      if (!(error instanceof TransferError) || error.code !== 'mismatch') throw error;
    });
    return told;
  }
  const keysBelow = (below: string): string[] => server.tiny.keysBelow(objects.prefix + below);

  describe('of the last snapshot that had what a source has lost', () => {
    it('is that one, however often it is pruned, and until the content is there again', async () => {
      const full = await made();
      fill(0);
      const empty = await made();
      const next = await made();
      // What says that the first one had the content stays as long as that one does.
      const stays = [`${full} content`, `${empty} content`, `${next} newest last`];
      expect(await pruned({ last: 1 })).to.deep.equal(stays);
      expect(await pruned({ last: 1 })).to.deep.equal(stays);
      const third = await made();
      expect(await pruned({ last: 1 })).to.deep.equal([
        ...stays.slice(0, 2),
        `${next} removed`,
        `${third} newest last`,
      ]);
      expect((await verify({ objects, snapshot: full })).files).to.equal(20);
      fill(20);
      const again = await made();
      expect(await pruned({ last: 1 })).to.deep.equal([
        `${full} removed`,
        `${empty} removed`,
        `${third} removed`,
        `${again} newest last`,
      ]);
    });

    it('goes with what says so, where that is allowed, and no other one takes its place', async () => {
      const older = await made();
      const full = await made();
      fill(0);
      const empty = await made();
      const next = await made();
      expect(await pruned({ last: 1 }, { allowShrink: true })).to.deep.equal([
        `${older} removed`,
        `${full} removed`,
        `${empty} removed`,
        `${next} newest last`,
      ]);
    });

    it('is known by the record that tells of it, and by none of its neighbours', async () => {
      const older = await made();
      await made();
      fill(0);
      await made();
      const [, second = ''] = keysBelow('snapshots/');
      server.tiny.objects.delete(second);
      expect((await pruned({ last: 1 }))[0]).to.equal(`${older} removed`);
    });
  });

  it('is not held up by notes of an upload, or of a backup, that cannot be read', async () => {
    await made();
    const etag = '"x"';
    for (const text of ['', 'nonsense', '[]', '{"key":1}'])
      for (const key of ['partials/p/h/upload', 'stages/p/b/note']) {
        server.tiny.objects.set(objects.prefix + key, { body: Buffer.from(text), etag, modified: new Date() });
        expect(await prune({ objects, keep: { last: 1 } }), `${key} ${text}`).to.have.lengthOf(1);
        server.tiny.objects.delete(objects.prefix + key);
      }
  });

  describe('of those with a damaged manifest', () => {
    /** The key of the manifest of a snapshot. */
    function manifestOf(called: string): string {
      for (const key of keysBelow('snapshots/')) {
        const { name, id, content } = JSON.parse(server.tiny.objects.get(key)?.body.toString() ?? '') as SnapshotRecord;
        if (`${name}/${id}` === called) return objects.prefix + content;
      }
      throw new Error(`There is no ${called}.`);
    }
    /** Another byte in the middle of the manifest of a snapshot, the first of which is 1. */
    function damage(number: number): void {
      const record = server.tiny.objects.get(keysBelow('snapshots/')[number - 1] ?? '')?.body.toString() ?? '';
      const { content } = JSON.parse(record) as { content: string };
      const found = server.tiny.objects.get(objects.prefix + content);
      if (!found) throw new Error('There is no manifest.');
      const body = Buffer.from(found.body);
      body[body.length >> 1] = (body[body.length >> 1] ?? 0) ^ 1;
      server.tiny.objects.set(objects.prefix + content, { ...found, body });
    }

    it('is each of them, and those push no good one out', async () => {
      const [first, second, third, last] = [await made(), await made(), await made(), await made()];
      damage(3);
      damage(4);
      const expected = [`${first} removed`, `${second} newest last`, `${third} damaged`, `${last} damaged`];
      for (const dryRun of [true, false]) expect(await pruned({ last: 1 }, { dryRun })).to.deep.equal(expected);
      expect((await verify({ objects, snapshot: second })).files).to.equal(20);
    });

    it('is looked for by one request each, by a prune as by a listing', async () => {
      for (let at = 0; at < 3; at++) await made();
      const asked: string[] = [];
      server.tiny.seen = ({ method, key }) => void (key.includes('/manifests/') && asked.push(`${method} ${key}`));
      const [first = '', second = '', third = ''] = (await listSnapshots({ objects })).flatMap((each) =>
        each.event === 'snapshot' ? manifestOf(each.snapshot) : [],
      );
      expect([...asked].sort()).to.deep.equal([`GET ${third}`, `HEAD ${first}`, `HEAD ${second}`].sort());
      asked.length = 0;
      await prune({ objects, keep: { last: 2 } });
      const heads = asked.filter((each) => each.startsWith('HEAD'));
      expect(heads).to.deep.equal([`HEAD ${first}`]);
    });

    it('is each that is missing, whatever the rules say', async () => {
      const [first, second] = [await made(), await made()];
      server.tiny.objects.delete(manifestOf(first));
      expect(await pruned({ last: 1 })).to.deep.equal([`${first} damaged`, `${second} newest last`]);
    });

    it('collects nothing then, and says which one it is', async () => {
      await made();
      const last = await made();
      damage(2);
      for (const dryRun of [true, false]) {
        const error = await failureOf(prune({ objects, keep: { last: 1 }, dryRun }));
        expect([error.code, error.message.includes(last)]).to.deep.equal(['mismatch', true]);
      }
      expect(keysBelow('condemned/')).to.deep.equal([]);
    });

    it('goes where it is named, tells how, and what others need stays', async () => {
      await made();
      fill(30);
      const lost = await made();
      fill(20);
      const last = await made();
      damage(2);
      const { hint: told = '' } = await failureOf(verify({ objects }));
      expect([told.includes('--remove-damaged'), told.includes('--checksum')]).to.deep.equal([true, false]);
      const stuck = await failureOf(prune({ objects, keep: { last: 3 } }));
      expect(stuck.hint).to.include(`--remove-damaged ${lost}`);
      const packs = keysBelow('packs/');
      const removing = (removeDamaged: string, more: Partial<PruneOptions> = {}): Promise<readonly Pruned[]> =>
        prune({ objects, keep: { last: 3 }, removeDamaged, ...more });
      expect((await failureOf(removing(last))).message).to.include('is not damaged');
      expect((await failureOf(removing('laptop/2020-01-01T000000Z'))).code).to.equal('usage');
      expect((await failureOf(removing(lost, { name: 'other' }))).code).to.equal('usage');
      expect(keysBelow('snapshots/')).to.have.lengthOf(3);
      for (const dryRun of [true, false]) {
        const told = await removing(lost, { dryRun });
        expect(told.map(({ event }) => event)).to.deep.equal(['kept', 'removed', 'kept']);
        expect(keysBelow('snapshots/')).to.have.lengthOf(dryRun ? 3 : 2);
      }
      expect(keysBelow('packs/')).to.deep.equal(packs);
      server.tiny.age(26 * hour);
      await prune({ objects, keep: { last: 3 } });
      server.tiny.age(26 * hour);
      await prune({ objects, keep: { last: 3 } });
      expect(keysBelow('packs/').length).to.be.below(packs.length);
      expect(keysBelow('manifests/')).to.have.lengthOf(2);
      expect((await verify({ objects })).files).to.equal(20);
    });

    it('stays where it alone says which one had the content of a source, unless that may go', async () => {
      const full = await made();
      fill(0);
      const empty = await made();
      const last = await made();
      damage(2);
      const removing = { objects, keep: { last: 1 }, removeDamaged: empty };
      expect((await failureOf(prune(removing))).hint).to.include('--allow-shrink');
      expect(keysBelow('snapshots/')).to.have.lengthOf(3);
      const told = await prune({ ...removing, allowShrink: true });
      expect(told.map(({ event, snapshot }) => `${snapshot} ${event}`)).to.deep.equal([
        `${full} removed`,
        `${empty} removed`,
        `${last} kept`,
      ]);
    });

    it('tells of the newest one of a backup in the listing, too', async () => {
      await made();
      const last = await made();
      damage(2);
      const listed = (await listSnapshots({ objects })).map((each) => (each.event === 'damaged' ? each.snapshot : ''));
      expect(listed).to.deep.equal(['', last]);
    });
  });
});
