import { stat } from 'node:fs/promises';
import path from 'node:path';
import { TransferError } from '../errors';
import { systemPath } from '../name-bytes';
import type { Listener } from '../progress';
import { unreadableSource } from '../scan/source';
import { failureEvent, Tally } from '../session/summary';

/**
 * Rejects with `source-unreadable` where nothing of what the user named is there, before anybody is dialed or waited
 * for; each is told as `failed` before, and the summary comes last. Where some of it is there, those that are not are
 * told when their turn comes. `-` is standard input, which always is. Rejects with `usage` for an empty path.
 */
export async function refuseAbsentSources(paths: readonly string[], on: Listener = () => undefined): Promise<void> {
  if (paths.includes(''))
    throw new TransferError('usage', 'A path is empty.', { hint: 'A variable of the shell may have had no value.' });
  const absent: TransferError[] = [];
  for (const pathname of paths) {
    const failure = pathname === '-' ? undefined : await whyAbsent(pathname);
    if (failure === undefined) return;
    absent.push(failure);
  }
  const [first, ...others] = absent;
  if (first === undefined) return;
  for (const failure of absent) on(failureEvent(failure));
  on({ event: 'summary', ...new Tally().summary(0, null) });
  if (others.length === 0) throw first;
  throw new TransferError('source-unreadable', `None of these ${String(absent.length)} paths can be read.`, {
    cause: new AggregateError(absent),
  });
}

async function whyAbsent(pathname: string): Promise<TransferError | undefined> {
  try {
    await stat(systemPath(pathname));
    return undefined;
  } catch (error) {
    return unreadableSource(pathname, path.basename(path.resolve(pathname)), error);
  }
}
