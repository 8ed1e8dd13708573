import type { FileDone, Phase, TransferEvent } from '../lib/index';

const window = 4000; // ms over which a rate is taken
const stillAfter = 1000; // ms without a byte after which there is no rate to speak of
const order: readonly Phase[] = ['scan', 'hash', 'send', 'receive', 'verify'];
const carrying: ReadonlySet<Phase> = new Set(['send', 'receive']);

interface Sample {
  readonly at: number;
  readonly moved: number;
}

/** A file that has begun and not ended. */
interface ActiveFile {
  readonly name: string;
  size: number;
  /** Bytes by phase; empty for most small files, which report no progress. */
  done: ReadonlyMap<Phase, number>;
  /** Bytes of `done` that the receiver had before. */
  kept: number;
}

/** A number of files, and their bytes. */
interface FileSum {
  readonly files: number;
  readonly bytes: number;
}

/** One transfer that has not ended. */
interface RunningTransfer {
  /** Files by name. */
  readonly active: Map<string, ActiveFile>;
  /** What the scan has found so far. */
  announced: FileSum;
  /** Files that arrived, failed or were skipped. */
  readonly ended: { files: number; bytes: number };
}

const noFiles: FileSum = { files: 0, bytes: 0 };
const nothing: ReadonlyMap<Phase, number> = new Map();

/** How far a transfer is at this moment; bytes, bytes per second, seconds. */
export interface TransferState {
  readonly phase: Phase;
  /** A file that takes long enough to have told of this phase. */
  readonly name: string | undefined;
  /** Of the whole transfer where its size is known, else of that file; both 0 without one. */
  readonly done: number;
  readonly total: number;
  /** What has crossed the wire of all files. */
  readonly moved: number;
  readonly rate: number;
  /** Seconds until the end of the transfer; undefined while that would be a guess. */
  readonly eta: number | undefined;
  /** Files that have ended, of a transfer of several. */
  readonly files: number | undefined;
  /** How many there are, as far as they were counted. */
  readonly ofFiles: number | undefined;
  /** Why there is no rate: seconds in which nothing moved, or a connection that is being made again. */
  readonly still: { readonly for: number } | 'connection-lost' | undefined;
}

/**
 * Whether a transfer is over with this event: it has its sums, or failed as a whole. A relay or a network that cannot
 * be used ends none.
 */
export function endsTransfer(event: TransferEvent): boolean {
  if (event.event === 'summary') return true;
  return event.event === 'failed' && event.file_name === undefined && event.code !== 'cannot-connect';
}

/** Adds up the events of a transfer. Knows no terminal and no clock: times are handed in, in milliseconds. */
export class Tally {
  /** By the id of the transfer. */
  private readonly running = new Map<string | undefined, RunningTransfer>();
  /** The sums of transfers that have ended since the last reset. */
  private over = { announced: noFiles, ended: noFiles };
  private readonly moved = new Map<Phase, number>();
  private samples: Sample[] = [];
  private sampled: Phase | undefined;
  private latest: Phase = 'scan';
  private movedAt: number | undefined;
  private lost = false;

  /** Takes one event into account. */
  note(event: TransferEvent, now: number): void {
    switch (event.event) {
      case 'started':
        this.file(event.id, event.file_name, event.file_size);
        return;
      case 'progress':
        if (event.phase === 'scan') this.transfer(event.id).announced = { files: event.files ?? 0, bytes: event.total };
        else {
          const file = this.file(event.id, event.file_name, event.total);
          this.advance(file, event.phase, event.done, now, event.kept);
        }
        break;
      case 'sent':
      case 'received':
        this.arrived(this.transfer(event.id), event, event.event === 'sent' ? 'send' : 'receive', now);
        break;
      case 'skipped':
        this.end(this.transfer(event.id), event.file_name);
        break;
      case 'failed':
        if (event.file_name !== undefined) this.end(this.transfer(event.id), event.file_name);
        else if (endsTransfer(event)) this.running.delete(event.id);
        break;
      case 'summary':
        this.transferEnded(event.id);
        break;
      case 'connection':
        this.lost = event.state === 'lost';
        this.movedAt = now;
        break;
      case 'listening':
      case 'web':
      case 'text':
      case 'snapshot':
      case 'damaged':
      case 'foreign':
      case 'lost':
      case 'drill':
      case 'shrunk':
      case 'repaired':
        break;
    }
    this.sample(now);
  }

  /** Whether a transfer that was told of is over with this event. Nobody knows one of a stranger, who has no key. */
  ends(event: TransferEvent): boolean {
    return endsTransfer(event) && this.running.has(event.id);
  }

  /** Whether some file is being worked on. */
  get busy(): boolean {
    for (const { active } of this.running.values()) if (active.size > 0) return true;
    return false;
  }

  /** Where the transfer is at `now`. */
  at(now: number): TransferState {
    const { phase, announced, ended } = this;
    const still = this.stillAt(now);
    const rate = still === undefined ? this.rate : 0;
    const active = [...this.activeFiles()];
    const many = active.length + ended.files > 1 || announced.files > 1;
    const file = active.find((each) => phaseOf(each) === phase);
    const moved = ended.bytes + active.reduce((sum, each) => sum + transferred(each), 0);
    const whole = many && announced.bytes > 0;
    const done = whole ? moved : (file?.done.get(phase) ?? 0);
    const total = whole ? Math.max(announced.bytes, done) : (file?.size ?? 0);
    const foreseeable = rate > 0 && total > done && (whole ? phase !== 'hash' : !many);
    const eta = foreseeable ? (total - done) / rate : undefined;
    return {
      phase,
      name: file?.name,
      done,
      total,
      moved,
      rate,
      eta,
      files: many ? ended.files : undefined,
      ofFiles: many && announced.files > 0 ? Math.max(announced.files, ended.files) : undefined,
      still,
    };
  }

