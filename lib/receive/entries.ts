import { setImmediate as nextTurn } from 'node:timers/promises';
import { TransferError } from '../errors';
import { type EntryName, printable } from '../name';
import type { DirectoryTime, EarlierFile, ExistingContent, Room, SmallFile } from '../store/session-store';
import type { BundledFile, DirectoryEntry, Entry, FileEntry, HardLinkEntry, SymlinkEntry } from '../wire/session-list';
import { HeldText, textOf } from './held-text';
import type { LargeFile } from './large-file';
import { OfferedNames } from './offered-names';

/**
 * A digest that lets the sender skip a small file: of the file at its name, or of an earlier file. PROTOCOL.md 15.4.
 */
export type SmallHeld = { readonly digest: string } & (
  { readonly content: ExistingContent } | { readonly earlier: EarlierFile }
);

/** It was offered, and the sender was not asked for it yet. */
interface OfferedState {
  readonly state: 'offered';
  readonly entry: FileEntry;
}

/** A small file that the sender was asked for. */
export interface WantedFile {
  readonly state: 'wanted';
  readonly entry: FileEntry;
  readonly room: Room;
  /** When it was offered, by performance.now(). */
  readonly began: number;
  readonly held: SmallHeld | undefined;
  /** How often it was found damaged and asked for again. */
  readonly repairs: number;
}

/** A file whose content is in a batch, or is linked by one. */
export interface FileInBatch extends SmallFile {
  readonly state: 'batched';
  readonly entry: FileEntry;
  /** Absent where it was never asked for. */
  readonly room: Room | undefined;
  readonly began: number;
  readonly repairs: number;
  /** Payload and its share of the list before it, in bytes. */
  readonly bytesOnWire: number;
  /** It becomes one more name of this one. */
  readonly earlier: EarlierFile | undefined;
}

/** A file that is to become one more name of an earlier one, with the next batch. */
export type FileToLink = FileInBatch & { readonly earlier: EarlierFile };

/** A file that comes in segments; `file` once it is open. */
export interface ArrivingFile {
  readonly state: 'arriving';
  readonly entry: FileEntry;
  readonly room: Room;
  readonly began: number;
  readonly file: LargeFile | undefined;
  /** It was asked for before, and could not be linked: pieces from that time are discarded. */
  readonly again: boolean;
}

/** A symbolic link in a batch. */
interface LinkInBatch {
  readonly state: 'batched link';
  readonly entry: SymlinkEntry;
}

/**
 * What is settled when everything else is: hard links need their targets, and directories their final times.
 * PROTOCOL.md 13.9.
 */
interface LastEntry {
  readonly state: 'last';
  readonly entry: HardLinkEntry | DirectoryEntry;
}

/** A directory that was not asked for: it is taken only once something below it is that was. PROTOCOL.md 23.5. */
interface HeldDirectory {
  readonly state: 'held';
  readonly entry: DirectoryEntry;
}

/**
 * An entry between its offer and its receipt or refusal. Once it is settled, nothing of it is kept here. PROTOCOL.md
 * 18.1.
 */
export type EntryState =
  OfferedState | WantedFile | FileInBatch | ArrivingFile | LinkInBatch | HeldDirectory | LastEntry;

/** Entries that give their room back in one turn of the event loop. */
const abandonedAtOnce = 1_000;

/** All entries of one conversation, each in one state, and whether all of them are settled. */
export class Entries {
  private readonly states = new Map<number, EntryState>();
  /** The highest number offered. */
  private highest = -1;
  /** Held directories by name. */
  private readonly heldAt = new Map<EntryName, DirectoryEntry>();
  /** Directories with something below them that was asked for. */
  private readonly above = new Set<string>();
  /** Directories that were not there when they were offered. */
  readonly fresh = new Set<number>();
  /** Directories that were there when they were offered, and are to keep the time that they had. */
  readonly existing = new Map<number, DirectoryTime>();
  /** Directories that were not asked for, but lie above something that was. PROTOCOL.md 23.5. */
  readonly onTheWay = new Set<number>();
  /** How many are in each state. */
  private readonly counts: Record<EntryState['state'], number> = {
    offered: 0,
    wanted: 0,
    batched: 0,
    arriving: 0,
    'batched link': 0,
    held: 0,
    last: 0,
  };
  /** The sender has said `end`. */
  private ended = false;
  private over = false;
  /** Resolves at the next change, for all that wait for one. */
  private change: { readonly happens: Promise<void>; readonly happened: () => void } | undefined;
  private readonly text: HeldText;

