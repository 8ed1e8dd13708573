// Requests to a page that are as much work as a request can be, from who has its token and from who has not.
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { batchOf, type Visitor } from '../spec/web/visitor';

type PageAttack = (visitor: Visitor) => Promise<unknown>;

/** What stands in the receive directory for them: `crowded` has so many files. */
export const crowd = 30_000;
const longestList = 1024 * 1024;
const longestBody = 64 * 1024;
const digest = '0'.repeat(64);
/** In ms: whoever has got no answer for so long gets none. */
const silent = 400;

/** Says these bytes at once, and reads what is answered: so many answers, or until nothing more comes. */
async function say({ port }: Visitor, text: string, answers = Infinity): Promise<void> {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined);
  let heard = performance.now();
  let heads = 0;
  socket.on('data', (piece: Buffer) => {
    heard = performance.now();
    heads += piece.toString('latin1').split('HTTP/1.1 ').length - 1;
    if (heads >= answers) socket.destroy();
  });
  socket.write(text, 'latin1');
  while (!socket.destroyed && performance.now() - heard < silent) await sleep(5);
  socket.destroy();
}

const again = (count: number, text: string): string => text.repeat(count);
const head = (visitor: Visitor, line: string, more = ''): string =>
  `${line} HTTP/1.1\r\nHost: ${visitor.host}\r\nAuthorization: ${visitor.bearer}\r\n${more}\r\n`;
const post = (visitor: Visitor, path: string, body: string): string =>
  head(visitor, `POST /${path}`, `Content-Length: ${String(body.length)}\r\n`) + body;

const batch = (visitor: Visitor, list: unknown, content = 0): Promise<unknown> =>
  visitor.ask('POST', 'api/batch', { body: batchOf(list, [Buffer.alloc(content)]) });
const listed = (visitor: Visitor, text: string): Promise<unknown> => {
  const list = Buffer.from(text).subarray(0, longestList);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(list.length);
  return visitor.ask('POST', 'api/batch', { body: Buffer.concat([length, list]) });
};
const files = (count: number, size: number, name: (at: number) => string): object[] =>
  Array.from({ length: count }, (_, at) => ({ name: name(at), size, mtime: at, blake3: digest }));
/** Many at once, each over a connection of its own. */
const atOnce = (count: number, ask: (at: number) => Promise<unknown>): Promise<unknown> =>
  Promise.all(Array.from({ length: count }, (_, at) => ask(at)));

