import { TransferError } from '../errors';
import type { Entry, MissingEntry } from '../wire/session-list';
import { mostHeldText } from './limits';
import { fits } from './turns';

/** What an entry takes in memory beside its text, in characters of text. */
const perEntry = 64;

/** How many characters all sessions of this process keep together, and how many of them each key. */
const held = { all: 0, byKey: new Map<string, number>() };

function count(whose: string, change: number): void {
  held.all += change;
  const left = (held.byKey.get(whose) ?? 0) + change;
  if (left > 0) held.byKey.set(whose, left);
  else held.byKey.delete(whose);
}

/**
 * The text that one session of a key has this process keep in memory: names, targets, attributes and messages of what
 * is not settled yet. Nobody takes all that there is room for.
 */
export class HeldText {
  private characters = 0;

  /** `whose`: the id of the key. */
  constructor(private readonly whose: string) {}

  /** Throws `quota` where that would be too much. */
  hold(characters: number): void {
    const own = (held.byKey.get(this.whose) ?? 0) + characters;
    if (characters > 0 && !fits(held.all + characters, mostHeldText, own))
      throw new TransferError(
        'quota',
        'There is more to be kept in mind of this session than the receiver has memory for.',
        {
          hint: 'Send it in several parts: hard links, directories and what cannot be read are settled last.',
        },
      );
    this.characters += characters;
    count(this.whose, characters);
  }

  letGo(characters: number): void {
    this.characters -= characters;
    count(this.whose, -characters);
  }

  /** Nothing of it is kept any more. */
  close(): void {
    this.letGo(this.characters);
  }
}

/** What is kept of an entry, in characters. */
export function textOf(entry: Entry): number {
  const { name, metadata } = entry;
  let characters = perEntry + name.length;
  if (entry.type === 'link' || entry.type === 'symlink') characters += entry.target.length;
  if (metadata?.owner) characters += (metadata.owner.user?.length ?? 0) + (metadata.owner.group?.length ?? 0);
  if (metadata?.xattrs)
    for (const [key, value] of Object.entries(metadata.xattrs)) characters += key.length + value.length;
  return characters;
}

/** The same of what is missing. */
export function textOfMissing({ name, message }: Pick<MissingEntry, 'name' | 'message'>): number {
  return perEntry + name.length + message.length;
}
