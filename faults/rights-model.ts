// What the experiment `rights` knows of a receiver: which key has sent what where, and what each may therefore know,
// change and keep others from. Every conversation is held by a peer that says what it likes, against the real command,
// and what it hears, what the disk has afterwards and how long it takes are compared with that.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import type { JsonObject } from '../lib/index';
import { newSession, RawSession } from '../spec/session/raw-session';
import type { Served } from './served';

type Rights = 'write' | 'read' | 'admin';

interface Key {
  readonly name: string;
  readonly rights: Rights;
  /** Where its files go, below the directory of the experiment. */
  readonly directory: 'in' | 'one' | 'two';
}

export const keys: readonly Key[] = [
  { name: 'write-in', rights: 'write', directory: 'in' },
  { name: 'write-in-2', rights: 'write', directory: 'in' },
  { name: 'admin-in', rights: 'admin', directory: 'in' },
  { name: 'read-in', rights: 'read', directory: 'in' },
  { name: 'write-one', rights: 'write', directory: 'one' },
  { name: 'admin-one', rights: 'admin', directory: 'one' },
  { name: 'read-one', rights: 'read', directory: 'one' },
  { name: 'write-two', rights: 'write', directory: 'two' },
];

/** What one entry of a conversation does once it is offered. */
type Way = 'whole' | 'claimed' | 'copied';

const questions = ['snapshots', 'entries', 'find', 'difference', 'verify', 'prune', 'restore'] as const;
type Question = (typeof questions)[number];

/** What a peer leaves open, and says nothing more in, while others have their conversations. */
type Held = 'session' | 'backup' | 'restore' | 'many sessions' | 'many restores';

interface Sent {
  readonly name: string;
  readonly content: number;
}

/** What a key does. */
export type Conversation =
  | { readonly does: 'send'; readonly key: Key; readonly entries: readonly (Sent & { readonly way: Way })[] }
  | { readonly does: 'backup'; readonly key: Key; readonly backup: string; readonly entries: readonly Sent[] }
  | { readonly does: 'ask'; readonly key: Key; readonly question: Question; readonly backup: string }
  | { readonly does: 'hold'; readonly key: Key; readonly held: Held; readonly backup: string };

/** A file may stand below what is a backup's name until that is one. */
const names = ['a', 'b', 'd/c', 'd/e', 'f', 'desk/a'];
const backups = ['laptop', 'desk'];
const namesInBackups = ['a', 'b', 'f'];
const mostContents = 8;
const mtime = '1700000000000000000';
const patience = 20_000;
/** A lie that was believed is believed soon; what is missing of a large file may be waited for. */
const lieWithin = 300;
/** So many conversations what is held stays open. */
const heldFor = 4;
/** More than one key gets, of sessions and of questions. */
const crowd = { 'many sessions': 70, 'many restores': 16 } as const;

const content = fc.nat(mostContents - 1);
const key = fc.constantFrom(...keys);
const backup = fc.constantFrom(...backups);
const distinct = { selector: ({ name }: Sent) => name, minLength: 1, maxLength: 3 } as const;
const way = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Way>('whole') },
  { weight: 1, arbitrary: fc.constantFrom<Way>('claimed', 'copied') },
);

export const conversations: fc.Arbitrary<Conversation> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      does: fc.constant('send' as const),
      key,
      entries: fc.uniqueArray(fc.record({ name: fc.constantFrom(...names), content, way }), distinct),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      does: fc.constant('backup' as const),
      key,
      backup,
      entries: fc.uniqueArray(fc.record({ name: fc.constantFrom(...namesInBackups), content }), distinct),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      does: fc.constant('ask' as const),
      key,
      question: fc.constantFrom(...questions, 'prune' as const, 'prune' as const),
      backup,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      does: fc.constant('hold' as const),
      key,
      backup,
      held: fc.oneof(
        { weight: 6, arbitrary: fc.constantFrom<Held>('session', 'backup', 'restore') },
        { weight: 3, arbitrary: fc.constantFrom<Held>('many sessions', 'many restores') },
      ),
    }),
  },
);

