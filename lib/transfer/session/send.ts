import { asTransferError, TransferError } from '../../errors';
import { type Digests, Meter, type Waits } from '../../progress';
import { smallFile } from '../../protocol/segment';
import { encodeEntry, parseHeld, parseNumbers, parseReceipts, type SessionReceipt } from '../../protocol/session-list';
import { parseFromReceiver, type SessionRefusal } from '../../protocol/session-message';
import type { Waited } from '../../protocol/message';
import type { BundleReader } from '../bundle-reader';
import type { SegmentReader } from '../segment-reader';
import type { Carriers } from './carriers';
import { type Entries, offered, type Outgoing } from './entries';
import type { Link } from './link';
import { refused } from './opening';
import { rereadPiece } from './reread';
import { SmallFiles } from './small-files';

/** What a sender decides for all conversations of its session, and where they leave their results. */
export interface SessionOutlet {
  readonly entries: Entries;
  readonly algorithm: keyof Digests;
  readonly segments: SegmentReader;
  readonly bundles: BundleReader;
  readonly waits: Waits;
  readonly signal: AbortSignal | undefined;
  readonly on: ConstructorParameters<typeof Meter>[0];
  stored(outgoing: Outgoing, receipt: SessionReceipt): void;
  refusedBy(outgoing: Outgoing, refusal: SessionRefusal): void;
  failed(error: TransferError): void;
  receiverWaited(waited: Waited): void;
}

/**
 * The sender's side of one conversation, on connection 0: offers everything that is not settled, sends what the receiver lacks,
 * and ends when it says `done`. Rejects with why it cannot go on; what is settled by then stays so.
 */
export class SessionSending {
  private readonly held = new Map<number, Map<number, string>>();
  private readonly large: Outgoing[] = [];
  private readonly small: SmallFiles;
  private wakeLarge: () => void = () => undefined;
  private over = false;
  private readonly abort = new AbortController();
  private sayDone: () => void = () => undefined;
  private readonly done = new Promise<void>((resolve) => {
    this.sayDone = resolve;
  });

  constructor(
    private readonly control: Link,
    private readonly carriers: Carriers,
    private readonly outlet: SessionOutlet,
  ) {
    this.small = new SmallFiles(outlet.bundles, carriers, {
      kept: (outgoing, digest) => this.closeFile(outgoing.file, sizeOf(outgoing), { [outlet.algorithm]: digest }),
      dropped: (outgoing, error) => this.drop(outgoing, error),
    });
  }

  async run(): Promise<void> {
    const { signal } = this.outlet;
    const aborted = (): void => this.control.connection.stopReading(new TransferError('interrupted', 'Interrupted.'));
    signal?.addEventListener('abort', aborted, { once: true });
    if (signal?.aborted) aborted();
    try {
      const broken = new Promise<never>((_, reject) => {
        for (const task of [this.listen(), this.offer(), this.sendLarge(), this.small.run()]) task.catch(reject);
      });
      await Promise.race([this.done, broken]);
    } finally {
      this.over = true;
      this.abort.abort();
      this.wakeLarge();
      this.small.stop();
      signal?.removeEventListener('abort', aborted);
    }
  }

  /** What the receiver says, until it is done. */
  private async listen(): Promise<void> {
    const { control, outlet } = this;
    for (let header = await control.receive(); header !== undefined; header = await control.receive()) {
      const message = parseFromReceiver(header);
      switch (message.type) {
        case 'answer':
          for (const file of parseNumbers(await control.receiveList(message.list))) this.wanted(file);
          break;
        case 'held':
          for (const { file, segment, digest } of parseHeld(await control.receiveList(message.list), outlet.algorithm)) this.heldOf(file).set(segment, digest);
          break;
        case 'receipts':
          for (const receipt of parseReceipts(await control.receiveList(message.list))) this.settle(receipt.file, (outgoing) => outlet.stored(outgoing, receipt));
          break;
        case 'refusal': {
          if (message.file === undefined) throw refused(message);
          this.settle(message.file, (outgoing) => outlet.refusedBy(outgoing, message));
          break;
        }
        case 'taken':
          this.carriers.taken(message.connection, message.frames);
          break;
        case 'progress': {
          const found = outlet.entries.get(message.file)?.found;
          if (found?.type === 'file') outlet.on({ event: 'progress', file_name: found.name, phase: 'verify', done: message.done, total: found.size });
          break;
        }
        case 'done':
          if (message.waited) outlet.receiverWaited(message.waited);
          this.sayDone();
          return;
        case 'heartbeat':
          break;
        case 'hello':
          throw new TransferError('bad-header', `A message ${message.type} has no place here.`);
      }
    }
    throw new TransferError('connection-lost', 'The receiver closed the connection before its end.');
  }

  /** Offers first what an earlier conversation left unsettled, then everything else as it is found. */
  private async offer(): Promise<void> {
    const { entries } = this.outlet;
    let last = -1;
    do {
      for (const outgoing of slices(entries.after(last))) {
        await this.offerSome(outgoing);
        last = outgoing.at(-1)?.file ?? last;
      }
    } while (!this.over && (await entries.pull()));
    await this.control.send({ type: 'end' });
  }

  private async offerSome(outgoing: readonly Outgoing[]): Promise<void> {
    const list = outgoing.map(offered).filter((entry) => entry !== undefined);
    if (list.length > 0) await this.control.sendList({ type: 'offer' }, list.map(encodeEntry));
    for (const { file, found } of outgoing) if (found.type === 'text') await this.control.send({ type: 'text', file, text: found.text });
  }

