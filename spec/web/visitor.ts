import { randomBytes } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import { blake3 as hashOf } from 'hash-wasm';
import { type UploadPage, type UploadPageOptions, serveUploads } from '../../lib/web/serve-uploads';
import { ReceiveDirectory } from '../receive/receive-directory';
import type { ReceiverOptions } from '../../lib/index';

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
  /** The body as JSON; an empty object where it is none. */
  readonly json: Record<string, unknown>;
}

export interface Asking {
  readonly body?: Uint8Array | string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Default true. */
  readonly token?: boolean;
}

/** A request that is being sent. */
export interface Dribble {
  write(bytes: Uint8Array): void;
  end(bytes: Uint8Array): void;
  readonly answer: Promise<Answer>;
}

export type LiveLine = Record<string, unknown>;

/** One who watches the live list. */
export class Watching {
  /** All so far. */
  lines: LiveLine[] = [];
  private text = '';
  private wake = (): void => undefined;
  private failure: Error | undefined;

  constructor(private readonly asking: http.ClientRequest) {
    const fail = (error: Error): void => {
      this.failure ??= error;
      this.wake();
    };
    asking.once('error', fail);
    asking.once('response', (response) => {
      response.once('error', fail).once('close', () => fail(new Error('The live list has ended.')));
      response.on('data', (piece: Buffer) => {
        this.text += piece.toString();
        this.lines = this.text
          .split('\n')
          .slice(0, -1)
          .map((line) => JSON.parse(line) as LiveLine);
        this.wake();
      });
    });
  }

  /** Until `enough` is true of one line. Rejects where it ends before. */
  async tells(enough: (line: LiveLine) => boolean): Promise<void> {
    while (!this.lines.some(enough)) {
      if (this.failure) throw this.failure;
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }

  close(): void {
    this.asking.destroy();
  }
}

/** Who has the address of a page, and no browser: asks over connections of its own. */
export class Visitor {
  private readonly base: URL;
  private readonly token: string;

  constructor(url: string) {
    this.base = new URL(url);
    this.token = this.base.hash.slice(1);
    this.base.hash = '';
  }

  get port(): number {
    return Number(this.base.port);
  }

  get host(): string {
    return this.base.host;
  }

  get bearer(): string {
    return `Bearer ${this.token}`;
  }

  ask(method: string, path: string, { body, headers = {}, token = true }: Asking = {}): Promise<Answer> {
    const asking = this.request(path, {
      method,
      headers: {
        ...(token ? { authorization: this.bearer } : {}),
        ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }),
        ...headers,
      },
    });
    asking.end(body);
    return answerTo(asking);
  }

  /** The answer to a GET without the token, of which nothing is read yet. */
  async open(path: string): Promise<http.IncomingMessage> {
    const asking = this.request(path, {});
    asking.end();
    return new Promise((resolve, reject) => asking.once('error', reject).once('response', resolve));
  }

  /** A request whose body of `length` bytes comes as it is written. */
  dribble(method: string, path: string, length: number): Dribble {
    const asking = this.request(path, {
      method,
      headers: { authorization: this.bearer, 'content-length': String(length) },
    });
    return {
      write: (bytes) => void asking.write(bytes),
      end: (bytes) => void asking.end(bytes),
      answer: answerTo(asking),
    };
  }

  post(path: string, value: unknown): Promise<Answer> {
    return this.ask('POST', path, { body: JSON.stringify(value) });
  }

  /** Begins an upload. */
  begin(name: string, content: Uint8Array, more: object = {}): Promise<Answer> {
    return this.post('api/uploads', { name, size: content.length, mtime: 1_700_000_000_000, ...more });
  }

  /** Sends these slices of what was begun, all where none are named, and gives the statuses. */
  async slices(begun: Answer, content: Uint8Array, wanted?: readonly number[]): Promise<number[]> {
    const { id, segment_size: size } = begun.json as { id: string; segment_size: number };
    const all = Array.from({ length: Math.ceil(content.length / size) }, (_, slice) => slice);
    const answers = await Promise.all(
      (wanted ?? all).map((slice) =>
        this.ask('PUT', `api/uploads/${id}/${String(slice)}`, {
          body: content.subarray(slice * size, (slice + 1) * size),
        }),
      ),
    );
    return answers.map(({ status }) => status);
  }

  async close(begun: Answer, content: Uint8Array): Promise<Answer> {
    return this.post(`api/uploads/${begun.json['id'] as string}/close`, { blake3: await blake3(content) });
  }

  /** All of a file. */
  async upload(name: string, content: Uint8Array, more: object = {}): Promise<Answer> {
    const begun = await this.begin(name, content, more);
    if (begun.status !== 200 || begun.json['id'] === undefined) return begun;
    await this.slices(begun, content);
    return this.close(begun, content);
  }

  /** Small files at once. */
  async batch(files: Readonly<Record<string, Uint8Array>>): Promise<Answer> {
    const list = [];
    for (const [name, content] of Object.entries(files))
      list.push({ name, size: content.length, mtime: 1_700_000_000_000, blake3: await blake3(content) });
    return this.ask('POST', 'api/batch', { body: batchOf(list, Object.values(files)) });
  }

  /** The lines of the live list, until `enough` is true of one. */
  async live(enough: (line: LiveLine) => boolean): Promise<LiveLine[]> {
    const watching = this.watch();
    await watching.tells(enough);
    watching.close();
    return watching.lines;
  }

  /** Watches the live list. */
  watch(): Watching {
    const asking = this.request('api/live', { headers: { authorization: this.bearer } });
    asking.end();
    return new Watching(asking);
  }

  private request(path: string, options: https.RequestOptions): http.ClientRequest {
    const { request } = this.base.protocol === 'https:' ? https : http;
    return request(new URL(path, this.base), { ...options, agent: false, rejectUnauthorized: false });
  }
}

