/**
 * The contents of segments and bundles on their way off a connection, as they are or coded (PROTOCOL.md 14.17): into
 * the store's memory where that is free, and never more of it than was announced.
 */
import { TransferError } from '../errors';
import type { Connection } from '../net/connection';
import type { Waits } from '../progress';
import { decodeContent } from '../session/content-coding';
import type { AlignedMemory, Lease } from '../threads/aligned-memory';
import type { Segment } from '../wire/session-message';

/**
 * The bytes of a segment on their way off a connection; one of the two is called, once. Rejects with what ends the
 * connection.
 */
export interface Payload {
  /** All of them, in `memory` or in page-aligned memory of their own. */
  take(memory: AlignedMemory): Promise<Lease>;
  /** Throws them away. */
  skip(): Promise<void>;
}

/** From where the bytes of payloads come. */
export type PayloadSource = Pick<Connection, 'fill' | 'skip'>;

/** What a header says of a content: its length, and how it travels. */
type ArrivingContent = Pick<Segment, 'size' | 'coding' | 'coded'>;

/** The bytes of a segment, which come next from there. */
export function payloadOf(source: PayloadSource, segment: ArrivingContent, waits: Waits): Payload {
  const { size, coded = size } = segment;
  return {
    take: (memory) =>
      coded < size ? decodePiece(source, segment, memory, waits) : fillPiece(source, size, memory, waits),
    skip: () => source.skip(coded),
  };
}

/**
 * A payload whose bytes have arrived. If no method took them, `skip` gives their memory back; it may be called twice.
 */
export function payloadHere(lease: Lease | undefined): Payload {
  let here = lease;
  return {
    take: () => {
      const taken = here;
      here = undefined;
      return taken
        ? Promise.resolve(taken)
        : Promise.reject(new TransferError('unexpected', 'The bytes of a segment were taken twice.'));
    },
    skip: () => {
      here?.release();
      here = undefined;
      return Promise.resolve();
    },
  };
}

/**
 * The content of a segment or bundle, which comes next from `source`, coded or as it is. Rejects with `bad-frame` for
 * what is no such content, and like `source`. PROTOCOL.md 14.17.
 */
export async function receiveCoded(
  source: PayloadSource,
  { size, coding, coded = size }: ArrivingContent,
  waits: Waits,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(coded);
  await waits.on('network', source.fill(bytes));
  return coding ? waits.on('compress', decodeContent(coding, bytes, size)) : bytes;
}

async function decodePiece(
  source: PayloadSource,
  segment: ArrivingContent,
  memory: AlignedMemory,
  waits: Waits,
): Promise<Lease> {
  const content = await receiveCoded(source, segment, waits);
  const lease = await waits.on('write', memory.lease());
  lease.bytes.set(content);
  return lease;
}

async function fillPiece(source: PayloadSource, size: number, memory: AlignedMemory, waits: Waits): Promise<Lease> {
  const lease = memory.tryLease();
  let filled = 0;
  if (lease) {
    try {
      filled = await waits.on(
        'network',
        source.fill(lease.bytes.subarray(0, size), () => memory.contended),
      );
    } catch (error) {
      lease.release();
      throw error;
    }
    if (filled === size) return lease;
  }
  // The shared memory is in use, or another file waits for it: a slow sender fills memory of its own.
  const bytes = new Uint8Array(size);
  if (lease) bytes.set(lease.bytes.subarray(0, filled));
  lease?.release();
  await waits.on('network', source.fill(bytes.subarray(filled)));
  const free = await waits.on('write', memory.lease());
  free.bytes.set(bytes);
  return free;
}
