import { expect } from 'chai';
import { MemoryStore } from '../../lib/store/memory';
import { storeConformance, type Opened } from './conformance';
import { codeOf, content, deliver } from './delivery';

const capacity = 64 * 1024 * 1024;

function openMemory(): Promise<Opened> {
  const store = new MemoryStore(capacity);
  const list = (): Promise<string[]> => {
    const names = [...store.files.keys()];
    const directories = names.flatMap((name) => [...name.matchAll(/\//g)].map(({ index }) => name.slice(0, index + 1)));
    return Promise.resolve([...new Set([...names, ...directories])].sort());
  };
  return Promise.resolve({
    store,
    list,
    read: (name) => Promise.resolve(Buffer.from(store.files.get(name) as Uint8Array)),
    plant: (name, bytes) => Promise.resolve(void store.files.set(name, bytes)),
    staged: () => Promise.resolve(0),
    free: () => Promise.resolve(capacity - [...store.files.values()].reduce((sum, bytes) => sum + bytes.length, 0)),
    remains: list,
    clear: () => Promise.resolve(store.files.clear()),
    remove: () => Promise.resolve(),
  });
}

describe('MemoryStore', () => {
  describe('keeps the promises of a store:', () => storeConformance(openMemory, 'cache'));

  it('refuses the second of two names that collide, where it folds names', async () => {
    const store = new MemoryStore(capacity, true);
    await deliver(store, 'Photos/Straße.JPG', content(10));
    for (const name of ['Photos/STRASSE.jpg', 'photos/other.jpg', 'PHOTOS'])
      expect(await codeOf(deliver(store, name, content(9))), name).to.equal('name');
    expect((await deliver(store, 'Photos/other.jpg', content(9))).outcome).to.equal('stored');
    expect((await deliver(store, 'Photos/Straße.JPG', content(10))).outcome).to.equal('identical');
    expect([...store.files.keys()]).to.deep.equal(['Photos/Straße.JPG', 'Photos/other.jpg']);
  });

  it('keeps names apart that differ by case, where it does not', async () => {
    const store = new MemoryStore();
    await deliver(store, 'a', content(1));
    expect((await deliver(store, 'A', content(2))).outcome).to.equal('stored');
  });
});
