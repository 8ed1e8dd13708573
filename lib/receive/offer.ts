import { asTransferError, TransferError } from '../errors';
import { type EntryName, printable } from '../name';
import { type Listener, Meter } from '../progress';
import type { ExistingContent, Room } from '../store/session-store';
import type { BadEntry, Entry, FileEntry, HeldSegment, SessionReceipt } from '../wire/session-list';
import { decide, decideStaged, type Decision, isSmall, type WantedContent, wantedAnew } from './decision';
import { type FileToLink, offered, type WantedFile } from './entries';
import { inTurns } from './in-turns';
import type { Earlier } from './snapshot-stage';
import type { Receiving } from './receiving';

/** A large file that is to be opened, and asked for. */
export interface LargeToBegin {
  readonly entry: FileEntry;
  readonly room: Room;
  /** When it was offered, by performance.now(). */
  readonly began: number;
  readonly wanted: WantedContent;
  /** See `ArrivingFile`. */
  readonly again: boolean;
}

/** What is left to do of an offer once its small files are asked for. */
export interface OfferTaken {
  readonly toBegin: readonly LargeToBegin[];
  readonly toLink: readonly FileToLink[];
}

/**
 * A small file that may be the same as an existing one: the sender gets its digest, and sends the file only if it
 * differs.
 */
interface Comparison {
  readonly file: WantedFile;
  readonly basis: 'existing' | Earlier;
}

/**
 * Takes an offer as one thing: looks up all names, decides, promises room, and tells the sender which are stored
 * already and which small ones are wanted. Throws `bad-header`. PROTOCOL.md 13, 17.1.
 */
export async function takeOffer(receiving: Receiving, offer: readonly (Entry | BadEntry)[]): Promise<OfferTaken> {
  const { entries, stage, rules, store } = receiving;
  entries.number(offer);
  rules.backups?.look();
  const claimed: Entry[] = [];
  await inTurns(offer, (entry) => {
    if (claim(receiving, entry)) claimed.push(entry);
  });
  // A repair finds here which names are its own.
  const earlier = await earlierOf(receiving, claimed);
  const named: Entry[] = [];
  await inTurns(claimed, (entry) => {
    const refusal = stage?.refusal(entry.name);
    if (refusal) receiving.refuse(entry, refusal);
    else named.push(entry);
  });
  const unnamed = await receiving.refuseNames(
    // A hard link is judged once it is known under which name its file is stored.
    named.filter(({ type }) => type === 'directory' || type === 'symlink'),
  );
  const welcome = unnamed.size === 0 ? named : named.filter((entry) => !unnamed.has(entry));
  await noteDirectories(receiving, welcome);
  for (const entry of welcome) {
    if (entries.get(entry.file)?.state === 'held') continue;
    if (receiving.rules.asked) receiving.storeAbove(entry.name);
    // Symbolic links and directories need no content, and go into the batch at once.
    if (entry.type === 'directory') receiving.storeDirectory(entry);
    if (entry.type === 'symlink') store.batch.symlink(entry);
  }
  const files = welcome.filter((entry) => entry.type === 'file');
  const decided = await decideAll(receiving, files, earlier);
  const decisions = receiving.rules.check ? await checkAll(receiving, files, decided) : decided;
  const linked = await settleDecided(receiving, files, await retouchKnown(receiving, files, decisions));
  const unlinked = await receiving.refuseNames(linked.map(({ entry }) => entry));
  const toLink = unlinked.size === 0 ? linked : linked.filter(({ entry }) => !unlinked.has(entry));
  const wanted = await admit(receiving, files, decisions);
  await askForSmall(
    receiving,
    wanted.filter(({ entry }) => isSmall(entry)),
  );
  entries.notify();
  return { toLink, toBegin: wanted.filter(({ entry }) => !isSmall(entry)) };
}

/** Takes in an entry, and refuses one whose name cannot be stored or was offered before. PROTOCOL.md 13.4, 13.5. */
function claim(receiving: Receiving, entry: Entry | BadEntry): entry is Entry {
  const { entries, stage } = receiving;
  if ('error' in entry) {
    stage?.missing({ name: entry.text, code: entry.error.code, message: entry.error.message });
    receiving.tellRefused(entry.file, entry.error.about(entry.text));
    return false;
  }
  if (!entries.claim(entry.name)) {
    // What came under the name before is not missing.
    const twice = new TransferError('name', `${printable(entry.name)} was offered twice.`, { hint: '' });
    receiving.tellRefused(entry.file, twice.about(entry.name));
    return false;
  }
  entries.set(offered(entry));
  const refusal = notAskedFor(receiving, entry) ?? nameOfBackup(receiving, entry.name);
  if (refusal) receiving.refuse(entry, refusal);
  return !refusal;
}

