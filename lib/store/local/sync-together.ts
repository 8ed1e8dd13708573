import type { Directory } from './directory';

interface Turn {
  running: Promise<void>;
  next: Promise<void> | undefined;
}

const turns = new WeakMap<Directory, Turn>();

/**
 * Makes the entries of a directory durable. Whoever asks while a sync runs shares the one after it: the running one may
 * have begun before their change. A thousand files committed into one directory at once so cost a few syncs instead of
 * a thousand. `own` is a private directory on the same disk, by which each sync is confirmed.
 */
export function syncTogether(directory: Directory, own: Directory | undefined): Promise<void> {
  const turn = turns.get(directory);
  if (!turn) return begin(directory, own);
  turn.next ??= turn.running.then(
    () => begin(directory, own),
    () => begin(directory, own),
  );
  return turn.next;
}

function begin(directory: Directory, own: Directory | undefined): Promise<void> {
  const running = directory.sync().then(() => own?.confirm());
  const turn: Turn = { running, next: undefined };
  turns.set(directory, turn);
  const finished = (): void => {
    if (turn.next === undefined) turns.delete(directory);
  };
  running.then(finished, finished);
  return running;
}
