// io_uring(7): many reads handed to the kernel by one call. Linux 5.6 and later; containers often forbid it.
import { closeSync } from 'node:fs';
import { withAddon } from './addon';
import type { LinuxFileCalls } from './file-calls';
import { systemError } from './system-calls';

/** Reads that are under way at once, at most. */
export const mostReads = 512;

// Numbers of system calls, the same on x64 and arm64.
const [setupNumber, enterNumber, registerNumber] = [425, 426, 427];
const registerProbe = 8;
const getEvents = 1;
const opRead = 22;
const opSupported = 1;
const probeSize = 16 + 256 * 8;
const interrupted = 4; // EINTR
// Where the kernel shows its rings (io_uring_setup(2)): struct sizes and offsets in bytes.
const [submissionSize, completionSize] = [64, 16];
const submissionEntries = 0x10000000;
const parameters = {
  entries: 0,
  completions: 1,
  features: 5,
  submissionOffsets: 10,
  completionOffsets: 20,
  length: 30,
};
/** Both rings are in one mapping. Linux 5.4 and later. */
const singleMapping = 1;

/** An io_uring of one thread. */
export class Ring {
  private readonly rings: Uint32Array;
  private readonly submissions: DataView;
  private readonly completions: DataView;

  private constructor(
    private readonly calls: LinuxFileCalls,
    private readonly fd: number,
    rings: ArrayBuffer,
    submissions: ArrayBuffer,
    private readonly at: {
      readonly tail: number;
      readonly mask: number;
      readonly head: number;
      readonly completed: number;
      readonly completedMask: number;
      readonly events: number;
    },
  ) {
    this.rings = new Uint32Array(rings);
    this.completions = new DataView(rings);
    this.submissions = new DataView(submissions);
  }

  /** Undefined where the kernel has no io_uring, does not let us use it, or cannot read by it. */
  static open(calls: LinuxFileCalls): Ring | undefined {
    return withAddon(() => Ring.openNow(calls));
  }

  private static openNow(calls: LinuxFileCalls): Ring | undefined {
    const given = new Uint32Array(new ArrayBuffer(parameters.length * 4));
    const fd = calls.syscall(setupNumber, mostReads, calls.addressOf(new Uint8Array(given.buffer)), 0, 0, 0, 0);
    if (fd < 0) return undefined;
    try {
      const word = (index: number): number => given[index] ?? 0;
      const { submissionOffsets: own, completionOffsets: other } = parameters;
      if ((word(parameters.features) & singleMapping) === 0 || !canRead(calls, fd)) {
        closeSync(fd);
        return undefined;
      }
      const [entries, events, array] = [word(parameters.entries), word(other + 5), word(own + 6)];
      const length = Math.max(array + entries * 4, events + word(parameters.completions) * completionSize);
      const rings = calls.map(fd, length, 0);
      const submissions = calls.map(fd, entries * submissionSize, submissionEntries);
      // Each slot of the ring is the entry of the same number.
      new Uint32Array(rings, array, entries).set(Array.from({ length: entries }, (_, index) => index));
      const at = {
        tail: word(own + 1) / 4,
        mask: word(own + 2) / 4,
        head: word(other) / 4,
        completed: word(other + 1) / 4,
        completedMask: word(other + 2) / 4,
        events,
      };
      return new Ring(calls, fd, rings, submissions, at);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /**
   * Reads from the start of `count` files, at most `mostReads`, at once: of the file `fds[first + i]` up to
   * `lengths[i]` bytes to the address `addresses[i]`. `results[i]` becomes the bytes read, or the negative number of an
   * error. Returns when all are done.
   */
  read(
    fds: Int32Array,
    first: number,
    count: number,
    addresses: Float64Array,
    lengths: Int32Array,
    results: Int32Array,
  ): void {
    const { rings, submissions, at } = this;
    const tail = rings[at.tail] ?? 0;
    const mask = rings[at.mask] ?? 0;
    for (let index = 0; index < count; index++) {
      const entry = ((tail + index) & mask) * submissionSize;
      for (let word = 0; word < submissionSize; word += 8) submissions.setFloat64(entry + word, 0);
      submissions.setUint8(entry, opRead);
      submissions.setInt32(entry + 4, fds[first + index] ?? -1, true);
      const address = addresses[index] ?? 0;
      submissions.setUint32(entry + 16, address % 2 ** 32, true);
      submissions.setUint32(entry + 20, address / 2 ** 32, true);
      submissions.setUint32(entry + 24, lengths[index] ?? 0, true);
      submissions.setUint32(entry + 32, index, true);
    }
    Atomics.store(rings, at.tail, (tail + count) >>> 0);
    for (let submitted = 0, done = 0; done < count;) {
      const result = this.calls.syscall(enterNumber, this.fd, count - submitted, count - done, getEvents, 0, 0);
      const error = result < 0 ? this.calls.errno() : 0;
      if (error !== 0 && error !== interrupted) throw systemError(error, 'io_uring_enter');
      submitted += Math.max(0, result);
      done += this.take(results);
    }
  }

  close(): void {
    closeSync(this.fd);
  }

  /** Takes what is done; returns how many. */
  private take(results: Int32Array): number {
    const { rings, completions, at } = this;
    let head = rings[at.head] ?? 0;
    const tail = Atomics.load(rings, at.completed);
    const mask = rings[at.completedMask] ?? 0;
    let taken = 0;
    for (; head !== tail; head = (head + 1) >>> 0, taken++) {
      const event = at.events + (head & mask) * completionSize;
      results[completions.getUint32(event, true)] = completions.getInt32(event + 8, true);
    }
    Atomics.store(rings, at.head, head);
    return taken;
  }
}

function canRead(calls: LinuxFileCalls, fd: number): boolean {
  const probe = new Uint8Array(new ArrayBuffer(probeSize));
  const result = calls.syscall(registerNumber, fd, registerProbe, calls.addressOf(probe), 256, 0, 0);
  // struct io_uring_probe: 16 bytes, then 8 for each operation, of which the third and fourth are flags.
  return result >= 0 && ((probe[16 + opRead * 8 + 2] ?? 0) & opSupported) !== 0;
}
