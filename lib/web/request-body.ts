// Bodies of requests, none of which takes longer, or is longer, than it may be.
import type { IncomingMessage } from 'node:http';
import { TransferError } from '../errors';
import { usualStall } from '../net/connection';

/** Whoever asks something short says it within so long, in ms. */
const shortWithin = 10_000;

/** The length that a request says that its body has. Throws `bad-header` where it says none. */
export function lengthOf(request: IncomingMessage): number {
  const length = request.headers['content-length'];
  if (length === undefined || !/^\d{1,15}$/.test(length))
    throw new TransferError('bad-header', 'The request does not say how long its body is.', { hint: '' });
  return Number(length);
}

/**
 * The bytes of a body as they come. Rejects with `timeout` where nothing comes for `stall` ms, and with
 * `connection-lost` where it is cut off.
 */
export async function* bytesOf(request: IncomingMessage, stall = usualStall): AsyncGenerator<Uint8Array> {
  const late = (): void => void request.destroy(new TransferError('timeout', 'The body of a request did not go on.'));
  let timer = setTimeout(late, stall);
  try {
    // Whoever reads no further still answers over the same connection.
    for await (const bytes of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>) {
      clearTimeout(timer);
      yield bytes;
      timer = setTimeout(late, stall);
    }
  } catch (error) {
    if (error instanceof TransferError) throw error;
    throw new TransferError('connection-lost', 'The request was cut off.', { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** All of a body, of `most` bytes at most. Rejects like `bytesOf`, and with `size`. */
export async function wholeBody(request: IncomingMessage, most: number, within = shortWithin): Promise<Buffer> {
  const length = lengthOf(request);
  if (length > most) throw new TransferError('size', `The body has more than ${String(most)} bytes.`, { hint: '' });
  const late = (): void => void request.destroy(new TransferError('timeout', 'The body of a request took too long.'));
  const timer = setTimeout(late, within);
  const body = Buffer.allocUnsafe(length);
  let filled = 0;
  try {
    for await (const bytes of bytesOf(request)) {
      body.set(bytes, filled);
      filled += bytes.length;
    }
  } finally {
    clearTimeout(timer);
  }
  return body;
}