  /**
   * `whose`: the id of the key that sends them; `names`: those of its session, in which this conversation has begun.
   */
  constructor(
    whose: string,
    readonly names: OfferedNames = new OfferedNames(),
  ) {
    this.text = new HeldText(whose);
  }

  /** Takes in the numbers of an offer. Throws `bad-header` where they do not ascend. PROTOCOL.md 13.3. */
  number(entries: readonly { readonly file: number }[]): void {
    this.throwIfEnded();
    for (const { file } of entries) {
      if (file <= this.highest)
        throw new TransferError('bad-header', `The entry ${String(file)} does not follow ${String(this.highest)}.`);
      this.highest = file;
    }
  }

  /** Notes a name; false if it was offered before. PROTOCOL.md 13.5. */
  claim(name: EntryName): boolean {
    return this.names.claim(name);
  }

  /** Throws `quota` where it is a new one, and more than there is memory for. */
  set(state: EntryState): void {
    const { file } = state.entry;
    const before = this.states.get(file);
    if (before) this.counts[before.state]--;
    else this.text.hold(textOf(state.entry));
    this.counts[state.state]++;
    this.states.set(file, state);
  }

  /** The state of an entry; undefined once it is settled. Throws `bad-header` where nothing was offered so. */
  get(file: number): EntryState | undefined {
    if (file > this.highest) throw new TransferError('bad-header', `Nothing was offered as ${String(file)}.`);
    return this.states.get(file);
  }

  /**
   * The state of an entry of which the sender speaks; undefined once it is settled. Throws `bad-header` where nothing
   * was offered so, or the sender was not asked for it. PROTOCOL.md 17.1.
   */
  asked(file: number): WantedFile | FileInBatch | (ArrivingFile & { readonly file: LargeFile }) | undefined {
    const state = this.get(file);
    if (state === undefined || state.state === 'wanted') return state;
    if (state.state === 'batched' && state.room) return state;
    if (state.state === 'arriving') {
      if (state.file?.asked === true) return { ...state, file: state.file };
      if (state.again) return undefined;
    }
    throw new TransferError('bad-header', `The entry ${String(file)} was not asked for.`);
  }

  /** It has its receipt or refusal. Gives back its room, of which it keeps what is stored of it. */
  settle(file: number, kept: boolean): void {
    const state = this.states.get(file);
    if (!state) return;
    if ('room' in state) state.room?.settle(kept);
    this.counts[state.state]--;
    this.states.delete(file);
    this.text.letGo(textOf(state.entry));
  }

  /** A file is stored under its name, or at `path`: hard links may point to it. */
  stored(name: EntryName, path: string = name): void {
    this.names.stored(name, path);
  }

  /** Everything was offered. Throws `bad-header` the second time. */
  end(): void {
    this.throwIfEnded();
    this.ended = true;
    this.notify();
  }

  /** Throws `bad-header` where everything was offered already. PROTOCOL.md 13.11. */
  throwIfEnded(): void {
    if (this.ended) throw new TransferError('bad-header', 'Something was offered after the end.');
  }

  /** The conversation is over, whatever is not settled. */
  close(): void {
    this.over = true;
    this.notify();
  }

  /** Gives back the room of everything that is not settled, as far as nothing stays of it. */
  async abandon(): Promise<void> {
    let count = 0;
    for (const [file, state] of this.states) {
      if (++count % abandonedAtOnce === 0) await nextTurn();
      // What an arriving file has on the disk is kept for the next session.
      if (state.state === 'arriving') state.room.suspend();
      else this.settle(file, false);
    }
    this.text.close();
  }

  /** Everything was offered, and nothing more comes into a batch unless something turns out damaged. */
  get batchComplete(): boolean {
    return this.ended && this.counts.wanted === 0 && this.counts.offered === 0;
  }

