import type { EntryName } from '../name';
import { NameTable } from '../store/local/name-table';

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

/** Sessions whose names are kept for their next conversation, and names of all but the last of them. */
const mostSessions = 64;
const mostNames = 500_000;

/** The names of sessions whose connection was lost, or whose sender may not know yet that they are done. */
export class NamesOfSessions {
  /** By the ids of sessions, the one that was used last at the end. */
  private readonly kept = new Map<string, { readonly peer: string; readonly names: OfferedNames }>();

  /** Those of a session of this peer, in which another conversation begins. */
  of(session: string, peer: string): OfferedNames {
    const known = this.kept.get(session);
    const names = known?.peer === peer ? known.names : new OfferedNames();
    names.begin();
    this.kept.delete(session);
    this.kept.set(session, { peer, names });
    this.forgetOldest();
    return names;
  }

  private forgetOldest(): void {
    let names = 0;
    for (const kept of this.kept.values()) names += kept.names.size;
    for (const [session, kept] of this.kept) {
      if (this.kept.size <= 1 || (this.kept.size <= mostSessions && names <= mostNames)) return;
      names -= kept.names.size;
      this.kept.delete(session);
    }
  }
}