/** Small ones travel in bundles, every third one in segments; all of one length where they do not differ so. */
function contentOf(seed: number, number: number): Buffer {
  const begin = createHash('sha256')
    .update(`${String(seed)} ${String(number)}`)
    .digest();
  return Buffer.concat(Array.from({ length: number % 3 === 0 ? 2_300 : 8 }, () => begin));
}

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** A backup as the receiver should have it: whose it is, and which contents each snapshot has under which names. */
interface ModelBackup {
  readonly owner: string;
  readonly snapshots: Map<string, ReadonlyMap<string, number>>;
}

interface HeldOpen {
  readonly key: Key;
  readonly sessions: readonly RawSession[];
  readonly until: number;
}

export class RightsModel {
  tries = 0;
  readonly broken: string[] = [];
  private readonly contents: readonly Buffer[];
  private readonly digests: readonly string[];
  /** What stands where, by its number. */
  private readonly stored = new Map<string, number>();
  private readonly backups = new Map<string, ModelBackup>();
  /** Which contents a key may know: it sent them, or may read where they were. */
  private readonly known = new Map<string, Set<number>>();
  private held: HeldOpen[] = [];
  /** Keys that have taken all places that one key gets for questions: they may have to wait, and nobody else. */
  private readonly full = new Set<string>();
  /** Directories in which a backup was begun and left: for minutes it waits, and is pruned by nobody. */
  private readonly begun = new Set<string>();

  constructor(
    private readonly served: Served,
    private readonly tickets: ReadonlyMap<string, string>,
    seed: number,
  ) {
    this.contents = Array.from({ length: mostContents }, (_, number) => contentOf(seed, number));
    this.digests = this.contents.map(digestOf);
  }

  async hold(conversation: Conversation): Promise<void> {
    const { key } = conversation;
    this.tries++;
    // Whoever keeps sessions from others keeps them from itself, too.
    this.letGo(({ key: holder, sessions, until }) => until <= this.tries || (holder === key && sessions.length > 1));
    this.readable(key);
    const late = sleep(patience, 'late' as const, { ref: false });
    const heard: RawSession[] = [];
    try {
      const talk = this.converse(conversation, heard);
      talk.catch(() => undefined);
      if ((await Promise.race([talk, late])) === 'late') this.fail(key, `got no end: ${describe(conversation)}`);
    } catch (error) {
      if (!mayBeCutOff(conversation))
        this.fail(
          key,
          `was cut off (${describe(conversation)}): ${error instanceof Error ? error.message.slice(0, 500) : String(error)}`,
        );
    } finally {
      if (conversation.does !== 'hold') for (const raw of heard) raw.hangUp();
    }
    for (const raw of heard) this.checkKnowledge(key, raw);
    this.checkDisk(key);
  }

  /** Lets go of all that is held open. */
  end(): void {
    this.letGo(() => true);
  }

  private letGo(which: (held: HeldOpen) => boolean): void {
    for (const each of this.held.filter(which)) for (const raw of each.sessions) raw.hangUp();
    this.held = this.held.filter((each) => !which(each));
  }

  private async converse(conversation: Conversation, heard: RawSession[]): Promise<void> {
    switch (conversation.does) {
      case 'send':
        return this.send(conversation, heard);
      case 'backup':
        return this.backup(conversation, heard);
      case 'ask':
        return this.ask(conversation, heard);
      case 'hold':
        return this.leaveOpen(conversation, heard);
    }
  }

  private async dial(key: Key, heard: RawSession[], hello: object = {}): Promise<RawSession> {
    const raw = await RawSession.dial(this.tickets.get(key.name) ?? '', { hello, session: newSession() });
    heard.push(raw);
    return raw;
  }

