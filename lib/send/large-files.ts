import { asTransferError, TransferError } from '../errors';
import { type Digests, type Listener, Meter, type Waits } from '../progress';
import { segmentSizeOf } from '../wire/segment';
import type { BasisSegment } from '../wire/basis';
import type { MissedPiece, Piece, PieceReader } from './segment-reader';
import type { Carried, Carriers } from './carriers';
import type { Outgoing } from './entries';
import { rereadPiece } from './reread';
import { ignored } from '../trace';

export interface LargeFilesSink {
  readonly on: Listener;
  readonly waits: Waits;
  /** Whether it is not settled yet. */
  isWanted(outgoing: Outgoing): boolean;
  kept(outgoing: Outgoing, segments: { readonly first: number; readonly count: number }): Promise<void>;
  /** The receiver is to copy these bytes from its basis. */
  copied(
    outgoing: Outgoing,
    bytes: { readonly offset: number; readonly size: number; readonly from: number },
  ): Promise<void>;
  /** All of it was sent or kept. */
  closed(outgoing: Outgoing, size: number, digests: Digests): Promise<void>;
  dropped(outgoing: Outgoing, error: TransferError): Promise<void>;
}

/** The segments that the receiver holds of a file, and those of its basis. */
export interface HeldByReceiver {
  readonly held?: ReadonlyMap<number, string>;
  readonly basis?: readonly BasisSegment[];
}

type SentPiece = Piece | MissedPiece;

interface WaitingFile {
  readonly outgoing: Outgoing;
  readonly heldThere: HeldByReceiver;
}

/**
 * The large files that the receiver wants, one after another: each is read once, in order, and shared out over all
 * connections.
 */
export class LargeFileSender {
  private readonly waiting: WaitingFile[] = [];
  private readonly ended = new AbortController();
  private wake: () => void = () => undefined;
  /** Of the files that are read or on their way. */
  private progresses: SendProgress[] = [];

  constructor(
    private readonly reader: PieceReader,
    private readonly algorithm: keyof Digests,
    private readonly carriers: Carriers,
    private readonly sink: LargeFilesSink,
  ) {}

  add(outgoing: Outgoing, heldThere: HeldByReceiver): void {
    if (outgoing.found.type === 'file') this.carriers.expect(outgoing.found.size);
    this.waiting.push({ outgoing, heldThere });
    this.wake();
  }

  stop(): void {
    this.ended.abort();
    for (const progress of this.progresses) progress.stop();
    this.wake();
  }

  /**
   * Sends what is added, until it is stopped; nothing is read any more once this has settled. Rejects with what ends
   * the conversation.
   */
  async run(): Promise<void> {
    while (!this.stopped) {
      const next = this.waiting.shift();
      if (!next) {
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
      } else if (this.sink.isWanted(next.outgoing)) {
        await this.send(next);
      }
    }
  }

  private get stopped(): boolean {
    return this.ended.signal.aborted;
  }

  private async send({ outgoing, heldThere }: WaitingFile): Promise<void> {
    try {
      await this.sendPieces(outgoing, heldThere, this.read(outgoing, heldThere));
    } catch (thrown) {
      const error = asTransferError(thrown, 'source-unreadable', 'Cannot read the file');
      if (this.stopped || error.code === 'connection-lost' || error.code === 'interrupted') throw error;
      await this.sink.dropped(outgoing, error.about(nameOf(outgoing)));
    }
  }

  private read(outgoing: Outgoing, { held, basis }: HeldByReceiver): AsyncGenerator<SentPiece, void, undefined> {
    const { found } = outgoing;
    const { signal } = this.ended;
    if (found.type === 'file')
      return this.reader.read({ source: found, algorithm: this.algorithm, held, basis }, signal);
    if (found.type !== 'stream') throw new TransferError('unexpected', 'Only files and streams have segments.');
    outgoing.begun = true;
    return this.reader.readStream(found.input, this.algorithm, signal);
  }

  private async sendPieces(
    outgoing: Outgoing,
    { held }: HeldByReceiver,
    pieces: AsyncGenerator<SentPiece, void, undefined>,
  ): Promise<void> {
    const { on, waits } = this.sink;
    const total = outgoing.found.type === 'file' ? outgoing.found.size : 0;
    const name = nameOf(outgoing);
    const segmentSize = segmentSizeOf(total);
    let kept = 0;
    // What is asked for a second time was damaged, or lost with its connection.
    const first = outgoing.bytesOnWire === 0;
    const resumed = first ? Math.min(total, (held?.size ?? 0) * segmentSize) : 0;
    on({ event: 'started', file_name: name, file_size: total, ...(resumed > 0 ? { resumed } : {}) });
    const progress = new SendProgress(on, name, total, () => kept);
    this.progresses = [...this.progresses.filter(({ over }) => !over), progress];
    try {
      for (
        let next = await waits.on('source', pieces.next());
        !next.done;
        next = await waits.on('source', pieces.next())
      ) {
        const piece = next.value;
        if (!this.sink.isWanted(outgoing)) {
          // Refused meanwhile.
          if (piece.kind === 'bytes' || piece.kind === 'missed') piece.release();
          progress.stop();
          return;
        }
        const held = heldBytes(piece, segmentSize, total);
        kept += held;
        progress.add(piece.kind === 'zero' ? piece.size : held);
        if (first) outgoing.kept = kept;
        await this.sendPiece(outgoing, piece, progress);
      }
      progress.end();
    } catch (error) {
      progress.stop();
      throw error;
    } finally {
      await pieces.return();
    }
  }

