// A receiver's store in a process of its own, to be killed, traced, raced and measured. Each line of its standard input
// is an order, and each is answered with one line. Started by receiving-process.ts.
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { pieceSize } from '../../../lib/wire/segment';
import { LocalStore } from '../../../lib/store/local/local';
import type { IfExists } from '../../../lib/store/store';
import { parseEntryName } from '../../../lib/name';
import { type AnyRule, anyRule } from '../any-rule';

export type Order =
  | { readonly order: 'open'; readonly directory: string }
  /** A file of `size` bytes, which are those of a mebibyte of `seed`, again and again. */
  | {
      readonly order: 'receive';
      readonly name: string;
      readonly size: number;
      readonly seed: number;
      readonly ifExists: IfExists;
      readonly pause?: number;
    }
  /**
   * These pieces of such a file, after those that are here from before, with a pause before the last, and a short one
   * after it; then it is stored, or suspended. Says what was here.
   */
  | {
      readonly order: 'pieces';
      readonly name: string;
      readonly size: number;
      readonly seed: number;
      readonly put: readonly number[];
      readonly pause?: number;
      readonly end: 'store' | 'suspend';
    }
  | { readonly order: 'close' }
  /** The largest resident size so far, in bytes. */
  | { readonly order: 'resident' }
  /**
   * Opens and closes for so many ms; says how often it succeeded, and how often somebody else was inside at the same
   * time.
   */
  | { readonly order: 'take turns'; readonly directory: string; readonly ms: number };

export type Answer = Readonly<Record<string, unknown>>;

/** What is repeated in a file of `seed`. Its length is no multiple of a sector. */
export function repeated(seed: number): Buffer {
  return Buffer.alloc(
    1024 * 1024 - 1,
    Buffer.from(Array.from({ length: 1009 }, (_, at) => (at * (seed * 2 + 1)) % 251)),
  );
}

export function md5OfRepeated(seed: number, size: number): string {
  const hash = createHash('md5');
  const bytes = repeated(seed);
  for (let left = size; left > 0; left -= bytes.length) hash.update(bytes.subarray(0, left));
  return hash.digest('hex');
}

let store: LocalStore | undefined;
/** Files that come whole, into the same one. */
let whole: AnyRule | undefined;

async function receive(name: string, size: number, seed: number, ifExists: IfExists, pauseAfter = 0): Promise<Answer> {
  if (!whole) throw new Error('no store is open');
  const bytes = repeated(seed);
  const staged = await whole.stage({
    name: parseEntryName(name),
    size,
    digest: md5OfRepeated(seed, size),
    ifExists,
  });
  try {
    for (let at = 0; at < size;) {
      at += await staged.write((memory) => {
        const piece = bytes.subarray(at % bytes.length).subarray(0, memory.length);
        memory.set(piece);
        return Promise.resolve(piece.length);
      });
      if (pauseAfter > 0) await pause(pauseAfter);
    }
    await staged.verify();
    return { ...(await staged.commit()) };
  } finally {
    await staged.discard();
  }
}

async function pieces({
  name,
  size,
  seed,
  put,
  pause: ms = 0,
  end,
}: Extract<Order, { order: 'pieces' }>): Promise<Answer> {
  if (!store) throw new Error('no store is open');
  const session = await store.session({ algorithm: 'md5', peer: 'somebody', ifExists: 'refuse' });
  const file = await session.partial({ file: 0, name: parseEntryName(name), size, mtime: 1n, mode: 0o644 }, undefined);
  try {
    const held = (await file.held()).map(({ segment }) => segment);
    for (const segment of held) file.keep(segment, 1);
    const whole = Buffer.alloc(size, repeated(seed));
    for (const piece of put) {
      if (piece === put.at(-1)) await pause(ms);
      await file.room();
      const bytes = whole.subarray(piece * pieceSize, (piece + 1) * pieceSize);
      const lease = await file.memory.lease();
      lease.bytes.set(bytes);
      file.put(lease, piece * pieceSize, bytes.length);
    }
    await pause(ms / 4);
    if (end === 'suspend') {
      await file.suspend();
      return { held };
    }
    await file.verify(size, { md5: md5OfRepeated(seed, size) });
    return { held, ...(await file.commit()) };
  } finally {
    await file.discard();
    await session.release();
  }
}

async function takeTurns(directory: string, ms: number): Promise<Answer> {
  const marker = path.join(directory, 'inside');
  let entered = 0;
  let together = 0;
  const others = new Set<unknown>();
  for (const end = Date.now() + ms; Date.now() < end;) {
    const opened = await LocalStore.open(directory).catch((error: { code: unknown; message: string }) => {
      others.add(/^Another receiver/.test(error.message) ? 'in use' : `${String(error.code)}: ${error.message}`);
    });
    if (!opened) continue;
    entered++;
    try {
      writeFileSync(marker, '', { flag: 'wx' });
      rmSync(marker);
    } catch {
      together++;
    }
    await opened.close();
  }
  return { entered, together, others: [...others].sort() };
}

/**
 * Not from getrusage: what that says begins with the size that the starting process had, since Linux keeps it across
 * exec.
 */
function peakResident(): number {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
}

async function carryOut(order: Order): Promise<Answer> {
  switch (order.order) {
    case 'open':
      store = await LocalStore.open(order.directory);
      whole = anyRule(store);
      return { verified: store.verified };
    case 'receive':
      return receive(order.name, order.size, order.seed, order.ifExists, order.pause);
    case 'pieces':
      return pieces(order);
    case 'close':
      await whole?.close();
      return {};
    case 'resident':
      return { bytes: peakResident() };
    case 'take turns':
      return takeTurns(order.directory, order.ms);
  }
}

async function main(): Promise<void> {
  for await (const line of createInterface(process.stdin)) {
    const answer = await carryOut(JSON.parse(line) as Order).catch(
      ({ code, message }: { code: unknown; message: string }) => ({ code, message }),
    );
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}

if (require.main === module) void main();
