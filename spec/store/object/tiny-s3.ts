// The least of an object store, in this process and in memory: so that every request can be made to fail in every way.
// What a real server does is for the specs that run on one; see `servers.ts`.
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';

/** What becomes of one request instead of what is usual. */
export type Fault =
  | { readonly status: number; readonly code: string }
  /** Nothing is answered. */
  | 'silence'
  /** It is not carried out, and the connection is cut. */
  | 'cut before'
  /** It is carried out, and the connection is cut instead of the answer. */
  | 'cut after'
  /** Half of the answer comes. */
  | 'truncate'
  /** One byte of what is read is another one. */
  | 'flip'
  /** The version that is answered is not that of the object. */
  | 'lie';

export interface TinyRequest {
  readonly method: string;
  /** Without the bucket. */
  readonly key: string;
  readonly query: URLSearchParams;
}

interface TinyObject {
  readonly body: Buffer;
  readonly etag: string;
  readonly modified: Date;
}

interface TinyUpload {
  readonly key: string;
  readonly begun: Date;
  readonly parts: Map<number, TinyObject>;
}

const usualListing = 7;
const knowsAll = { free: true, replace: true, sums: true, ranges: true };

export class TinyS3 {
  readonly objects = new Map<string, TinyObject>();
  readonly uploads = new Map<string, TinyUpload>();
  /** How far its clock is ahead, in ms. */
  skew = 0;
  /** Whether it takes an object only with a checksum, as S3 does where objects are locked. */
  demandsSums = false;
  /** How many keys it lists at once: few, so that there are several pages. */
  listedTogether = usualListing;
  /** Which conditions it knows, and whether it reads a part of an object where that is asked for. */
  readonly knows = { ...knowsAll };
  /** Asked for each request. */
  fault: (request: TinyRequest) => Fault | undefined = () => undefined;
  /** Told of each request that was carried out. */
  seen: (request: TinyRequest) => void = () => undefined;
  /** The keys that begin so, sorted. */
  keysBelow(prefix: string): string[] {
    return [...this.objects.keys()].filter((key) => key.startsWith(prefix)).sort();
  }

  /** As it was made: nothing fails, nobody is told, and its clock is right. What it holds stays. */
  settle(): void {
    this.fault = () => undefined;
    this.seen = () => undefined;
    this.skew = 0;
    this.listedTogether = usualListing;
    this.demandsSums = false;
    Object.assign(this.knows, knowsAll);
  }

  /** All that is there is older by so many ms from now on. */
  age(ms: number): void {
    for (const [key, object] of this.objects)
      this.objects.set(key, { ...object, modified: new Date(object.modified.getTime() - ms) });
  }

  private readonly server = http.createServer((request, answer) => {
    const collected: Buffer[] = [];
    request.on('data', (bytes: Buffer) => collected.push(bytes));
    request.on('end', () => this.answer(request, Buffer.concat(collected), answer));
  });

  async start(): Promise<URL> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return new URL(`http://127.0.0.1:${String((this.server.address() as AddressInfo).port)}`);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private answer(request: http.IncomingMessage, body: Buffer, answer: http.ServerResponse): void {
    const url = new URL(request.url ?? '/', 'http://tiny');
    const [, ...path] = decodeURIComponent(url.pathname).slice(1).split('/');
    const tiny = { method: request.method ?? '', key: path.join('/'), query: url.searchParams };
    answer.setHeader('date', new Date(Date.now() + this.skew).toUTCString());
    const signed = String(request.headers['x-amz-date']).replace(/(....)(..)(..T..)(..)(..Z)/, '$1-$2-$3:$4:$5');
    if (Math.abs(Date.parse(signed) - Date.now() - this.skew) > 900_000)
      return refuse(answer, 403, 'RequestTimeTooSkewed');
    const fault = this.fault(tiny);
    if (fault === 'silence') return;
    if (fault === 'cut before') {
      request.socket.destroy();
      return;
    }
    if (typeof fault === 'object') return refuse(answer, fault.status, fault.code);
    if (fault === 'cut after') {
      const unheard = new http.ServerResponse(request);
      this.carryOut(tiny, request, body, unheard);
      this.seen(tiny);
      request.socket.destroy();
      return;
    }
    if (fault === 'lie') answer.setHeader('etag', '"11111111111111111111111111111111"');
    const object = tiny.method === 'GET' ? this.objects.get(tiny.key) : undefined;
    if (fault === 'truncate' && object) {
      answer.writeHead(206, { 'content-length': object.body.length });
      answer.write(object.body.subarray(0, object.body.length >> 1), () => request.socket.destroy());
      return;
    }
    this.carryOut(tiny, request, body, answer, fault);
    this.seen(tiny);
  }

