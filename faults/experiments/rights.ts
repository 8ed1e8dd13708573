// Keys, directories, names and backups as a model, and conversations made up by chance: what each key may know, change
// and keep others from.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { AuthorizedKeys, formatTicket, parseTicket } from '../../lib/index';
import type { Experiment, Outcome, Surroundings } from '../experiment';
import { greedSabotages, greedyAttacks } from '../key-greed';
import { conversations, keys, RightsModel } from '../rights-model';
import { Served } from '../served';

const numbers = { short: 80, long: 100_000, proof: 400 } as const;
/** Conversations with one receiver and its model: starting one takes longer than many of them. */
const ofOneModel = { short: 80, long: 1_000, proof: 400 } as const;
const mostRounds = numbers.long / ofOneModel.long;

async function run({ build, directory, dose, random, part, say }: Surroundings): Promise<Outcome> {
  const most = Math.ceil(numbers[dose] / part.of);
  const broken: string[] = [];
  let tries = 0;
  // Each part has seeds of its own.
  for (let skipped = 0; skipped < (part.number - 1) * mostRounds; skipped++) random.next();
  for (let round = 0; tries < most && broken.length === 0; round++) {
    const place = join(directory, String(round));
    const seed = Math.floor(random.next() * 2 ** 31);
    for (const name of ['one', 'two', 'three']) await mkdir(join(place, name), { recursive: true, mode: 0o755 });
    const env = { XDG_CONFIG_HOME: join(place, 'config') };
    const served = await Served.open({ build, directory: place }, ['--if-exists', 'replace'], env);
    try {
      const authorized = new AuthorizedKeys(join(env.XDG_CONFIG_HOME, 'sendall', 'authorized.json'));
      const { address } = parseTicket(served.ticket);
      const tickets = new Map<string, string>();
      for (const { name, rights, directory: where } of keys) {
        const own = where === 'in' ? {} : { directory: join(place, where) };
        tickets.set(name, formatTicket({ ...(await authorized.authorize({ name, rights, ...own })), address }));
      }
      const quota = { directory: join(place, 'three'), quota: 100_000 };
      const limited = await authorized.authorize({ name: 'limited', rights: 'write', ...quota });
      const greedy = {
        write: tickets.get('write-in') ?? '',
        limited: formatTicket({ ...limited, address }),
        read: tickets.get('read-in') ?? '',
      };
      const model = new RightsModel(served, tickets, seed);
      const numRuns = Math.min(ofOneModel[dose], most - tries);
      for (const conversation of fc.sample(conversations, { seed, numRuns })) {
        await model.hold(conversation);
        if (model.broken.length > 0) break;
      }
      model.end();
      tries += model.tries;
      broken.push(...model.broken.map((sentence) => `seed ${String(seed)}, ${sentence}`));
      broken.push(...(await greedyAttacks(served, greedy)));
      const others = await served.refusesOthers();
      if (others !== undefined) broken.push(`seed ${String(seed)}: ${others}`);
      if (dose === 'long') say(`${String(tries)} of ${String(most)} conversations`);
    } finally {
      await served.kill();
    }
  }
  return { tries, broken };
}

export const rights: Experiment = {
  name: 'rights',
  promise: 'A key learns, changes and blocks only what is its own.',
  run,
  sabotages: [
    {
      name: 'a write key is told digests of what it did not send',
      edits: [{ file: 'lib/receive/open-receiving.js', from: 'mayCompare: !addsOnly', to: 'mayCompare: true' }],
    },
    {
      name: 'a write key replaces',
      edits: [{ file: 'lib/receive/open-receiving.js', from: 'const rule = addsOnly &&', to: 'const rule = false &&' }],
    },
    {
      name: 'a directory of a key is forgotten',
      edits: [{ file: 'lib/receive/destinations.js', from: 'authorization?.directory ??', to: 'undefined ??' }],
    },
    {
      name: 'a write key may ask',
      edits: [{ file: 'lib/snapshot/remote/asked.js', from: "authorization?.rights === 'write'", to: 'false' }],
    },
    {
      name: 'every reader may have snapshots removed',
      edits: [{ file: 'lib/snapshot/remote/asked.js', from: "authorization?.rights !== 'admin'", to: 'false' }],
    },
    {
      name: 'anybody adds to any backup',
      edits: [
        { file: 'lib/snapshot/backup/staged-snapshot.js', from: 'register && register.owner !== peer', to: 'false' },
        { file: 'lib/snapshot/backup/snapshot-stages.js', from: 'before.peer !== request.peer', to: 'false' },
      ],
    },
    {
      name: 'files are taken below the name of a backup',
      edits: [{ file: 'lib/receive/backup-names.js', from: 'if (!this.names.has(this.keyOf(top)))', to: 'if (true)' }],
    },
    {
      name: 'one key may have every turn',
      edits: [{ file: 'lib/receive/fair-shares.js', from: 'const share = 3', to: 'const share = Infinity' }],
    },
    ...greedSabotages,
  ],
};