/** Why an entry is not taken that was not asked for; a directory is held until something below it is taken. */
function notAskedFor({ entries, rules }: Receiving, entry: Entry): TransferError | undefined {
  if (!rules.asked || rules.asked.chosen(entry.name)) return undefined;
  if (entry.type === 'directory') {
    entries.hold(entry);
    return undefined;
  }
  return unasked(entry.name);
}

/** The refusal of an entry that was not asked for. PROTOCOL.md 23.5. */
export function unasked(name: EntryName): TransferError {
  return new TransferError('name', `${printable(name)} was not asked for.`, {
    hint: 'It was not stored. The other side does not keep to what it was asked for.',
  });
}

/** Why nothing is received under a name that belongs to a backup. PROTOCOL.md 8.10. */
function nameOfBackup({ rules }: Receiving, name: EntryName): TransferError | undefined {
  try {
    rules.backups?.refuse(name);
    return undefined;
  } catch (error) {
    return asTransferError(error, 'name', 'The name cannot be had');
  }
}

/**
 * Finds out which directories are not there yet: they get their mode and time whatever the rule for others is. Of those
 * that are, the time is noted before anything comes into them.
 */
async function noteDirectories({ entries, rules, store }: Receiving, welcome: readonly Entry[]): Promise<void> {
  const directories = welcome.filter((entry) => entry.type === 'directory');
  if (directories.length === 0) return;
  const found = await store.directories(directories.map(({ name }) => name));
  for (const [at, { file, name }] of directories.entries()) {
    const existing = found[at];
    if (!existing) entries.fresh.add(file);
    else if (rules.asked) entries.existing.set(file, { file, name, mtime: existing.mtime });
  }
}

/** What earlier snapshots have of these, where a snapshot is made. */
async function earlierOf({ stage }: Receiving, entries: readonly Entry[]): Promise<ReadonlyMap<FileEntry, Earlier>> {
  const files = entries.filter((entry) => entry.type === 'file');
  const found = (await stage?.earlier(files)) ?? [];
  return new Map(files.flatMap((entry, at) => (found[at] ? [[entry, found[at]]] : [])));
}

async function decideAll(
  { stage, rules, store }: Receiving,
  files: readonly FileEntry[],
  earlier: ReadonlyMap<FileEntry, Earlier>,
): Promise<Decision[]> {
  if (files.length === 0) return [];
  if (files.some(isSmall)) store.batch.warm();
  const existing = await store.lookup(files);
  return files.map((entry, at) =>
    stage ? decideStaged(existing[at], earlier.get(entry), stage.mayKnow) : decide(entry, existing[at], rules),
  );
}

/**
 * Reads back what is stored already. What does not read any more as its receipt says is sent again where existing files
 * may be replaced, and refused elsewhere. PROTOCOL.md 17.4.
 */
async function checkAll(
  { replies, rules, store, waits }: Receiving,
  files: readonly FileEntry[],
  decisions: readonly Decision[],
): Promise<Decision[]> {
  const checked: Decision[] = [];
  for (const [at, entry] of files.entries()) {
    const decision = decisions[at] ?? wantedAnew;
    if (decision.decision !== 'known') {
      checked.push(decision);
      continue;
    }
    let done = 0;
    const tell: Listener = (event) => {
      rules.on(event);
      replies.progress(entry.file, done);
    };
    const meter = new Meter(tell, entry.name, 'verify', entry.size ?? 0, () => done);
    const reading = store.check(entry, decision.digests, (now) => {
      done = now;
    });
    const verifiedAt = await waits.on('verify', reading).finally(() => meter.stop());
    if (verifiedAt !== undefined) checked.push({ ...decision, verifiedAt });
    else if (rules.ifExists === 'replace') checked.push(wantedAnew);
    else checked.push({ decision: 'refused', error: damagedAtReceiver(entry, decision.verifiedAt) });
  }
  return checked;
}

function damagedAtReceiver({ name }: FileEntry, verifiedAt: string): TransferError {
  return new TransferError(
    'mismatch',
    `${printable(name)} is damaged on the receiver's disk: it does not read any more as it did on ${verifiedAt}.`,
    { hint: 'A receiver with --if-exists replace takes it again; check its disk before.' },
  );
}

