import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { TransferError } from '../errors';
import { printable } from '../name';
import type { FileReceived } from '../progress';
import type { Link } from '../session/link';
import type { BatchOutcome } from '../store/session-store';
import type { Committed } from '../store/store';
import { ignored, trace } from '../trace';
import {
  type BundledFile,
  type DirectoryEntry,
  type HardLinkEntry,
  parseBundle,
  type SessionReceipt,
} from '../wire/session-list';
import type { Bundle, Close } from '../wire/session-message';
import { isSmall, wantedAnew } from './decision';
import type { FileInBatch, FileToLink, WantedFile } from './entries';
import { slicesOf } from '../slices';
import { inTurns } from './in-turns';
import { finishedTogether, mostRepairs } from './limits';
import type { LargeToBegin } from './offer';
import { receiveCoded } from './payload';
import { receivedOf, type Receiving } from './receiving';

/** A bundle that is in the open batch; `written` rejects only where nothing can go on. */
export interface WrittenBundle {
  readonly written: Promise<void>;
}

/** A small file that was damaged on its way to the disk, or a file that could not be linked, and has room. */
type FileAgain = Pick<LargeToBegin, 'entry' | 'room' | 'began'> & { readonly repairs: number };

/**
 * What of a session is stored in batches: small files, links to earlier files, and what has no content. A bundle goes
 * into the open batch; a batch is committed when it is due; what became of it goes out as one list of receipts.
 * PROTOCOL.md 15, 17.3.
 */
export class Batches {
  /** Files that the next batch makes one more name of an earlier file. */
  private toLink: FileToLink[] = [];
  private committing = 0;

  constructor(private readonly receiving: Receiving) {}

  /** Whether everything that came into batches is committed. */
  get allCommitted(): boolean {
    return this.isEmpty && this.committing === 0;
  }

  private get isEmpty(): boolean {
    return this.receiving.store.batch.open.entries === 0 && this.toLink.length === 0;
  }

  /**
   * Takes a bundle off its connection into the open batch. Rejects with what ends the connection. `written` rejects
   * only where nothing can go on: what could not be written comes out of the commit of its batch. PROTOCOL.md 15.2.
   */
  async bundle(bundle: Bundle, link: Link): Promise<WrittenBundle> {
    const { waits } = this.receiving;
    const { list, size, coding } = bundle;
    const files = this.filesOf(await link.receiveList(list), size);
    return this.add(files, list, async (memory) => {
      if (coding) memory.set(await receiveCoded(link.connection, bundle, waits));
      else await waits.on('network', link.connection.fill(memory.subarray(0, size)));
    });
  }

  /** As `bundle`, for one whose payload is here. */
  async bundleArrived({ list, size }: Bundle, payload: Uint8Array): Promise<WrittenBundle> {
    const files = this.filesOf(payload.subarray(0, list), size);
    return this.add(files, list, async (memory) => memory.set(payload.subarray(list)));
  }

  private filesOf(list: Uint8Array, size: number): BundledFile[] {
    const { algorithm, entries } = this.receiving;
    const files = parseBundle(list, algorithm);
    if (files.reduce((sum, file) => sum + file.size, 0) !== size)
      throw new TransferError('bad-header', 'The files of a bundle are not as long as it says.');
    for (const { file } of files) entries.asked(file);
    return files;
  }

  private async add(
    files: readonly BundledFile[],
    list: number,
    fill: (memory: Uint8Array) => Promise<unknown>,
  ): Promise<WrittenBundle> {
    const { entries, store, waits } = this.receiving;
    const lease = await waits.on('write', store.batch.memory.lease());
    try {
      await fill(lease.bytes);
      const share = Math.round(list / Math.max(1, files.length));
      const wanted = entries.bundled(files, share, (to, from, length) =>
        lease.bytes.copyWithin(to, from, from + length),
      );
      return { written: store.batch.write(lease, wanted) };
    } catch (error) {
      lease.release();
      throw error;
    } finally {
      entries.notify();
    }
  }

  /**
   * A small file is not sent, since it is the same as what the sender was told of. Throws `bad-header` where it is not.
   * PROTOCOL.md 15.4.
   */
  closed(file: WantedFile | FileInBatch, { digests }: Close): void {
    const { algorithm, entries, store } = this.receiving;
    const held = file.state === 'wanted' ? file.held : undefined;
    if (held === undefined || digests[algorithm] !== held.digest)
      throw new TransferError('bad-header', `${printable(file.entry.name)} was closed without being sent.`);
    const batched = { ...file, state: 'batched', digest: held.digest, bytesOnWire: 0, earlier: undefined } as const;
    if ('earlier' in held) {
      this.link({ ...batched, earlier: held.earlier });
    } else {
      entries.set(batched);
      store.batch.existing(batched, held.content);
      entries.notify();
    }
  }