function answerTo(asking: http.ClientRequest): Promise<Answer> {
  return new Promise((resolve, reject) => {
    asking.once('error', reject);
    asking.once('response', (response) => {
      const pieces: Buffer[] = [];
      response.on('data', (piece: Buffer) => pieces.push(piece));
      response.once('error', reject);
      response.once('end', () => {
        const whole = Buffer.concat(pieces);
        const isJson = whole.length > 0 && response.headers['content-type']?.includes('application/json') === true;
        const json = isJson ? (JSON.parse(whole.toString()) as Record<string, unknown>) : {};
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: whole, json });
      });
    });
  });
}

export function blake3(content: Uint8Array): Promise<string> {
  return hashOf(content);
}

export function batchOf(list: unknown, contents: readonly Uint8Array[]): Buffer {
  const text = Buffer.from(JSON.stringify(list));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  return Buffer.concat([length, text, ...contents]);
}

const random = randomBytes(1024 * 1024);

/** So many bytes that do not repeat where it matters, with `mark` in the first of each MiB. */
export function contentOf(size: number, mark = 0): Buffer {
  const content = Buffer.alloc(size);
  for (let at = 0; at < size; at += random.length) {
    random.copy(content, at);
    content[at] = (at / random.length) & 0xff;
    if (at + 1 < size) content[at + 1] = mark;
  }
  return content;
}

/** A receiver in this process with its page, and one who has its address. */
export class WebReceiver {
  private constructor(
    readonly directory: ReceiveDirectory,
    readonly page: UploadPage,
    readonly visitor: Visitor,
  ) {}

  /** Asks at the address of the page itself, whatever its public one is. */
  static async open(
    options: Partial<ReceiverOptions> = {},
    web: Partial<UploadPageOptions> = {},
    onDisk = false,
  ): Promise<WebReceiver> {
    const directory = await ReceiveDirectory.open(options, { onDisk });
    const page = await serveUploads({
      address: '127.0.0.1:0',
      uploads: directory.receiver.uploads(),
      on: directory.heard.on,
      ...web,
    });
    directory.heard.also((event) => page.note(event));
    return new WebReceiver(directory, page, new Visitor(page.localUrl));
  }

  async close(): Promise<void> {
    await this.page.close();
    await this.directory.close();
  }
}

/** How the specs of one block open receivers with a page: each is closed after its test. */
export function webReceivers(): typeof WebReceiver.open {
  const open: WebReceiver[] = [];
  afterEach(async () => {
    for (const receiver of open.splice(0)) await receiver.close();
  });
  return async (...how) => {
    const receiver = await WebReceiver.open(...how);
    open.push(receiver);
    return receiver;
  };
}
