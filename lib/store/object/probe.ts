// What a store really does, found out at its start: servers of the same protocol differ in what they silently ignore.
import { randomBytes } from 'node:crypto';
import { asTransferError, TransferError } from '../../errors';
import type { Bucket } from './bucket';
import { objectError, ObjectFailure } from './requests';
import { ignored } from '../../trace';

/** What is done where it is there. */
export interface ObjectAbilities {
  /** An object can be made only where none has its key: what keeps two receivers from one name. */
  readonly free: boolean;
  /** An object can be replaced only while it is what it was. */
  readonly replace: boolean;
}

/**
 * Tries with small objects of our own what everything else rests on, and removes them again. Rejects with `directory`
 * where the store cannot be used at all: it takes a wrong checksum, reads something else than was put, or has no key
 * below another one.
 */
export async function probeStore(bucket: Bucket): Promise<ObjectAbilities> {
  const key = `probe/${randomBytes(12).toString('hex')}`;
  const body = randomBytes(1024);
  let answered = false;
  try {
    const takesAnything = await takesWrongSum(bucket, key, body);
    answered = true;
    if (takesAnything)
      throw new TransferError('directory', 'This object store takes bytes that do not match their checksum.');
    await bucket.put(key, body);
    await bucket.put(`${key}/below`, body);
    if (!(await readAll(bucket, key, body.length)).equals(body))
      throw new TransferError('directory', 'This object store does not read back what it took.');
    const free = (await conditional(() => bucket.put(key, body, 'free'))) === 'kept';
    const stale = await conditional(() => bucket.put(key, body, { etag: '"00000000000000000000000000000000"' }));
    const replace = stale === 'kept' && (await isReplaced(bucket, key));
    return { free, replace };
  } catch (error) {
    throw asTransferError(objectError(error, 'This object store cannot be used'), 'directory', 'It cannot be used');
  } finally {
    // One that cannot be reached is not asked for that, too.
    for (const each of answered ? [`${key}/below`, key] : [])
      await bucket.delete(each).catch(ignored('what is wrong is told by the probe itself'));
  }
}

async function takesWrongSum(bucket: Bucket, key: string, body: Uint8Array): Promise<boolean> {
  try {
    await bucket.putWith(key, body, Buffer.alloc(16).toString('base64'));
    return true;
  } catch (error) {
    if (error instanceof ObjectFailure && error.status === 400) return false;
    throw error;
  }
}

async function readAll(bucket: Bucket, key: string, length: number): Promise<Buffer> {
  const read: Buffer[] = [];
  await bucket.read(key, 0, length, (bytes) => read.push(bytes));
  return Buffer.concat(read);
}

/** What becomes of a PUT whose condition does not hold. */
async function conditional(put: () => Promise<string | undefined>): Promise<'kept' | 'overwritten' | 'unknown'> {
  try {
    return (await put()) === undefined ? 'kept' : 'overwritten';
  } catch (error) {
    if (error instanceof ObjectFailure && (error.status === 501 || error.status === 400)) return 'unknown';
    throw error;
  }
}

async function isReplaced(bucket: Bucket, key: string): Promise<boolean> {
  const found = await bucket.get(key);
  if (found === undefined) return false;
  try {
    return (await bucket.put(key, Buffer.from('replaced'), found)) !== undefined;
  } catch (error) {
    if (error instanceof ObjectFailure) return false;
    throw error;
  }
}
