// Garbage has two phases, so that no backup loses what it counts on: what no snapshot needs is condemned by an object
// that lists it, and deleted only after a grace. Whoever makes a snapshot looks at what is condemned before it counts
// on anything, and again when it commits.
import { randomBytes } from 'node:crypto';
import { TransferError } from '../../errors';
import type { Bucket, ListedObject } from '../../store/object/bucket';
import { trace } from '../../trace';

export const condemnedPrefix = 'condemned/';
/** Keys in one list. */
const listedTogether = 10_000;

/** One list of what is condemned. */
export interface CondemnedList extends Pick<ListedObject, 'key' | 'modified'> {
  readonly keys: readonly string[];
}

/** Condemns objects. */
export async function condemn(bucket: Bucket, keys: readonly string[]): Promise<void> {
  for (let at = 0; at < keys.length; at += listedTogether) {
    const list = { sendall: 'condemned', version: 1, keys: keys.slice(at, at + listedTogether) };
    const key = `${condemnedPrefix}${randomBytes(12).toString('hex')}`;
    await bucket.put(key, Buffer.from(`${JSON.stringify(list)}\n`));
  }
}

/** All lists that there are. */
export async function condemnedLists(bucket: Bucket): Promise<CondemnedList[]> {
  const lists: CondemnedList[] = [];
  for await (const { key, modified } of bucket.list(condemnedPrefix)) {
    const found = await bucket.get(key);
    if (found) lists.push({ key, modified, keys: keysIn(found.text, key) });
  }
  return lists;
}

/** The keys that are condemned. */
export async function condemnedKeys(bucket: Bucket): Promise<ReadonlySet<string>> {
  return new Set((await condemnedLists(bucket)).flatMap(({ keys }) => keys));
}

/** Throws `disk` where something that a snapshot needs is condemned. */
export function refuseCondemned(needed: ReadonlySet<string>, condemned: ReadonlySet<string>): void {
  for (const key of condemned)
    if (needed.has(key))
      throw new TransferError('disk', 'What this backup counts on was condemned by a prune meanwhile.', {
        hint: 'Start the same backup again: it sends what is about to go, and nothing else twice.',
      });
}

function keysIn(text: string, key: string): readonly string[] {
  try {
    const { keys } = JSON.parse(text) as { readonly keys?: unknown };
    if (Array.isArray(keys)) return keys.filter((each): each is string => typeof each === 'string');
  } catch (error) {
    trace('%s is no list of what is condemned: %o', key, error);
  }
  return [];
}
