import { Duplex } from 'node:stream';
import { ByteStream } from './byte-stream';

/**
 * Two byte streams within one process, each reading what the other writes. Nothing is stored between them: a write
 * resolves once the other side has taken its bytes, which are copied once, to where that wanted them. Destroying one
 * destroys both.
 */
export function memoryPair(): readonly [ByteStream, ByteStream] {
  const [near, far] = [new PairEnd(), new PairEnd()];
  near.other = far;
  far.other = near;
  return [near.stream(), far.stream()];
}

/** One of the two streams: a write is read by the other one. */
class PairEnd extends Duplex {
  other: PairEnd | undefined;
  /** Tells the other side that what it wrote last was taken. */
  private taken: ((error?: Error) => void) | undefined;

  stream(): ByteStream {
    const stream = new ByteStream().attach(this, 'events');
    // Comes after the stream's own listener: only then is the writer's memory free again.
    this.on('data', () => this.tellTaken());
    return stream;
  }

  /** Takes over what the other side wrote until it is read. */
  private give(bytes: Uint8Array, taken: (error?: Error) => void): void {
    this.taken = taken;
    this.push(bytes);
  }

  private tellTaken(error?: Error): void {
    const { taken } = this;
    this.taken = undefined;
    taken?.(error);
  }

  override _read(): void {
    // The other side writes when it likes, one piece at a time.
  }

  override _write(bytes: Uint8Array, _encoding: string, taken: (error?: Error) => void): void {
    if (bytes.length === 0) taken();
    else if (!this.other || this.other.destroyed) taken(closed());
    else this.other.give(bytes, taken);
  }

  override _final(done: () => void): void {
    this.other?.push(null);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.tellTaken(closed());
    this.other?.destroy();
    done(error);
  }
}

function closed(): Error {
  return Object.assign(new Error('the other side has closed'), { code: 'EPIPE' });
}
