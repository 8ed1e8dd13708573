// What a key does that wants everything for itself: backups that it begins and leaves, what is missing without end,
// questions and connections that nobody counts. Each was done once to a build of sendall, and worked.
import { setTimeout as sleep } from 'node:timers/promises';
import { RawSession } from '../spec/session/raw-session';
import type { Sabotage } from './build';
import { backupsOpenIn, begin, hangUp, sealing } from './greedy-session';
import type { Served } from './served';

/** What was left is given up within this time, in ms, also on a busy machine. */
const givenUpWithin = 10_000;
const mostLines = 1_000;

/** What the attacks need: a key that writes, one that may keep 100,000 bytes, and one that reads. */
export interface GreedyKeys {
  readonly write: string;
  readonly limited: string;
  readonly read: string;
}

/** All of them, one after the other; a sentence for each that worked. */
export async function greedyAttacks(served: Served, keys: GreedyKeys): Promise<string[]> {
  const found = [
    await backupsLeft(served, keys.write),
    await missingWithoutEnd(keys.limited),
    await questionsBeside(keys.read),
    await sealedUnasked(keys.write),
  ];
  return found.filter((sentence) => sentence !== undefined);
}

async function backupsLeft({ receiver: { child } }: Served, ticket: string): Promise<string | undefined> {
  const begun = Array.from({ length: 12 }, (_, at) =>
    begin(ticket, { hello: { backup: `greedy-${String(at)}` } }).then(
      ({ raw }) => raw.hangUp(),
      () => undefined, // it was hung up on
    ),
  );
  await Promise.all(begun);
  const end = performance.now() + givenUpWithin;
  while (backupsOpenIn(child.pid, 'greedy-') > 0 && performance.now() < end) await sleep(50);
  const open = backupsOpenIn(child.pid, 'greedy-');
  return open > 0 ? `greed: ${String(open)} backups in which nothing came are held open` : undefined;
}

async function missingWithoutEnd(ticket: string): Promise<string | undefined> {
  const raw = await RawSession.dial(ticket, { hello: { backup: 'missing' } });
  await raw.first('hello');
  const message = 'm'.repeat(1_000);
  await raw.sendList(
    { type: 'missing' },
    Array.from({ length: mostLines }, (_, at) => ({ name: String(at), code: 'source-unreadable', message })),
  );
  await raw.send({ type: 'text', file: 1, text: 'all of it was taken' });
  const answer = await Promise.race([raw.first('refusal'), raw.first('receipts')]);
  raw.hangUp();
  return answer['code'] === 'quota' ? undefined : 'greed: what is missing is kept beyond the quota of the key';
}

async function questionsBeside(ticket: string): Promise<string | undefined> {
  const hello = { role: 'receiver', digest: undefined, ask: { for: 'verify' } };
  const { raw, answer } = await begin(ticket, { hello, connection: 1 });
  raw.hangUp();
  return answer['code'] === 'bad-header' ? undefined : 'greed: a question on a further connection is counted by nobody';
}

async function sealedUnasked(ticket: string): Promise<string | undefined> {
  const session = await sealing(ticket).catch(() => undefined); // it was hung up on
  try {
    if (!session) return undefined;
    hangUp(await session.another(1));
    return 'greed: a sealed connection is taken though they are switched off';
  } catch {
    return undefined; // it was hung up on
  } finally {
    session?.end();
  }
}

/** One for each attack, which must find it. */
export const greedSabotages: readonly Sabotage[] = [
  {
    name: 'backups that were left are waited for though nothing came',
    finds: 'in which nothing came',
    edits: [{ file: 'lib/snapshot/backup/snapshot-stages.js', from: '!snapshot.isWorthKeeping', to: 'false' }],
  },
  {
    name: 'what is missing is not counted',
    finds: 'what is missing',
    edits: [
      { file: 'lib/store/limited.js', from: 'this.usage.bytes + bytes > (this.limits.quota ?? Infinity)', to: 'false' },
    ],
  },
  {
    name: 'a question has any connection',
    finds: 'on a further connection',
    edits: [
      { file: 'lib/receive/host.js', from: "ask && ask.for !== 'restore' && connection > 0", to: 'false' },
      { file: 'lib/snapshot/remote/asked.js', from: 'hello.connection > 0 && !isKnown', to: 'false' },
    ],
  },
  {
    name: 'sealed connections are taken where they are switched off',
    finds: 'a sealed connection',
    edits: [{ file: 'lib/receive/host.js', from: 'offer.sealed && {', to: '{' }],
  },
];
