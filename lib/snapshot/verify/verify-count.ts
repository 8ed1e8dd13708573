import type { Listener, Summary } from '../../progress';

const tellEvery = 250; // ms

/** Counts what a verification reads, and tells of it four times a second until `stop`. */
export class VerifyCount {
  private readonly began = performance.now();
  private readonly partly = new Map<string, number>();
  private readonly timer: NodeJS.Timeout;
  private files = 0;
  private bytes = 0;
  private total = 0;

  /** `name` is what the events call all of it. */
  constructor(
    private readonly name: string,
    private readonly on: Listener,
  ) {
    this.timer = setInterval(() => this.tell(), tellEvery);
  }

  /** `bytes` are still to be read; those of snapshots that were not looked at are a guess. */
  expect(bytes: number): void {
    this.total = this.bytes + bytes;
  }

  /** `done` bytes of a file were read, and all of it if `ended`. */
  read(name: string, done: number, ended: boolean): void {
    if (!ended) {
      this.partly.set(name, done);
      return;
    }
    this.partly.delete(name);
    this.files += 1;
    this.bytes += done;
  }

  get summary(): Summary {
    const { files, bytes } = this;
    return {
      files,
      bytes,
      bytes_on_wire: 0,
      seconds: (performance.now() - this.began) / 1000,
      bottleneck: bytes > 0 ? 'verify' : null,
    };
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private tell(): void {
    const done = [...this.partly.values()].reduce((sum, part) => sum + part, this.bytes);
    this.on({
      event: 'progress',
      file_name: this.name,
      phase: 'verify',
      done,
      total: Math.max(done, Math.round(this.total)),
    });
  }
}
