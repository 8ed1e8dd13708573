import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { parseEntryName } from '../../../lib/name';
import { ObjectStore, type ObjectStoreOptions } from '../../../lib/store/object/object-store';
import type { PartialFile, SessionStore } from '../../../lib/store/session-store';
import { codeOf, content } from '../delivery';
import { openObjects, putPieces } from './object-place';
import { useTiny } from './servers';

const mib = 1024 * 1024;
const bytes = content(20 * mib, 7);
const digests = { sha256: createHash('sha256').update(bytes).digest('hex') };

/** A receiver that lost its sender, and one at which that sender goes on. */
describe('a large file that two receivers have taken up', () => {
  const server = useTiny();
  let options: ObjectStoreOptions;
  let stores: ObjectStore[];
  let sessions: SessionStore[];
  beforeEach(async () => {
    options = server.options();
    stores = [await ObjectStore.open(options), await ObjectStore.open(options)];
    sessions = await Promise.all(
      stores.map((store) => store.session({ algorithm: 'sha256', peer: 'p', ifExists: 'refuse' })),
    );
  });
  afterEach(async () => {
    await Promise.all(sessions.map((session) => session.release()));
    await Promise.all(stores.map((store) => store.close()));
  });

  const open = (session: SessionStore | undefined): Promise<PartialFile> => {
    if (!session) throw new Error('There are two.');
    const name = parseEntryName('large');
    return session.partial({ file: 1, name, size: bytes.length, mtime: 5n, ctime: 6n }, undefined);
  };
  async function isWhole(): Promise<boolean> {
    const opened = await openObjects(options);
    try {
      return (await opened.read('large')).equals(bytes);
    } finally {
      await opened.remove();
    }
  }

  it('keeps its bytes when both give it its name', async () => {
    const one = await open(sessions[0]);
    await putPieces(one, bytes);
    await one.verify(bytes.length, digests);
    const second = await open(sessions[1]);
    expect(await putPieces(second, bytes)).to.equal(20);
    await second.verify(bytes.length, digests);
    expect((await one.commit()).outcome).to.equal('stored');
    expect((await second.commit()).outcome).to.equal('identical');
    expect(await isWhole()).to.equal(true);
  });

  for (const why of ['is discarded', 'does not match'] as const)
    it(`keeps its bytes when it ${why} at the other one`, async () => {
      const one = await open(sessions[0]);
      await putPieces(one, bytes);
      await one.verify(bytes.length, digests);
      const second = await open(sessions[1]);
      await putPieces(second, bytes);
      expect((await one.commit()).outcome).to.equal('stored');
      if (why === 'is discarded') await second.discard();
      else {
        const wrong = { sha256: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' };
        expect(await codeOf(second.verify(bytes.length, wrong))).to.equal('mismatch');
        await second.discard();
      }
      expect(await isWhole()).to.equal(true);
    });
});
