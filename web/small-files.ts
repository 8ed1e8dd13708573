// Small files go many to a request: read and digested in the worker, answered one by one.
import { Lost, Refusal, type BatchResult, type Flight, type ReceiveSession } from './api';
import { aborted, sleep, sourceChanged, type Desk } from './large-file';
import type { Upload, UploadState } from './upload';

/** The first of `waiting` that go together: by their number, and by their bytes. */
export function firstBatch(waiting: readonly Upload[], session: ReceiveSession): readonly Upload[] {
  let bytes = 0;
  const end = waiting.findIndex((upload, index) => {
    bytes += upload.size;
    return index > 0 && (bytes > session.batch_bytes || index >= session.batch_files);
  });
  return end < 0 ? waiting : waiting.slice(0, end);
}

/** Sets the state of each in the end. Those that it returns are to be sent again. Never rejects. */
export async function sendBatch(uploads: readonly Upload[], desk: Desk): Promise<readonly Upload[]> {
  try {
    const { body, unread } = await desk.hasher.gather(uploads.map(({ name, file }) => ({ name, file })));
    const lacking = new Set(unread.map(([index]) => index));
    for (const index of lacking) settle(uploads[index], sourceChanged);
    const sent = uploads.filter((_, index) => !lacking.has(index));
    return sent.length === 0 ? [] : await post(sent, body, desk);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    for (const upload of uploads) settle(upload, { is: 'refused', code: 'page', message, hint: null });
    return [];
  }
}

async function post(uploads: readonly Upload[], body: Blob, desk: Desk): Promise<readonly Upload[]> {
  for (;;) {
    const flight: Flight = { sent: 0 };
    for (const upload of uploads) upload.state = { is: 'batched', flight, total: body.size };
    try {
      const results = await desk.api.batch(body, flight, desk.reach.signal);
      const again = uploads.filter((upload, index) => !settled(upload, results[index]));
      if (again.length > 0) await sleep(2);
      return again;
    } catch (error) {
      const refusal = error instanceof Refusal && error.status !== 401 ? error : null;
      if (!refusal && !(error instanceof Refusal) && !(error instanceof Lost) && !aborted(error)) throw error;
      if (refusal && !refusal.passes) {
        const { code, message, hint } = refusal.body;
        for (const upload of uploads) settle(upload, { is: 'refused', code, message, hint: hint ?? null });
        return [];
      }
      const why = refusal ? refusal.message : 'Connection lost. It goes on by itself.';
      for (const upload of uploads) upload.state = { is: 'pausing', why, sent: 0 };
      if (refusal) await sleep(refusal.retryAfter ?? 2);
      await desk.reach.back();
    }
  }
}

/** Whether that was an end: not where the name is in use just now. */
function settled(upload: Upload, result: BatchResult | undefined): boolean {
  if (result && 'code' in result) {
    const { code, message, hint } = result;
    if (code === 'busy') {
      upload.state = { is: 'pausing', why: message, sent: 0 };
      return false;
    }
    upload.state = { is: 'refused', code, message, hint: hint ?? null };
    return true;
  }
  upload.state = result
    ? { is: 'verified', receipt: result }
    : { is: 'refused', code: 'page', message: 'The receiver said nothing about this file.', hint: null };
  return true;
}

function settle(upload: Upload | undefined, state: UploadState): void {
  if (upload) upload.state = state;
}
