// Requests to the page of a receiver as nobody's browser would send them, and which answers to them are right.
import type { Random } from './random';

/** What is said over one connection, and what may be answered. */
export interface WebAttack {
  /** In the order in which they are written; the connection is cut behind the last where `cut`. */
  readonly writes: readonly Buffer[];
  readonly cut: boolean;
  /** The statuses of which each answer has one. */
  readonly right: ReadonlySet<number>;
  /** So many answers at most. */
  readonly most: number;
  /** For whoever reads a finding. */
  readonly what: string;
}

/** What the requests are made of. */
export interface WebTarget {
  /** HOST:PORT. */
  readonly host: string;
  readonly token: string;
  /** Uploads that are open. */
  readonly uploads: readonly { readonly id: string; readonly size: number }[];
  /** Links to a file that is there. */
  readonly links: readonly string[];
}

const ok = [200, 204, 206];
/** What a request may be answered that is let in: what it asks for is wrong, or cannot be had. */
const wrong = [400, 403, 404, 405, 409, 413, 416, 422, 503, 507];
const names = [
  '../outside/file',
  'a/../../outside/new',
  '/etc/passwd',
  '..',
  '.',
  '',
  'a//b',
  '.sendall/lock',
  'link/file',
  'kept',
  'kept/below',
  'n'.repeat(255),
  'n'.repeat(256),
  'd/'.repeat(300) + 'f',
  'a\0b',
  '\u202egpj.exe',
  '\ud800',
  '<img src=x onerror=alert(1)>',
  '__proto__',
];
const numbers = [0, 1, -1, 0.5, 5, 70_000, 1_048_577, 9_000_000, 2 ** 31, 2 ** 53, 1e300, '5', null, true, [], {}];
const digests = ['', 'x', 'f'.repeat(63), 'F'.repeat(64), '0'.repeat(64), 7, null, ['0'.repeat(64)]];
const paths = (target: WebTarget, random: Random): string[] => {
  const id = random.next() < 0.7 && target.uploads.length > 0 ? random.oneOf(target.uploads).id : 'f'.repeat(32);
  const link = random.next() < 0.7 && target.links.length > 0 ? random.oneOf(target.links) : 'A'.repeat(32);
  const name = encodeURIComponent(Buffer.from(random.oneOf(names)).toString());
  return [
    '/',
    '/page.css',
    '/api/session',
    '/api/live/x',
    '/api/uploads',
    `/api/uploads/${id}/${random.oneOf(['0', '1', '2', '-1', '1e3', '00', '9999999', '99999999', '%30', ''])}`,
    `/api/uploads/${id}/close`,
    `/api/uploads/${id}`,
    '/api/batch',
    `/api/files?path=${name}`,
    `/api/files?path=${name}&path=kept`,
    '/api/links',
    `/dl/${link}`,
    `/dl/${link}/x`,
    `/${name}`,
    `/..%2f..%2f${name}`,
    '/api/../api/session',
    '//api/session',
    '/api/session#x',
    `/${'x/'.repeat(2_000)}`,
    `/?${'q=%41&'.repeat(1_000)}`,
  ];
};

