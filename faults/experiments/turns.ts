// Messages that are as much work as a message can be, from a peer who has a key, while it is measured for how long the
// receiver's main thread serves nobody else.
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RawSession } from '../../spec/session/raw-session';
import { Visitor } from '../../spec/web/visitor';
import type { Experiment, Outcome, Surroundings } from '../experiment';
import { crowd, pageAttacks } from '../page-attacks';
import { Served } from '../served';

/** No message may keep the main thread for longer, in ms of its processor time. */
const most = 50;
const longestList = 8 * 2 ** 20;
/** Those to the page that were too much once. */
const asShort = /listed|batch of 512|batches|in one packet/;
/** What a message costs comes again each time; what the collector of garbage or a busy machine adds does not. */
const attempts = 3;
const settles = 150;
const attackWithin = 4_000;
const patience = 10_000;

/** Waits until a process's main thread has next to nothing to do, for `patience` at most. */
async function atRest(pid: number): Promise<void> {
  const worked = (): number =>
    Number(readFileSync(`/proc/${String(pid)}/task/${String(pid)}/schedstat`, 'latin1').split(' ')[0]) / 1e6;
  for (let before = worked(), waited = 0; waited < patience; waited += settles) {
    await sleep(settles);
    const now = worked();
    if (now - before < settles / 10) return;
    before = now;
  }
}

const mtime = '1700000000000000000';

/** As many elements as a list of 8 MiB has room for, `count` at most. */
function full(element: (at: number) => unknown, count = 65_536): Buffer {
  const texts: string[] = [];
  let length = 2;
  for (let at = 0; at < count; at++) {
    const text = JSON.stringify(element(at));
    length += text.length + 1;
    if (length > longestList) break;
    texts.push(text);
  }
  return Buffer.from(`[${texts.join(',')}]`);
}

const offered = (at: number, name: string, more: object = {}): object => ({
  file: at,
  type: 'file',
  name,
  size: 10,
  mode: 0o644,
  mtime,
  ...more,
});

type Attack = (served: Served) => Promise<RawSession | undefined>;

async function inSession(served: Served, header: object, list: Buffer, hello: object = {}): Promise<RawSession> {
  const raw = await RawSession.open(served.ticket, { hello });
  await raw.send({ ...header, list: list.length }, list);
  return raw;
}

const attacks: Readonly<Record<string, Attack>> = {
  'an offer of 65,536 files': (served) =>
    inSession(
      served,
      { type: 'offer' },
      full((at) => offered(at, `f${String(at)}`)),
    ),
  'an offer of long names': (served) =>
    inSession(
      served,
      { type: 'offer' },
      full((at) => offered(at, `${'d/'.repeat(1_000)}f${String(at)}`)),
    ),
  'an offer of names that are refused': (served) =>
    inSession(
      served,
      { type: 'offer' },
      full((at) => offered(at, `../${String(at)}`), 16_384),
    ),
  'an offer of one name of 8 MiB': (served) =>
    inSession(served, { type: 'offer' }, Buffer.from(JSON.stringify([offered(0, 'x'.repeat(longestList - 200))]))),
  'missing, in a backup': (served) =>
    inSession(
      served,
      { type: 'missing' },
      full((at) => ({ name: `gone ${String(at)}`, code: 'source-unreadable', message: 'gone' })),
      { backup: 'missing' },
    ),
  'a list of lists': (served) => inSession(served, { type: 'offer' }, Buffer.from(`[${'[[]],'.repeat(120_000)}[]]`)),
  'a list that is a single string': (served) =>
    inSession(served, { type: 'offer' }, Buffer.from(`["${'\\u0041'.repeat(1_300_000)}"]`)),
  'a list of white space': (served) => inSession(served, { type: 'offer' }, Buffer.alloc(longestList, ' ')),
  'a restore of 4,096 paths': (served) =>
    RawSession.dial(served.ticket, {
      hello: {
        role: 'receiver',
        ask: {
          for: 'restore',
          snapshot: 'many/latest',
          paths: Array.from({ length: 4_096 }, (_, at) => `many/${String(at)}`),
        },
      },
    }),
  'a restore by 256 patterns': (served) =>
    RawSession.dial(served.ticket, {
      hello: {
        role: 'receiver',
        ask: {
          for: 'restore',
          snapshot: 'many/latest',
          paths: Array.from({ length: 256 }, (_, at) => `**/*${String(at)}*a*b*c*`),
        },
      },
    }),
  'a question for all snapshots': (served) =>
    RawSession.dial(served.ticket, { hello: { role: 'receiver', ask: { for: 'snapshots', foreign: true } } }),
  'a question for what differs': (served) =>
    RawSession.dial(served.ticket, {
      hello: { role: 'receiver', ask: { for: 'difference', a: 'many/latest', b: 'many/latest' } },
    }),
  'a verification': (served) =>
    RawSession.dial(served.ticket, { hello: { role: 'receiver', ask: { for: 'verify', entries: true } } }),
  'an offer of directories': (served) =>
    inSession(
      served,
      { type: 'offer' },
      full((at) => ({ file: at, type: 'directory', name: `many/${String(at)}`, mode: 0o755, mtime }), 16_384),
    ),
};

