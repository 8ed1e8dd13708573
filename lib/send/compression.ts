/**
 * Which contents are compressed on their way. A sender that is told `auto` compresses where the network is what it
 * waits for: a coded piece is worth its time only while the processor codes faster than the connections carry. What the
 * connections carry is measured while they are full; how fast this machine codes, by samples, and how much
 * shorter it gets, by the contents that were coded. Until the connections were full for once, the first contents are
 * coded where their samples become shorter: what a slow link will carry for seconds is in the buffers of the system
 * long before anybody can tell that it is slow.
 */
import type { Waits } from '../progress';
import { codeSample, encodeContent } from '../session/content-coding';
import type { Coded, Coding } from '../wire/coding';

/** Whether contents are compressed: `auto` where it makes the transfer faster. */
export type Compress = 'auto' | 'on' | 'off';

/** A content as it goes onto the wire. */
export interface CodedContent {
  readonly bytes: Uint8Array;
  /** What its header says of it. */
  readonly coded: Coded;
}

/** Shorter contents, in bytes, are not worth a thread's turn. */
const shortest = 512;
/** A content that stays longer than this share of itself goes as it is. */
const worthIt = 0.9;
/** Most contents that go uncoded, after some that did not become shorter, before one is tried again. */
const mostSkipped = 32;
/** Connections that carry more than this are too fast for any coding that is known here; in bytes per ms. */
const tooFast = 500_000;
/** Bytes with which the speed of coding is measured, and contents after which it is measured again. */
const sampled = 64 * 1024;
const sampleEvery = 32;
/**
 * The connections must be slower than the coding by this share: what else this machine has to do takes its time, too.
 */
const margin = 0.8;
/** Bytes of content that are coded before the connections' rate is known, and the assumed rate in bytes per ms. */
const unmeasured = 16 * 2 ** 20;
const assumedPerMs = 25_000;
/** Ms over which the rate of the connections is measured. */
const measuredFor = 250;
/** Contents that are coded at once: each takes a thread, and memory for itself once more. */
const atOnce = 2;
/** Connections are full where they make the sender wait for this share of the time. */
const fullFrom = 0.5;

/** What the connections of a conversation carry, in bytes per ms: Infinity until they were full for once. */
export class CarriedRate {
  perMs = Infinity;
  private since = 0;
  private bytes = 0;
  private waited = 0;
  private waiting = 0;
  private waitsSince = 0;

  /** A frame is handed to a connection. */
  begins(): void {
    const now = performance.now();
    if (this.since === 0) this.since = now;
    if (this.waiting++ === 0) this.waitsSince = now;
  }

  /** The system has taken a frame of `bytes` bytes; 0 for one that was lost. */
  ends(bytes: number): void {
    const now = performance.now();
    this.bytes += bytes;
    this.waited += now - this.waitsSince;
    this.waitsSince = now;
    this.waiting--;
    const span = now - this.since;
    if (span < measuredFor) return;
    // A rate is known only while the connections are full; otherwise they carry at least what they carried.
    if (this.waited >= span * fullFrom) this.perMs = this.bytes / this.waited;
    else if (this.perMs < Infinity) this.perMs = Math.max(this.perMs, this.bytes / span);
    this.since = now;
    this.bytes = this.waited = 0;
  }
}

/** Codes the contents of a session that are worth it. */
export class Compression {
  /** How fast one thread codes, in bytes of content per ms, and for how many contents that is believed. */
  private speed = 0;
  private believed = 0;
  /** What may still be coded before it is known what the connections carry, in bytes. */
  private unmeasured = unmeasured;
  /** Contents that go uncoded before one is tried again, and how many that were the last time. */
  private skip = 0;
  private skipped = 0;
  /** How many are being coded, and who waits for that. */
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(
    private readonly coding: Coding,
    private readonly mode: Exclude<Compress, 'off'>,
    private readonly rate: CarriedRate,
    private readonly waits: Waits,
  ) {}

  /** `content` coded, or undefined where it is to go as it is. */
  async code(content: Uint8Array): Promise<CodedContent | undefined> {
    if (content.length < shortest || (this.mode === 'auto' && !this.worthTrying(content))) return undefined;
    while (this.running >= atOnce) await new Promise<void>((resolve) => this.waiting.push(resolve));
    this.running++;
    try {
      return await this.codeNow(content);
    } finally {
      this.running--;
      this.waiting.shift()?.();
    }
  }

  private async codeNow(content: Uint8Array): Promise<CodedContent | undefined> {
    const { coding, mode } = this;
    const bytes = await this.waits.on('compress', encodeContent(coding, content));
    const shorter = bytes.length < content.length * worthIt;
    if (shorter) this.skip = this.skipped = 0;
    else this.passOver();
    return shorter || (mode === 'on' && bytes.length < content.length)
      ? { bytes, coded: { coding, coded: bytes.length } }
      : undefined;
  }

  private worthTrying(content: Uint8Array): boolean {
    const { perMs } = this.rate;
    if (perMs === Infinity) return this.worthTryingUnmeasured(content);
    if (perMs >= tooFast) return false;
    if (this.skip > 0) {
      this.skip--;
      return false;
    }
    // A sample costs a sixteenth of coding the content, so one is coded first after contents that did not get shorter.
    if ((this.believed-- <= 0 || this.skipped > 0) && this.sample(content) > worthIt) {
      this.passOver();
      return false;
    }
    return perMs < this.speed * margin;
  }

  /** Lets some contents go uncoded: twice as many each time, until one becomes shorter. */
  private passOver(): void {
    this.skipped = Math.min(mostSkipped, Math.max(1, this.skipped * 2));
    this.skip = this.skipped;
  }

  private worthTryingUnmeasured(content: Uint8Array): boolean {
    if (this.unmeasured <= 0) return false;
    this.unmeasured -= content.length;
    return this.sample(content) <= worthIt && this.speed * margin > assumedPerMs;
  }

  /**
   * Learns how fast this machine codes, for the contents that follow. Returns how long the sample stays, as a share.
   */
  private sample(content: Uint8Array): number {
    const { perMs, share } = codeSample(this.coding, content.subarray(0, sampled));
    this.speed = this.speed === 0 ? perMs : (this.speed + perMs) / 2;
    this.believed = sampleEvery;
    return share;
  }
}
