// Keys, directories and names as a model, and conversations made up by chance: what each key may know, change and keep
// others from.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { RawSession } from '../../spec/session/raw-session';
import type { Experiment, Outcome, Surroundings } from '../experiment';
import { Served } from '../served';

type Rights = 'write' | 'read' | 'admin';

interface Key {
  readonly name: string;
  readonly rights: Rights;
  /** Where its files go, below the directory of the experiment. */
  readonly directory: 'in' | 'one' | 'two';
}

const keys: readonly Key[] = [
  { name: 'write-in', rights: 'write', directory: 'in' },
  { name: 'write-in-2', rights: 'write', directory: 'in' },
  { name: 'admin-in', rights: 'admin', directory: 'in' },
  { name: 'read-in', rights: 'read', directory: 'in' },
  { name: 'write-one', rights: 'write', directory: 'one' },
  { name: 'admin-one', rights: 'admin', directory: 'one' },
  { name: 'write-two', rights: 'write', directory: 'two' },
];

/** What one entry of a conversation does once it is offered. */
type Way = 'whole' | 'claimed' | 'copied';

interface Conversation {
  readonly key: Key;
  readonly entries: readonly { readonly name: string; readonly content: number; readonly way: Way }[];
}

const names = ['a', 'b', 'd/c', 'd/e', 'f'];
const mostContents = 8;
const patience = 20_000;
/** A lie that was believed is believed soon; what is missing of a large file may be waited for. */
const lieWithin = 300;

const conversations: fc.Arbitrary<Conversation> = fc.record({
  key: fc.constantFrom(...keys),
  entries: fc.uniqueArray(
    fc.record({
      name: fc.constantFrom(...names),
      content: fc.nat(mostContents - 1),
      way: fc.oneof(
        { weight: 4, arbitrary: fc.constant<Way>('whole') },
        { weight: 1, arbitrary: fc.constantFrom<Way>('claimed', 'copied') },
      ),
    }),
    { selector: ({ name }) => name, minLength: 1, maxLength: 3 },
  ),
});

/** Small ones travel in bundles, every third one in segments; all of one length where they do not differ so. */
function contentOf(seed: number, number: number): Buffer {
  const begin = createHash('sha256')
    .update(`${String(seed)} ${String(number)}`)
    .digest();
  return Buffer.concat(Array.from({ length: number % 3 === 0 ? 2_300 : 8 }, () => begin));
}

const digestOf = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');

class Model {
  tries = 0;
  readonly broken: string[] = [];
  private readonly contents: readonly Buffer[];
  private readonly digests: readonly string[];
  /** What stands where, by its number. */
  private readonly stored = new Map<string, number>();
  /** Which contents a key may know: it sent them, or may read where they were. */
  private readonly known = new Map<string, Set<number>>();

  constructor(
    private readonly served: Served,
    private readonly tickets: ReadonlyMap<string, string>,
    seed: number,
  ) {
    this.contents = Array.from({ length: mostContents }, (_, number) => contentOf(seed, number));
    this.digests = this.contents.map(digestOf);
  }

  async hold({ key, entries }: Conversation): Promise<void> {
    this.tries++;
    this.readable(key);
    const raw = await RawSession.dial(this.tickets.get(key.name) ?? '');
    const late = sleep(patience, 'late' as const, { ref: false });
    try {
      if ((await Promise.race([this.converse(raw, key, entries), late])) === 'late') this.fail(key, 'got no end');
    } catch (error) {
      if (key.rights !== 'read' && entries.every(({ way }) => way === 'whole'))
        this.fail(key, `was cut off: ${error instanceof Error ? error.message : String(error)}`);
    } finally {
      raw.hangUp();
    }
    this.checkKnowledge(key, raw);
    this.checkDisk(key);
  }

  private async converse(raw: RawSession, key: Key, entries: Conversation['entries']): Promise<void> {
    if (key.rights === 'read') {
      const { code } = await raw.broken();
      if (code !== 'not-authorized') this.fail(key, `may only read, and was answered ${String(code)}`);
      return;
    }
    await raw.first('hello');
    const lie = entries.find(({ way }) => way !== 'whole');
    const told = lie ? [lie] : entries; // a lie ends the conversation: it is held for its own sake
    await raw.sendList(
      { type: 'offer' },
      told.map(({ name, content }, file) => ({
        file,
        type: 'file',
        name,
        size: this.contentAt(content).length,
        mode: 0o644,
        mtime: '1700000000000000000',
      })),
    );
    for (const [file, { content, way }] of told.entries()) {
      const wanted = raw.wanted(file).then(() => true);
      wanted.catch(() => undefined);
      if (!(await Promise.race([wanted, raw.outcome(file).then(() => false)]))) continue;
      const bytes = this.contentAt(content);
      if (way === 'whole') await this.send(raw, file, bytes);
      if (way === 'copied') await raw.send({ type: 'copy', file, offset: 0, size: bytes.length, from: 0 });
      if (way !== 'whole') await raw.close(file, bytes);
    }
    await raw.send({ type: 'end' });
    for (const [file, { name, content }] of told.entries()) {
      const outcome = await (lie
        ? Promise.race([raw.outcome(file), raw.end().then(() => undefined), sleep(lieWithin)])
        : raw.outcome(file));
      if (outcome && !(lie && 'code' in outcome)) this.settled(key, name, content, outcome, lie !== undefined);
    }
  }

