// Requests to an object store over HTTP: signed, with deadlines of our own, tried again where that may help.
import http from 'node:http';
import https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { asTransferError, TransferError } from '../../errors';
import { printable } from '../../name';
import type { Listener } from '../../progress';
import { trace } from '../../trace';
import { authorizationOf, escapeComponent, type ObjectKeys, queryText, signatureTime } from './sigv4';
import { textIn } from './xml';

/** Where a bucket is, and who asks. */
export interface BucketLocation {
  /** `https://HOST[:PORT]`; the bucket goes into the path. */
  readonly endpoint: URL;
  readonly region: string;
  readonly bucket: string;
  readonly keys: ObjectKeys;
  /** Once it aborts, nothing is tried again: whoever was interrupted does not wait for a store that is not there. */
  readonly signal?: AbortSignal | undefined;
  /** Is told, by `connection` events, that the store is not reached and is tried again, and that it answers again. */
  readonly on?: Listener | undefined;
}

/** How long a request may take, in ms. A store that is full leaves some unanswered for minutes. */
export interface RequestDeadlines {
  /** That no byte moves. */
  readonly silence: number;
  /** In all, beside what its bytes take at `leastRate`. */
  readonly whole: number;
  /** Between attempts: after the last of them a request has failed. */
  readonly pauses: readonly number[];
}

const usualRequestDeadlines: RequestDeadlines = {
  silence: 20_000,
  whole: 60_000,
  pauses: [100, 300, 1_000, 3_000, 6_000],
};
/** Bytes a ms: what a slow line still carries. */
const leastRate = 64;
/** Window in ms before it is told that a store does not answer. */
const reportedAfter = 3_000;
/** Most attempts of a request that is not answered at all. */
const mostSilences = 2;
/** Pauses are half of what they are on average at least, and so many times that at most. */
const longestPause = 1.5;
/** Connections for writing, and as many for reading. */
const mostRequestsAtOnce = 32;
/**
 * What is taken at once, in bytes: of an object, four times what is written at most; of a listing, a thousand keys of
 * 1,024 bytes, each of them as `%XX`, and what stands around them.
 */
const longest = { object: 4 * 1024 * 1024, listing: 8 * 1024 * 1024 };

export interface ObjectRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE' | 'HEAD';
  /** Absent for the bucket itself. */
  readonly key?: string;
  readonly query?: Readonly<Record<string, string>>;
  /** By their names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Which answers the caller can do something with, beside 200 to 299. */
  readonly takes?: readonly number[];
  /** Gets the body of a good answer as it comes; without it the answer has it as text. */
  readonly take?: (bytes: Buffer) => void;
}

export interface ObjectAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** Empty where `take` got it. */
  readonly text: string;
}

/** An answer that is none of those that the caller takes. */
export class ObjectFailure extends Error {
  constructor(
    readonly status: number,
    /** As S3 calls it, `SlowDown` for instance. */
    readonly reason: string,
    message: string,
  ) {
    super(message);
  }
}

/** The attempts of one request. */
interface Attempts {
  /** When the first one began, by `performance.now()`. */
  readonly began: number;
  /** How many went before. */
  made: number;
  silences: number;
  /** Whether it was told that it is tried again. */
  lost: boolean;
}

/** The connections to one bucket; what is read goes over others than what is written. */
export class ObjectRequests {
  private readonly agents: Readonly<Record<'read' | 'write', http.Agent>>;
  private readonly host: string;
  /** How far the store's clock is ahead of ours, in ms, as far as it has said so. */
  private skew = 0;
  /** Requests that are tried again, and of which that was told. */
  private lost = 0;
  /** Whether the last that was told is that the store does not answer. */
  private reported = false;
  /** The store's time, in ms since 1970, and when it was heard by `performance.now()`. */
  private clock: { readonly time: number; readonly heard: number } | undefined;

  constructor(
    private readonly location: BucketLocation,
    private readonly deadlines: RequestDeadlines = usualRequestDeadlines,
  ) {
    const { protocol, host } = location.endpoint;
    const make = protocol === 'https:' ? https : http;
    const options = { keepAlive: true, maxSockets: mostRequestsAtOnce };
    this.agents = { read: new make.Agent(options), write: new make.Agent(options) };
    this.host = host;
  }