  private async send(
    { key, entries }: Extract<Conversation, { readonly does: 'send' }>,
    heard: RawSession[],
  ): Promise<void> {
    const raw = await this.dial(key, heard);
    if (key.rights === 'read') return this.mustRefuse(raw, key, 'may only read', ['not-authorized']);
    await raw.first('hello');
    const lie = entries.find(({ way }) => way !== 'whole');
    const told = lie ? [lie] : entries; // a lie ends the conversation: it is held for its own sake
    await this.offer(raw, told);
    for (const [file, { content, way }] of told.entries()) {
      if (!(await wants(raw, file))) continue;
      const bytes = this.contentAt(content);
      if (way === 'whole') await sendFile(raw, file, bytes);
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

  /** What the receiver said of an entry, against what it should have said. `lied`: nothing of it was sent. */
  private settled(key: Key, name: string, content: number, outcome: JsonObject, lied: boolean): void {
    const place = join(key.directory, name);
    const before = this.stored.get(place);
    const isReceipt = !('code' in outcome);
    const ofBackup = this.backups.has(join(key.directory, name.split('/')[0] ?? ''));
    const may = !ofBackup && (before === undefined || before === content || key.rights === 'admin');
    if (lied) {
      if (before !== content) this.fail(key, `was believed to have sent ${place}, and has not`);
      else if (key.rights === 'write' && !this.knows(key, content))
        this.fail(key, `found out by a claim what ${place} is`);
      return;
    }
    this.learn(key, content);
    const found = before === undefined ? 'nothing' : `content ${String(before)}`;
    if (isReceipt !== may)
      this.fail(
        key,
        `${isReceipt ? 'stored' : `may not store (${String(outcome['code'])})`} ${place}, where ${ofBackup ? 'a backup' : found} was`,
      );
    if (isReceipt) this.stored.set(place, content);
  }

  /** Makes a snapshot. A backup is for whoever began it, and takes no name that something else has. */
  private async backup(
    { key, backup, entries }: Extract<Conversation, { readonly does: 'backup' }>,
    heard: RawSession[],
  ): Promise<void> {
    const raw = await this.dial(key, heard, { backup });
    if (key.rights === 'read') return this.mustRefuse(raw, key, 'may only read', ['not-authorized']);
    const place = join(key.directory, backup);
    const before = this.backups.get(place);
    const isTaken = before
      ? before.owner !== key.name
      : [...this.stored.keys()].some((at) => at.startsWith(`${place}/`));
    if (isTaken) return this.mustRefuse(raw, key, `wanted ${place}, which is not its own`, ['exists']);
    const { snapshot } = await raw.first('hello');
    this.backups.set(place, before ?? { owner: key.name, snapshots: new Map() });
    await this.offer(raw, entries);
    for (const [file, { content }] of entries.entries())
      if (await wants(raw, file)) await sendFile(raw, file, this.contentAt(content));
    await raw.send({ type: 'end', entries: entries.length });
    await raw.first('done');
    await raw.leave();
    const made = new Map(entries.map(({ name, content }) => [name, content]));
    for (const number of made.values()) this.learn(key, number);
    this.backups.get(place)?.snapshots.set(String(snapshot), made);
    this.checkSnapshot(key, place, String(snapshot));
  }

  private async ask(
    { key, question, backup }: Extract<Conversation, { readonly does: 'ask' }>,
    heard: RawSession[],
  ): Promise<void> {
    const place = join(key.directory, backup);
    const raw = await this.dial(key, heard, { role: 'receiver', digest: undefined, ask: asking(question, backup) });
    if (key.rights === 'write' || (question === 'prune' && key.rights !== 'admin'))
      return this.mustRefuse(raw, key, `may not ask for ${question}`, ['not-authorized']);
    const end = await Promise.any([raw.first('done'), raw.first('refusal'), raw.first('end')]);
    const told = raw.all('told').flatMap(({ list }) => list as JsonObject[]);
    if (question === 'prune') this.pruned(key, told);
    if (end.type === 'refusal') {
      const isMissing = (this.backups.get(place)?.snapshots.size ?? 0) === 0;
      const mayWait =
        (end['code'] === 'timeout' && this.full.has(key.name)) ||
        (question === 'prune' && this.begun.has(key.directory));
      if (!mayWait && !(end['code'] === 'usage' && isMissing))
        this.fail(key, `may ask for ${question} of ${place}, and was refused: ${JSON.stringify(end)}`);
      return;
    }
    if (question === 'snapshots') this.checkListing(key, backup, told);
    if (question === 'restore') await this.restored(raw, key, place);
  }

  private checkListing(key: Key, backup: string, told: readonly JsonObject[]): void {
    const listed = told.map(({ snapshot }) => String(snapshot)).sort();
    const all = this.backups.get(join(key.directory, backup))?.snapshots.keys() ?? [];
    const expected = [...all].map((id) => `${backup}/${id}`).sort();
    if (JSON.stringify(listed) !== JSON.stringify(expected))
      this.fail(key, `was told of ${listed.join(', ')}, and there are ${expected.join(', ')}`);
  }

  /** The newest of each backup stays; what goes is of its own directory. */
  private pruned(key: Key, told: readonly JsonObject[]): void {
    for (const { snapshot } of told.filter(({ event }) => event === 'removed')) {
      const [name = '', id = ''] = String(snapshot).split('/');
      const known = this.backups.get(join(key.directory, name))?.snapshots;
      if (known?.has(id) !== true || [...known.keys()].at(-1) === id)
        this.fail(key, `had ${String(snapshot)} removed, which is not there or the newest`);
      known?.delete(id);
    }
  }

  /** Takes all of the newest snapshot: each content has to be the one that was backed up. */
  private async restored(raw: RawSession, key: Key, place: string): Promise<void> {
    const offered = raw.all('offer').flatMap(({ list }) => list as { file: number; name: string; type: string }[]);
    const files = offered.filter(({ type }) => type === 'file');
    const newest = [...(this.backups.get(place)?.snapshots.values() ?? [])].at(-1) ?? new Map<string, number>();
    const expected = [...newest.keys()].sort().join();
    if (
      files
        .map(({ name }) => name)
        .sort()
        .join() !== expected
    )
      this.fail(key, `was offered ${files.map(({ name }) => name).join()} of ${place}, which has ${expected}`);
    await raw.sendList(
      { type: 'answer' },
      files.map(({ file }) => file),
    );
    for (const { file, name } of files) {
      const bytes = this.contentAt(newest.get(name) ?? -1);
      await Promise.race([
        raw.first('close', (said) => said['file'] === file),
        raw.first('bundle', ({ list }) => (list as [number][]).some(([each]) => each === file)),
      ]);
      if (
        bytes.length > 65_536 &&
        !raw.all('segment').some(({ payload }) => payload?.subarray(0, 32).equals(bytes.subarray(0, 32)))
      )
        this.fail(key, `was not sent the content of ${place}/${name}`);
    }
    await raw.sendList(
      { type: 'receipts' },
      files.map(({ file, name }) => ({
        file,
        verified: 'device',
        digests: { sha256: this.digests[newest.get(name) ?? -1] },
      })),
    );
    await raw.send({ type: 'done' });
    await Promise.race([raw.end(), sleep(1_000)]);
  }

  /** Opens what it may open, and leaves it so: no other key may notice. */
  private async leaveOpen(
    { key, held, backup }: Extract<Conversation, { readonly does: 'hold' }>,
    heard: RawSession[],
  ): Promise<void> {
    const place = join(key.directory, backup);
    const reads = key.rights !== 'write';
    const restores = held === 'restore' || held === 'many restores';
    if (restores ? !reads : key.rights === 'read') return;
    if (restores && (this.backups.get(place)?.snapshots.size ?? 0) === 0) return;
    // Of those who crowd, each takes most of what is left: it is one that does.
    if (held === 'many restores' && key.name !== 'read-in') return;
    if (held === 'backup' && this.backups.get(place)?.owner !== key.name) return;
    const hello =
      held === 'backup'
        ? { backup }
        : restores
          ? { role: 'receiver', digest: undefined, ask: asking('restore', backup) }
          : {};
    const count = held === 'many sessions' || held === 'many restores' ? crowd[held] : 1;
    if (held === 'many restores') this.full.add(key.name);
    if (held === 'backup') this.begun.add(key.directory);
    const sessions = await Promise.all(Array.from({ length: count }, () => this.dial(key, heard, hello)));
    if (count === 1) {
      const first = await Promise.any(sessions.flatMap((raw) => [raw.first('hello'), raw.first('refusal')]));
      if (first.type !== 'hello' && !this.full.has(key.name))
        this.fail(key, `may have a ${held}, and was refused: ${JSON.stringify(first)}`);
    } else await sleep(100);
    this.held.push({ key, sessions, until: this.tries + (count === 1 ? heldFor : 2) });
  }

  private async mustRefuse(raw: RawSession, key: Key, why: string, codes: readonly string[]): Promise<void> {
    const answered = await Promise.any([raw.first('refusal'), raw.first('hello')]);
    if (answered.type !== 'refusal' || !codes.includes(String(answered['code'])))
      this.fail(key, `${why}, and was answered ${JSON.stringify(answered)}`);
  }

  private offer(raw: RawSession, entries: readonly Sent[]): Promise<void> {
    return raw.sendList(
      { type: 'offer' },
      entries.map(({ name, content }, file) => {
        const size = this.contentAt(content).length;
        return { file, type: 'file', name, size, mode: 0o644, mtime };
      }),
    );
  }

  private contentAt(number: number): Buffer {
    return this.contents[number] ?? Buffer.alloc(0);
  }

  /** Nothing that it heard may be a content, or a digest, of what it neither sent nor may read. */
  private checkKnowledge(key: Key, raw: RawSession): void {
    this.readable(key);
    const heard = JSON.stringify(raw.heard.map(({ payload: _, ...said }) => said));
    const bytes = Buffer.concat(raw.heard.map(({ payload }) => payload ?? Buffer.alloc(0)));
    this.digests.forEach((digest, content) => {
      if (this.knows(key, content)) return;
      if (heard.includes(digest)) this.fail(key, `was told the digest of content ${String(content)}, not its own`);
      if (bytes.includes(this.contentAt(content).subarray(0, 32)))
        this.fail(key, `was sent content ${String(content)}, which it may not read`);
    });
    if (heard.includes(this.served.directory)) this.fail(key, 'was told what the directories are called');
  }

  private checkDisk(key: Key): void {
    for (const directory of ['in', 'one', 'two']) {
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
      for (const name of backups) this.checkBackup(key, join(directory, name));
    }
  }

  /** A backup has the snapshots that were made and not removed, and nothing else. */
  private checkBackup(key: Key, place: string): void {
    const known = this.backups.get(place);
    if (!known) return;
    const there = readdirSync(this.served.at(place)).filter((name) => name !== 'latest');
    const expected = [...known.snapshots.keys()];
    if (there.sort().join() !== expected.sort().join())
      this.fail(key, `left ${place} with ${there.join(', ')} and not ${expected.join(', ')}`);
  }

  private checkSnapshot(key: Key, place: string, id: string): void {
    for (const [name, content] of this.backups.get(place)?.snapshots.get(id) ?? []) {
      const at = this.served.at(place, id, name);
      if (!existsSync(at) || digestOf(readFileSync(at)) !== this.digests[content])
        this.fail(key, `backed up content ${String(content)} as ${place}/${id}/${name}, which has another one`);
    }
  }

  /**
   * An admin may compare with what stands in its directory, before its conversation (what it then replaces) and after;
   * whoever may read gets what is in the snapshots there.
   */
  private readable(key: Key): void {
    if (key.rights === 'write') return;
    for (const [place, content] of key.rights === 'admin' ? this.stored : [])
      if (place.startsWith(`${key.directory}/`)) this.learn(key, content);
    for (const [place, { snapshots }] of this.backups)
      if (place.startsWith(`${key.directory}/`))
        for (const snapshot of snapshots.values()) for (const content of snapshot.values()) this.learn(key, content);
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

function asking(question: Question, backup: string): object {
  const snapshot = `${backup}/latest`;
  const more: Readonly<Record<Question, object>> = {
    snapshots: { name: backup, alone: true },
    entries: { snapshot },
    find: { pattern: '*' },
    difference: { a: snapshot, b: snapshot },
    verify: { name: backup, entries: true },
    prune: { keep: { last: 2 } },
    restore: { snapshot, paths: [] },
  };
  return { for: question, ...more[question] };
}

async function wants(raw: RawSession, file: number): Promise<boolean> {
  const wanted = raw.wanted(file).then(() => true);
  wanted.catch(() => undefined);
  return Promise.race([wanted, raw.outcome(file).then(() => false)]);
}

async function sendFile(raw: RawSession, file: number, bytes: Buffer): Promise<void> {
  if (bytes.length <= 65_536) return raw.bundle([[file, bytes]]);
  await raw.segments(file, bytes);
  await raw.close(file, bytes);
}

/** What ends a conversation before all of it is said: a lie. */
function mayBeCutOff(conversation: Conversation): boolean {
  return conversation.does === 'send' && conversation.entries.some(({ way }) => way !== 'whole');
}

function describe({ key: _, ...conversation }: Conversation): string {
  return JSON.stringify(conversation);
}