async function run({ build, directory, dose, only, random, say }: Surroundings): Promise<Outcome> {
  const measured = join(directory, 'thread');
  const env = {
    NODE_OPTIONS: `--require ${join(__dirname, '..', 'main-thread.js')}`,
    SENDALL_FAULTS_THREAD: measured,
  };
  const served = await Served.open({ build, directory }, ['--web', '127.0.0.1:0', '--web-read'], env);
  const pid = served.receiver.child.pid ?? 0;
  const [, url = ''] = await served.receiver.says(/(http:\/\/\S+#[\w-]{32})/);
  const visitor = new Visitor(url);
  const ofPage = Object.entries(pageAttacks).map(([what, ask]): [string, Attack] => [
    `page: ${what}`,
    async () => {
      await ask(visitor);
      return undefined;
    },
  ]);
  const timeOf = async (attack: Attack): Promise<number> => {
    await writeFile(measured, '0');
    // One who is not read any more waits for ever.
    const raw = await Promise.race([attack(served).catch(() => undefined), sleep(attackWithin, undefined)]);
    await atRest(pid);
    raw?.hangUp();
    await atRest(pid);
    return Number(readFileSync(measured, 'utf8'));
  };
  const broken: string[] = [];
  let tries = 0;
  let worst = 0;
  try {
    await mkdir(served.at('many'));
    const files = dose === 'long' ? 20_000 : 1_000;
    for (let at = 0; at < files; at++) await writeFile(served.at('many', `${String(at)}`), String(at));
    const { code, stderr } = await served.run(['backup', 'many', served.ticket, '--name', 'many']);
    if (code !== 0) throw new Error(`There is no snapshot to ask for: ${stderr}`);
    // What is loaded for the first question of a kind is not its work.
    await Promise.all(
      [
        ['snapshots', served.ticket, '--foreign'],
        ['snapshots', served.ticket, 'many', '--diff', 'latest', 'latest'],
        ['verify', served.ticket],
        ['restore', served.ticket, 'many/latest', 'out', 'many/1', 'many/2*'],
      ].map((words) => served.run(words.filter((word) => word !== '--foreign'))),
    );
    while (!existsSync(measured)) await sleep(50);
    await mkdir(served.at('in', 'crowded'));
    for (let at = 0; at < crowd; at++) closeSync(openSync(served.at('in', 'crowded', String(at)), 'w'));
    for (const [what, attack] of [...Object.entries(attacks), ...ofPage]) {
      if (dose === 'proof' && !/^an offer of (long|65)|four batches of 512 long/.test(what)) continue;
      if (only !== undefined && !what.includes(only)) continue;
      if (dose === 'short' && what.startsWith('page: ') && !asShort.test(what)) continue;
      let took = Infinity;
      for (let again = 0; took > most && again < attempts; again++) {
        tries++;
        took = Math.min(took, await timeOf(attack));
      }
      worst = Math.max(worst, took);
      say(`${what}: ${String(took)} ms`);
      if (took > most)
        broken.push(`seed ${String(random.seed)}: ${what} kept the main thread for ${String(took)} ms of its time`);
    }
    const others = await served.refusesOthers();
    if (others !== undefined) broken.push(others);
    return { tries, broken, figures: { longest_turn_ms: worst } };
  } finally {
    await served.kill();
  }
}

export const turns: Experiment = {
  name: 'turns',
  promise: 'No message keeps the main thread of a receiver for more than 50 ms.',
  missing: () => (process.platform === 'linux' ? undefined : 'Only Linux tells how long each thread worked.'),
  run,
  sabotages: [
    {
      name: 'a list is worked through in one go',
      edits: [
        {
          file: 'lib/wire/json-list.js',
          from: 'this.inPart++ < mostInPart && comma - this.part < longestPart',
          to: 'true',
        },
      ],
    },
    {
      name: 'a batch of the page is worked through in one go',
      finds: 'four batches of 512 long names at once',
      edits: [
        {
          file: 'lib/receive/in-turns.js',
          from: 'at - first >= mostInTurn || performance.now() - began > longestTurn',
          to: 'false',
        },
      ],
    },
  ],
};