  private carryOut(
    { method, key, query }: TinyRequest,
    { headers }: http.IncomingMessage,
    body: Buffer,
    answer: http.ServerResponse,
    fault?: Fault,
  ): void {
    const there = this.objects.get(key);
    if (key === '') return this.list(query, answer);
    if (method === 'DELETE') {
      const upload = query.get('uploadId');
      if (upload === null) this.objects.delete(key);
      else this.uploads.delete(upload);
      answer.writeHead(204).end();
      return;
    }
    if (method === 'PUT' || method === 'POST') {
      const sum = headers['content-md5'];
      if (this.demandsSums && sum === undefined && method === 'PUT') return refuse(answer, 400, 'InvalidRequest');
      if (this.knows.sums && sum !== undefined && sum !== createHash('md5').update(body).digest('base64'))
        return refuse(answer, 400, 'BadDigest');
      if (headers['if-none-match'] === '*' && !this.knows.free) return refuse(answer, 501, 'NotImplemented');
      if (headers['if-none-match'] === '*' && there) return refuse(answer, 412, 'PreconditionFailed');
      if (headers['if-match'] !== undefined && this.knows.replace && headers['if-match'] !== there?.etag)
        return refuse(answer, 412, 'PreconditionFailed');
    }
    if (query.has('uploads')) {
      const id = randomBytes(8).toString('hex');
      this.uploads.set(id, { key, begun: new Date(Date.now() + this.skew), parts: new Map() });
      answer.end(`<R><UploadId>${id}</UploadId></R>`);
      return;
    }
    const id = query.get('uploadId');
    if (id !== null) return this.upload(id, method, Number(query.get('partNumber')), body, answer);
    if (method === 'PUT') {
      const put = objectOf(body);
      this.objects.set(key, put);
      if (!answer.hasHeader('etag')) answer.setHeader('etag', put.etag);
      answer.end();
      return;
    }
    if (!there) return refuse(answer, 404, 'NoSuchKey');
    const range = this.knows.ranges ? (headers.range ?? '') : '';
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
    const wanted = from === undefined ? there.body : there.body.subarray(Number(from), Number(to) + 1);
    if (from !== undefined && wanted.length === 0) return refuse(answer, 416, 'InvalidRange');
    const read = Buffer.from(wanted);
    if (fault === 'flip') read[read.length >> 1] = (read[read.length >> 1] ?? 0) ^ 1;
    answer.writeHead(from === undefined ? 200 : 206, { etag: there.etag, 'content-length': read.length });
    answer.end(method === 'HEAD' ? undefined : read);
  }

  private upload(id: string, method: string, number: number, body: Buffer, answer: http.ServerResponse): void {
    const upload = this.uploads.get(id);
    if (!upload) return refuse(answer, 404, 'NoSuchUpload');
    if (method === 'PUT') {
      const part = objectOf(body);
      upload.parts.set(number, part);
      if (!answer.hasHeader('etag')) answer.setHeader('etag', part.etag);
      answer.end();
      return;
    }
    if (method === 'GET') {
      const parts = [...upload.parts].map(
        ([at, part]) =>
          `<Part><PartNumber>${String(at)}</PartNumber><Size>${String(part.body.length)}</Size><ETag>${part.etag.replaceAll('"', '&quot;')}</ETag></Part>`,
      );
      answer.end(`<R><IsTruncated>false</IsTruncated>${parts.join('')}</R>`);
      return;
    }
    const listed = [...body.toString().matchAll(/<PartNumber>(\d+)<\/PartNumber><ETag>(.*?)<\/ETag>/g)];
    const parts = listed.map(([, at, etag]) => {
      const part = upload.parts.get(Number(at));
      return part?.etag === etag?.replaceAll('&#34;', '"') ? part : undefined;
    });
    // An answer of 200 does not say that it is done.
    if (parts.includes(undefined)) {
      answer.end('<Error><Code>InvalidPart</Code></Error>');
      return;
    }
    this.uploads.delete(id);
    this.objects.set(upload.key, objectOf(Buffer.concat(parts.map((part) => part?.body ?? Buffer.alloc(0)))));
    answer.end('<R></R>');
  }

  private list(query: URLSearchParams, answer: http.ServerResponse): void {
    const prefix = query.get('prefix') ?? '';
    if (query.has('uploads')) {
      const found = [...this.uploads].filter(([, { key }]) => key.startsWith(prefix));
      const listed = found.map(
        ([id, { key, begun }]) =>
          `<Upload><Key>${key}</Key><UploadId>${id}</UploadId><Initiated>${begun.toISOString()}</Initiated></Upload>`,
      );
      answer.end(`<R><IsTruncated>false</IsTruncated>${listed.join('')}</R>`);
      return;
    }
    const after = query.get('continuation-token') ?? query.get('start-after') ?? '';
    const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
    const page = keys.slice(0, this.listedTogether);
    const listed = page.map((key) => {
      const { body, modified } = this.objects.get(key) as TinyObject;
      return `<Contents><Key>${encodeURIComponent(key)}</Key><LastModified>${modified.toISOString()}</LastModified><Size>${String(body.length)}</Size></Contents>`;
    });
    const more = keys.length > page.length;
    const token = more ? `<NextContinuationToken>${page[page.length - 1] ?? ''}</NextContinuationToken>` : '';
    answer.end(`<R><IsTruncated>${String(more)}</IsTruncated>${listed.join('')}${token}</R>`);
  }
}

function objectOf(body: Buffer): TinyObject {
  return { body, etag: `"${createHash('md5').update(body).digest('hex')}"`, modified: new Date() };
}

function refuse(answer: http.ServerResponse, status: number, code: string): void {
  answer.writeHead(status).end(`<Error><Code>${code}</Code></Error>`);
}
