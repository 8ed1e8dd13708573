import { TransferError } from '../errors';
import { pieceSilences } from './limits';
import type { UploadPace } from './upload-pace';

/** Whether contents still come, on any connection of a session. */
export class ContentFlow {
  /**
   * Frames of segments and bundles that are being taken off their connections, and when the last one was, by
   * performance.now().
   */
  private taking = 0;
  private takenAt = 0;

  /** `silence`: how long a connection may say nothing, in ms. `pace` is that of uploads, which come behind sessions. */
  constructor(
    private readonly silence: number,
    private readonly pace?: UploadPace,
  ) {}

  /** Counts the taking of a frame off its connection. */
  async take(frame: Promise<void>): Promise<void> {
    this.taking++;
    try {
      await frame;
    } finally {
      this.taking--;
      this.takenAt = performance.now();
      this.pace?.sessionMoved();
    }
  }

  /**
   * Waits for what contents on their way bring: they may come on any connection, or go again because one was lost.
   * Rejects with `timeout` where none has brought anything for `pieceSilences` times the longest silence. PROTOCOL.md
   * 14.8.
   */
  async waitFor(whole: Promise<void>): Promise<void> {
    const began = performance.now();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setInterval(() => {
        const idle = performance.now() - Math.max(began, this.takenAt);
        if (this.taking === 0 && idle >= pieceSilences * this.silence)
          reject(new TransferError('timeout', 'A file was closed, and pieces of it did not come.'));
      }, this.silence);
      timer.unref();
    });
    try {
      await Promise.race([whole, late]);
    } finally {
      clearInterval(timer);
    }
  }
}