  /**
   * Sends a request, again after a pause where it was not answered or the store was busy: 409, 429, 5xx. Rejects with
   * `ObjectFailure` for any other answer, and with `timeout` or `disk` where there was none in the end. Any request may
   * have been carried out though its answer is lost.
   */
  async send(request: ObjectRequest): Promise<ObjectAnswer> {
    const attempts: Attempts = { began: performance.now(), made: 0, silences: 0, lost: false };
    try {
      const answer = await this.tryOften(request, attempts);
      // A request that was told of may have failed for good since: the next one that succeeds has the news.
      if (this.reported && this.lost === (attempts.lost ? 1 : 0)) {
        this.reported = false;
        this.location.on?.({ event: 'connection', state: 'back' });
      }
      return answer;
    } finally {
      if (attempts.lost) this.lost--;
    }
  }

  private async tryOften(request: ObjectRequest, attempts: Attempts): Promise<ObjectAnswer> {
    const { signal } = this.location;
    for (; ; attempts.made++) {
      const pause = this.deadlines.pauses[attempts.made];
      try {
        return await this.attempt(request, attempts);
      } catch (error) {
        if (isSkewed(error) && attempts.made === 0) continue;
        if (error instanceof TransferError && error.code === 'timeout') attempts.silences++;
        const final =
          pause === undefined || attempts.silences >= mostSilences || (request.take !== undefined && !isBusy(error));
        if (final || !mayPass(error)) throw final && !(error instanceof ObjectFailure) ? unanswered(error) : error;
        if (signal?.aborted) throw interruptedBy(error);
        trace('%s %s is tried again in %d ms: %o', request.method, request.key ?? '', pause, error);
        if (performance.now() - attempts.began + pause >= reportedAfter) this.tellLost(attempts, error);
        const interrupted = (): never => {
          throw interruptedBy(error);
        };
        await sleep(pause * (longestPause - Math.random()), undefined, signal ? { signal } : {}).catch(interrupted);
      }
    }
  }

  /** Tells, once until it answers again, that the store does not answer, and for how long it is tried. */
  private tellLost(attempts: Attempts, error: unknown): void {
    if (attempts.lost) return;
    attempts.lost = true;
    this.lost++;
    const { pauses, silence } = this.deadlines;
    const isSilent = error instanceof TransferError && error.code === 'timeout';
    const ms = isSilent
      ? (mostSilences - attempts.silences) * silence
      : pauses.slice(attempts.made).reduce((sum, pause) => sum + pause * longestPause, 0);
    const { message } = error instanceof ObjectFailure ? error : unanswered(error);
    // Others that are tried again were told of. One that failed for good was the end of what was told.
    if (this.reported && this.lost > 1) return;
    this.reported = true;
    this.location.on?.({ event: 'connection', state: 'lost', message, retry_for: Math.ceil(ms / 1000) });
  }

  /** What time it is by the store's clock, in ms since 1970, as far as it has said; our sleep since is not counted. */
  get storeTime(): number | undefined {
    return this.clock && this.clock.time + performance.now() - this.clock.heard;
  }

  /** Ends all connections. */
  close(): void {
    for (const agent of Object.values(this.agents)) agent.destroy();
  }

