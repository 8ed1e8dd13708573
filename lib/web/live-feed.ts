// What arrives from anyone, as lines of JSON for all who watch.
import type { ServerResponse } from 'node:http';
import { printable } from '../name';
import type { TransferEvent } from '../progress';
import { ignored } from '../trace';
import { answerFailure } from './answer';
import { TransferError } from '../errors';

/** In ms. */
const tellEvery = 100;
const aliveEvery = 15_000;
/** Most that watch at a time. */
const mostWatchers = 32;
/** Lines of one packet; what does not fit is counted. */
const mostLines = 1_000;
/** Files that are on their way and may be told of to who comes later. */
const mostRunning = 1_000;
/** Unread bytes from which one that watches gets no more. */
const mostUnread = 1024 * 1024;

type LiveLine = Readonly<Record<string, unknown>> & { readonly event: string; readonly id?: number };

interface RunningFile {
  /** The id of its transfer. */
  readonly transfer: string | undefined;
  readonly line: LiveLine & { readonly id: number };
}

/**
 * The live list of a receiver: fed with its events, it tells those who watch at most ten times a second, and costs
 * nothing while nobody does.
 */
export class LiveFeed {
  private readonly watchers = new Set<ServerResponse>();
  /** What is to be told, the last of each file's progress. */
  private readonly lines = new Map<string, LiveLine>();
  private dropped = 0;
  /** Files on their way, by the id of their transfer and their name. */
  private readonly running = new Map<string, RunningFile>();
  private next = 0;
  private totals = { files: 0, bytes: 0 };
  private timer: NodeJS.Timeout | undefined;
  private writtenAt = performance.now();

  /** `free` looks how many bytes are free. */
  constructor(private readonly free: () => Promise<number | null>) {}

  /** Takes in an event of the receiver. */
  note(event: TransferEvent): void {
    if (event.event === 'received') {
      this.totals = { files: this.totals.files + 1, bytes: this.totals.bytes + event.file_size };
      const { verified, digests, path } = event;
      this.over(event, {
        event: 'received',
        name: printable(event.file_name),
        size: event.file_size,
        verified,
        digests,
        path,
      });
    } else if (event.event === 'failed') {
      const { code, message } = event;
      this.over(event, { event: 'failed', ...nameOf(event), code, message });
      if (event.file_name === undefined) this.allOver(event.id, { code, message });
    } else if (event.event === 'skipped') {
      this.over(event, { event: 'failed', ...nameOf(event), code: 'exists', message: event.reason });
    } else if (event.event === 'started') {
      // Whoever is told that one begins is told how it ends. One that begins again has not ended: it is still the same.
      if (this.running.size >= mostRunning || this.running.has(keyOf(event))) return;
      const id = this.next++;
      const line = { event: 'started', id, from: event.from ?? null, ...nameOf(event), size: event.file_size };
      this.running.set(keyOf(event), { transfer: event.id, line });
      this.add(`started ${String(id)}`, line);
    } else if (event.event === 'progress') {
      const { phase, done, total } = event;
      const id = this.running.get(keyOf(event))?.line.id;
      if (id !== undefined) this.add(`progress ${String(id)}`, { event: 'progress', id, phase, done, total });
    } else if (event.event === 'summary')
      this.allOver(event.id, { code: 'connection-lost', message: 'The transfer ended without it.' });
  }

  /** Tells one more, until it hangs up. */
  watch(response: ServerResponse): void {
    if (this.watchers.size >= mostWatchers) {
      answerFailure(response, new TransferError('timeout', 'Too many are watching at this moment.'));
      return;
    }
    response.writeHead(200, {
      'content-type': 'application/x-ndjson; charset=utf-8',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'x-accel-buffering': 'no',
    });
    response.write(asLines([...this.running.values()].map(({ line }) => line)));
    this.watchers.add(response);
    response.once('close', () => {
      this.watchers.delete(response);
      if (this.watchers.size === 0) this.stop();
    });
    this.timer ??= setInterval(() => void this.tell(), tellEvery).unref();
    void this.tell(true);
  }

  close(): void {
    this.stop();
    for (const response of this.watchers) response.end();
  }

  private over(event: TransferEvent & { readonly file_name?: string }, line: LiveLine): void {
    const key = keyOf(event);
    const id = this.running.get(key)?.line.id ?? this.next++;
    this.running.delete(key);
    this.add(`over ${String(id)}`, { ...line, id });
  }

  /** A transfer has ended: nothing is told any more of what it had under way. */
  private allOver(transfer: string | undefined, why: { readonly code: string; readonly message: string }): void {
    if (transfer === undefined) return;
    for (const [key, { transfer: own, line }] of this.running) {
      if (own !== transfer) continue;
      this.running.delete(key);
      const { id, name } = line;
      this.add(`over ${String(id)}`, { event: 'failed', id, name, ...why });
    }
  }

  private add(key: string, line: LiveLine): void {
    if (this.watchers.size === 0) return;
    if (this.lines.size >= mostLines && !this.lines.has(key)) this.dropped++;
    else this.lines.set(key, line);
  }

  private stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
    this.lines.clear();
  }

  private async tell(now = false): Promise<void> {
    const silent = performance.now() - this.writtenAt > aliveEvery;
    if (this.lines.size === 0 && !silent && !now) return;
    this.writtenAt = performance.now();
    const lines: LiveLine[] = [...this.lines.values()];
    this.lines.clear();
    if (this.dropped > 0) lines.push({ event: 'more', lines: this.dropped });
    this.dropped = 0;
    if (silent && lines.length === 0) lines.push({ event: 'alive' });
    const free = await this.free().catch(ignored('what is free is not known then'));
    lines.push({ event: 'totals', free: free ?? null, ...this.totals });
    const packet = asLines(lines);
    for (const response of this.watchers) if (response.writableLength < mostUnread) response.write(packet);
  }
}

function asLines(lines: readonly LiveLine[]): string {
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

function nameOf({ file_name: name }: { readonly file_name?: string }): { readonly name?: string } {
  return name === undefined ? {} : { name: printable(name) };
}

function keyOf({ id = '', file_name: name = '' }: { readonly id?: string; readonly file_name?: string }): string {
  return `${id} ${name}`;
}
