// Odd requests to the page of a real receiver, over real connections.
import { once } from 'node:events';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { watchPeak } from '../../bench/memory';
import { Visitor } from '../../spec/web/visitor';
import type { Edit } from '../build';
import type { Dose, Experiment, Outcome, Surroundings } from '../experiment';
import { brokenDefaults, brokenRules } from '../page-rules';
import { Random } from '../random';
import { Served } from '../served';
import { type WebAttack, webAttack } from '../web-requests';

const counts: Readonly<Record<Dose, number>> = { short: 600, long: 60_000, proof: 500 };
const MiB = 1024 * 1024;
const atOnce = 8;
/** In ms: one that is not answered within this is a hang. A slice or batch that lacks its end has 30 s and more. */
const answeredWithin = 20_000;
/** Whoever cuts it off hears for so long, in ms, what else comes. */
const cutAfter = 5;
/** In ms: whoever has said what may be no request hears for so long what is answered. */
const endsAfter = 200;
/** In MiB. */
const mostResident = 256;
/** Threads that were started since, and uploads whose answers were cut off. */
const descriptorsMore = 24;
const settlesWithin = 8_000;
/** All but one of those of each connection wait: more than `descriptorsMore`. */
const givenUp = { connections: 10, downloads: 5 };

/** Says it, and gives the statuses of what is answered; `undefined` where that takes too long. */
async function say(port: number, { writes, cut, most }: WebAttack): Promise<{ text: string; late: boolean }> {
  const socket = connect(port, '127.0.0.1');
  let text = '';
  let late = false;
  await new Promise<void>((resolve) => {
    const over = setTimeout(() => {
      late = !cut;
      resolve();
    }, answeredWithin);
    const end = (): void => {
      clearTimeout(over);
      resolve();
    };
    // A reset is an end like any other.
    socket.on('error', () => undefined).once('close', end);
    socket.on('data', (piece: Buffer) => {
      text += piece.toString('latin1');
      if (!cut && statusesOf(text).length >= most) setTimeout(end, 1);
    });
    for (const [at, bytes] of writes.entries())
      if (at === 0) socket.write(bytes);
      else setImmediate(() => socket.write(bytes));
    // What is no whole request would be waited for: nothing more comes.
    const done = cut
      ? setTimeout(() => socket.destroy(), cutAfter)
      : setTimeout(() => socket.end(), most > 9 ? endsAfter : answeredWithin / 2);
    socket.once('close', () => clearTimeout(done));
  });
  socket.destroy();
  return { text, late };
}

function statusesOf(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3}) [A-Z]/g)]
    .map(([, status]) => Number(status))
    .filter((code) => code > 199);
}

/**
 * Downloads that are asked for in one packet, more than any buffer holds, and given up when the first begins: those
 * behind it are the ones that nobody tells of that.
 */
async function giveUpDownloads(visitor: Visitor): Promise<void> {
  for (let connection = 0; connection < givenUp.connections; connection++) {
    let words = '';
    for (let download = 0; download < givenUp.downloads; download++) {
      const { json } = await visitor.post('api/links', { path: 'long' });
      words += `GET /${String(json['href'])} HTTP/1.1\r\nHost: ${visitor.host}\r\n\r\n`;
    }
    const socket = connect(visitor.port, '127.0.0.1');
    socket.write(words);
    await once(socket, 'data');
    socket.destroy();
  }
}