  /** Everything was offered, and all files and symbolic links are settled. */
  get contentsSettled(): boolean {
    return this.ended && this.states.size === this.counts.last + this.counts.held;
  }

  get isOver(): boolean {
    return this.over;
  }

  /** Those that are settled last and still are not. */
  get last(): { readonly links: readonly HardLinkEntry[]; readonly directories: readonly DirectoryEntry[] } {
    const links: HardLinkEntry[] = [];
    const directories: DirectoryEntry[] = [];
    for (const state of this.states.values()) {
      if (state.state !== 'last') continue;
      if (state.entry.type === 'link') links.push(state.entry);
      else directories.push(state.entry);
    }
    return { links, directories };
  }

  /** Holds a directory that was not asked for, unless something below it was taken already. */
  hold(entry: DirectoryEntry): void {
    if (this.above.has(entry.name)) return;
    this.set({ state: 'held', entry });
    this.heldAt.set(entry.name, entry);
  }

  /** Something that was asked for is taken: the directories that were held above it are too, and are given back. */
  releaseAbove(name: string): DirectoryEntry[] {
    const released: DirectoryEntry[] = [];
    for (let end = name.lastIndexOf('/'); end !== -1; end = name.lastIndexOf('/', end - 1)) {
      const directory = name.slice(0, end) as EntryName;
      if (this.above.has(directory)) break;
      this.above.add(directory);
      const entry = this.heldAt.get(directory);
      if (!entry) continue;
      this.heldAt.delete(directory);
      this.set(offered(entry));
      this.onTheWay.add(entry.file);
      released.unshift(entry);
    }
    return released;
  }

  /** Directories that are held to the end: nothing below them was asked for. */
  get held(): DirectoryEntry[] {
    return [...this.heldAt.values()];
  }

  /** The large files that are open. */
  get arriving(): LargeFile[] {
    return [...this.states.values()].flatMap((state) => (state.state === 'arriving' && state.file ? [state.file] : []));
  }

  /** Something has changed: those who wait look again. */
  notify(): void {
    this.change?.happened();
    this.change = undefined;
  }

  /** Resolves with true once `holds` does, and with false once the conversation is over. */
  async until(holds: () => boolean): Promise<boolean> {
    while (!this.over && !holds()) {
      this.change ??= nextChange();
      await this.change.happens;
    }
    return !this.over;
  }

  /**
   * What of a bundle is wanted: those that came already on a connection that died are not. `move` gets where each of
   * the wanted ones is in the content, and where it is to be, so that they follow one another. Throws `bad-header`.
   * PROTOCOL.md 15.2, 15.5.
   */
  bundled(
    files: readonly BundledFile[],
    listShare: number,
    move: (to: number, from: number, size: number) => void,
  ): FileInBatch[] {
    const wanted: FileInBatch[] = [];
    let from = 0;
    let to = 0;
    for (const { file, size, digest } of files) {
      const state = this.asked(file);
      if (state?.state === 'arriving')
        throw new TransferError('bad-header', `${printable(state.entry.name)} came in a bundle, and is no small file.`);
      if (state?.state === 'wanted') {
        const { entry, room, began, repairs } = state;
        if (entry.size !== size)
          throw new TransferError(
            'bad-header',
            `${printable(entry.name)} was offered with ${String(entry.size)} bytes, and sent with ${String(size)}.`,
          );
        if (from !== to) move(to, from, size);
        to += size;
        const batched: FileInBatch = {
          state: 'batched',
          entry,
          digest,
          room,
          began,
          repairs,
          bytesOnWire: size + listShare,
          earlier: undefined,
        };
        this.set(batched);
        wanted.push(batched);
      }
      from += size;
    }
    return wanted;
  }
}

function nextChange(): { readonly happens: Promise<void>; readonly happened: () => void } {
  let happened = (): void => undefined;
  const happens = new Promise<void>((resolve) => {
    happened = resolve;
  });
  return { happens, happened: () => happened() };
}

/** An entry that was offered, in its first state. */
export function offered(entry: Entry): EntryState {
  switch (entry.type) {
    case 'file':
      return { state: 'offered', entry };
    case 'symlink':
      return { state: 'batched link', entry };
    case 'directory':
    case 'link':
      return { state: 'last', entry };
  }
}