/** Gives files that are stored already, with another mode or mtime, those that were offered. PROTOCOL.md 17.4. */
async function retouchKnown(
  { store }: Receiving,
  files: readonly FileEntry[],
  decisions: readonly Decision[],
): Promise<readonly Decision[]> {
  const touched = files.flatMap((entry, at) => {
    const decision = decisions[at];
    return decision?.decision === 'known' && decision.retouch ? [{ ...entry, digests: decision.digests }] : [];
  });
  if (touched.length === 0) return decisions;
  const outcomes = await store.batch.retouch(touched);
  return decisions.map((decision, at) => {
    const outcome = outcomes.get(files[at]?.file ?? -1);
    if (outcome instanceof TransferError) return { decision: 'refused', error: outcome };
    const kept = outcome === 'stored' ? undefined : outcome?.kept;
    return decision.decision === 'known' && kept ? { ...decision, kept } : decision;
  });
}

/** Carries out what was decided about files that are not to be sent; those that are to be linked remain to be. */
async function settleDecided(
  receiving: Receiving,
  files: readonly FileEntry[],
  decisions: readonly Decision[],
): Promise<FileToLink[]> {
  const { entries, stage, replies, report, store } = receiving;
  const { verified } = store;
  const receipts: SessionReceipt[] = [];
  const toLink: FileToLink[] = [];
  const began = performance.now();
  await inTurns(files, (entry, at) => {
    const decision = decisions[at];
    if (decision?.decision === 'refused') {
      receiving.refuse(entry, decision.error);
    } else if (decision?.decision === 'link') {
      const { file, digest } = decision.earlier;
      toLink.push({
        state: 'batched',
        entry,
        digest,
        room: undefined,
        began,
        repairs: 0,
        bytesOnWire: 0,
        earlier: file,
      });
    } else if (decision?.decision === 'known') {
      const { digests, verifiedAt, kept } = decision;
      entries.settle(entry.file, true);
      entries.stored(entry.name);
      stage?.stored(entry, digests, kept);
      receipts.push({ file: entry.file, digests, verified, verified_at: verifiedAt });
      report.received({
        event: 'received',
        file_name: entry.name,
        file_size: entry.size ?? 0,
        digests,
        verified,
        path: entry.name,
        bytes_on_wire: 0,
        seconds: 0,
        verified_at: verifiedAt,
      });
    }
  });
  replies.receipts(receipts);
  return toLink;
}

/** Promises room to files that are wanted, and refuses those for which there is none. */
async function admit(
  receiving: Receiving,
  files: readonly FileEntry[],
  decisions: readonly Decision[],
): Promise<LargeToBegin[]> {
  const wanted = files.flatMap((entry, at) => {
    const decision = decisions[at];
    return decision?.decision === 'wanted' ? [{ entry, wanted: decision }] : [];
  });
  if (wanted.length === 0) return [];
  const rooms = await receiving.store.admit(wanted.map(({ entry }) => entry));
  const began = performance.now();
  const admitted: LargeToBegin[] = [];
  await inTurns(wanted, (file, at) => {
    const room = rooms[at];
    if (room instanceof TransferError) receiving.refuse(file.entry, room);
    else if (room) admitted.push({ entry: file.entry, room, began, wanted: file.wanted, again: false });
  });
  return admitted;
}

/**
 * Asks for small files; of those that are here already it tells the digest before, so that they are sent only if they
 * differ.
 */
async function askForSmall({ entries, replies, store }: Receiving, small: readonly LargeToBegin[]): Promise<void> {
  const comparisons: Comparison[] = [];
  for (const { entry, room, began, wanted } of small) {
    const file: WantedFile = { state: 'wanted', entry, room, began, held: undefined, repairs: 0 };
    entries.set(file);
    if (wanted.basis !== undefined) comparisons.push({ file, basis: wanted.basis });
  }
  const toRead = comparisons.filter(({ basis }) => basis === 'existing');
  const read = toRead.length > 0 ? await store.read(toRead.map(({ file }) => file.entry)) : [];
  const contents = new Map<WantedFile, ExistingContent | undefined>(toRead.map(({ file }, at) => [file, read[at]]));
  const held: HeldSegment[] = [];
  for (const { file, basis } of comparisons) {
    const content = contents.get(file);
    let digest: string | undefined;
    if (basis !== 'existing' && basis.linkable) {
      digest = basis.digest;
      entries.set({ ...file, held: { digest, earlier: basis.file } });
    } else if (content !== undefined && content.size === file.entry.size) {
      digest = content.digest;
      entries.set({ ...file, held: { digest, content } });
    }
    if (digest !== undefined) held.push({ file: file.entry.file, segment: 0, digest });
  }
  replies.held(held);
  replies.answer(small.map(({ entry }) => entry.file));
}