export const pageAttacks: Readonly<Record<string, PageAttack>> = {
  'a directory of many entries, listed': (visitor) => visitor.ask('GET', 'api/files?path=crowded'),
  'a directory of many entries, listed ten times at once': (visitor) =>
    atOnce(10, () => visitor.ask('GET', 'api/files?path=crowded')),
  'a batch of 512 files': (visitor) =>
    batch(
      visitor,
      files(512, 8_000, (at) => `batch/${String(at)}`),
      512 * 8_000,
    ),
  'four batches of 512 files at once': (visitor) =>
    atOnce(4, (which) =>
      batch(
        visitor,
        files(512, 10, (at) => `batch ${String(which)}/${String(at)}`),
        5_120,
      ),
    ),
  'a batch of 512 long names': (visitor) =>
    batch(
      visitor,
      files(512, 1, (at) => `${'d/'.repeat(900)}${String(at)}`),
      512,
    ),
  'four batches of 512 long names at once': (visitor) =>
    atOnce(4, (which) =>
      batch(
        visitor,
        files(512, 1, (at) => `${'d/'.repeat(900)}${String(which)}-${String(at)}`),
        512,
      ),
    ),
  'a batch of 512 names that are refused': (visitor) =>
    batch(
      visitor,
      files(512, 1, (at) => `../${'x'.repeat(1_800)}${String(at)}`),
      512,
    ),
  'a batch whose list has 500,000 numbers': (visitor) => listed(visitor, `[${'0,'.repeat(longestList / 2 - 2)}0]`),
  'a batch whose list has 300,000 objects': (visitor) => listed(visitor, `[${'{},'.repeat(longestList / 3 - 2)}{}]`),
  'a batch whose list is nested': (visitor) => listed(visitor, '['.repeat(longestList)),
  'a batch whose list is nested, and ends': (visitor) =>
    listed(visitor, '['.repeat(longestList / 2) + ']'.repeat(longestList / 2)),
  'a batch whose list is one string': (visitor) => listed(visitor, `["${'\\u0041'.repeat(longestList / 6 - 1)}"]`),
  'a batch whose list is white space': (visitor) => listed(visitor, ' '.repeat(longestList)),
  'a batch with one name of 1 MiB': (visitor) =>
    listed(visitor, JSON.stringify(files(1, 1, () => 'x'.repeat(longestList - 200)))),
  'a body of 10,000 keys': (visitor) =>
    visitor.ask('POST', 'api/uploads', {
      body: JSON.stringify(Object.fromEntries(Array.from({ length: 5_500 }, (_, at) => [`k${String(at)}`, 1]))),
    }),
  'a body that is nested': (visitor) => visitor.ask('POST', 'api/uploads', { body: '['.repeat(longestBody) }),
  'a name of 64 KiB': (visitor) =>
    visitor.post('api/uploads', { name: 'n/'.repeat(longestBody / 2 - 100), size: 1, mtime: 0 }),
  'two hundred uploads begun at once': (visitor) =>
    atOnce(200, (at) => visitor.post('api/uploads', { name: `many/${String(at)}`, size: 9_000_000, mtime: 0 })),
  'an upload as large as there is room, begun twenty times': async (visitor) => {
    const free = Number((await visitor.ask('GET', 'api/session')).json['free']);
    const size = Math.floor(free / 2);
    return atOnce(20, () => visitor.post('api/uploads', { name: 'huge', size, mtime: 0, page: 'one' }));
  },
  'links in one packet': (visitor) => say(visitor, again(250, post(visitor, 'api/links', '{"path":"crowded/1"}'))),
  'ten thousand links, and more': async (visitor) => {
    for (let times = 0; times < 700; times++)
      await say(visitor, again(16, post(visitor, 'api/links', '{"path":"crowded/1"}')), 16);
  },
  'a thousand questions in one packet': (visitor) => say(visitor, again(1_000, head(visitor, 'GET /api/session'))),
  'a thousand lists in one packet': (visitor) =>
    say(visitor, again(1_000, head(visitor, 'GET /api/files?path=crowded'))),
  'a thousand wrong tokens in one packet': (visitor) =>
    say(visitor, again(1_000, `GET /api/session HTTP/1.1\r\nHost: ${visitor.host}\r\nAuthorization: Bearer x\r\n\r\n`)),
  'a thousand foreign hosts in one packet': (visitor) =>
    say(visitor, again(1_000, 'GET /api/session HTTP/1.1\r\nHost: evil.example\r\n\r\n')),
  'a thousand pages in one packet': (visitor) =>
    say(visitor, again(1_000, `GET / HTTP/1.1\r\nHost: ${visitor.host}\r\n\r\n`)),
  'the longest paths in one packet': (visitor) =>
    say(visitor, again(20, head(visitor, `GET /api/${'%41'.repeat(2_600)}`))),
  'the longest queries in one packet': (visitor) =>
    say(visitor, again(20, head(visitor, `GET /api/files?${'a=%41&'.repeat(1_300)}`))),
  'the longest heads in one packet': (visitor) =>
    say(visitor, again(20, head(visitor, 'GET /api/session', 'X: y\r\n'.repeat(2_400)))),
  'three hundred connections at once': (visitor) =>
    atOnce(300, () => say(visitor, 'GET / HTTP/1.1\r\nHost: x\r\n\r\n')),
  'more who watch than may': (visitor) => atOnce(40, () => say(visitor, head(visitor, 'GET /api/live'))),
};
