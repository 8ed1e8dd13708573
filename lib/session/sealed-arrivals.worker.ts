import { parentPort, workerData } from 'node:worker_threads';
import { asTransferError, TransferError } from '../errors';
import { type PiecesState, SharedPieces } from '../threads/shared-pieces';
import { socketCalls } from '../threads/socket-calls';
import { maxHeaderLength, minHeaderLength } from '../wire/frame';
import { parseJsonObject } from '../wire/json-object';
import { longestRecord, notSealedHere, tagLength } from '../wire/record';
import { pieceSize } from '../wire/segment';
import { type Bundle, parseFromSender, type Segment } from '../wire/session-message';
import { SealedLink, type SealedSetup } from './sealed-link';

export interface ArrivalsSetup extends SealedSetup {
  readonly pieces: PiecesState;
  /** One number: not 0 once nothing more is to be received. */
  readonly stopped: SharedArrayBuffer;
}

/**
 * What the thread says: each frame of segments or files, and at the end why it ended, if that was no FIN. `wire` is
 * what it cost, in bytes.
 */
export type ArrivalsMessage =
  | { readonly kind: 'segment'; readonly segment: Segment; readonly piece: number | undefined; readonly wire: number }
  | { readonly kind: 'bundle'; readonly bundle: Bundle; readonly payload: Uint8Array; readonly wire: number }
  | { readonly kind: 'end'; readonly code?: TransferError['code']; readonly message?: string };

const setup = workerData as ArrivalsSetup;
const pieces = SharedPieces.of(setup.pieces);
const stopped = new Int32Array(setup.stopped);
const frameLength = 4;
const shorter = 64 * 1024;

/** Receives records until the other side has finished, or until it is stopped. */
function receiveAll(link: SealedLink): void {
  let memory = new Uint8Array(pieceSize + shorter);
  const room = (length: number): Uint8Array => {
    // Bundles may be longer than pieces, and most connections never bring one.
    if (length > memory.length) memory = new Uint8Array(longestRecord + tagLength);
    return memory.subarray(0, length);
  };
  const opening = new Opening(link);
  for (let record = link.receive(room); record && Atomics.load(stopped, 0) === 0; record = link.receive(room))
    opening.open(record);
}

/**
 * The opening of one record after another: its header goes into memory of this thread, its payload into a piece that
 * others read.
 */
class Opening {
  private readonly header = new Uint8Array(frameLength + maxHeaderLength);
  private piece: number | undefined;
  private payload: Uint8Array | undefined;
  private headerEnd = 0;

  constructor(private readonly link: SealedLink) {}

  open(record: Uint8Array): void {
    const sealed = record.length - tagLength;
    this.piece = this.payload = undefined;
    this.headerEnd = 0;
    try {
      this.link.open(record, (offset) => this.next(offset, sealed));
      this.tell(record.length + frameLength);
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /**
   * Where the bytes of the record from `offset` on go: length of the header, header, payload. The length is only
   * believed as far as there is room for it.
   */
  private next(offset: number, sealed: number): Uint8Array | undefined {
    if (offset === 0) return sealed > frameLength ? this.header.subarray(0, frameLength) : undefined;
    if (offset === frameLength) {
      const length = new DataView(this.header.buffer).getInt32(0, true);
      if (length < minHeaderLength || length > maxHeaderLength || frameLength + length > sealed) return undefined;
      this.headerEnd = frameLength + length;
      return this.header.subarray(frameLength, this.headerEnd);
    }
    const length = sealed - offset;
    if (length > pieceSize) {
      this.payload = new Uint8Array(length);
    } else {
      this.piece = this.take();
      this.payload = pieces.bytes(this.piece).subarray(0, length);
    }
    return this.payload;
  }

  /** Waits until others have given memory back; the sender is told meanwhile that we live. */
  private take(): number {
    for (;;) {
      const piece = pieces.take(this.link.patience);
      this.link.forgive();
      if (piece !== undefined) return piece;
      if (Atomics.load(stopped, 0) !== 0) throw new TransferError('interrupted', 'The receiver was stopped.');
      this.link.beat();
    }
  }

  /** The record is what the sender sealed: tells what is in it. */
  private tell(wire: number): void {
    if (this.headerEnd === 0) throw notSealedHere();
    const message = parseFromSender(parseJsonObject(this.header.slice(frameLength, this.headerEnd)));
    const length = this.payload?.length ?? 0;
    if ('coding' in message) throw new TransferError('bad-header', 'What is sealed is never coded.');
    switch (message.type) {
      case 'segment':
        if (length !== (message.zero ? 0 : message.size)) throw notWhole();
        post({ kind: 'segment', segment: message, piece: this.piece, wire });
        this.piece = undefined;
        break;
      case 'bundle':
        if (!this.payload || length !== message.list + message.size) throw notWhole();
        post({ kind: 'bundle', bundle: message, payload: this.payload.slice(), wire });
        this.release();
        break;
      case 'heartbeat':
        if (length > 0) throw notWhole();
        break;
      default:
        throw new TransferError('bad-header', `A message ${message.type} has no place here.`);
    }
  }

  private release(): void {
    if (this.piece !== undefined) pieces.release(this.piece);
    this.piece = undefined;
  }
}

function notWhole(): TransferError {
  return new TransferError('bad-frame', 'A sealed record does not hold exactly one frame.');
}

function post(message: ArrivalsMessage): void {
  parentPort?.postMessage(message);
}

try {
  const calls = socketCalls();
  if (!calls) throw new TransferError('unexpected', 'This thread has no calls for sealed connections.');
  const link = new SealedLink(setup, calls);
  try {
    receiveAll(link);
  } finally {
    link.close();
  }
  post({ kind: 'end' });
} catch (thrown) {
  const { code, message } = asTransferError(thrown, 'unexpected', 'A sealed connection failed');
  post({ kind: 'end', code, message });
}