  private async sendPiece(outgoing: Outgoing, piece: SentPiece, progress: SendProgress): Promise<void> {
    switch (piece.kind) {
      case 'bytes': {
        const { offset, bytes } = piece;
        await this.carry(
          outgoing,
          this.frame(
            outgoing,
            offset,
            bytes.length,
            () => [bytes],
            progress,
            () => piece.release(),
          ),
        );
        break;
      }
      case 'missed': {
        const { offset, size } = piece;
        await this.carry(
          outgoing,
          this.frame(
            outgoing,
            offset,
            size,
            () => this.again(outgoing, offset, size),
            progress,
            () => piece.release(),
          ),
        );
        break;
      }
      case 'zero':
        await this.carry(outgoing, this.zeros(outgoing, piece.offset, piece.size));
        break;
      case 'keep':
        await this.sink.kept(outgoing, piece);
        break;
      case 'copy':
        await this.sink.copied(outgoing, piece);
        break;
      case 'end':
        outgoing.size = piece.size;
        outgoing.grew = piece.grew === true;
        await this.sink.closed(outgoing, piece.size, piece.digests);
        break;
    }
  }

  /** A stream cannot be read again: it goes on connection 0, whose loss ends the conversation anyway. */
  private async carry({ found }: Outgoing, frame: Carried): Promise<void> {
    if (found.type === 'stream') await this.carriers.sendInOrder({ ...frame, lost: () => undefined });
    else this.carriers.push(frame);
  }

  private frame(
    outgoing: Outgoing,
    offset: number,
    size: number,
    payload: Carried['payload'],
    progress: SendProgress,
    release?: () => void,
  ): Carried {
    let taken = 0;
    progress.open();
    return {
      header: { type: 'segment', file: outgoing.file, offset, size },
      payload,
      size,
      sent: (wire) => {
        outgoing.bytesOnWire += wire;
        taken = wire > 0 ? size : 0;
        progress.close(taken);
        release?.();
      },
      lost: () => {
        progress.add(-taken);
        this.carriers.push(this.frame(outgoing, offset, size, () => this.again(outgoing, offset, size), progress));
      },
    };
  }

  private zeros(outgoing: Outgoing, offset: number, size: number): Carried {
    return {
      header: { type: 'segment', file: outgoing.file, offset, size, zero: true },
      payload: () => (this.sink.isWanted(outgoing) ? [] : Promise.resolve(undefined)),
      size: 0,
      sent: (wire) => {
        outgoing.bytesOnWire += wire;
      },
      lost: () => this.carriers.push(this.zeros(outgoing, offset, size)),
    };
  }

  /** A piece that a connection has lost, once more. */
  private async again(outgoing: Outgoing, offset: number, size: number): Promise<readonly Uint8Array[] | undefined> {
    if (this.stopped || !this.sink.isWanted(outgoing)) return undefined;
    try {
      return [await rereadPiece(outgoing, offset, size)];
    } catch (error) {
      await this.sink
        .dropped(outgoing, asTransferError(error, 'source-unreadable', 'Cannot read the file'))
        .catch(ignored('a conversation in which not even that can be said has ended'));
      return undefined;
    }
  }
}

/** Bytes of a piece that the receiver has, and takes from what it holds. */
function heldBytes(piece: SentPiece, segmentSize: number, total: number): number {
  if (piece.kind === 'copy') return piece.size;
  if (piece.kind !== 'keep') return 0;
  return Math.min(total, (piece.first + piece.count) * segmentSize) - piece.first * segmentSize;
}

/**
 * Tells how much of one file the system or the receiver has taken, from its first piece until the last frame is gone:
 * reading is far ahead of a slow link.
 */
class SendProgress {
  private done = 0;
  private frames = 0;
  private ended = false;
  private readonly meter: Meter;
  /** Whether progress is not reported any more. */
  over = false;

  constructor(on: Listener, name: string, total: number, kept: () => number) {
    this.meter = new Meter(on, name, 'send', total, () => Math.min(this.done, total || this.done), kept);
  }

  add(bytes: number): void {
    this.done += bytes;
  }

  /** One frame more is on its way. */
  open(): void {
    this.frames++;
  }

  /** A frame is gone, and `bytes` bytes of the file with it. */
  close(bytes: number): void {
    this.done += bytes;
    this.frames--;
    this.settle();
  }

  /** Nothing more is read. */
  end(): void {
    this.ended = true;
    this.settle();
  }

  stop(): void {
    this.over = true;
    this.meter.stop();
  }

  private settle(): void {
    if (this.ended && this.frames === 0) this.stop();
  }
}

function nameOf({ found }: Outgoing): string {
  return found.type === 'text' ? '' : found.name;
}
