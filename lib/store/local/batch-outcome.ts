// What became of the entries of a batch, as those who gave it learn it.
import type { TransferError } from '../../errors';
import type { EntryName } from '../../name';
import type { Verified } from '../../progress';
import type { FileStat } from '../../threads/file-calls';
import type { Lost } from '../store';
import type { Committed } from '../store';
import type { PublishAnswer } from './batch.worker';
import { errorOf } from './batch-failure';
import { diskError } from './disk-error';

/** What became of an entry: `committed` or `error`. */
export interface EntryOutcome {
  readonly file: number;
  readonly committed?: Committed;
  readonly error?: TransferError;
  /** The final file as it was right after the commit; absent for what is no regular file. */
  readonly stat?: FileStat;
}

/** What a thread has answered of one entry. */
export function outcomeOf(
  file: number,
  name: EntryName,
  answer: PublishAnswer[number] | undefined,
  verified: Verified,
  lostBefore?: readonly Lost[],
): EntryOutcome {
  if (!answer) return { file, error: diskError(new Error('no answer came'), { name }) };
  if ('failure' in answer) return { file, error: errorOf(answer, name) };
  const { outcome, path, stat, lost = lostBefore } = answer;
  return { file, committed: { outcome, path, verified, ...lostOf(lost) }, ...(stat && { stat }) };
}

/** The key of a commit that says so, where anything was lost. */
export function lostOf(lost: readonly Lost[] = []): Pick<Committed, 'lost'> {
  return lost.length === 0 ? {} : { lost };
}
