// Garbage has two phases, so that nobody loses what he counts on: what nothing needs is condemned by an object that
// lists it, and deleted only after a grace. Whoever makes a snapshot looks at what is condemned before it counts on
// anything, and again when it commits; whoever gives a name to bytes that are not fresh any more looks before.
import { randomBytes } from 'node:crypto';
import { TransferError } from '../../errors';
import { trace } from '../../trace';
import type { Bucket, ListedObject } from './bucket';

const condemnedPrefix = 'condemned/';
/** No grace is shorter, in ms. */
export const shortestGrace = 3_600_000;
/** What is younger, in ms, is not condemned: it may belong to somebody who has noted nothing yet. */
export const settlesWithin = 3_600_000;
/** Age in ms up to which bytes cannot be condemned yet: the other half of the window is for giving the name. */
const freshFor = settlesWithin / 2;
/** Keys in one list. */
const listedTogether = 10_000;
/** Bytes of them: earlier versions read no object of more than 1 MiB as a list. */
const longestList = 512 * 1024;

/** One list of what is condemned. */
export interface CondemnedList extends Pick<ListedObject, 'key' | 'modified'> {
  readonly keys: readonly string[];
}

/** Condemns objects. */
export async function condemn(bucket: Bucket, keys: readonly string[]): Promise<void> {
  for (const together of inLists(keys)) {
    const list = { sendall: 'condemned', version: 1, keys: together };
    const key = `${condemnedPrefix}${randomBytes(12).toString('hex')}`;
    await bucket.put(key, Buffer.from(`${JSON.stringify(list)}\n`));
  }
}

function* inLists(keys: readonly string[]): Generator<readonly string[]> {
  let list: string[] = [];
  let bytesLeft = longestList;
  for (const key of keys) {
    bytesLeft -= Buffer.byteLength(JSON.stringify(key)) + 1;
    if (list.length > 0 && (list.length === listedTogether || bytesLeft < 0)) {
      yield list;
      list = [];
      bytesLeft = longestList;
    }
    list.push(key);
  }
  if (list.length > 0) yield list;
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

/**
 * Since when bytes are on their way: by both clocks, since one stands still while a machine sleeps and one may be set.
 */
export class FreshBytes {
  private readonly wall = Date.now();
  private readonly running = performance.now();

  /** Whether nobody can have condemned them yet. */
  get isFresh(): boolean {
    const wall = Date.now() - this.wall;
    return wall >= 0 && Math.max(wall, performance.now() - this.running) < freshFor;
  }
}

/**
 * To be called just before bytes get a name. Rejects with `disk` where they are condemned: a prune may be deleting
 * them. If they are condemned later, they have their name long before anybody may delete them, and are spared.
 */
export async function refuseIfCondemned(bucket: Bucket, key: string, fresh: FreshBytes | undefined): Promise<void> {
  if (fresh?.isFresh === true || !(await condemnedKeys(bucket)).has(key)) return;
  throw new TransferError('disk', 'What was stored was condemned by a prune before it could get its name.', {
    hint: 'Send it again. What takes longer than a day needs a longer prune --grace.',
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
