import { read } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { AlignedMemory, type Lease } from '../threads/aligned-memory';
import { createDigests, type DigestAlgorithm } from './digest';
import { digestSegments, type SegmentReading } from './digest-segments';
import type { Digests } from '../progress';
import { ignored } from '../trace';

/** What the pool asks of a worker. `upTo` is how far the file may be read by now, in bytes. */
export type Order =
  | {
      readonly id: number;
      readonly order: 'start';
      readonly fd: number;
      readonly size: number;
      readonly upTo: number;
      readonly algorithms: readonly DigestAlgorithm[];
    }
  | { readonly id: number; readonly order: 'advance'; readonly upTo: number }
  | { readonly id: number; readonly order: 'cancel' }
  | ({ readonly id: number; readonly order: 'segments' } & SegmentReading);

/**
 * What a worker answers; `finished` is the last word about an id, after which its descriptor is not touched any more.
 */
export type DigestAnswer =
  | { readonly id: number; readonly answer: 'progress'; readonly done: number }
  | {
      readonly id: number;
      readonly answer: 'finished';
      readonly digests?: Digests;
      readonly segments?: readonly string[];
      readonly error?: { readonly message: string; readonly code?: string };
    };

const readSize = 2 * 1024 * 1024;
/** Pieces that are read while one is hashed: few, since the disk also has writes to do. */
const readAhead = 3;
const progressEvery = 2 * readSize;

/** Reads and hashes one file, as far as it was told that the file is written. */
class DigestReading {
  private upTo: number;
  private cancelled = false;
  private wake: (() => void) | undefined;

  constructor(private readonly start: Extract<Order, { order: 'start' }>) {
    this.upTo = start.upTo;
  }

  advance(upTo: number): void {
    this.upTo = upTo;
    this.wake?.();
  }

  cancel(): void {
    this.cancelled = true;
    this.wake?.();
  }

  async run(): Promise<void> {
    const { id, size, algorithms } = this.start;
    const hashing = await createDigests(algorithms);
    const ahead: Promise<Lease>[] = [];
    try {
      let asked = 0;
      for (let done = 0; done < size;) {
        while (asked < size && ahead.length <= readAhead && (ahead.length === 0 || this.readable(asked))) {
          await this.available(asked);
          const reading = this.read(asked);
          reading.catch(ignored('whether it failed is asked when its turn comes'));
          ahead.push(reading);
          asked += readSize;
        }
        const lease = await (ahead.shift() as Promise<Lease>);
        const bytes = lease.bytes.subarray(0, Math.min(readSize, size - done));
        hashing.update(bytes);
        lease.release();
        done += bytes.length;
        if (done % progressEvery === 0) post({ id, answer: 'progress', done });
      }
      post({ id, answer: 'finished', digests: hashing.digests() });
    } finally {
      for (const lease of await Promise.allSettled(ahead)) if (lease.status === 'fulfilled') lease.value.release();
    }
  }

  private readable(offset: number): boolean {
    return this.upTo >= Math.min(offset + readSize, this.start.size);
  }

  private async available(offset: number): Promise<void> {
    while (!this.readable(offset) && !this.cancelled) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    if (this.cancelled) throw new Error('cancelled');
  }

  /**
   * Reads whole pieces: with O_DIRECT the length must stay aligned, and the end of the file cuts the last one short.
   */
  private async read(offset: number): Promise<Lease> {
    const lease = await memory.lease();
    const wanted = Math.min(readSize, this.start.size - offset);
    try {
      for (let at = 0; at < wanted;) {
        const count = await readSome(this.start.fd, lease.bytes.subarray(at), offset + at);
        if (count === 0) throw new Error(`the file ends at byte ${String(offset + at)} of ${String(this.start.size)}`);
        at += count;
      }
      return lease;
    } catch (error) {
      lease.release();
      throw error;
    }
  }
}

function readSome(fd: number, into: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, into, 0, into.length, position, (error, count) => (error ? reject(error) : resolve(count)));
  });
}

function fail(id: number, error: unknown): void {
  const { message, code } = error as NodeJS.ErrnoException;
  post({ id, answer: 'finished', error: code === undefined ? { message } : { message, code } });
}

function post(answer: DigestAnswer): void {
  parentPort?.postMessage(answer);
}

const memory = new AlignedMemory(readSize, 6);
const readings = new Map<number, DigestReading>();

parentPort?.on('message', (order: Order) => {
  const { id } = order;
  switch (order.order) {
    case 'start': {
      const reading = new DigestReading(order);
      readings.set(id, reading);
      reading
        .run()
        .catch((error: unknown) => fail(id, error))
        .finally(() => readings.delete(id));
      break;
    }
    case 'segments':
      digestSegments(order)
        .then((segments) => post({ id, answer: 'finished', segments }))
        .catch((error: unknown) => fail(id, error));
      break;
    case 'advance':
      readings.get(id)?.advance(order.upTo);
      break;
    case 'cancel':
      readings.get(id)?.cancel();
      break;
  }
});
