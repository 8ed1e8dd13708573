import type { EntryName } from '../name';
import { NameTable } from '../store/local/name-table';
import { mostKeptNames, mostKeptSessions } from './limits';
import { oldestOfMost } from './fair-shares';

/** What a session knows of a name. */
export type OfferedName =
  /** A file is stored that was offered so; where it is. */
  | { readonly offered: 'stored'; readonly path: EntryName }
  /** It was offered, and what is there, if anything, is not what was offered. */
  | { readonly offered: 'not stored' }
  | { readonly offered: 'never' };

/** Of numbers in the table: the conversation in which a name was offered last, and whether the file is stored. */
const perConversation = 2;
const stored = 1;

/**
 * The names that one session has offered, in all of its conversations: what was stored in one is not offered again in
 * the next, and hard links point to it. PROTOCOL.md 13.5, 13.7.
 */
export class OfferedNames {
  private readonly names = new NameTable();
  /** Where files are, by their names, if that is elsewhere. */
  private readonly paths = new Map<EntryName, EntryName>();
  private conversation = 0;

  /** How many there are. */
  get size(): number {
    return this.names.size;
  }

  /** Another conversation begins: every name may be offered once more. */
  begin(): void {
    this.conversation++;
  }

  /** Notes a name; false if it was offered before in this conversation. */
  claim(name: EntryName): boolean {
    const before = this.names.get(name);
    const now = this.conversation * perConversation;
    if (before !== undefined && before >= now) return false;
    this.names.set(name, now);
    this.paths.delete(name);
    return true;
  }

  /** The file of a name is stored, at `path`. */
  stored(name: EntryName, path: string): void {
    this.names.set(name, this.conversation * perConversation + stored);
    if (path !== name) this.paths.set(name, path as EntryName);
  }

  of(name: EntryName): OfferedName {
    const known = this.names.get(name);
    if (known === undefined) return { offered: 'never' };
    if (known % perConversation !== stored) return { offered: 'not stored' };
    return { offered: 'stored', path: this.paths.get(name) ?? name };
  }
}

/** The names that a session of this peer has offered. */
interface KeptNames {
  readonly peer: string;
  readonly names: OfferedNames;
}

/** The names of sessions whose connection was lost, or whose sender may not know yet that they are done. */
export class NamesOfSessions {
  /** By peer and session, the one that was used last at the end. */
  private readonly kept = new Map<string, KeptNames>();

  /** Those of a session of this peer, in which another conversation begins. */
  of(session: string, peer: string): OfferedNames {
    const key = `${peer}\0${session}`;
    const names = this.kept.get(key)?.names ?? new OfferedNames();
    names.begin();
    this.kept.delete(key);
    this.makeRoom();
    this.kept.set(key, { peer, names });
    return names;
  }

  /** Forgets sessions until there is room for one more: of the key that has most of them, or most names. */
  private makeRoom(): void {
    for (;;) {
      const kept = [...this.kept].map(([key, { peer, names }]) => ({ key, peer, amount: names.size }));
      const isFull = kept.length >= mostKeptSessions;
      if (!isFull && kept.reduce((sum, { amount }) => sum + amount, 0) <= mostKeptNames) return;
      const held = isFull ? kept.map(({ peer }) => ({ peer })) : kept;
      const forgotten = oldestOfMost(kept, held);
      if (!forgotten) return;
      this.kept.delete(forgotten.key);
    }
  }
}
