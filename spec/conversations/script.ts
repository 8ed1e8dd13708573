import { createHash } from 'node:crypto';
import { encodeFrame, HeaderDecoder, type JsonObject } from '../../lib/wire/frame';
import type { ByteStream } from '../../lib/net/byte-stream';

// The conversations of fixtures/vectors/conversations, as README.md there describes them: this plays the side that is
// written down.

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
/** What is said or heard: a message under its type, or one element of its list. */
export type Unit = Readonly<Record<string, Json>>;

export interface Step {
  /** The number of the further connection on which it happens. */
  readonly on?: number;
  readonly say?: readonly Unit[];
  readonly hear?: readonly Unit[];
  readonly may?: readonly Unit[];
}

type Part = { readonly text: string } | { readonly noise: string; readonly size: number } | { readonly zeros: number };
type Slice = string | { readonly of: string; readonly from?: number; readonly size?: number };

/** Messages whose payload is a list. */
const lists = new Set(['offer', 'bundle', 'answer', 'held', 'standing', 'receipts', 'missing', 'told']);
/** What may come at any time, and says nothing. */
const always = new Set(['heartbeat', 'taken', 'progress']);

/** The contents that a file of conversations names. */
export class Contents {
  private readonly bytes = new Map<string, Buffer>();

  constructor(contents: Readonly<Record<string, readonly Part[]>>) {
    for (const [name, parts] of Object.entries(contents)) this.bytes.set(name, Buffer.concat(parts.map(bytesOf)));
  }

  of(slice: Slice): Buffer {
    const { of: name, from = 0, size } = typeof slice === 'string' ? { of: slice } : slice;
    const bytes = this.bytes.get(name);
    if (!bytes) throw new Error(`There is no content ${name}.`);
    return bytes.subarray(from, size === undefined ? undefined : from + size);
  }

  /** The same with the digests and sizes that stand for contents. */
  filledIn(value: Json, algorithm: string): Json {
    if (Array.isArray(value)) return (value as readonly Json[]).map((each) => this.filledIn(each, algorithm));
    if (typeof value !== 'object' || value === null) return value;
    const object = value as Readonly<Record<string, Json>>;
    if ('digest_of' in object)
      return createHash(algorithm)
        .update(this.of({ ...object, of: object['digest_of'] as string }))
        .digest('hex');
    if ('size_of' in object) return this.of(object['size_of'] as string).length;
    return Object.fromEntries(Object.entries(object).map(([key, each]) => [key, this.filledIn(each, algorithm)]));
  }
}

function bytesOf(part: Part): Buffer {
  if ('text' in part) return Buffer.from(part.text);
  if ('zeros' in part) return Buffer.alloc(part.zeros);
  const made: Buffer[] = [];
  for (let at = 0; at * 32 < part.size; at++)
    made.push(
      createHash('sha256')
        .update(`${part.noise} ${String(at)}`)
        .digest(),
    );
  return Buffer.concat(made).subarray(0, part.size);
}

interface Heard {
  readonly unit: Unit;
  readonly payload?: Buffer;
}

/** One side of a conversation over one connection, by a script. */
export class ScriptedSide {
  private readonly heard: Heard[] = [];
  private wake: () => void = () => undefined;
  private ended = false;

  constructor(
    private readonly stream: ByteStream,
    private readonly contents: Contents,
    private readonly algorithm: string,
    /** Whether it is the plain wire: a header without a type is a file there. */
    private readonly plain: boolean,
  ) {
    void this.listen()
      .catch(() => undefined)
      .then(() => this.note({ unit: { fin: true } }));
  }

  /** Carries the steps out. Rejects with what came and may not, or did not come within `within` ms. */
  async play(steps: readonly Step[], within: number): Promise<void> {
    for (const step of steps) {
      if (step.say) await this.say(step.say);
      if (step.hear) await this.hear(step.hear, step.may ?? [], within);
    }
  }

  /** The first messages of both sides, where the script plays `role`: a sender dials, a receiver is dialed. */
  async greet(role: 'sender' | 'receiver', digest: string, connection = 0): Promise<void> {
    const session = '00112233445566778899aabbccddeeff';
    if (role === 'sender') {
      await this.say([{ hello: { version: 1, role, session, connection, digest } }]);
      await this.hear([{ hello: { role: 'receiver', session, connection } }], [], 30_000);
      return;
    }
    const hello = await this.next(30_000);
    if (!hello || !fits({ hello: { role: 'sender', connection: 0, digest } }, hello.unit))
      throw new Error(`Heard ${JSON.stringify(hello?.unit)} in place of a hello.`);
    await this.say([{ hello: { ...(hello.unit['hello'] as object), role } }]);
  }

  close(): void {
    this.stream.destroy();
  }

  /** All of it in one write, so that nothing can be answered in between. */
  private async say(units: readonly Unit[]): Promise<void> {
    const bytes = units.flatMap((unit) => this.encode(unit));
    await this.stream.write(Buffer.concat(bytes)).catch(() => undefined);
    if (units.some((unit) => 'fin' in unit)) await this.stream.finish();
  }

