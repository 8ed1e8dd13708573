import type { FileDone, Phase, TransferEvent } from '../lib/index';

const window = 4000; // ms over which a rate is taken
const stillAfter = 1000; // ms without a byte after which there is no rate to speak of
const order: readonly Phase[] = ['scan', 'hash', 'send', 'receive', 'verify'];
const carrying: ReadonlySet<Phase> = new Set(['send', 'receive']);

interface Sample {
  readonly at: number;
  readonly moved: number;
}

interface ActiveFile {
  readonly name: string;
  size: number;
  /** Most small files never tell of any. */
  done: ReadonlyMap<Phase, number>;
  /** Of what is done, what the receiver had before. */
  kept: number;
}

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

/** Adds up the events of a transfer. Knows no terminal and no clock: times are handed in, in milliseconds. */
export class Tally {
  private readonly active = new Map<string, ActiveFile>();
  private readonly moved = new Map<Phase, number>();
  private samples: Sample[] = [];
  private sampled: Phase | undefined;
  private latest: Phase = 'scan';
  /** What each transfer has, by its id. */
  private readonly announced = new Map<string | undefined, { readonly bytes: number; readonly files: number }>();
  private readonly ended = { files: 0, bytes: 0 };
  private movedAt: number | undefined;
  private lost = false;

  /** Takes one event into account. */
  note(event: TransferEvent, now: number): void {
    switch (event.event) {
      case 'started':
        this.file(event.file_name, event.file_size);
        return;
      case 'progress':
        if (event.phase === 'scan') this.announced.set(event.id, { bytes: event.total, files: event.files ?? 0 });
        else this.advance(this.file(event.file_name, event.total), event.phase, event.done, now, event.kept);
        break;
      case 'sent':
      case 'received':
        this.arrived(event, event.event === 'sent' ? 'send' : 'receive', now);
        break;
      case 'skipped':
        this.end(event.file_name);
        break;
      case 'failed':
        if (event.file_name !== undefined) this.end(event.file_name);
        break;
      case 'connection':
        this.lost = event.state === 'lost';
        this.movedAt = now;
        break;
      case 'listening':
      case 'web':
      case 'text':
      case 'damaged':
      case 'foreign':
      case 'lost':
      case 'snapshot':
      case 'drill':
      case 'shrunk':
      case 'repaired':
      case 'summary':
        break;
    }
    this.sample(now);
  }

  /** Whether some file is being worked on. */
  get busy(): boolean {
    return this.active.size > 0;
  }

  /** Where the transfer is at `now`. */
  at(now: number): TransferState {
    const { phase, many } = this;
    const still = this.stillAt(now);
    const rate = still === undefined ? this.rate : 0;
    const active = [...this.active.values()];
    const file = active.find((each) => phaseOf(each) === phase);
    const moved = this.ended.bytes + active.reduce((sum, each) => sum + transferred(each), 0);
    const announced = this.sumAnnounced();
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
      files: many ? this.ended.files : undefined,
      ofFiles: many && announced.files > 0 ? Math.max(announced.files, this.ended.files) : undefined,
      still,
    };
  }

  /** Forgets everything; the next event begins a new transfer. */
  reset(): void {
    this.active.clear();
    this.moved.clear();
    this.samples = [];
    this.announced.clear();
    this.ended.files = 0;
    this.ended.bytes = 0;
    this.movedAt = undefined;
    this.lost = false;
  }

  private stillAt(now: number): TransferState['still'] {
    if (this.lost) return 'connection-lost';
    if (this.movedAt === undefined || now - this.movedAt < stillAfter) return undefined;
    return { for: (now - this.movedAt) / 1000 };
  }

  private sumAnnounced(): { readonly bytes: number; readonly files: number } {
    let [bytes, files] = [0, 0];
    for (const each of this.announced.values()) [bytes, files] = [bytes + each.bytes, files + each.files];
    return { bytes, files };
  }

  private get many(): boolean {
    return this.active.size + this.ended.files > 1 || this.sumAnnounced().files > 1;
  }

  /** The phase that holds up the end: bytes on the wire before all else, whatever else goes on beside them. */
  private get phase(): Phase {
    let first: Phase | undefined;
    for (const file of this.active.values()) {
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

  private file(name: string, size: number): ActiveFile {
    let file = this.active.get(name);
    if (!file) this.active.set(name, (file = { name, size, done: nothing, kept: 0 }));
    file.size = size;
    return file;
  }

  /** What the receiver had before moves nothing, so it counts in no rate. */
  private advance(file: ActiveFile, phase: Phase, done: number, now: number, kept = file.kept): void {
    const more = done - (file.done.get(phase) ?? 0) - (carrying.has(phase) ? kept - file.kept : 0);
    if (carrying.has(phase)) file.kept = kept;
    file.done = new Map(file.done).set(phase, done);
    this.count(phase, more, now);
  }

  /** A file is there. Most have told of nothing before. */
  private arrived(
    { file_name: name, file_size: size, verified_at: verifiedAt, kept }: FileDone,
    phase: Phase,
    now: number,
  ): void {
    const before = verifiedAt === undefined ? kept : size;
    const file = this.active.get(name);
    if (file && (file.done.has(phase) || file.kept > 0)) this.advance(file, phase, size, now, before);
    else this.count(phase, size - (before ?? 0), now);
    if (file) this.active.delete(name);
    this.ended.files++;
    this.ended.bytes += size;
  }

  /** So many bytes more have moved. */
  private count(phase: Phase, more: number, now: number): void {
    if (more > 0 || this.movedAt === undefined) this.movedAt = now;
    this.latest = phase;
    this.moved.set(phase, (this.moved.get(phase) ?? 0) + more);
  }

  /** A file has ended that is not there. */
  private end(name: string): void {
    this.ended.files++;
    this.ended.bytes += this.active.get(name)?.size ?? 0;
    this.active.delete(name);
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

/** The furthest phase that a file has been seen in: the last step of a phase need not be told. */
function phaseOf(file: ActiveFile): Phase | undefined {
  // Most small files have told of nothing.
  return file.done.size === 0 ? undefined : order.findLast((phase) => file.done.has(phase));
}

/** What crossed the wire of a file. */
function transferred(file: ActiveFile): number {
  return file.done.has('verify') ? file.size : Math.max(file.done.get('send') ?? 0, file.done.get('receive') ?? 0);
}
