import { nameOfKey, keyOfName, parseRecord } from '../../../lib/store/object/records';
import { Bucket } from '../../../lib/store/object/bucket';
import { ObjectStore, type ObjectStoreOptions } from '../../../lib/store/object/object-store';
import type { PartialFile } from '../../../lib/store/session-store';
import type { OpenedPlace, PlaceProperties } from '../session-conformance';

/** What object stores say of themselves. */
export const objectProperties: PlaceProperties = { says: 'store', resumesFrom: 16 * 1024 * 1024, links: false };

/** An object store below a prefix of its own, and eyes that read its records and objects by themselves. */
export async function openObjects(
  options: ObjectStoreOptions,
): Promise<OpenedPlace & { readonly bucket: Bucket; place: ObjectStore; data(): Promise<string[]> }> {
  const bucket = new Bucket(options, options.prefix);
  const keys = async (below: string): Promise<string[]> => {
    const found: string[] = [];
    for await (const { key } of bucket.list(below)) found.push(key);
    return found;
  };
  const recordOf = async (key: string): Promise<ReturnType<typeof parseRecord>> =>
    parseRecord((await bucket.get(key))?.text ?? '', key);
  const opened = {
    bucket,
    place: await ObjectStore.open(options),
    data: () => keys('data/'),
    list: async () => {
      const names = await Promise.all(
        (await keys('names/')).map(
          async (key) => nameOfKey(key) + ((await recordOf(key)).type === 'directory' ? '/' : ''),
        ),
      );
      return names.sort();
    },
    read: async (name: string) => {
      const record = await recordOf(keyOfName(name, 0));
      const read: Buffer[] = [];
      if (record.type === 'file' && record.content)
        await bucket.read(record.content.key, record.content.offset, record.size, (bytes) => read.push(bytes));
      return Buffer.concat(read);
    },
    reopen: async () => {
      await opened.place.close();
      opened.place = await ObjectStore.open(options);
      return opened.place;
    },
    remove: async () => {
      await opened.place.close();
      bucket.close();
    },
  };
  return opened;
}

const mib = 1024 * 1024;

/** Sends what of `bytes`, in pieces of 1 MiB, is not held, and resolves with how many pieces were. */
export async function putPieces(partial: PartialFile, bytes: Uint8Array): Promise<number> {
  const held = new Set((await partial.held()).map(({ segment }) => segment));
  for (const segment of held) partial.keep(segment, 1);
  for (let piece = 0; piece < bytes.length / mib; piece++) {
    if (held.has(piece)) continue;
    await partial.room();
    const lease = await partial.memory.lease();
    lease.bytes.set(bytes.subarray(piece * mib, (piece + 1) * mib));
    partial.put(lease, piece * mib, mib);
  }
  await partial.whole(bytes.length);
  return held.size;
}
