import type { DirectoryEntry } from '../../wire/session-list';

/** A directory that was offered; `fresh` if it was not there then. */
export interface WaitingDirectory {
  readonly entry: DirectoryEntry;
  readonly fresh: boolean;
}

/**
 * The directories of a session in which nothing is stored yet. Each goes into the batch of the first thing in it, so
 * that one rename gives all of it its final name: a directory is offered thousands of entries before its files come, and
 * if it were made at once, each of those would have to be moved into it by itself.
 */
export class WaitingDirectories {
  private readonly waiting = new Map<string, WaitingDirectory>();
  /** The directory that was asked about last: the next file is mostly in the same. */
  private last = '';

  add(directory: WaitingDirectory): void {
    this.last = '';
    this.waiting.set(directory.entry.name, directory);
  }

  /** Those above `name`, the highest first; they wait no more. */
  takeAbove(name: string): readonly WaitingDirectory[] {
    const end = name.lastIndexOf('/');
    if (end === -1 || this.waiting.size === 0) return [];
    const directory = name.slice(0, end);
    if (directory === this.last) return [];
    this.last = directory;
    const taken: WaitingDirectory[] = [];
    for (let at = directory; at !== ''; at = at.slice(0, Math.max(0, at.lastIndexOf('/')))) {
      const found = this.waiting.get(at);
      if (found) taken.unshift(found);
      this.waiting.delete(at);
    }
    return taken;
  }

  /** All that still wait, in the order in which they came; they wait no more. */
  takeAll(): readonly WaitingDirectory[] {
    const all = [...this.waiting.values()];
    this.waiting.clear();
    return all;
  }
}