  private attempt(
    { method, key, query = {}, headers, body, takes = [], take }: ObjectRequest,
    attempts: Attempts,
  ): Promise<ObjectAnswer> {
    const { endpoint, region, bucket, keys } = this.location;
    const path = `/${[bucket, ...(key === undefined ? [] : key.split('/'))].map(escapeComponent).join('/')}`;
    const payload = 'UNSIGNED-PAYLOAD';
    const signed = {
      ...headers,
      host: this.host,
      'x-amz-content-sha256': payload,
      'x-amz-date': signatureTime(new Date(Date.now() + this.skew)),
      ...(keys.sessionToken === undefined ? {} : { 'x-amz-security-token': keys.sessionToken }),
    };
    const authorization = authorizationOf(
      { method, path, query, headers: signed, payload },
      { region, service: 's3' },
      keys,
    );
    const text = queryText(query);
    const options: http.RequestOptions = {
      method,
      hostname: endpoint.hostname.replace(/^\[|\]$/g, ''),
      port: endpoint.port,
      path: text === '' ? path : `${path}?${text}`,
      agent: this.agents[method === 'GET' || method === 'HEAD' ? 'read' : 'write'],
      headers: {
        ...signed,
        authorization,
        ...(method === 'PUT' || method === 'POST' ? { 'content-length': body?.length ?? 0 } : {}),
      },
      timeout: this.deadlines.silence,
    };
    return new Promise((resolve, reject) => {
      const request = (endpoint.protocol === 'https:' ? https : http).request(options, (answer) => {
        const status = answer.statusCode ?? 0;
        const good = status >= 200 && status <= 299;
        const time = Date.parse(answer.headers.date ?? '');
        if (!Number.isNaN(time)) this.clock = { time, heard: performance.now() };
        const collected: Buffer[] = [];
        let length = 0;
        answer.on('data', (bytes: Buffer) => {
          if (request.destroyed) return;
          if (good && take) return take(bytes);
          length += bytes.length;
          if (length <= longest[key === undefined ? 'listing' : 'object']) collected.push(bytes);
          else request.destroy(new TransferError('disk', 'The object store answered with more than it was asked for.'));
        });
        // The whole object, where a part was asked for that does not begin with it.
        if (status === 200 && /^bytes=(?!0-)/.test(headers?.['range'] ?? ''))
          request.destroy(new TransferError('disk', 'The object store does not read a part of an object.'));
        answer.on('error', reject);
        answer.on('end', () => {
          const body = Buffer.concat(collected).toString();
          // A multipart upload fails behind a 200 that was said early; what is read may have any words.
          const failed = method === 'POST' && saysError(body);
          if ((good && !failed) || takes.includes(status)) resolve({ status, headers: answer.headers, text: body });
          else reject(this.failureOf(status, body, answer.headers));
        });
      });
      const whole = this.deadlines.whole + (body?.length ?? 0) / leastRate;
      const giveUp = (ms: number): void => {
        request.destroy(
          new TransferError('timeout', `The object store did not answer within ${String(Math.round(ms / 1000))} s.`),
        );
      };
      // What is read as it comes may be long: its silence is what counts.
      const late = take ? undefined : setTimeout(() => giveUp(whole), whole);
      request.on('timeout', () => giveUp(this.deadlines.silence));
      request.on('error', reject);
      const unreached = setTimeout(() => {
        if (request.socket?.connecting === true) this.tellLost(attempts, new TransferError('timeout', noConnection));
      }, reportedAfter);
      // Also where the answer breaks off.
      request.on('close', () => {
        clearTimeout(late);
        clearTimeout(unreached);
      });
      request.end(body);
    });
  }

  private failureOf(status: number, body: string, { date }: http.IncomingHttpHeaders): ObjectFailure {
    const reason = textIn(body, 'Code') ?? '';
    if (reason === 'RequestTimeTooSkewed' && date !== undefined) this.skew = Date.parse(date) - Date.now();
    const words = [reason, textIn(body, 'Message')].filter(Boolean).join(': ');
    return new ObjectFailure(
      status,
      reason,
      `The object store answered ${String(status)}${words === '' ? '' : ` (${printable(words.slice(0, 200))})`}.`,
    );
  }
}

const noConnection = 'No connection to the object store is made yet.';

/** Whether an answer is an error as a whole. */
function saysError(body: string): boolean {
  return /^\s*(?:<\?xml[^>]*>\s*)?<Error[\s>]/.test(body);
}

function isSkewed(error: unknown): boolean {
  return error instanceof ObjectFailure && error.reason === 'RequestTimeTooSkewed';
}

/** Whether it was said that another time may do better, before any of an answer came. */
function isBusy(error: unknown): boolean {
  return error instanceof ObjectFailure && (error.status === 409 || error.status === 429 || error.status >= 500);
}

/** Not implemented is for good. */
function mayPass(error: unknown): boolean {
  if (error instanceof ObjectFailure) return isBusy(error) && error.status !== 501;
  return !(error instanceof TransferError) || error.code === 'timeout';
}

function interruptedBy(cause: unknown): TransferError {
  return new TransferError('interrupted', 'Interrupted while the object store did not answer.', { cause });
}

function unanswered(error: unknown): TransferError {
  const failure = asTransferError(error, 'disk', 'The object store cannot be reached');
  if (failure === error || failure.code !== 'disk') return failure;
  return new TransferError(failure.code, failure.message, {
    cause: error,
    hint: 'Does it run, and does --endpoint say where?',
  });
}

/** What goes wrong with the store is told as what goes wrong with a disk. */
export function objectError(error: unknown, doing: string): TransferError {
  if (error instanceof TransferError && error.code !== 'timeout') return error;
  const full =
    error instanceof ObjectFailure && (error.status === 507 || /quota|capacity|storagefull/i.test(error.reason));
  const reason = error instanceof Error ? error.message : String(error);
  return new TransferError(full ? 'space' : 'disk', `${doing}: ${reason}`, { cause: error });
}