  /** A file is to be one more name of an earlier one. */
  link(file: FileToLink): void {
    this.receiving.entries.set(file);
    this.toLink.push(file);
    this.receiving.entries.notify();
  }

  /**
   * Resolves with true when a batch is to be committed: when it is full, complete, or has waited long enough; false
   * when there is none and the conversation is over.
   */
  async due(): Promise<boolean> {
    const { entries, store } = this.receiving;
    const { limits } = store.batch;
    const isFull = (): boolean =>
      store.batch.open.entries >= limits.entries ||
      store.batch.open.bytes >= limits.bytes ||
      this.toLink.length >= limits.entries ||
      entries.batchComplete;
    if (!(await entries.until(() => !this.isEmpty))) return !this.isEmpty;
    const patience = new AbortController();
    const late = sleep(limits.waits, undefined, { signal: patience.signal }).catch(ignored('it is full before'));
    await Promise.race([entries.until(isFull), late]);
    patience.abort();
    return true;
  }

  /**
   * Commits the open batch, and tells what became of it. Resolves with the large files in it that are to be sent after
   * all.
   */
  async commit(): Promise<LargeToBegin[]> {
    this.committing++;
    try {
      return await this.commitOpen();
    } finally {
      this.committing--;
      this.receiving.entries.notify();
    }
  }

  private async commitOpen(): Promise<LargeToBegin[]> {
    const { store, waits } = this.receiving;
    const { batch } = store;
    const toLink = this.toLink.splice(0);
    const linked = toLink.length > 0 ? await waits.on('write', batch.linkEarlier(toLink)) : undefined;
    const unlinked = linked ? await this.settle(linked) : [];
    if (batch.open.entries === 0) return unlinked;
    return [...unlinked, ...(await this.settle(await waits.on('write', batch.commit())))];
  }

  /** Makes hard links, once everything that they may point to is stored. PROTOCOL.md 13.7. */
  async makeLinks(links: readonly HardLinkEntry[]): Promise<void> {
    for (const some of slicesOf(links, finishedTogether)) await this.linkTogether(some);
  }

  private async linkTogether(links: readonly HardLinkEntry[]): Promise<void> {
    const { entries, store } = this.receiving;
    // Under the name of a file that was refused there is something else, be it an earlier version of which this peer
    // has a receipt. Receipts tell only of what no conversation of this session that is known here has offered: those
    // before this receiver was started again.
    const unknown = links.filter(({ target }) => entries.names.of(target).offered === 'never');
    const owned = await store.owns(unknown.map(({ target }) => target));
    const ownedTargets = new Set(unknown.filter((_, at) => owned[at]).map(({ target }) => target));
    const sound = links.flatMap((entry) => {
      const target = entries.names.of(entry.target);
      if (target.offered === 'stored') return [{ ...entry, target: target.path }];
      if (target.offered === 'never' && ownedTargets.has(entry.target)) return [entry];
      this.receiving.refuse(
        entry,
        new TransferError(
          'exists',
          `${printable(entry.name)} is a hard link to ${printable(entry.target)}, which is not stored here.`,
          { hint: 'See what became of that file, and send both again.' },
        ),
      );
      return [];
    });
    const unnamed = await this.receiving.refuseNames(sound);
    const admitted = sound.filter((entry) => !unnamed.has(entry));
    if (admitted.length > 0) await this.settle(await store.batch.link(admitted));
  }

  /**
   * Gives directories their mode and time, once nothing more comes into them: those that were there before only where
   * existing files get theirs, too, and not for what is below them alone. PROTOCOL.md 13.8.
   */
  async finishDirectories(directories: readonly DirectoryEntry[]): Promise<void> {
    const { entries, stage, rules, store } = this.receiving;
    // A `write` key adds, and changes nothing.
    const changes = stage !== undefined || (rules.mayCompare && rules.ifExists === 'replace');
    const toFinish: DirectoryEntry[][] = []; // by their depth
    const leftAsTheyAre: DirectoryEntry[] = [];
    await inTurns(directories, (directory) => {
      const { file, name } = directory;
      if (!entries.fresh.has(file) && (!changes || entries.onTheWay.has(file))) leftAsTheyAre.push(directory);
      else {
        entries.existing.delete(file);
        (toFinish[name.split('/').length] ??= []).push(directory);
      }
    });
    // The deepest first: what is above may become impassable.
    for (const some of slicesOf(toFinish.reverse().flat(), finishedTogether)) {
      const finished = await store.batch.finishDirectories(some);
      await this.settle(new Map(some.map(({ file }) => [file, finished.get(file) ?? 'stored'])), true);
    }
    const kept = await this.putTimesBack();
    for (const some of slicesOf(leftAsTheyAre, finishedTogether)) {
      await this.settle(new Map(some.map(({ file }) => [file, kept.get(file) ?? 'stored'])), true);
      await nextTurn();
    }
  }

