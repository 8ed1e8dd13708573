import type { TransferError } from '../errors';
import type { Waits } from '../progress';
import type { Link } from '../session/link';
import { forPeer } from '../session/refusal';
import { ignored } from '../trace';
import type { HeldSegment, SessionReceipt } from '../wire/session-list';
import type { SnapshotDone } from '../wire/snapshot-done';
import { listElements } from './limits';
import type { LargeFileQuestion } from './large-file';

/**
 * Messages of the receiver on connection 0 (PROTOCOL.md 17). No method waits or rejects: a connection that takes
 * nothing more is noticed where it is read.
 */
export class Replies {
  constructor(private readonly control: Link) {}

  /** The small files that are here already, for the sender to compare. PROTOCOL.md 15.4. */
  held(segments: readonly HeldSegment[]): void {
    if (segments.length > 0)
      this.list(
        'held',
        segments.map(({ file, segment, digest }) => [file, segment, digest]),
      );
  }

  /** These are to be sent. PROTOCOL.md 17.1. */
  answer(files: readonly number[]): void {
    if (files.length > 0) this.list('answer', files);
  }

  /** A large file is to be sent, but for what is here, and what can be copied. PROTOCOL.md 14.6, 14.11. */
  ask(file: number, { held, basis }: LargeFileQuestion): void {
    this.held(held.map(({ segment, digest }) => ({ file, segment, digest })));
    for (let at = 0; at < basis.length; at += listElements) {
      this.list(
        'standing',
        basis.slice(at, at + listElements).map(({ offset, size, digest }) => [file, offset, size, digest]),
      );
    }
    this.answer([file]);
  }

  /** How far it is with reading a file back, in bytes. PROTOCOL.md 17.6. */
  progress(file: number, done: number): void {
    this.send({ type: 'progress', file, done });
  }

  /** These are stored. PROTOCOL.md 17.2. */
  receipts(receipts: readonly SessionReceipt[]): void {
    if (receipts.length > 0) this.list('receipts', receipts);
  }

  /** A file is stored, and something about it is alarming. PROTOCOL.md 22. */
  alarm(file: number, { message }: TransferError): void {
    this.send({ type: 'alarm', file, message });
  }

  /** This one is not stored, and why; `skipped` where that is as it should be. PROTOCOL.md 17.5. */
  refuse(file: number, error: TransferError, skipped: boolean): void {
    this.send({ type: 'refusal', file, ...forPeer(error), ...(skipped ? { skipped } : {}) });
  }

  /** Everything has its receipt or refusal. PROTOCOL.md 17.7. */
  done({ spent: { network, write, verify } }: Waits, snapshot?: SnapshotDone): void {
    this.send({ type: 'done', waited: { network, write, verify }, ...(snapshot ? { snapshot } : {}) });
  }

  /** Why there will be no end. Resolves when the system has taken it, or cannot. */
  async broken(error: TransferError): Promise<void> {
    await this.control.send({ type: 'refusal', ...forPeer(error) }).catch(ignored('the peer is gone'));
  }

  private list(type: string, list: readonly unknown[]): void {
    this.control.sendList({ type }, list).catch(ignored('whoever reads from the connection notices that it is gone'));
  }

  private send(message: object): void {
    this.control.send(message).catch(ignored('whoever reads from the connection notices that it is gone'));
  }
}