  private contentAt(number: number): Buffer {
    return this.contents[number] ?? Buffer.alloc(0);
  }

  private async send(raw: RawSession, file: number, bytes: Buffer): Promise<void> {
    if (bytes.length <= 65_536) return raw.bundle([[file, bytes]]);
    await raw.segments(file, bytes);
    await raw.close(file, bytes);
  }

  /** What the receiver said of an entry, against what it should have said. `lied`: nothing of it was sent. */
  private settled(
    key: Key,
    name: string,
    content: number,
    outcome: Readonly<Record<string, unknown>>,
    lied: boolean,
  ): void {
    const place = join(key.directory, name);
    const before = this.stored.get(place);
    const isReceipt = !('code' in outcome);
    const may = before === undefined || before === content || key.rights === 'admin';
    if (lied) {
      if (before !== content) this.fail(key, `was believed to have sent ${place}, and has not`);
      else if (key.rights === 'write' && !this.knows(key, content))
        this.fail(key, `found out by a claim what ${place} is`);
      return;
    }
    this.learn(key, content);
    if (isReceipt !== may)
      this.fail(
        key,
        `${isReceipt ? 'stored' : `may not store (${String(outcome['code'])})`} ${place}, where ${before === undefined ? 'nothing' : `content ${String(before)}`} was`,
      );
    if (isReceipt) this.stored.set(place, content);
  }

  /** Nothing that it heard may be a digest of what it neither sent nor may compare with. */
  private checkKnowledge(key: Key, raw: RawSession): void {
    this.readable(key);
    const heard = JSON.stringify(raw.heard);
    this.digests.forEach((digest, content) => {
      if (heard.includes(digest) && !this.knows(key, content))
        this.fail(key, `was told the digest of content ${String(content)}, which it never sent`);
    });
    if (heard.includes(this.served.directory)) this.fail(key, 'was told what the directories are called');
  }

  private checkDisk(key: Key): void {
    for (const directory of ['in', 'one', 'two'])
      for (const name of names) {
        const place = join(directory, name);
        const expected = this.stored.get(place);
        const there = existsSync(this.served.at(place)) ? digestOf(readFileSync(this.served.at(place))) : undefined;
        if (there === (expected === undefined ? undefined : this.digests[expected])) continue;
        this.fail(
          key,
          `changed ${place}, which should ${expected === undefined ? 'not be there' : `be content ${String(expected)}`}`,
        );
        const found = this.digests.indexOf(there ?? '');
        if (found < 0) this.stored.delete(place);
        else this.stored.set(place, found); // told once
      }
  }

  /**
   * An admin may compare with what stands in its directory, before its conversation (what it then replaces) and after.
   */
  private readable(key: Key): void {
    if (key.rights === 'admin')
      for (const [place, content] of this.stored) if (place.startsWith(`${key.directory}/`)) this.learn(key, content);
  }

  private learn(key: Key, content: number): void {
    this.known.set(key.name, (this.known.get(key.name) ?? new Set()).add(content));
  }

  private knows(key: Key, content: number): boolean {
    return this.known.get(key.name)?.has(content) === true;
  }

  private fail(key: Key, what: string): void {
    this.broken.push(`conversation ${String(this.tries)}: ${key.name} ${what}`);
  }
}

const numbers = { short: 60, long: 100_000, proof: 200 } as const;
/** Conversations with one receiver and its model: starting one takes longer than many of them. */
const ofOneModel = { short: 60, long: 2_000, proof: 200 } as const;

async function run({ build, directory, dose, random, part, say }: Surroundings): Promise<Outcome> {
  const most = Math.ceil(numbers[dose] / part.of);
  const broken: string[] = [];
  let tries = 0;
  for (let round = 0; tries < most && broken.length === 0; round++) {
    const place = join(directory, String(round));
    const seed = Math.floor(random.next() * 2 ** 31);
    for (const name of ['one', 'two']) await mkdir(join(place, name), { recursive: true, mode: 0o755 });
    const env = { XDG_CONFIG_HOME: join(place, 'config') };
    const served = await Served.open({ build, directory: place }, ['--if-exists', 'replace'], env);
    try {
      const tickets = new Map<string, string>();
      for (const { name, rights, directory: where } of keys) {
        const words = [
          'authorize',
          name,
          '--address',
          `127.0.0.1:${String(served.port)}`,
          '--quiet',
          '--rights',
          rights,
        ];
        tickets.set(
          name,
          (
            await served.run([...words, ...(where === 'in' ? [] : ['--dir', join(place, where)])], 30_000, env)
          ).stdout.trim(),
        );
      }
      const model = new Model(served, tickets, seed);
      for (const conversation of fc.sample(conversations, {
        seed,
        numRuns: Math.min(ofOneModel[dose], most - tries),
      })) {
        await model.hold(conversation);
        if (model.broken.length > 0) break;
      }
      tries += model.tries;
      broken.push(...model.broken.map((sentence) => `seed ${String(seed)}, ${sentence}`));
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
      edits: [{ file: 'lib/receive/homes.js', from: 'authorization?.directory ??', to: 'undefined ??' }],
    },
  ],
};
