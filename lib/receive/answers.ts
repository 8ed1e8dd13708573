import { TransferError } from '../errors';
import { printable } from '../name';
import type { FileDone, Waits } from '../progress';
import type { HeldSegment, MissingEntry, SessionReceipt } from '../wire/session-list';
import type { StandingSegment } from '../wire/standing';
import type { SnapshotDone } from '../wire/snapshot-done';
import { failureEvent, Tally } from '../session/summary';
import type { Link } from '../session/link';
import { forPeer } from '../session/refusal';
import type { SessionRules } from './rules';

/** Elements of a list that is cut into several messages. */
const mostTold = 16384;

/**
 * What the receiver of a session says on connection 0, and what it tells whoever runs it. Nothing is waited for, and nothing
 * rejects: a connection that takes no more is noticed by whoever reads from it.
 */
export class Answers {
  readonly tally = new Tally();
  readonly failures: TransferError[] = [];

  constructor(
    private readonly control: Link,
    private readonly rules: SessionRules,
  ) {}

  /** The segments that are here, for the sender to compare. */
  held(segments: readonly HeldSegment[]): void {
    this.tell(this.control.sendList({ type: 'held' }, segments.map(({ file, segment, digest }) => [file, segment, digest])));
  }

  /** What stands here and may be like this file in part, for the sender to compare. */
  standing(file: number, segments: readonly StandingSegment[]): void {
    for (let at = 0; at < segments.length; at += mostTold) {
      const some = segments.slice(at, at + mostTold).map(({ offset, size, digest }) => [file, offset, size, digest]);
      this.tell(this.control.sendList({ type: 'standing' }, some));
    }
  }

  /** These are to be sent. */
  wanted(files: readonly number[]): void {
    this.tell(this.control.sendList({ type: 'answer' }, files));
  }

  /** How far it is with reading a file back, in bytes. */
  progress(file: number, done: number): void {
    this.tell(this.control.send({ type: 'progress', file, done }));
  }

  /** These are stored. */
  receipts(receipts: readonly SessionReceipt[]): void {
    this.tell(this.control.sendList({ type: 'receipts' }, receipts));
  }

  /** A file is stored, and something about it is alarming. */
  alarm(file: number, error: TransferError): void {
    this.failures.push(error);
    this.rules.on(failureEvent(error));
    this.tell(this.control.send({ type: 'alarm', file, message: error.message }));
  }

  /** This one is not stored, and why. */
  refuse(file: number, error: TransferError): void {
    const { code, fileName } = error;
    const skipped = code === 'exists' && this.rules.ifExists === 'skip';
    if (skipped) {
      this.rules.on({ event: 'skipped', file_name: fileName ?? '', reason: 'it exists already' });
    } else {
      this.failures.push(error);
      this.rules.on(failureEvent(error));
    }
    this.tell(this.control.send({ type: 'refusal', file, ...forPeer(error), ...(skipped ? { skipped } : {}) }));
  }

  /** The sender does not have it: for whoever runs the receiver. */
  missing({ name, code, message, skipped }: MissingEntry): void {
    if (skipped) {
      this.rules.on({ event: 'skipped', file_name: name, reason: message });
      return;
    }
    const error = new TransferError(code, printable(message), { fileName: name, hint: '' });
    this.failures.push(error);
    this.rules.on(failureEvent(error));
  }

  /** A file is stored: for whoever runs the receiver. */
  received(file: FileDone): void {
    this.tally.add(file);
    this.rules.on({ event: 'received', ...file });
  }

  /** Words of the sender. */
  text(file: number, text: string): void {
    this.rules.on({ event: 'text', text });
    this.receipts([{ file, verified: null }]);
  }

  /** Everything has its receipt or refusal. */
  done({ spent: { network, write, verify } }: Waits, snapshot?: SnapshotDone): void {
    const waited = { network, write, verify };
    this.tell(this.control.send({ type: 'done', waited, ...(snapshot ? { snapshot } : {}) }));
  }

  /** Why there will be no end. Resolves when the system has taken it, or cannot. */
  async broken(error: TransferError): Promise<void> {
    await this.control.send({ type: 'refusal', ...forPeer(error) }).catch(() => undefined);
  }

  private tell(sent: Promise<unknown>): void {
    sent.catch(() => undefined);
  }
}
