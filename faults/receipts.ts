import type { SendallProcess } from '../spec/cli/sendall-process';
import type { FileDone, TransferEvent } from '../lib/index';

/** What a process with `--json` has promised so far, in the order in which it said so. */
export class Receipts {
  readonly files: FileDone[] = [];
  readonly snapshots: Extract<TransferEvent, { readonly event: 'snapshot' }>[] = [];
  readonly failures: Extract<TransferEvent, { readonly event: 'failed' }>[] = [];
  private begun = '';
  private readonly waiting = new Set<() => void>();

  /** `heard` is told of each as it comes. */
  constructor(
    process: SendallProcess,
    private readonly heard: (event: TransferEvent) => void = () => undefined,
  ) {
    process.child.stdout?.on('data', (bytes: Buffer) => this.take(bytes.toString()));
    void process.ended.then(() => this.wake());
  }

  /** How many there are. */
  get count(): number {
    return this.files.length + this.snapshots.length;
  }

  /** Resolves at the next one, and when the process has ended. */
  next(): Promise<void> {
    return new Promise((resolve) => this.waiting.add(resolve));
  }

  private take(text: string): void {
    const lines = (this.begun + text).split('\n');
    this.begun = lines.pop() ?? '';
    for (const line of lines) this.note(JSON.parse(line) as TransferEvent);
  }

  private note(event: TransferEvent): void {
    if ((event.event === 'sent' || event.event === 'received') && event.verified !== null) this.files.push(event);
    else if (event.event === 'snapshot') this.snapshots.push(event);
    else if (event.event === 'failed') this.failures.push(event);
    this.heard(event);
    this.wake();
  }

  private wake(): void {
    for (const resolve of this.waiting) resolve();
    this.waiting.clear();
  }
}
