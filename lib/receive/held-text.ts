import { TransferError } from '../errors';
import type { Metadata } from '../wire/metadata';
import type { MissingEntry } from '../wire/session-list';
import { mostHeldText } from './limits';
import { fits } from './fair-shares';

/** What an entry takes in memory beside its text, in characters of text. */
const perEntry = 64;

/** Characters that all sessions of this process keep together. */
const all = { characters: 0 };

/** Those of one key, and how many of its sessions and backups are open. */
interface HeldByKey {
  characters: number;
  users: number;
}
const byKey = new Map<string, HeldByKey>();

/**
 * The text that one session of a key has this process keep in memory: names, targets, attributes and messages of what
 * is not settled yet. No key takes all that there is room for.
 */
export class HeldText {
  private characters = 0;
  private isClosed = false;
  private readonly ofKey: HeldByKey;

  /** `whose`: the id of the key. */
  constructor(private readonly whose: string) {
    this.ofKey = byKey.get(whose) ?? { characters: 0, users: 0 };
    this.ofKey.users++;
    byKey.set(whose, this.ofKey);
  }

  /** Throws `quota` where that would be too much. */
  hold(characters: number): void {
    if (this.isClosed) return;
    if (characters > 0 && !fits(all.characters + characters, mostHeldText, this.ofKey.characters + characters))
      throw new TransferError('quota', 'The receiver has no memory for so much of one session that is not settled.', {
        hint: 'Send it in several parts: hard links, directories and what cannot be read are settled last.',
      });
    this.add(characters);
  }

  letGo(characters: number): void {
    if (!this.isClosed) this.add(-characters);
  }

  /** Nothing of it is kept any more, and what comes late is not counted. */
  close(): void {
    if (this.isClosed) return;
    this.add(-this.characters);
    this.isClosed = true;
    if (--this.ofKey.users === 0) byKey.delete(this.whose);
  }

  private add(characters: number): void {
    this.characters += characters;
    this.ofKey.characters += characters;
    all.characters += characters;
  }
}

/** The text of an entry, on its way or in a manifest. */
interface TextOfEntry {
  readonly name: string;
  readonly target?: string;
  readonly metadata?: Metadata | undefined;
}

/** What is kept of an entry, in characters. */
export function textOf({ name, target, metadata }: TextOfEntry): number {
  let characters = perEntry + name.length + (target?.length ?? 0);
  if (metadata?.owner) characters += (metadata.owner.user?.length ?? 0) + (metadata.owner.group?.length ?? 0);
  if (metadata?.xattrs)
    for (const [key, value] of Object.entries(metadata.xattrs)) characters += key.length + value.length;
  return characters;
}

/** The same of what is missing. */
export function textOfMissing({ name, message }: Pick<MissingEntry, 'name' | 'message'>): number {
  return perEntry + name.length + message.length;
}
