import type { Directory } from './directory';

interface Turn {
  running: Promise<void>;
  next: Promise<void> | undefined;
}

const turns = new WeakMap<Directory, Turn>();

/**
 * Makes the entries of a directory durable. Whoever asks while a sync runs shares the one after it: the running one may have
 * begun before their change. A thousand files committed into one directory at once so cost a few syncs instead of a thousand.
 */
export function syncTogether(directory: Directory): Promise<void> {
  const turn = turns.get(directory);
  if (!turn) return begin(directory);
  turn.next ??= turn.running.then(
    () => begin(directory),
    () => begin(directory),
  );
  return turn.next;
}

function begin(directory: Directory): Promise<void> {
  const running = directory.sync();
  const turn: Turn = { running, next: undefined };
  turns.set(directory, turn);
  const finished = (): void => {
    if (turn.next === undefined) turns.delete(directory);
  };
  running.then(finished, finished);
  return running;
}