  /** Once: gives directories that were there the time back that they had, where they are to keep it. */
  async putTimesBack(): Promise<ReadonlyMap<number, BatchOutcome>> {
    const { entries, store } = this.receiving;
    const changed = [...entries.existing.values()];
    entries.existing.clear();
    const outcomes = new Map<number, BatchOutcome>();
    for (const some of slicesOf(changed, finishedTogether))
      for (const [file, outcome] of await store.batch.putTimesBack(some)) outcomes.set(file, outcome);
    return outcomes;
  }

  /**
   * Tells what became of entries, the receipts as one list. `final`: of directories, too, which are only made before.
   */
  private async settle(outcomes: ReadonlyMap<number, BatchOutcome>, final = false): Promise<LargeToBegin[]> {
    const { algorithm, entries, stage, replies, report, store } = this.receiving;
    const { verified } = store;
    const receipts: SessionReceipt[] = [];
    const received: FileReceived[] = [];
    const again: FileAgain[] = [];
    // By its keys: entries() would make a pair for each.
    for (const file of outcomes.keys()) {
      const outcome = outcomes.get(file);
      const state = entries.get(file);
      if (state === undefined || outcome === undefined) continue;
      const { entry } = state;
      if (outcome instanceof TransferError) {
        const retried = state.state === 'batched' ? await this.retry(state, outcome) : undefined;
        if (retried) again.push(retried);
        else this.receiving.refuse(entry, outcome);
        continue;
      }
      if (entry.type === 'directory' && !final) continue;
      const committed = outcome === 'stored' ? undefined : outcome;
      const path = committed?.path ?? entry.name;
      const elsewhere = committed && aboutIts(committed, entry.name);
      if (committed?.lost) this.receiving.report.without(entry.name, committed.lost);
      if (state.state !== 'batched') {
        entries.settle(file, true);
        stage?.stored(entry, {}, committed?.kept);
        receipts.push({ file, verified: null, ...elsewhere });
        continue;
      }
      const digests = { [algorithm]: state.digest };
      const identical = committed?.outcome === 'identical';
      this.receiving.stored(state.entry, path, digests, !identical, committed?.kept);
      const receipt = { file, digests, verified };
      const done = receivedOf(state, path, verified, digests, state.bytesOnWire);
      // The short way for nearly all small files: new, under their own names, and whole at the first attempt.
      if (committed === undefined && state.repairs === 0) {
        receipts.push(receipt);
        received.push(done);
        continue;
      }
      const repaired = state.repairs > 0 ? { repaired: 1 } : {};
      const already = identical && !state.earlier ? { verified_at: new Date().toISOString() } : {};
      receipts.push({ ...receipt, ...elsewhere, ...already, ...repaired });
      received.push({ ...done, ...already, ...repaired });
    }
    // In one go, so that no entry is settled without its receipt having been sent.
    replies.receipts(receipts);
    for (const file of received) report.received(file);
    const small = again.filter(({ entry }) => isSmall(entry));
    for (const file of small) entries.set({ ...file, state: 'wanted', held: undefined });
    replies.answer(small.map(({ entry }) => entry.file));
    entries.notify();
    return again
      .filter(({ entry }) => !isSmall(entry))
      .map(({ entry, room, began }) => ({ entry, room, began, wanted: wantedAnew, again: true }));
  }

  /**
   * A file that could not be linked, and one that was damaged on its way to the disk, is asked for again; undefined
   * where it is refused.
   */
  private async retry(
    { entry, earlier, room, began, repairs }: FileInBatch,
    why: TransferError,
  ): Promise<FileAgain | undefined> {
    if (!earlier && (why.code !== 'mismatch' || repairs >= mostRepairs)) return undefined;
    trace('%s is asked for again: %s', entry.name, why.message);
    if (room) return { entry, room, began, repairs: earlier ? repairs : repairs + 1 };
    const [promised] = await this.receiving.store.admit([entry]);
    if (promised instanceof TransferError) trace('%s gets no room: %s', entry.name, promised.message);
    return promised === undefined || promised instanceof TransferError
      ? undefined
      : { entry, room: promised, began, repairs };
  }
}

/** The part of a receipt that says where an entry is, and what of it is lost. */
function aboutIts({ path, lost }: Committed, name: string): Pick<SessionReceipt, 'path' | 'lost'> {
  return { ...(path === name ? {} : { path }), ...(lost ? { lost } : {}) };
}
