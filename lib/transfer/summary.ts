import { TransferError } from '../errors';
import type { Bottleneck, FileDone, Summary } from '../progress';

/** What a transfer has to show at its end. */
export interface Outcome {
  readonly files: readonly FileDone[];
  readonly failures: readonly TransferError[];
  readonly seconds: number;
  readonly bottleneck: Bottleneck | null;
}

export function summarize({ files, seconds, bottleneck }: Outcome): Summary {
  return {
    files: files.length,
    bytes: files.reduce((sum, file) => sum + file.file_size, 0),
    bytes_on_wire: files.reduce((sum, file) => sum + file.bytes_on_wire, 0),
    seconds,
    bottleneck,
  };
}

/** The one error that stands for all failures of a transfer: the only one, or `some-failed` with all of them as its cause. */
export function failureOf({ files, failures }: Outcome): TransferError | undefined {
  const [first] = failures;
  if (first === undefined || (files.length === 0 && failures.length === 1)) return first;
  if (failures.every(({ code }) => code === 'not-confirmed')) return first;
  const interrupted = failures.find(({ code }) => code === 'interrupted');
  if (interrupted) return interrupted;
  const all = files.length + failures.length;
  return new TransferError('some-failed', `${String(failures.length)} of ${String(all)} files failed.`, { cause: new AggregateError(failures) });
}