  /** Forgets everything; the next event begins a new transfer. */
  reset(): void {
    this.running.clear();
    this.over = { announced: noFiles, ended: noFiles };
    this.moved.clear();
    this.samples = [];
    this.movedAt = undefined;
    this.lost = false;
  }

  private stillAt(now: number): TransferState['still'] {
    if (this.lost) return 'connection-lost';
    if (this.movedAt === undefined || now - this.movedAt < stillAfter) return undefined;
    return { for: (now - this.movedAt) / 1000 };
  }

  private *activeFiles(): Iterable<ActiveFile> {
    for (const { active } of this.running.values()) yield* active.values();
  }

  private get announced(): FileSum {
    let sum = this.over.announced;
    for (const { announced } of this.running.values()) sum = added(sum, announced);
    return sum;
  }

  private get ended(): FileSum {
    let sum = this.over.ended;
    for (const { ended } of this.running.values()) sum = added(sum, ended);
    return sum;
  }

  /** The phase that holds up the end: bytes on the wire before all else, whatever else goes on beside them. */
  private get phase(): Phase {
    let first: Phase | undefined;
    for (const file of this.activeFiles()) {
      const phase = phaseOf(file);
      if (phase === undefined) continue;
      if (carrying.has(phase)) return phase;
      first ??= phase;
    }
    return first ?? this.latest;
  }

  private get rate(): number {
    const first = this.samples[0];
    const last = this.samples.at(-1);
    if (!first || !last || last.at - first.at < 100) return 0;
    return ((last.moved - first.moved) * 1000) / (last.at - first.at);
  }

  private transfer(id: string | undefined): RunningTransfer {
    let transfer = this.running.get(id);
    if (!transfer) {
      transfer = { active: new Map(), announced: noFiles, ended: { files: 0, bytes: 0 } };
      this.running.set(id, transfer);
    }
    return transfer;
  }

  private file(id: string | undefined, name: string, size: number): ActiveFile {
    const { active } = this.transfer(id);
    let file = active.get(name);
    if (!file) active.set(name, (file = { name, size, done: nothing, kept: 0 }));
    file.size = size;
    return file;
  }

  /** Files of a backup have no event of their own at the receiver: they end with their transfer. */
  private transferEnded(id: string | undefined): void {
    const transfer = this.running.get(id);
    if (!transfer) return;
    for (const name of [...transfer.active.keys()]) this.end(transfer, name);
    const { announced, ended } = this.over;
    this.over = { announced: added(announced, transfer.announced), ended: added(ended, transfer.ended) };
    this.running.delete(id);
  }

  /** What the receiver had before moves nothing, so it counts in no rate. */
  private advance(file: ActiveFile, phase: Phase, done: number, now: number, kept = file.kept): void {
    const more = done - (file.done.get(phase) ?? 0) - (carrying.has(phase) ? kept - file.kept : 0);
    if (carrying.has(phase)) file.kept = kept;
    file.done = new Map(file.done).set(phase, done);
    this.count(phase, more, now);
  }

  /** A file has arrived. Most small ones have reported no progress before. */
  private arrived(
    { active, ended }: RunningTransfer,
    { file_name: name, file_size: size, verified_at: verifiedAt, kept }: FileDone,
    phase: Phase,
    now: number,
  ): void {
    const before = verifiedAt === undefined ? kept : size;
    const file = active.get(name);
    if (file && (file.done.has(phase) || file.kept > 0)) this.advance(file, phase, size, now, before);
    else this.count(phase, size - (before ?? 0), now);
    if (file) active.delete(name);
    ended.files++;
    ended.bytes += size;
  }

  /** Adds `more` bytes to what has moved in `phase`. */
  private count(phase: Phase, more: number, now: number): void {
    if (more > 0 || this.movedAt === undefined) this.movedAt = now;
    this.latest = phase;
    this.moved.set(phase, (this.moved.get(phase) ?? 0) + more);
  }

  /** A file has ended and did not arrive, as far as an event says. */
  private end({ active, ended }: RunningTransfer, name: string): void {
    ended.files++;
    ended.bytes += active.get(name)?.size ?? 0;
    active.delete(name);
  }

  private sample(now: number): void {
    const last = this.samples.at(-1);
    if (!this.busy || (last && now - last.at < 50)) return;
    const { phase } = this;
    if (phase !== this.sampled) this.samples = [];
    this.sampled = phase;
    this.samples.push({ at: now, moved: this.moved.get(phase) ?? 0 });
    while (this.samples.length > 2 && now - (this.samples[0]?.at ?? now) > window) this.samples.shift();
  }
}

function added(one: FileSum, other: FileSum): FileSum {
  return { files: one.files + other.files, bytes: one.bytes + other.bytes };
}

/** The furthest phase that a file has been seen in: the last step of a phase need not be told. */
function phaseOf(file: ActiveFile): Phase | undefined {
  // Most small files have told of nothing.
  return file.done.size === 0 ? undefined : order.findLast((phase) => file.done.has(phase));
}

/** What crossed the wire of a file. */
function transferred(file: ActiveFile): number {
  return file.done.has('verify') ? file.size : Math.max(file.done.get('send') ?? 0, file.done.get('receive') ?? 0);
}
