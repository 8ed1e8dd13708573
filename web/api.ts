// What the page asks of the command that serves it, and the answers' shapes. Paths are relative to the page, so that it
// works behind a prefix.

export interface ReceiveSession {
  readonly mode: 'receive';
  readonly name: string;
  readonly read: boolean;
  /** Bytes; null where the disk does not say. */
  readonly free: number | null;
  readonly segment_size: number;
  /** Files of at most so many bytes go in batches. */
  readonly small_size: number;
  readonly batch_bytes: number;
  readonly batch_files: number;
  readonly uploads_at_once: number;
  /** Plain http that others on the network can read and change. */
  readonly insecure: boolean;
}

export interface SendSession {
  readonly mode: 'send';
  readonly files: readonly SentFile[];
  /** Each file can be fetched one time. */
  readonly once: boolean;
  readonly insecure: boolean;
}

export interface SentFile {
  readonly id: string;
  readonly name: string;
  readonly size: number;
  /** Hex; null while the file is still being read. */
  readonly sha256: string | null;
}

export interface Offer {
  readonly name: string;
  readonly size: number;
  /** Milliseconds since 1970. */
  readonly mtime: number;
  /** A random word for the page that offers it. */
  readonly page: string;
  /** Hex, where it is known already. */
  readonly blake3?: string;
}

/** Runs of segments: the first one's number, and how many. */
export type Held = readonly (readonly [number, number])[];

export interface Receipt {
  readonly name: string;
  readonly verified: 'device' | 'cache' | null;
  readonly digests: { readonly blake3?: string };
  readonly path?: string;
}

export type Opened =
  { readonly id: string; readonly segment_size: number; readonly held: Held } | { readonly receipt: Receipt };

export interface RefusalBody {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly digest_needed?: boolean;
  readonly held?: Held;
}

export type BatchResult = Receipt | (RefusalBody & { readonly name: string });

export interface ListedEntry {
  readonly name: string;
  readonly type: 'file' | 'directory';
  readonly size: number;
  readonly mtime: number;
}

export interface Listing {
  readonly path: string;
  readonly entries: readonly ListedEntry[];
  readonly more: boolean;
}

export type LiveEvent =
  | {
      readonly event: 'started';
      readonly id: string;
      readonly from: string;
      readonly name: string;
      readonly size: number;
    }
  | {
      readonly event: 'progress';
      readonly id: string;
      readonly phase: string;
      readonly done: number;
      readonly total: number;
    }
  | {
      readonly event: 'received';
      readonly id: string;
      readonly name: string;
      readonly size: number;
      readonly from?: string;
      readonly verified: Receipt['verified'];
    }
  | {
      readonly event: 'failed';
      readonly id: string;
      readonly name: string;
      readonly from?: string;
      readonly code: string;
      readonly message: string;
    }
  | { readonly event: 'totals'; readonly free: number | null; readonly files: number; readonly bytes: number }
  | { readonly event: 'alive' };

/** The other side answered, and the answer was no. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly body: RefusalBody,
    /** Seconds to wait before asking again; null where the answer names none. */
    readonly retryAfter: number | null,
  ) {
    super(body.message);
  }

  /** Whether asking again, unchanged, can have another answer: busy, too many, restarting. */
  get passes(): boolean {
    return this.status === 429 || this.status === 502 || this.status === 503 || this.body.code === 'busy';
  }
}

/** No answer: the connection is lost, or nobody listens any more. */
export class Lost extends Error {}

/** How much of a body went out, in bytes: written by the request, read by whoever draws. */
export interface Flight {
  sent: number;
}

/** Milliseconds without an answer after which a request counts as lost. */
const patience = 30_000;
/** The same for a body that is on its way: without a byte sent, and without an answer after the last one. */
const stall = 45_000;

export class Api {
  token: string;

  constructor(token: string) {
    this.token = token;
  }

