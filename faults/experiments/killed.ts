import { deliveries } from '../deliveries';
import { type Experiment, inPart, type Outcome, type Surroundings } from '../experiment';
import { changingKinds, missingForFaultyCalls } from '../faulty-calls';
import type { Random } from '../random';
import type { Mishap } from '../trial';
import { Trials, type Undisturbed } from '../trials';

/** The sender changes little; it may as well be gone before it opens or reads something. */
const kindsOf = { receiver: changingKinds, sender: [...changingKinds, 'open', 'read'] } as const;
const victims = ['receiver', 'sender'] as const;
const momentsInLong = 120;

/** Every call at which a side can be killed. */
function points(undisturbed: readonly Undisturbed[], random: Random): Mishap[] {
  return undisturbed.flatMap(({ delivery, calls }) =>
    victims.flatMap((victim) => {
      const kinds = kindsOf[victim];
      const counted = calls[victim].filter(({ kind }) => kinds.some((each) => each === kind));
      return counted.map((_, at) => ({ delivery, victim, kinds, at: at + 1, torn: random.next() < 0.5 }));
    }),
  );
}

/** Some moments of each delivery, early and late ones. */
function moments(undisturbed: readonly Undisturbed[], count: number, random: Random): Mishap[] {
  return Array.from({ length: count }, () => {
    const { delivery, took } = random.oneOf(undisturbed);
    const victim = delivery.wire === 'none' ? 'sender' : random.oneOf(victims);
    return { delivery, victim, kinds: [], at: 0, killedAfter: random.next() * took * 1.1 };
  });
}

/**
 * What shows quickly whether a build is honest: the moments around those at which something gets its final name, and
 * one before.
 */
function telling(undisturbed: readonly Undisturbed[], random: Random): Mishap[] {
  const all = points(undisturbed, random);
  return undisturbed.flatMap(({ delivery, calls }) => {
    const victim = delivery.wire === 'none' ? 'sender' : 'receiver';
    const own = all.filter((each) => each.delivery === delivery && each.victim === victim);
    const counted = calls[victim].filter(({ kind }) => kindsOf[victim].some((each) => each === kind));
    const final = counted.findIndex(({ path, to }) => /\/in\/(?!\.sendall)/.test(to === '' ? path : to));
    return own.filter(({ at }) => at >= final && at <= final + 3);
  });
}

async function run(surroundings: Surroundings): Promise<Outcome> {
  const { dose, part, only = '', random, say } = surroundings;
  const trials = await Trials.on(surroundings);
  const proof = deliveries.filter(({ name }) => name === 'plain small');
  const chosen = {
    long: deliveries.filter(({ name }) => name.includes(only)),
    short: random.some(deliveries, 5),
    proof,
  }[dose];
  const undisturbed = await trials.undisturbed(chosen);
  const all = points(undisturbed, random);
  const mishaps = {
    long: () => inPart([...all, ...moments(undisturbed, momentsInLong, random)], part),
    short: () => [...random.some(all, 12), ...moments(undisturbed, 4, random)],
    proof: () => telling(undisturbed, random),
  }[dose]();
  const broken = undisturbed.flatMap((each) => each.broken);
  let struck = 0;
  let tries = 0;
  await trials.all(mishaps, undisturbed, ({ mishap, outcome, words }) => {
    if (mishap.killedAfter !== undefined || outcome.calls[mishap.victim].some((call) => call.struck)) struck++;
    for (const sentence of outcome.broken) {
      broken.push(`${words}: ${sentence}`);
      // Of a run that takes hours nobody wants to wait for the end.
      if (dose === 'long') say(broken.at(-1) ?? '');
    }
    if (++tries % 50 === 0) say(`${tries} of ${mishaps.length}`);
  });
  return { tries, broken, figures: { killed_in_time: struck } };
}

/** kill -9 of either side, at each call that changes something and at random moments. */
export const killed: Experiment = {
  name: 'killed',
  promise:
    'Whoever is killed: what has a final name is whole, what was acknowledged is there, the same command then succeeds and leaves nothing behind.',
  missing: missingForFaultyCalls,
  run,
  sabotages: [
    {
      name: 'a small file gets its final name by being copied there',
      edits: [
        {
          file: 'lib/store/local/staged-batch.js',
          from: 'if ((staged.fds[row] ?? -1) < 0)\n            return false;\n        try {\n            directories.at',
          to: 'return false;\n        try {\n            directories.at',
        },
        {
          file: 'lib/store/local/publish.js',
          from: 'const renamed = renameIfCan(staged, target, calls);\n    if (renamed !== undefined)\n        return renamed;\n    try {',
          to: "if (target.endsWith('/small') && !look(target)) {\n        (0, node_fs_1.copyFileSync)(staged, target);\n        (0, node_fs_1.unlinkSync)(staged);\n        return true;\n    }\n    try {",
        },
      ],
    },
    {
      name: 'the receipt is sent before the commit',
      edits: [
        {
          file: 'lib/receive/plain-receive.js',
          from: '= await staged.commit();',
          to: "= { path: name, verified: 'device' };",
        },
        {
          file: 'lib/receive/plain-receive.js',
          from: 'stop();\n            await staged.discard();',
          to: 'stop();\n            setTimeout(() => void staged.commit(), 20);',
        },
        {
          file: 'lib/receive/plain-receive.js',
          from: 'const stored = taken.settled.then(',
          to: "const early = files.map(({ name }) => ({ path: name, verified: 'device', outcome: 'stored' }));\n        const stored = Promise.resolve(early).then(",
        },
      ],
    },
    {
      name: 'what a killed receiver has staged is not collected',
      edits: [
        {
          file: 'lib/store/local/receive-directory.js',
          from: '(0, promises_1.rm)(outer.at(filesName)',
          to: 'Promise.resolve(outer.at(filesName)',
        },
      ],
    },
  ],
};