  private encode(unit: Unit): Buffer[] {
    const [[type, value]] = Object.entries(this.contents.filledIn(unit, this.algorithm) as Unit).filter(
      ([key]) => key !== 'content' && key !== 'header',
    ) as [[string, Json]];
    if (type === 'fin') return [];
    if (type === 'bytes') return [Buffer.from(value as string, 'hex')];
    const content = ((unit['content'] ?? []) as readonly Slice[]).map((slice) => this.contents.of(slice));
    const more = (unit['header'] ?? {}) as object;
    if (type === 'file') return [encodeFrame(value as object), ...content];
    if (!lists.has(type)) return [encodeFrame({ type, ...(value as object), ...more }), ...content];
    const list = Buffer.from(JSON.stringify(value));
    const size = type === 'bundle' ? { size: Buffer.concat(content).length } : {};
    return [encodeFrame({ type, list: list.length, ...size, ...more }), list, ...content];
  }

  private async hear(patterns: readonly Unit[], may: readonly Unit[], within: number): Promise<void> {
    const left = [...patterns];
    const until = performance.now() + within;
    while (left.length > 0) {
      const next = await this.next(until - performance.now());
      if (!next) throw new Error(`In vain waited for ${JSON.stringify(left)}.`);
      const [type = ''] = Object.keys(next.unit);
      if (always.has(type)) continue;
      const at = left.findIndex((pattern) => this.matches(pattern, next));
      if (at >= 0) left.splice(at, 1);
      else if (!may.some((pattern) => this.matches(pattern, next)))
        throw new Error(`Heard ${JSON.stringify(next.unit)}, where ${JSON.stringify(left)} is allowed.`);
    }
  }

  /** What came, or comes within `within` ms. */
  private async next(within: number): Promise<Heard | undefined> {
    if (this.heard.length === 0 && within > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, within);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    return this.heard.shift();
  }

  private matches(pattern: Unit, { unit, payload }: Heard): boolean {
    const { content, ...wanted } = pattern;
    if (!fits(this.contents.filledIn(wanted, this.algorithm), unit)) return false;
    return (
      content === undefined ||
      (payload !== undefined &&
        payload.equals(Buffer.concat((content as readonly Slice[]).map((slice) => this.contents.of(slice)))))
    );
  }

  private async listen(): Promise<void> {
    const { stream } = this;
    const decoder = new HeaderDecoder();
    while (stream.peek().length > 0 || (await stream.more())) {
      stream.take(decoder.push(stream.peek()));
      const { header } = decoder;
      if (!header) continue;
      decoder.reset();
      await this.message(header);
    }
  }

  private async message(header: JsonObject): Promise<void> {
    const { type, ...keys } = header as Record<string, Json>;
    if (typeof type !== 'string') {
      this.note({ unit: { file: keys }, payload: await this.take(keys['file_size'] as number) });
    } else if (typeof keys['list'] === 'number') {
      const list = JSON.parse((await this.take(keys['list'])).toString()) as Json[];
      const payload = type === 'bundle' ? await this.take(keys['size'] as number) : Buffer.alloc(0);
      let at = 0;
      for (const element of list) {
        const size = type === 'bundle' ? ((element as readonly Json[])[1] as number) : 0;
        this.note({ unit: { [type]: element }, payload: payload.subarray(at, (at += size)) });
      }
    } else {
      const bytes =
        type === 'segment' && keys['zero'] !== true && !this.plain
          ? await this.take(keys['size'] as number)
          : Buffer.alloc(0);
      this.note({ unit: { [type]: keys }, payload: bytes });
    }
  }

  private async take(size: number): Promise<Buffer> {
    const bytes = Buffer.alloc(size);
    if (size > 0 && (await this.stream.fill(bytes)) < size) throw new Error('It ended in the middle of a payload.');
    return bytes;
  }

  private note(heard: Heard): void {
    if (this.ended) return;
    this.ended = 'fin' in heard.unit;
    this.heard.push(heard);
    this.wake();
  }
}

/** Whether `value` is as `pattern` wants it: objects may have other keys besides. */
export function fits(pattern: Json, value: Json | undefined): boolean {
  if (Array.isArray(pattern))
    return (
      Array.isArray(value) &&
      value.length === pattern.length &&
      pattern.every((each: Json, at) => fits(each, (value as readonly Json[])[at]))
    );
  if (typeof pattern !== 'object' || pattern === null) return Object.is(pattern, value);
  const wanted = pattern as Readonly<Record<string, Json>>;
  if ('any_of' in wanted) return (wanted['any_of'] as readonly Json[]).some((each) => fits(each, value));
  if (wanted['absent'] === true) return value === undefined;
  if (wanted['present'] === true) return value !== undefined;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return Object.entries(wanted).every(([key, each]) => fits(each, (value as Readonly<Record<string, Json>>)[key]));
}
