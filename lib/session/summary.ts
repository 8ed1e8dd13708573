import { TransferError } from '../errors';
import type { Bottleneck, FileDone, Summary, TransferEvent, Waits } from '../progress';
import type { Dialed } from '../net/socket';

/** Files that arrived whole, added up; a hundred thousand of them take no more memory than one. */
export class Tally {
  files = 0;
  private bytes = 0;
  private bytesOnWire = 0;

  add(file: FileDone): void {
    this.files++;
    this.bytes += file.file_size;
    this.bytesOnWire += file.bytes_on_wire;
  }

  summary(seconds: number, bottleneck: Bottleneck | null): Summary {
    return { files: this.files, bytes: this.bytes, bytes_on_wire: this.bytesOnWire, seconds, bottleneck };
  }
}

/**
 * What held a transfer back: what the sender waited for most, `own`. Where that was the receiver, it knows what for,
 * `theirs`, and what it cannot account for was the way there and back; within one process, `local`, that was never the
 * network, whatever lies between the two. Null where nothing was waited for.
 */
export function heldBackBy(own: Waits, theirs: Waits, local: boolean): Bottleneck | null {
  const { source, hash, network, verify, limit, compress } = own.spent;
  const [reading, receiver] = [Math.max(source, hash), Math.max(network, verify)];
  if (limit > 0 && limit >= Math.max(reading, receiver)) return 'limit';
  if (compress > Math.max(reading, receiver)) return 'compress';
  if (reading >= receiver) return reading === 0 ? null : source >= hash ? 'source' : 'hash';
  if (local) return theirs.spent.verify > theirs.spent.write ? 'verify' : 'write';
  const atTheirs = Math.max(theirs.spent.write, theirs.spent.verify);
  const between = network + verify - theirs.spent.write - theirs.spent.verify;
  if (Math.max(theirs.spent.network, between) >= atTheirs) return 'network';
  return theirs.spent.verify > theirs.spent.write ? 'verify' : 'write';
}

/** One way of sending, whatever the wire. */
export interface Sender {
  /** What was confirmed, where there are not too many to be remembered. */
  readonly files: readonly FileDone[];
  readonly failures: readonly TransferError[];
  readonly tally: Tally;
  readonly bottleneck: Bottleneck | null;
  /** How many files were found so far; undefined where that is not counted. */
  readonly offered?: number;
  /** `relay HOST:PORT` where a relay carried it; undefined for none. */
  readonly route?: string | undefined;
  /** The congestion control of its connections, where it was chosen. */
  readonly congestion: string | undefined;
  /** Sends everything; `accepted` is a receiver that has dialed in. Never rejects. */
  run(accepted?: Dialed): Promise<void>;
  close(): Promise<void>;
}

/**
 * The one error that stands for all failures of a transfer: the only one, one that ended the transfer and so is about
 * no single file, or `some-failed` with all of them as its cause.
 */
export function failureOf(succeeded: number, failures: readonly TransferError[], more = 0): TransferError | undefined {
  const [first] = failures;
  if (first === undefined || (succeeded === 0 && failures.length === 1 && first.code !== 'some-failed')) return first;
  if (failures.every(({ code }) => code === first.code) && ['not-confirmed', 'stopped'].includes(first.code))
    return first;
  const interrupted = failures.find(({ code }) => code === 'interrupted');
  if (interrupted) return interrupted;
  const ofAll = failures.filter(({ fileName }) => fileName === undefined);
  const final = ofAll.find(({ code }) => code !== 'some-failed');
  if (final) return final;
  const failed = failures.length - ofAll.length + more;
  if (failed === 0)
    return new TransferError('some-failed', 'Everything arrived, but not all that it has beside its content.', {
      cause: new AggregateError(failures),
    });
  return new TransferError('some-failed', `${String(failed)} of ${String(succeeded + failed)} files failed.`, {
    cause: new AggregateError(failures),
  });
}

/** A failure as the event that tells of it. */
export function failureEvent({ code, message, hint, fileName }: TransferError): TransferEvent {
  return {
    event: 'failed',
    ...(fileName === undefined ? {} : { file_name: fileName }),
    code,
    message,
    ...(hint === undefined ? {} : { hint }),
  };
}
