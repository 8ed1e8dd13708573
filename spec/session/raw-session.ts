import { createHash, randomBytes } from 'node:crypto';
import { encodeFrame, HeaderDecoder, type JsonObject, parseTicket, type SessionKey } from '../../lib/index';
import type { ByteStream } from '../../lib/net/byte-stream';
import type { Dialed } from '../../lib/net/socket';
import { acceptSecured, dialSecured } from '../../lib/net/tls';

export const piece = 1024 * 1024;

/** A frame of the receiver, with its list if it has one. */
export interface Said extends JsonObject {
  readonly type: string;
  readonly list?: unknown;
  /** What came behind it, the list left out. */
  readonly payload?: Buffer;
}

export interface RawOptions {
  /** Instead of the ticket's own. */
  readonly key?: SessionKey;
  /** Added to the hello, or in place of its keys; undefined sends none at all. */
  readonly hello?: object | undefined;
  readonly session?: string;
  readonly connection?: number;
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function newSession(): string {
  return randomBytes(16).toString('hex');
}

/**
 * A peer that holds a key and says whatever it likes, frame by frame, to a receiver or, with an `ask` in its hello, to
 * who has snapshots; its digests are sha256.
 */
export class RawSession {
  /** Everything that the receiver said, heartbeats and `taken` left out. */
  readonly heard: Said[] = [];
  ended = false;
  private readonly watchers = new Set<() => void>();

  private constructor(
    private readonly stream: ByteStream,
    readonly session: string,
  ) {
    void this.listen().catch(() => this.note(undefined));
  }

  static async dial(ticket: string, options: RawOptions = {}): Promise<RawSession> {
    const { session = newSession(), connection = 0, key, hello = {} } = options;
    const { stream } = await dialSecured({ ...parseTicket(ticket), ...key });
    const raw = new RawSession(stream, session);
    if ('hello' in options && options.hello === undefined) return raw;
    await raw.send({ type: 'hello', version: 1, role: 'sender', session, connection, digest: 'sha256', ...hello });
    return raw;
  }

  /** The other end of a session that somebody dialed, who gets `answer` for its hello. */
  static async accept(accepted: Dialed, key: SessionKey, answer: object): Promise<RawSession> {
    const { stream } = await acceptSecured(accepted, (id) => (id === key.id ? key.key : undefined), {
      deadline: 10_000,
    });
    const raw = new RawSession(stream, '');
    const { session, connection } = await raw.first('hello');
    await raw.send({ type: 'hello', version: 1, session, connection, ...answer });
    return raw;
  }

  /** A session that the receiver has welcomed. */
  static async open(ticket: string, options: RawOptions = {}): Promise<RawSession> {
    const raw = await RawSession.dial(ticket, options);
    await raw.first('hello');
    return raw;
  }

  async send(header: object, ...payload: readonly Uint8Array[]): Promise<void> {
    await this.sendBytes(encodeFrame(header), ...payload);
  }

  /** What need not be a frame at all. */
  async sendBytes(...bytes: readonly Uint8Array[]): Promise<void> {
    // A receiver that has enough hangs up: what it said before is what counts.
    await this.stream.write(...bytes).catch(() => undefined);
  }

  async sendList(header: object, list: unknown, ...payload: readonly Uint8Array[]): Promise<void> {
    const bytes = Buffer.from(JSON.stringify(list));
    await this.send({ ...header, list: bytes.length }, bytes, ...payload);
  }

  /** Offers files of these sizes under numbers that count from `first` on; what more an entry says is in `others`. */
  offer(files: Readonly<Record<string, number | undefined>>, others: object = {}, first = 0): Promise<void> {
    const list = Object.entries(files).map(([name, size], at) => ({
      file: first + at,
      type: 'file',
      name,
      mode: 0o644,
      mtime: '1700000000000000000',
      ...(size === undefined ? {} : { size }),
      ...others,
    }));
    return this.sendList({ type: 'offer' }, list);
  }

  segment(file: number, offset: number, bytes: Uint8Array): Promise<void> {
    return this.send({ type: 'segment', file, offset, size: bytes.length }, bytes);
  }

