import type { Writable } from 'node:stream';
import { TransferError } from '../errors';

/**
 * Writes everything, and never has more in flight than the other side takes: `send` returns how much it took, `sendall`
 * does not return before it is all taken.
 *
 * Resolves once every byte is in the hands of the operating system (or of the TLS layer below); only then may the
 * memory be used again. Several pieces go out together, without being joined first. Rejects with `connection-lost` when
 * the stream fails or closes before that.
 */
export function sendall(stream: Writable, ...pieces: readonly Uint8Array[]): Promise<void> {
  return new Promise((resolve, reject) => {
    if (stream.destroyed || stream.writableEnded) {
      reject(lost(stream.errored));
      return;
    }
    const closed = (): void => reject(lost(stream.errored));
    stream.once('close', closed);
    const taken = (error: Error | null | undefined): void => {
      stream.off('close', closed);
      // A socket that is destroyed calls back without an error, whatever was still to be sent.
      if (error || stream.destroyed) reject(lost(error ?? stream.errored));
      else resolve();
    };
    if (pieces.length > 1) stream.cork();
    for (const [at, piece] of pieces.entries()) {
      if (at === pieces.length - 1) stream.write(piece, taken);
      else stream.write(piece);
    }
    if (pieces.length > 1) stream.uncork();
    if (pieces.length === 0) taken(null);
  });
}

function lost(cause: Error | null): TransferError {
  return new TransferError('connection-lost', 'The connection was lost while sending.', cause ? { cause } : {});
}