/** Which kind of body a path wants. */
function bodyFor(path: string, random: Random): Buffer {
  const kinds = [
    [/^\/api\/batch/, 1],
    [/close$/, 2],
    [/links$/, 3],
    [/uploads\//, 7],
  ] as const;
  const kind = kinds.find(([pattern]) => pattern.test(path))?.[1] ?? 0;
  return anyBody(random, random.next() < 0.6 ? kind : random.between(0, 7));
}

function anyBody(random: Random, kind: number): Buffer {
  const offer = (): object => ({
    name: random.oneOf(names),
    size: random.oneOf(numbers),
    mtime: random.oneOf(numbers),
    ...(random.next() < 0.5 ? { blake3: random.oneOf(digests) } : {}),
    ...(random.next() < 0.3 ? { page: random.oneOf(names) } : {}),
  });
  switch (kind) {
    case 0:
      return Buffer.from(JSON.stringify(offer()));
    case 1: {
      const list = Buffer.from(JSON.stringify(Array.from({ length: random.between(0, 20) }, offer)));
      const length = Buffer.alloc(4);
      length.writeUInt32LE(random.oneOf([list.length, list.length, list.length, 0, 0xffffffff, list.length + 1]));
      return Buffer.concat([length, list, random.bytes(random.between(0, 100))]);
    }
    case 2:
      return Buffer.from(JSON.stringify({ blake3: random.oneOf(digests) }));
    case 3:
      return Buffer.from(JSON.stringify({ path: random.oneOf(names), id: random.oneOf(names) }));
    case 4:
      return Buffer.from('['.repeat(random.between(1, 60_000)));
    case 5:
      return Buffer.from(`{"a":1,"a":${'9'.repeat(random.between(1, 400))},"name":"\\ud800"}`);
    case 6:
      return random.bytes(random.between(0, 2_000));
    default:
      return Buffer.alloc(random.oneOf([0, 5, 70_000, 1_048_576]), 'x');
  }
}

interface MadeRequest {
  readonly head: string;
  readonly body: Buffer;
  readonly right: readonly number[];
}

/** One request that HTTP allows, with what it may be answered. */
function request(target: WebTarget, random: Random): MadeRequest {
  const often = (share: number): boolean => random.next() < share;
  const path = random.oneOf(paths(target, random));
  const usual = /uploads\/[^/]+\/(?!close)/.test(path) ? 'PUT' : /uploads|batch|links/.test(path) ? 'POST' : 'GET';
  const method = often(0.6)
    ? usual
    : random.oneOf(['GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH', 'TRACE', 'PROPFIND']);
  const host = often(0.9);
  const origin = often(0.7) ? undefined : often(0.5);
  const token = often(0.8);
  const range = often(0.2)
    ? random.oneOf(['bytes=0-', 'bytes=5-1', 'bytes=-0', 'bytes=99999999-', 'bytes=0-1,3-4', 'x', 'bytes=1-1'])
    : undefined;
  const body = method === 'GET' || method === 'HEAD' ? Buffer.alloc(0) : bodyFor(path, random);
  const lines = [
    `${method} ${path} HTTP/1.1`,
    `Host: ${host ? target.host : random.oneOf(['evil.example', 'localhost', '127.0.0.1', `${target.host}.evil`])}`,
    ...(origin === undefined ? [] : [`Origin: ${origin ? `http://${target.host}` : 'https://evil.example'}`]),
    ...(token
      ? [`Authorization: Bearer ${target.token}`]
      : random.oneOf([[], [`Authorization: Bearer ${target.token}x`], ['Authorization: Basic eDp5']])),
    ...(range === undefined ? [] : [`Range: ${range}`]),
    ...(often(0.1) ? ['Content-Range: bytes 0-4/5'] : []),
    ...(often(0.1) ? ['X-Forwarded-Host: evil.example', 'X-Http-Method-Override: DELETE'] : []),
    ...(often(0.05) ? ['Expect: 100-continue'] : []),
  ];
  const chunked = body.length > 0 && often(0.15);
  if (chunked) lines.push('Transfer-Encoding: chunked');
  else if (body.length > 0 || often(0.5)) lines.push(`Content-Length: ${String(body.length)}`);
  const sent = chunked
    ? Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n0\r\n\r\n')])
    : body;
  const below = path.startsWith('/api/');
  const right = !host
    ? [421]
    : origin === false
      ? [403]
      : below && !token
        ? [401]
        : [...ok.filter((code) => code !== 204 || method !== 'PUT' || sliceFits(target, path, body.length)), ...wrong];
  return { head: `${lines.join('\r\n')}\r\n\r\n`, body: sent, right };
}

const slice = 8 * 1024 * 1024;

/** Whether these are all bytes of a slice, which alone is taken. */
function sliceFits({ uploads }: WebTarget, path: string, length: number): boolean {
  const [, id, number] = /^\/api\/uploads\/(\w+)\/(\d{1,7})$/.exec(path) ?? [];
  const size = uploads.find((upload) => upload.id === id)?.size ?? 0;
  return length > 0 && length === Math.min(slice, size - Number(number) * slice);
}

/** Changes a few bytes anywhere: whatever is answered then is no failure of the receiver's own. */
function mutated(bytes: Buffer, random: Random): Buffer {
  const changed = Buffer.from(bytes);
  for (let times = random.between(1, 4); times > 0 && changed.length > 0; times--)
    changed[random.between(0, Math.min(changed.length, 2_000) - 1)] = random.between(0, 255);
  return random.next() < 0.2 ? Buffer.concat([changed, changed.subarray(0, random.between(0, 500))]) : changed;
}

const anything = new Set([...ok, ...wrong, 401, 417, 421, 431]);

/** What chance would find too seldom: each tenth input is one of them. */
function knownAttack({ host, token, uploads, links }: WebTarget, which: number): WebAttack | undefined {
  const of = (line: string, more = ''): string =>
    `${line} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${token}\r\n${more}\r\n`;
  const one = (what: string, bytes: string, right: readonly number[], cut = false): WebAttack => ({
    writes: [Buffer.from(bytes, 'latin1')],
    cut,
    right: new Set(right),
    most: 1,
    what,
  });
  switch (which) {
    case 0:
      return one(
        'a download behind an answer that never ends',
        of('GET /api/live') + of(`GET /dl/${links[0] ?? ''}`),
        [200, 503],
        true,
      );
    case 1: {
      const body = JSON.stringify({ path: 'link/file' });
      return one(
        'a file behind a link',
        of('POST /api/links', `Content-Length: ${String(body.length)}\r\n`) + body,
        [200],
      );
    }
    case 2:
      return one(
        'a slice that is too long',
        of(`PUT /api/uploads/${uploads[0]?.id ?? ''}/0`, 'Content-Length: 70001\r\n') + 'x'.repeat(70_001),
        [400],
      );
    default:
      return undefined;
  }
}

/** Something to say, for the most part by chance. */
export function webAttack(target: WebTarget, random: Random, input: number): WebAttack {
  const known = knownAttack(target, input % 10);
  if (known) return known;
  const requests = Array.from({ length: random.next() < 0.8 ? 1 : random.between(2, 5) }, () =>
    request(target, random),
  );
  const what = requests.map(({ head }) => (head.split('\r\n', 1)[0] ?? '').slice(0, 80)).join(' | ');
  const whole = Buffer.concat(requests.flatMap(({ head, body }) => [Buffer.from(head, 'latin1'), body]));
  const chance = random.next();
  if (chance < 0.15)
    return { writes: [mutated(whole, random)], cut: false, right: anything, most: 99, what: `changed: ${what}` };
  if (chance < 0.3) {
    // Half of it, and then nothing more.
    const half = whole.subarray(0, random.between(0, whole.length - 1));
    return { writes: [half], cut: true, right: anything, most: requests.length, what: `half of ${what}` };
  }
  const at = random.between(0, whole.length);
  return {
    writes: chance < 0.5 ? [whole.subarray(0, at), whole.subarray(at)] : [whole],
    cut: false,
    right: new Set(requests.flatMap(({ right }) => right)),
    most: requests.length,
    what,
  };
}