  private wanted(file: number): void {
    const outgoing = this.outlet.entries.get(file);
    if (!outgoing) return;
    const { found } = outgoing;
    if (found.type === 'file' && found.size <= smallFile) {
      this.small.add(outgoing, this.held.get(file)?.get(0));
    } else {
      this.large.push(outgoing);
      this.wakeLarge();
    }
  }

  /** The large files one after another: each is read once, in order, and shared out over all connections. */
  private async sendLarge(): Promise<void> {
    while (!this.over) {
      const outgoing = this.large.shift();
      if (!outgoing) {
        await new Promise<void>((resolve) => {
          this.wakeLarge = resolve;
        });
        continue;
      }
      if (!this.outlet.entries.get(outgoing.file)) continue;
      try {
        await this.sendFile(outgoing);
      } catch (thrown) {
        const error = asTransferError(thrown, 'source-unreadable', 'Cannot read the file');
        if (this.over || error.code === 'connection-lost' || error.code === 'interrupted') throw error;
        await this.drop(outgoing, error);
      }
    }
  }

  private async sendFile(outgoing: Outgoing): Promise<void> {
    const { segments, algorithm, on, waits } = this.outlet;
    const { file, found } = outgoing;
    if (found.type !== 'file' && found.type !== 'stream') return;
    const { signal } = this.abort;
    const held = this.held.get(file);
    this.held.delete(file);
    const total = found.type === 'file' ? found.size : 0;
    let done = 0;
    on({ event: 'started', file_name: found.name, file_size: total });
    const meter = new Meter(on, found.name, 'send', total, () => Math.min(done, total || done));
    const pieces = found.type === 'file' ? segments.read({ source: found, algorithm, ...(held ? { held } : {}) }, signal) : segments.readStream(found.input, algorithm, signal);
    try {
      for (;;) {
        const next = await waits.on('source', pieces.next());
        if (next.done) return;
        const piece = next.value;
        if (!this.outlet.entries.get(file)) {
          // Refused meanwhile: nothing more of it is wanted.
          if (piece.kind === 'bytes') piece.release();
          return;
        }
        switch (piece.kind) {
          case 'bytes':
            done = piece.offset + piece.bytes.length;
            if (found.type === 'stream') await this.sendInOrder(outgoing, piece);
            else this.carry(outgoing, piece.offset, piece.bytes, () => piece.release());
            break;
          case 'zero':
            done = piece.offset + piece.size;
            this.carryZeros(outgoing, piece.offset, piece.size);
            break;
          case 'keep':
            await this.control.send({ type: 'keep', file, first: piece.first, count: piece.count });
            break;
          case 'end':
            outgoing.size = piece.size;
            await this.closeFile(file, piece.size, piece.digests);
            break;
        }
      }
    } finally {
      meter.stop();
      await pieces.return?.();
    }
  }

  private carry(outgoing: Outgoing, offset: number, bytes: Uint8Array, release: () => void): void {
    const { file } = outgoing;
    const size = bytes.length;
    this.carriers.push({
      header: { type: 'segment', file, offset, size },
      payload: [bytes],
      size,
      sent: (wire) => {
        outgoing.bytesOnWire += wire;
        release();
      },
      lost: () => {
        if (this.over || !this.outlet.entries.get(file)) return;
        rereadPiece(outgoing, offset, size).then(
          (again) => this.carry(outgoing, offset, again, () => undefined),
          (error: unknown) => void this.drop(outgoing, asTransferError(error, 'source-unreadable', 'Cannot read the file')).catch(() => undefined),
        );
      },
    });
  }

  private carryZeros(outgoing: Outgoing, offset: number, size: number): void {
    this.carriers.push({
      header: { type: 'segment', file: outgoing.file, offset, size, zero: true },
      payload: [],
      size: 0,
      sent: (wire) => {
        outgoing.bytesOnWire += wire;
      },
      lost: () => {
        if (!this.over) this.carryZeros(outgoing, offset, size);
      },
    });
  }

  /** A stream cannot be read again, so it goes where nothing can be lost without ending the conversation. */
  private async sendInOrder(outgoing: Outgoing, { offset, bytes, release }: { readonly offset: number; readonly bytes: Uint8Array; release(): void }): Promise<void> {
    try {
      outgoing.bytesOnWire += bytes.length + (await this.control.send({ type: 'segment', file: outgoing.file, offset, size: bytes.length }, bytes));
    } finally {
      release();
    }
  }

  private async closeFile(file: number, size: number, digests: Digests): Promise<void> {
    await this.control.send({ type: 'close', file, size, digests });
  }

  /** Gives a file up: it changed, or cannot be read any more. */
  private async drop(outgoing: Outgoing, error: TransferError): Promise<void> {
    this.settle(outgoing.file, () => this.outlet.failed(error));
    await this.control.send({ type: 'drop', file: outgoing.file });
  }

  private heldOf(file: number): Map<number, string> {
    const held = this.held.get(file) ?? new Map<number, string>();
    this.held.set(file, held);
    return held;
  }

  private settle(file: number, tell: (outgoing: Outgoing) => void): void {
    const outgoing = this.outlet.entries.settle(file);
    this.held.delete(file);
    if (outgoing) tell(outgoing);
  }
}

const mostInOffer = 512;

function slices(outgoing: readonly Outgoing[]): Outgoing[][] {
  return Array.from({ length: Math.ceil(outgoing.length / mostInOffer) }, (_, at) => outgoing.slice(at * mostInOffer, (at + 1) * mostInOffer));
}

function sizeOf({ found }: Outgoing): number {
  return found.type === 'file' ? found.size : 0;
}
