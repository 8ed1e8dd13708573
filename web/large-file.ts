// The course of one large file: offered, its missing segments sent, closed with its digest, verified; begun again after
// whatever passes by itself.
import { Lost, Refusal, type Api, type Flight, type Held, type Opened, type Receipt } from './api';
import { SourceChanged, type Hasher, type Hashing } from './hashing';
import type { Reach } from './reach';
import type { Turns } from './turns';
import { SendingSegments, type Upload, type UploadState } from './upload';

export interface Desk {
  readonly api: Api;
  readonly reach: Reach;
  readonly hasher: Hasher;
  /** Segments that go out at the same time, of all files. */
  readonly puts: Turns;
  /** Ids of uploads that the receiver has open for this page. */
  readonly open: Set<string>;
}

/** Names this page to the receiver: what it began itself it may take up again at once. */
const page = Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(36)).join('');
/** Bytes that are digested before they are sent, at most. */
const ahead = 32 * 1024 * 1024;
/** Seconds to wait where the receiver is busy and does not say how long. */
const busySeconds = 2;

/** How it ends; on the way, the upload's state says where it is. Never rejects. */
export async function sendLargeFile(upload: Upload, desk: Desk): Promise<UploadState> {
  const hashing = desk.hasher.digest(upload.file, ahead);
  hashing.blake3.then(
    (blake3) => {
      upload.blake3 = blake3;
    },
    () => undefined, // whoever awaits it learns why
  );
  try {
    for (;;) {
      try {
        return { is: 'verified', receipt: await attempt(upload, hashing, desk) };
      } catch (error) {
        const end = await pause(upload, error, hashing, desk);
        if (end) return end;
      }
    }
  } finally {
    hashing.stop();
  }
}

async function attempt(upload: Upload, hashing: Hashing, desk: Desk): Promise<Receipt> {
  const { name, file, size } = upload;
  const offer = { name, size, mtime: file.lastModified, page };
  const opened: Opened = await desk.api.open(upload.blake3 === null ? offer : { ...offer, blake3: upload.blake3 });
  if ('receipt' in opened) return opened.receipt;
  const { id, segment_size: segmentSize } = opened;
  desk.open.add(id);
  let ended = false;
  try {
    for (let { held } = opened; ;) {
      await sendSegments(upload, id, missing(held, size, segmentSize), segmentSize, hashing, desk);
      upload.state = { is: 'verifying', hashing };
      hashing.advance(size);
      const blake3 = await hashing.blake3;
      try {
        const receipt = await desk.api.close(id, blake3, either(desk.reach.signal, upload.cancel.signal));
        ended = true;
        return receipt;
      } catch (error) {
        if (!(error instanceof Refusal) || error.body.code !== 'incomplete' || !error.body.held) throw error;
        held = error.body.held;
      }
    }
  } catch (error) {
    if (upload.cancel.signal.aborted || error instanceof SourceChanged) {
      ended = true;
      await desk.api.discard(id).catch(() => undefined); // the receiver forgets it by itself, later
    }
    throw error;
  } finally {
    if (ended) desk.open.delete(id);
  }
}

/** The numbers of the segments that are not in `held`. */
export function missing(held: Held, size: number, segmentSize: number): readonly number[] {
  const segments = Math.ceil(size / segmentSize);
  const there = new Uint8Array(segments);
  for (const [first, count] of held) there.fill(1, first, first + count);
  return Array.from(there.keys()).filter((segment) => there[segment] === 0);
}

async function sendSegments(
  upload: Upload,
  id: string,
  segments: readonly number[],
  segmentSize: number,
  hashing: Hashing,
  desk: Desk,
): Promise<void> {
  const sliceOf = (segment: number): Blob =>
    upload.file.slice(segment * segmentSize, Math.min((segment + 1) * segmentSize, upload.size));
  const sending = new SendingSegments(upload.size - segments.reduce((sum, one) => sum + sliceOf(one).size, 0));
  upload.state = { is: 'sending', sending };
  hashing.advance(sending.held + ahead);
  const failed = new AbortController();
  const signal = either(desk.reach.signal, upload.cancel.signal, failed.signal);
  await Promise.all(
    segments.map(async (segment) => {
      await desk.puts.take();
      const flight: Flight = { sent: 0 };
      try {
        signal.throwIfAborted();
        const slice = sliceOf(segment);
        sending.flights.add(flight);
        await desk.api.put(id, segment, slice, flight, signal);
        sending.held += slice.size;
        hashing.advance(sending.held + ahead);
      } catch (error) {
        failed.abort(error);
        throw error;
      } finally {
        sending.flights.delete(flight);
        desk.puts.give();
      }
    }),
  );
}

/** Waits for what passes by itself; the end, where it does not. */
async function pause(upload: Upload, error: unknown, hashing: Hashing, desk: Desk): Promise<UploadState | null> {
  const { sent } = upload;
  if (upload.cancel.signal.aborted) return { is: 'cancelled' };
  if (error instanceof SourceChanged || (await changed(upload.file))) return sourceChanged;
  if (error instanceof Refusal && error.status !== 401) {
    const { code, message, hint, digest_needed: digestNeeded } = error.body;
    if (code === 'no_upload') return null;
    if (error.passes) {
      upload.state = { is: 'pausing', why: message, sent };
      await sleep(error.retryAfter ?? busySeconds);
      return null;
    }
    if (!digestNeeded) return { is: 'refused', code, message, hint: hint ?? null };
    upload.state = { is: 'hashing', hashing };
    hashing.advance(upload.size);
    try {
      await hashing.blake3;
      return null;
    } catch {
      return sourceChanged;
    }
  }
  if (!(error instanceof Refusal) && !(error instanceof Lost) && !aborted(error))
    return { is: 'refused', code: 'page', message: error instanceof Error ? error.message : String(error), hint: null };
  upload.state = { is: 'pausing', why: 'Connection lost. It goes on by itself.', sent };
  await desk.reach.back();
  return null;
}

export const sourceChanged: UploadState = {
  is: 'refused',
  code: 'source_changed',
  message: 'The file changed on this device while it was being sent. Nothing was stored.',
  hint: 'Drop it again.',
};

/** A browser does not read a file that is not any more what was dropped; in an upload it does not say why. */
async function changed(file: File): Promise<boolean> {
  return file
    .slice(0, 1)
    .arrayBuffer()
    .then(
      () => false,
      () => true,
    );
}

export function aborted(error: unknown): boolean {
  return error instanceof DOMException && (error.name === 'AbortError' || error.name === 'TimeoutError');
}

/** AbortSignal.any, which not every browser has. */
export function either(...signals: readonly AbortSignal[]): AbortSignal {
  const one = new AbortController();
  for (const signal of signals) {
    if (signal.aborted) one.abort(signal.reason);
    signal.addEventListener('abort', () => {
      one.abort(signal.reason);
    });
  }
  return one.signal;
}

export async function sleep(seconds: number): Promise<void> {
  await new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000);
  });
}
