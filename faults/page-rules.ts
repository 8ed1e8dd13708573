// The rules by which a page is safe, each asked of a real receiver: what chance would ask for too seldom.
import { Visitor } from '../spec/web/visitor';
import type { Served } from './served';

/** What every answer has, whatever was asked for and by whom. */
const always: Readonly<Record<string, RegExp>> = {
  'cache-control': /^no-store$/,
  'x-content-type-options': /^nosniff$/,
  'x-frame-options': /^DENY$/,
  'referrer-policy': /^no-referrer$/,
  'content-security-policy': /^default-src 'none';.*frame-ancestors 'none'/,
};
const never = ['set-cookie', 'access-control-allow-origin', 'access-control-allow-credentials'];
const MiB = 1024 * 1024;

/**
 * Asks a page that gives what is in its directory, where `kept` is. @returns a sentence for each rule that is broken.
 */
export async function brokenRules(visitor: Visitor, { quota, maxSize }: { quota: number; maxSize: number }) {
  const broken: string[] = [];
  const rule = (holds: boolean, sentence: string): void => void (holds || broken.push(sentence));
  const statusOf = async (...how: Parameters<Visitor['ask']>): Promise<number> => (await visitor.ask(...how)).status;
  const token = visitor.bearer.slice('Bearer '.length);
  const href = String((await visitor.post('api/links', { path: 'kept' })).json['href']);

  const asked: Parameters<Visitor['ask']>[] = [
    ['GET', '/'],
    ['GET', '/page.js', { token: false }],
    ['GET', '/nothing'],
    ['GET', 'api/session'],
    ['GET', 'api/session', { token: false }],
    ['GET', 'api/session', { headers: { host: 'evil.example' } }],
    ['GET', 'api/session', { headers: { origin: 'https://evil.example' } }],
    ['POST', 'api/uploads', { body: 'x' }],
    ['OPTIONS', 'api/uploads', { headers: { origin: `http://${visitor.host}` } }],
    ['HEAD', href, { token: false }],
    ['GET', 'dl/x', { token: false }],
  ];
  for (const how of asked) {
    const { headers } = await visitor.ask(...how);
    const what = `${how[0]} ${how[1].replace(/dl\/.{9,}/, 'dl/LINK')}`;
    for (const [name, form] of Object.entries(always))
      rule(form.test(String(headers[name])), `${what} was answered with ${name}: ${String(headers[name])}`);
    for (const name of never) rule(headers[name] === undefined, `${what} was answered with ${name}`);
  }
  const policy = String((await visitor.ask('GET', '/')).headers['content-security-policy']);
  rule(!/unsafe-(?:inline|hashes)|(?<!wasm-)unsafe-eval|https?:|\*|data:/.test(policy), `the page may run ${policy}`);

  const elsewhere: readonly (readonly [string, object])[] = [
    [`api/session?token=${token}`, {}],
    [`api/session?authorization=Bearer+${token}`, {}],
    ['api/session', { cookie: `token=${token}; authorization=${visitor.bearer}` }],
    ['api/session', { 'x-authorization': visitor.bearer, 'proxy-authorization': visitor.bearer }],
    ['api/session', { authorization: `Basic ${Buffer.from(`:${token}`).toString('base64')}` }],
  ];
  for (const [path, headers] of elsewhere)
    rule(
      (await statusOf('GET', path, { token: false, headers: { ...headers } })) === 401,
      `a token was taken from ${path}`,
    );
  for (const site of ['cross-site', 'same-site'])
    rule(
      (await statusOf('GET', 'api/session', { headers: { 'sec-fetch-site': site } })) === 403,
      `a request of a page that is ${site} was taken`,
    );

  const fetched = await visitor.ask('GET', href, { token: false });
  rule(/^attachment;/.test(String(fetched.headers['content-disposition'])), 'a download is no attachment');
  rule(/sandbox/.test(String(fetched.headers['content-security-policy'])), 'a download has no sandbox');
  rule(fetched.headers['content-type'] === 'application/octet-stream', 'a download is told to be something');
  rule(fetched.status === 200, `a download was answered ${String(fetched.status)}`);
  rule((await statusOf('GET', href, { token: false })) === 404, 'a link was good for two deliveries');

  const begin = async (name: string, size: number): Promise<number> =>
    (await visitor.post('api/uploads', { name, size, mtime: 0 })).status;
  rule((await begin('too large', maxSize + 1)) === 413, 'an upload of more than --max-size was begun');
  const begun = [];
  for (let at = 0; at * maxSize < quota; at++)
    begun.push(await visitor.begin(`of quota ${String(at)}`, Buffer.alloc(maxSize)));
  rule((await begin('over quota', 8 * MiB)) === 507, 'an upload was begun beyond --quota');
  for (const { json } of begun) await visitor.ask('DELETE', `api/uploads/${String(json['id'])}?discard=1`);
  return broken;
}

/** What a receiver serves that was told nothing more than where. */
export async function brokenDefaults(served: Served): Promise<string[]> {
  const broken: string[] = [];
  const started = served.start(['receive', 'sendall-plain', '--listen', '127.0.0.1:0', '--web', '0.0.0.0:0']);
  const open = served.start([
    'receive',
    'sendall-open',
    '--listen',
    '127.0.0.1:0',
    '--web',
    '0.0.0.0:0',
    '--insecure-plain',
  ]);
  try {
    const refused = started.ended.then(({ code }) => code);
    const serves = started.says(/http:\/\/\S+#/).then(
      () => 'served',
      () => 'not served',
    );
    const end = await Promise.race([refused, serves]);
    if ((end === 'not served' ? await refused : end) !== 2)
      broken.push('a page for the network was served in the open, and nobody had allowed it');
    const [, url = ''] = await open.says(/(http:\/\/\S+#[\w-]{32})/);
    const visitor = new Visitor(url);
    const { json } = await visitor.ask('GET', 'api/session');
    if (json['insecure'] !== true) broken.push('a page in the open does not say so');
    for (const [what, { status }] of [
      ['listed', await visitor.ask('GET', 'api/files?path=')],
      ['given', await visitor.post('api/links', { path: 'a' })],
    ] as const)
      if (status !== 403) broken.push(`without --web-read files were ${what}`);
  } finally {
    for (const { child } of [started, open]) child.kill('SIGKILL');
    await Promise.all([started.ended, open.ended]);
  }
  return broken;
}