async function run({ build, directory, dose, random, say: tell }: Surroundings): Promise<Outcome> {
  const outside = join(directory, 'outside');
  await mkdir(outside);
  await writeFile(join(outside, 'file'), 'not yours');
  const words = ['--web', '127.0.0.1:0', '--web-read', '--quota', '64M', '--max-size', '16M', '--names', 'any'];
  const served = await Served.open({ build, directory }, words);
  const pid = served.receiver.child.pid ?? 0;
  const peak = watchPeak(pid);
  const broken: string[] = [];
  const seen = new Map<number, number>();
  try {
    const [, url = ''] = await served.receiver.says(/(http:\/\/\S+#[\w-]{32})/);
    const visitor = new Visitor(url);
    await writeFile(served.at('in', 'kept'), 'what was there');
    await writeFile(served.at('in', 'long'), Buffer.alloc(8 * MiB));
    await symlink(outside, served.at('in', 'link'));
    const { host, bearer, port } = visitor;
    for (const asking of [brokenRules(visitor, { quota: 64 * MiB, maxSize: 16 * MiB }), brokenDefaults(served)])
      broken.push(...(await asking.catch((error: unknown) => [`a request was not answered: ${String(error)}`])));
    // What breaks a rule is found out by then.
    if (dose === 'proof' && broken.length > 0) return { tries: 1, broken };
    const beginning = async (name: string, size: number): Promise<string> =>
      String((await visitor.begin(name, Buffer.alloc(size), { page: 'known' })).json['id']);
    const sizes = [70_000, 9_000_000, 16_000_000];
    const uploads: { id: string; size: number }[] = [];
    for (const size of sizes) uploads.push({ id: await beginning(`upload ${String(size)}`, size), size });
    const links: string[] = [];
    const link = async (): Promise<void> => {
      links.splice(0, 1, String((await visitor.post('api/links', { path: 'kept' })).json['href']).slice(3));
    };
    await link();
    const descriptors = (): number => readdirSync(`/proc/${String(pid)}/fd`).length;
    const before = descriptors();
    const opened = new Set(uploads.map(({ id }) => id));
    let next = 0;
    const carryOn = async (): Promise<void> => {
      for (let input = next++; input < counts[dose] && broken.length < 20; input = next++) {
        const chance = new Random(random.seed + 300_000_007 + input * 7919);
        const attack = webAttack({ host, token: bearer.slice(7), uploads, links }, chance, input);
        const { text, late } = await say(port, attack);
        let told = text;
        for (const [, href = ''] of text.matchAll(/"href":"(dl\/[\w-]{32})"/g))
          told += (await visitor.ask('GET', href, { token: false })).body.toString('latin1');
        for (const [, id = ''] of text.matchAll(/"id":"([0-9a-f]{32})"/g)) opened.add(id);
        const statuses = statusesOf(text);
        for (const status of statuses) seen.set(status, (seen.get(status) ?? 0) + 1);
        const flaws = [
          ...(late ? ['it was not answered'] : []),
          ...statuses
            .filter((status) => !attack.right.has(status))
            .map((status) => `it was answered ${String(status)}`),
          ...(told.includes('not yours') || /\broot:x:0/.test(told) ? ['a file outside was told'] : []),
          ...(/^\s+at .+:\d+:\d+/m.test(text) ? ['a stack was told'] : []),
        ];
        if (flaws.length > 0)
          broken.push(`input ${String(input)} of seed ${String(random.seed)}, ${attack.what}: ${flaws.join(', ')}`);
        if (input % 500 === 499) await link();
        if (input % 10_000 === 9_999) tell(`${String(input + 1)} requests`);
        if (served.receiver.child.exitCode !== null) {
          broken.push(`input ${String(input)} of seed ${String(random.seed)}, ${attack.what}: the receiver has ended`);
          return;
        }
      }
    };
    await Promise.all(Array.from({ length: atOnce }, carryOn));
    if (served.receiver.child.exitCode === null) await giveUpDownloads(visitor);
    if (served.receiver.child.exitCode === null) {
      for (const id of opened) await visitor.ask('DELETE', `api/uploads/${id}?discard=1`);
      const enough = before + descriptorsMore;
      for (const until = performance.now() + settlesWithin; descriptors() > enough && performance.now() < until;)
        await sleep(100);
      if (descriptors() > enough)
        broken.push(`${String(before)} descriptors were open before, and ${String(descriptors())} after`);
      const ended = await visitor.upload('at last', Buffer.alloc(70_000, 'y'));
      if (ended.status !== 200) broken.push(`an upload at the end was answered ${String(ended.status)}`);
    }
    if (peak() > mostResident) broken.push(`${peak().toFixed(0)} MiB were resident, more than ${String(mostResident)}`);
    if ((await readFile(join(outside, 'file'), 'utf8')) !== 'not yours') broken.push('a file outside was changed');
    const others = [...(await readdir(outside)).filter((name) => name !== 'file'), ...(await strangeIn(directory))];
    if (others.length > 0) broken.push(`outside of the directory there is ${others.join(', ')}`);
    if ((await readFile(served.at('in', 'kept'), 'utf8')) !== 'what was there') broken.push('a file was replaced');
    const refused = await served.refusesOthers();
    if (refused !== undefined) broken.push(refused);
    served.receiver.child.kill('SIGINT');
    const { stderr } = await served.receiver.ended;
    if (/^\s+at |Warning:/m.test(stderr))
      broken.push(`the receiver said: ${/^(?:\s+at |.*Warning:).*$/m.exec(stderr)?.[0] ?? ''}`);
  } finally {
    await served.kill();
  }
  const figures = Object.fromEntries([...seen].sort().map(([status, count]) => [`answers_${String(status)}`, count]));
  return { tries: counts[dose], broken, figures: { resident_mib: Math.round(peak()), ...figures } };
}

/** What stands beside the receive directory and was not put there by this experiment. */
async function strangeIn(directory: string): Promise<string[]> {
  const own = new Set(['in', 'outside', 'bystander']);
  return (await readdir(directory)).filter((name) => !own.has(name) && !name.startsWith('sendall'));
}

/** In place of one header of every answer. */
function header(to: string): Edit {
  return { file: 'lib/web/answer.js', from: "'x-frame-options': 'DENY',", to };
}

const usedLink: Edit = { file: 'lib/web/downloads.js', from: 'used = true;\n', to: 'return;\n' };

export const web: Experiment = {
  name: 'web',
  promise:
    'No request makes the page of a receiver crash, hang, grow, tell or write a file outside, or answer what is not right.',
  missing: () => (process.platform === 'linux' ? undefined : 'Only Linux tells what a process has open.'),
  run,
  sabotages: [
    {
      name: 'any token is taken',
      edits: [
        {
          file: 'lib/web/checks.js',
          from: 'return (0, node_crypto_1.timingSafeEqual)(hashed(shown), hashed(token));',
          to: 'return shown !== token;',
        },
      ],
    },
    {
      name: 'any Host is taken',
      edits: [{ file: 'lib/web/checks.js', from: 'host === undefined || !hosts.has(host.toLowerCase())', to: 'false' }],
    },
    {
      name: 'scripts of any page are taken',
      edits: [
        { file: 'lib/web/checks.js', from: 'origin !== undefined && !origins.has(origin.toLowerCase())', to: 'false' },
      ],
    },
    {
      name: 'a failure is nobody’s business',
      edits: [
        {
          file: 'lib/web/web-server.js',
          from: 'await this.serve(request, response);',
          to: 'void this.serve(request, response);',
        },
      ],
    },
    {
      name: 'a slice may have any length',
      edits: [
        {
          file: 'lib/web/uploading.js',
          from: 'if ((0, request_body_1.lengthOf)(request) !== length)',
          to: 'if (false)',
        },
      ],
    },
    {
      name: 'a download that waits behind others is not told that nobody reads it',
      edits: [
        { file: 'lib/web/download.js', from: "socket.once('close', leave);", to: "response.once('close', leave);" },
      ],
    },
    {
      name: 'the descriptor of a file that was fetched stays open',
      edits: [{ file: 'lib/web/download.js', from: 'await source.handle.close();', to: '' }],
    },
    {
      name: 'links in the directory are followed',
      edits: [
        {
          file: 'lib/send/open-source.js',
          from: '(0, walker_1.openLocated)(file)',
          to: "require('node:fs/promises').open(file.below ? file.path + '/' + file.below : file.path)",
        },
      ],
    },
    {
      name: 'a token in the address is taken, which servers and histories keep',
      finds: 'a token was taken',
      edits: [
        {
          file: 'lib/web/web-server.js',
          from: '(0, checks_1.showsToken)(headers.authorization, this.token)',
          to: "(0, checks_1.showsToken)(headers.authorization ?? 'Bearer ' + asked.query.get('token'), this.token)",
        },
      ],
    },
    {
      name: 'a token in a cookie is taken, which a browser sends for other pages',
      finds: 'a token was taken',
      edits: [
        {
          file: 'lib/web/web-server.js',
          from: '(0, checks_1.showsToken)(headers.authorization, this.token)',
          to: "(0, checks_1.showsToken)(headers.authorization ?? 'Bearer ' + /token=([^;]*)/.exec(headers.cookie)?.[1], this.token)",
        },
      ],
    },
    {
      name: 'a cookie is set',
      finds: 'set-cookie',
      edits: [header("'set-cookie': 'seen=1', 'x-frame-options': 'DENY',")],
    },
    {
      name: 'scripts of other pages may read the answers',
      finds: 'access-control-allow-origin',
      edits: [header("'access-control-allow-origin': '*', 'x-frame-options': 'DENY',")],
    },
    { name: 'other pages may show it in a frame', finds: 'x-frame-options', edits: [header('')] },
    {
      name: 'answers are kept by browsers and whatever is between',
      finds: 'cache-control',
      edits: [{ file: 'lib/web/answer.js', from: "'cache-control': 'no-store',", to: '' }],
    },
    {
      name: 'browsers guess what an answer is',
      finds: 'x-content-type-options',
      edits: [{ file: 'lib/web/answer.js', from: "'x-content-type-options': 'nosniff',", to: '' }],
    },
    {
      name: 'the page runs whatever stands in it',
      finds: 'the page may run',
      edits: [
        { file: 'lib/web/answer.js', from: "'self' 'wasm-unsafe-eval'", to: "'self' 'unsafe-inline' 'unsafe-eval'" },
      ],
    },
    {
      name: 'scripts of other pages of one site are taken',
      finds: 'same-site',
      edits: [{ file: 'lib/web/checks.js', from: "(site === 'cross-site' || site === 'same-site')", to: 'false' }],
    },
    {
      name: 'a download is shown where it is fetched',
      finds: 'no attachment',
      edits: [{ file: 'lib/web/download.js', from: 'return `attachment; filename=', to: 'return `inline; filename=' }],
    },
    {
      name: 'a download that is shown may do anything',
      finds: 'no sandbox',
      edits: [{ file: 'lib/web/answer.js', from: "frame-ancestors 'none'; sandbox", to: "frame-ancestors 'none'" }],
    },
    {
      name: 'a link is good for ever',
      finds: 'two deliveries',
      edits: [{ file: 'lib/web/downloads.js', from: 'if (whole)', to: 'if (false)' }, usedLink],
    },
    {
      name: 'whoever may upload may read',
      finds: 'without --web-read',
      edits: [{ file: 'lib/web/serve-uploads.js', from: 'this.options.read !== true', to: 'false' }],
    },
    {
      name: 'the network is served in the open, and nobody has allowed it',
      finds: 'nobody had allowed it',
      edits: [{ file: 'lib/web/web-server.js', from: 'insecure && options.insecurePlain !== true', to: 'false' }],
    },
    {
      name: 'a page in the open does not say so',
      finds: 'does not say so',
      edits: [{ file: 'lib/web/serve-uploads.js', from: 'insecure: this.insecure', to: 'insecure: false' }],
    },
    {
      name: 'uploads are neither in the quota nor under --max-size',
      finds: 'beyond --quota',
      edits: [
        {
          file: 'lib/receive/upload-visit.js',
          from: '(0, limited_session_1.limitSession)(store, { ...destination, peer: uploadPeer, ifExists })',
          to: 'store',
        },
      ],
    },
  ],
};
