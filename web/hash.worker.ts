// A thread for digests: BLAKE3 of whole files, and batches of small files, which it reads, digests and puts together.
// What goes out in a batch is what was digested: a file is read once.
import { createBLAKE3, type IHasher } from 'hash-wasm';
import type { HashAnswer, HashOrder, SmallFile } from './hashing';

/** Bytes read at once. */
const piece = 4 * 1024 * 1024;

/** Digests under way, by their orders: each is told how far it may go. */
const courses = new Map<number, (upTo: number | 'stop') => void>();

self.onmessage = (event: MessageEvent<HashOrder>): void => {
  const order = event.data;
  if (order.do === 'advance' || order.do === 'stop') {
    courses.get(order.id)?.(order.do === 'stop' ? 'stop' : order.upTo);
    return;
  }
  const work = order.do === 'digest' ? digest(order.id, order.file, order.upTo) : batch(order.id, order.files);
  work.then(answer, (error: unknown) => {
    answer({ id: order.id, is: 'failed', reason: reasonOf(error) });
  });
};

function answer(message: HashAnswer): void {
  self.postMessage(message);
}

function reasonOf(error: unknown): string {
  return error instanceof DOMException ? error.name : String(error);
}

async function digest(id: number, file: File, first: number): Promise<HashAnswer> {
  let upTo: number | 'stop' = first;
  let wake = (): void => undefined;
  courses.set(id, (further) => {
    upTo = further;
    wake();
  });
  const mayGo = async (offset: number): Promise<boolean> => {
    while (upTo !== 'stop' && offset >= upTo)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    return upTo !== 'stop';
  };
  try {
    return await digestPieces(id, file, mayGo);
  } finally {
    courses.delete(id);
  }
}

async function digestPieces(id: number, file: File, mayGo: (offset: number) => Promise<boolean>): Promise<HashAnswer> {
  const hasher = (await createBLAKE3()).init();
  let next = file.slice(0, piece).arrayBuffer();
  for (let offset = 0; offset < file.size; offset += piece) {
    const bytes = await next;
    if (!(await mayGo(offset))) return { id, is: 'failed', reason: 'stopped' };
    next = file.slice(offset + piece, offset + 2 * piece).arrayBuffer(); // read while this one is digested
    next.catch(() => undefined); // awaited in the next round
    hasher.update(new Uint8Array(bytes));
    answer({ id, is: 'going', done: offset + bytes.byteLength });
  }
  return { id, is: 'digested', blake3: hasher.digest() };
}

let ofBatches: Promise<IHasher> | undefined;

async function batch(id: number, files: readonly SmallFile[]): Promise<HashAnswer> {
  ofBatches ??= createBLAKE3();
  const hasher = await ofBatches;
  const read = await Promise.all(
    files.map(async ({ file }) => file.arrayBuffer().catch((error: unknown) => reasonOf(error))),
  );
  const entries: object[] = [];
  const contents: ArrayBuffer[] = [];
  const unread: [number, string][] = [];
  for (const [index, bytes] of read.entries()) {
    const small = files[index];
    if (!small) continue;
    if (typeof bytes === 'string') {
      unread.push([index, bytes]);
      continue;
    }
    const blake3 = hasher.init().update(new Uint8Array(bytes)).digest();
    entries.push({ name: small.name, size: bytes.byteLength, mtime: small.file.lastModified, blake3 });
    contents.push(bytes);
  }
  const header = new TextEncoder().encode(JSON.stringify(entries));
  const length = new DataView(new ArrayBuffer(4));
  length.setUint32(0, header.byteLength, true);
  return { id, is: 'gathered', body: new Blob([length.buffer, header, ...contents]), unread };
}
