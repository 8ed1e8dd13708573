import { deliveries } from '../deliveries';
import { type Experiment, inPart, type Outcome, type Surroundings } from '../experiment';
import { type CallKind, type FaultError, missingForFaultyCalls } from '../faulty-calls';
import type { Random } from '../random';
import type { Mishap, TrialOutcome } from '../trial';
import { Trials, type Undisturbed } from '../trials';

const disk = ['EIO', 'ENOSPC', 'EACCES', 'EROFS'] as const;
/** What each kind of call can fail with. */
const errorsOf = {
  open: ['EIO', 'EMFILE', 'EACCES'],
  create: ['EIO', 'EMFILE', 'ENOSPC', 'EACCES', 'EROFS'],
  read: ['EIO'],
  write: ['EIO', 'ENOSPC'],
  fsync: ['EIO', 'ENOSPC'],
  syncfs: ['EIO', 'ENOSPC'],
  truncate: ['EIO', 'ENOSPC'],
  chmod: ['EIO', 'EROFS'],
  utime: ['EIO', 'EROFS'],
  link: disk,
  symlink: disk,
  rename: disk,
  unlink: ['EIO', 'EACCES', 'EROFS'],
  mkdir: disk,
} as const satisfies Partial<Record<CallKind, readonly FaultError[]>>;
type FailingKind = keyof typeof errorsOf;
const kinds = Object.keys(errorsOf) as FailingKind[];

/** Each call of each kind, with each error. */
function points(undisturbed: readonly Undisturbed[]): Mishap[] {
  return undisturbed.flatMap(({ delivery, calls }) =>
    (['receiver', 'sender'] as const).flatMap((victim) =>
      kinds.flatMap((kind) => {
        const count = calls[victim].filter((call) => call.kind === kind).length;
        const mishapsAt = (at: number): Mishap[] =>
          errorsOf[kind].map((error) => ({ delivery, victim, kinds: [kind], at, error }));
        return Array.from({ length: count }, (_, before) => mishapsAt(before + 1)).flat();
      }),
    ),
  );
}

/**
 * What a run that ended with 0 believed although a flush had failed: the kernel tells of lost bytes once, and says of
 * them the next time that all is well.
 */
function believed({ calls, code }: TrialOutcome, victim: Mishap['victim']): string[] {
  const all = calls[victim];
  const at = all.findIndex(({ struck }) => struck);
  const failed = all[at];
  if (!failed || (failed.kind !== 'fsync' && failed.kind !== 'syncfs')) return [];
  const later = all.slice(at + 1);
  // A flush of a directory that fails is final for the file whose name it was to make durable, not for what else is
  // below it.
  if (all.some(({ path }) => path.startsWith(`${failed.path}/`)) && failed.kind === 'fsync' && !isFinal(failed.path))
    return [];
  const written = all.slice(0, at).filter(({ kind, path }) => kind === 'create' && path.startsWith(failed.path));
  const lost = new Set(failed.kind === 'fsync' ? [failed.path] : written.map(({ path }) => path));
  const isLost = (path: string): boolean => lost.has(path) || [...lost].some((each) => each.startsWith(`${path}/`));
  const named = later.find(
    ({ kind, path, to }) => (kind === 'link' || kind === 'rename') && isFinal(to) && isLost(path),
  );
  if (named) return [`${named.path} got its final name ${named.to} after its flush had failed.`];
  const isFlushed = later.some(({ kind, path }) => kind === 'syncfs' || (kind === 'fsync' && path === failed.path));
  const matters = failed.kind === 'syncfs' || isFinal(failed.path);
  return code === 0 && matters && !isFlushed ? [`It ended with 0, and ${failed.path} was never flushed again.`] : [];
}

/** Of the receive directory; what the sender keeps in its cache is promised to nobody. */
const isFinal = (path: string): boolean => /\/in(\/|$)/.test(path) && !path.includes('/.sendall');

async function run(surroundings: Surroundings): Promise<Outcome> {
  const { dose, part, only = '', random, say } = surroundings;
  const trials = await Trials.on(surroundings);
  const proof = deliveries.filter(({ name }) => name === 'plain small' || name === 'plain large');
  const chosen = {
    long: deliveries.filter(({ name }) => name.includes(only)),
    short: random.some(deliveries, 4),
    proof,
  }[dose];
  const undisturbed = await trials.undisturbed(chosen);
  const all = points(undisturbed);
  const flushes = all.filter(({ kinds: [kind], error }) => (kind === 'fsync' || kind === 'syncfs') && error === 'EIO');
  const mishaps = { long: inPart(all, part), short: spread(all, 12, random), proof: flushes }[dose];
  const broken = undisturbed.flatMap((each) => each.broken);
  const figures = { struck: 0, no_harm_done: 0 };
  let tries = 0;
  await trials.all(mishaps, undisturbed, ({ mishap, outcome, words }) => {
    const isStruck = outcome.calls[mishap.victim].some(({ struck }) => struck);
    if (isStruck) figures.struck++;
    if (isStruck && outcome.code === 0) figures.no_harm_done++;
    const found = [...outcome.broken, ...believed(outcome, mishap.victim)];
    if ((outcome.code ?? 0) !== 0 && outcome.failures.length === 0)
      found.push(`It ended with ${String(outcome.code)} and without a word.`);
    if (outcome.failures.includes('unexpected')) found.push('It said that this should not happen.');
    for (const sentence of found) {
      broken.push(`${words}: ${sentence}`);
      // Of a run that takes hours nobody wants to wait for the end.
      if (dose === 'long') say(broken.at(-1) ?? '');
    }
    if (++tries % 50 === 0) say(`${tries} of ${mishaps.length}`);
  });
  return { tries, broken, figures };
}

/** Some of them, of as many kinds of calls as can be. */
function spread(mishaps: readonly Mishap[], count: number, random: Random): Mishap[] {
  const shuffled = random.some(mishaps, mishaps.length);
  const first = kinds.flatMap((kind) => shuffled.filter((mishap) => mishap.kinds[0] === kind).slice(0, 1));
  return [...random.some(first, count), ...shuffled.slice(0, Math.max(0, count - first.length))];
}

/** Each call on the disk fails once. */
export const failingCalls: Experiment = {
  name: 'failing-calls',
  promise:
    'Whichever call on the disk fails: nothing is called a success that is none, what failed is said, and the same command then succeeds.',
  missing: missingForFaultyCalls,
  run,
  sabotages: [
    {
      name: 'a batch whose sync fails is taken for durable',
      edits: [
        {
          file: 'lib/store/local/batch.worker.js',
          from: 'system?.syncFileSystem(order.disk);',
          to: 'try { system?.syncFileSystem(order.disk); } catch {}',
        },
      ],
    },
    {
      name: 'the flush of a directory that fails is taken for done',
      edits: [
        {
          file: 'lib/store/local/directory.js',
          from: 'await this.handle?.sync();',
          to: 'await this.handle?.sync().catch(() => undefined);',
        },
      ],
    },
  ],
};