  async session(): Promise<ReceiveSession | SendSession> {
    return (await this.#json('GET', 'api/session')) as ReceiveSession | SendSession;
  }

  async open(offer: Offer): Promise<Opened> {
    return (await this.#json('POST', 'api/uploads', offer)) as Opened;
  }

  /** One segment; it is on the receiver's disk when this resolves, and not yet verified. */
  async put(id: string, segment: number, slice: Blob, flight: Flight, signal: AbortSignal): Promise<void> {
    await this.#upload('PUT', `api/uploads/${encodeURIComponent(id)}/${segment}`, slice, flight, signal);
  }

  /** The end of an upload. Reading back takes its time: `signal` is what ends the waiting. */
  async close(id: string, blake3: string, signal: AbortSignal): Promise<Receipt> {
    return (await this.#json('POST', `api/uploads/${encodeURIComponent(id)}/close`, { blake3 }, signal)) as Receipt;
  }

  async discard(id: string): Promise<void> {
    await this.#json('DELETE', `api/uploads/${encodeURIComponent(id)}?discard=1`);
  }

  /** Lets go of an upload as the page goes away: what is held stays, for the next page that drops the file. */
  leave(id: string): void {
    const headers = { authorization: `Bearer ${this.token}` };
    const path = `api/uploads/${encodeURIComponent(id)}`;
    fetch(path, { method: 'DELETE', headers, keepalive: true }).catch(() => undefined); // nobody is here to be told
  }

  /** The results in the order of the batch. */
  async batch(body: Blob, flight: Flight, signal: AbortSignal): Promise<readonly BatchResult[]> {
    const answer = JSON.parse(await this.#upload('POST', 'api/batch', body, flight, signal)) as {
      readonly results: readonly BatchResult[];
    };
    return answer.results;
  }

  async files(path: string): Promise<Listing> {
    return (await this.#json('GET', `api/files?path=${encodeURIComponent(path)}`)) as Listing;
  }

  /** An address that is good for one download. */
  async link(of: { readonly path: string } | { readonly id: string }): Promise<string> {
    const { href } = (await this.#json('POST', 'api/links', of)) as { readonly href: string };
    return href;
  }

  /** What happens at the receiver, as it comes, several events at a time; ends when the connection does. */
  async *live(signal: AbortSignal): AsyncGenerator<readonly LiveEvent[]> {
    const answer = await this.#ask('GET', 'api/live', undefined, signal);
    if (!answer.ok || answer.body === null) throw await refusal(answer);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read().catch(lost);
      if (done) return;
      const lines = (rest + value).split('\n');
      rest = lines.pop() ?? '';
      yield lines.filter((line) => line !== '').map((line) => JSON.parse(line) as LiveEvent);
    }
  }

  async #json(method: string, path: string, body?: object, signal?: AbortSignal): Promise<unknown> {
    const answer = await this.#ask(method, path, body, signal ?? AbortSignal.timeout(patience));
    if (!answer.ok) throw await refusal(answer);
    return answer.status === 204 ? null : (answer.json() as Promise<unknown>).catch(lost);
  }

  async #ask(method: string, path: string, body: object | undefined, signal: AbortSignal): Promise<Response> {
    const headers = { authorization: `Bearer ${this.token}`, ...(body ? { 'content-type': 'application/json' } : {}) };
    const sent = body ? { body: JSON.stringify(body) } : {};
    return fetch(path, { method, headers, cache: 'no-store', credentials: 'omit', signal, ...sent }).catch(lost);
  }

  /** By XMLHttpRequest, since a fetch does not tell how far its body went. */
  async #upload(method: string, path: string, body: Blob, flight: Flight, signal: AbortSignal): Promise<string> {
    signal.throwIfAborted();
    const request = new XMLHttpRequest();
    request.open(method, path);
    request.setRequestHeader('authorization', `Bearer ${this.token}`);
    request.setRequestHeader('content-type', 'application/octet-stream');
    const abort = (): void => {
      request.abort();
    };
    let timer = setTimeout(abort, stall);
    const moved = (sent: number): void => {
      flight.sent = sent;
      clearTimeout(timer);
      timer = setTimeout(abort, stall);
    };
    request.upload.onprogress = (event) => {
      moved(event.loaded);
    };
    signal.addEventListener('abort', abort);
    try {
      await new Promise<void>((resolve) => {
        request.onloadend = () => {
          resolve();
        };
        request.send(body);
      });
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
    }
    signal.throwIfAborted();
    if (request.status === 0) throw new Lost();
    if (request.status >= 300)
      throw refused(request.status, request.responseText, request.getResponseHeader('retry-after'));
    flight.sent = body.size;
    return request.responseText;
  }
}

function lost(cause: unknown): never {
  throw new Lost('', { cause });
}

async function refusal(answer: Response): Promise<Refusal> {
  return refused(answer.status, await answer.text().catch(lost), answer.headers.get('retry-after'));
}

function refused(status: number, text: string, retryAfter: string | null): Refusal {
  const seconds = Number(retryAfter ?? 'none');
  return new Refusal(status, refusalBody(status, text), Number.isFinite(seconds) ? seconds : null);
}

/** A proxy in between answers with pages of its own. */
function refusalBody(status: number, text: string): RefusalBody {
  try {
    const body: unknown = JSON.parse(text);
    if (body !== null && typeof body === 'object' && 'code' in body && 'message' in body) return body as RefusalBody;
  } catch {
    // Not JSON: said below.
  }
  return { code: 'http', message: `The server answered with status ${status}.` };
}
