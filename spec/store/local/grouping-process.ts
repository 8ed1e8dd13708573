// A group store in a process of its own, to be killed and traced. Started with a directory and one of the programs
// below; writes a line about each group that it has flushed.
import { Grouping, words } from './grouping';

/** What every file of these programs contains: its name, again and again, so many bytes. */
export function contentOf(name: string, size = 5_000): string {
  return `${name}\n`.repeat(Math.ceil(size / (name.length + 1))).slice(0, size);
}

function bundle(names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, contentOf(name)]));
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, at) => at);

async function flush(place: Grouping, group: string): Promise<void> {
  const results = words(await place.store.flush());
  process.stdout.write(`${group}: ${[...new Set(results.map((result) => result.replace(/ .*/, '')))].join(' and ')}\n`);
}

const programs: Readonly<Record<string, (place: Grouping) => Promise<void>>> = {
  /** One new tree, twice as deep as wide. */
  tree: async (place) => {
    for (const at of numbers(6)) await place.write(bundle(numbers(50).map((file) => `tree/d${at}/e/f${file}`)));
    await flush(place, 'tree');
  },
  /** Three groups; the second is written before the first is flushed. */
  three: async (place) => {
    await place.write(bundle(numbers(10).map((file) => `first/f${file}`)));
    const first = flush(place, 'first');
    await place.write(bundle(numbers(10).map((file) => `second/f${file}`)));
    await first;
    await flush(place, 'second');
    await place.write(bundle(numbers(10).map((file) => `third/f${file}`)));
    await flush(place, 'third');
  },
  /** Group after group, in directories new and old, each flushed while the next one is written, until the end comes. */
  endless: async (place) => {
    for (let group = 0, before = Promise.resolve(); ; group++) {
      await place.write(bundle(numbers(40).map((file) => `old/${group}-${file}`)));
      await place.write(bundle(numbers(40).map((file) => `new${group}/d${file % 4}/f${file}`)));
      await before;
      before = flush(place, String(group));
    }
  },
};

async function main([directory = '', program = '', how = '']: readonly string[]): Promise<void> {
  const place = await Grouping.open({
    directory,
    ...(how === 'each' ? { syncEach: true } : {}),
    ...(how === 'one thread' ? { workers: 1 } : {}),
  });
  process.stdout.write('open\n');
  await programs[program]?.(place);
  await place.close();
}

if (require.main === module) void main(process.argv.slice(2));