  /** All pieces of `content` but those that are left out. */
  async segments(file: number, content: Uint8Array, without: readonly number[] = []): Promise<void> {
    for (let offset = 0; offset < content.length; offset += piece) {
      if (!without.includes(offset / piece)) await this.segment(file, offset, content.subarray(offset, offset + piece));
    }
  }

  bundle(files: readonly (readonly [file: number, content: Uint8Array])[]): Promise<void> {
    const contents = Buffer.concat(files.map(([, content]) => content));
    return this.sendList(
      { type: 'bundle', size: contents.length },
      files.map(([file, content]) => [file, content.length, sha256(content)]),
      contents,
    );
  }

  close(file: number, content: Uint8Array): Promise<void> {
    return this.send({ type: 'close', file, size: content.length, digests: { sha256: sha256(content) } });
  }

  all(type: string): Said[] {
    return this.heard.filter((said) => said.type === type);
  }

  /** The first frame of that type for which `wanted` is true, from the past or the future. */
  first(type: string, wanted: (said: Said) => boolean = () => true): Promise<Said> {
    return this.until(type, () => this.all(type).find(wanted));
  }

  /** The frame of that type that comes after `count` others. */
  after(type: string, count: number): Promise<Said> {
    return this.until(type, () => this.all(type)[count]);
  }

  /** Waits until the file is wanted. */
  async wanted(file: number): Promise<void> {
    await this.first('answer', ({ list }) => (list as number[]).includes(file));
  }

  /** The receipt or refusal of a file. */
  outcome(file: number): Promise<JsonObject> {
    const about = (said: JsonObject): boolean => said['file'] === file;
    return this.until(
      `what became of ${String(file)}`,
      () =>
        this.all('receipts')
          .flatMap(({ list }) => list as JsonObject[])
          .find(about) ?? this.all('refusal').find(about),
    );
  }

  /** The refusal that ends the conversation. */
  async broken(): Promise<JsonObject> {
    const refusal = await this.first('refusal', (said) => said['file'] === undefined);
    await this.end();
    return refusal;
  }

  /** Says that everything was offered, and waits until everything is settled. */
  async finish(): Promise<void> {
    await this.send({ type: 'end' });
    await this.first('done');
    await this.leave();
  }

  /** Says nothing more, and waits until the receiver has hung up. */
  async leave(): Promise<void> {
    await this.stream.finish();
    await this.end();
  }

  /** Waits until the receiver has hung up. */
  async end(): Promise<void> {
    while (!this.ended) await new Promise<void>((resolve) => this.watchers.add(resolve));
  }

  /** Hangs up, as one that was killed. */
  hangUp(): void {
    this.stream.destroy();
  }

  private async until<T>(what: string, look: () => T | undefined): Promise<T> {
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      if (this.ended) throw new Error(`It ended without ${what}, after ${JSON.stringify(this.heard)}.`);
      await new Promise<void>((resolve) => this.watchers.add(resolve));
    }
  }

  private async listen(): Promise<void> {
    const { stream } = this;
    const decoder = new HeaderDecoder();
    while (stream.peek().length > 0 || (await stream.more())) {
      stream.take(decoder.push(stream.peek()));
      const header = decoder.header as Said | undefined;
      if (!header) continue;
      decoder.reset();
      const length = typeof header.list === 'number' ? header.list : 0;
      const bytes = Buffer.alloc(length);
      if (length > 0) await stream.fill(bytes);
      const payload = Buffer.alloc(hasPayload(header) ? Number(header['size']) : 0);
      if (payload.length > 0) await stream.fill(payload);
      const said = {
        ...header,
        ...(length > 0 ? { list: JSON.parse(bytes.toString()) as unknown } : {}),
        ...(payload.length > 0 ? { payload } : {}),
      };
      if (header.type !== 'heartbeat' && header.type !== 'taken') this.note(said);
    }
    this.note(undefined);
  }

  /** undefined for the end. */
  private note(said: Said | undefined): void {
    if (said) this.heard.push(said);
    else this.ended = true;
    for (const watcher of this.watchers) watcher();
    this.watchers.clear();
  }
}

function hasPayload({ type, ...header }: Said): boolean {
  return type === 'bundle' || (type === 'segment' && header['zero'] !== true);
}
