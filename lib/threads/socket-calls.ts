import { closeSync } from 'node:fs';
import { type ForeignFunctions, foreignFunctions, systemError } from './system-calls';

/**
 * What Linux can do with connected sockets and Node cannot: blocking calls on a descriptor, for threads that have
 * nothing else to do. Throws an Error with `code`, `errno` and `syscall` like those of `node:fs`.
 */
export interface SocketCalls {
  /**
   * One more descriptor for the socket of `fd`, which is no longer closed with that one. fcntl(2) with F_DUPFD_CLOEXEC
   */
  duplicate(fd: number): number;
  /**
   * From now on calls on this socket, by whatever descriptor, wait: to receive and to send, for at most so many ms
   * each. fcntl(2), SO_RCVTIMEO, SO_SNDTIMEO
   */
  block(fd: number, receive: number, send: number): void;
  /**
   * Receives until `memory` is full or the time is over: how many bytes, 0 at the end of the stream, undefined where
   * nothing came. recv(2) with MSG_WAITALL
   */
  receive(fd: number, memory: Uint8Array): number | undefined;
  /** What is here at this moment, as for `receive`. recv(2) with MSG_DONTWAIT */
  receiveReady(fd: number, memory: Uint8Array): number | undefined;
  /**
   * Sends some of `memory`: how many bytes, undefined where none could go in time. `more` says that more follows at
   * once. send(2) with MSG_NOSIGNAL, MSG_MORE
   */
  send(fd: number, memory: Uint8Array, more: boolean): number | undefined;
  /** Sends FIN. shutdown(2) with SHUT_WR */
  finish(fd: number): void;
  /** Ends both directions, so that every call that waits returns. Never throws. shutdown(2) with SHUT_RDWR */
  end(fd: number): void;
  /** What controls congestion on this socket. getsockopt(2) with TCP_CONGESTION */
  congestion(fd: number): string;
  /**
   * Sets it. Throws ENOENT where there is no such algorithm, EPERM where this user may not choose it. setsockopt(2)
   * with TCP_CONGESTION
   */
  setCongestion(fd: number, name: string): void;
  /**
   * The least round trip of this connection so far, in ms, as the kernel has measured it; undefined where it has not.
   * getsockopt(2) with TCP_INFO
   */
  roundTrip(fd: number): number | undefined;
}

// The same on x64 and arm64, with glibc and with musl.
const duplicateCloseOnExec = 1030;
const [getFlags, setFlags] = [3, 4];
const nonBlocking = 0o4000;
const [waitForAll, dontWait, noSignal, moreFollows] = [0x100, 0x40, 0x4000, 0x8000];
const [shutWrite, shutBoth] = [1, 2];
const [levelSocket, receiveTimeout, sendTimeout] = [1, 20, 21];
const [levelTcp, congestionName, tcpInformation] = [6, 13, 11];
/**
 * Of struct tcp_info: its size with tcpi_min_rtt (Linux 4.6), where that is, and what it is where nothing was measured.
 * In us.
 */
const [informationLength, leastRoundTrip, notMeasured] = [152, 148, 0xffffffff];
const longestName = 16;
const again = 'EAGAIN';
const interrupted = 'EINTR';

function bind(foreign: ForeignFunctions): SocketCalls {
  const library = foreign.load(null);
  const fcntl = library.func('int fcntl(int fd, int command, int64_t value)');
  const recv = library.func('int64_t recv(int fd, void *memory, int64_t length, int flags)');
  const send = library.func('int64_t send(int fd, void *memory, int64_t length, int flags)');
  const shutdown = library.func('int shutdown(int fd, int how)');
  const setsockopt = library.func('int setsockopt(int fd, int level, int option, void *value, int length)');
  const getsockopt = library.func('int getsockopt(int fd, int level, int option, void *value, void *length)');

  const check = (result: number | bigint, syscall: string): number => {
    if (Number(result) < 0) throw systemError(foreign.errno(), syscall);
    return Number(result);
  };
  /** Undefined where the call would have had to wait longer. */
  const moved = (call: () => number | bigint, syscall: string): number | undefined => {
    for (;;) {
      const count = Number(call());
      if (count >= 0) return count;
      const error = systemError(foreign.errno(), syscall);
      if (error.code === again) return undefined;
      if (error.code !== interrupted) throw error;
    }
  };
  const setTimeLimit = (fd: number, option: number, ms: number): void => {
    const time = new BigInt64Array([BigInt(Math.floor(ms / 1000)), BigInt(Math.round((ms % 1000) * 1000))]);
    check(setsockopt(fd, levelSocket, option, time, time.byteLength), 'setsockopt');
  };
  return {
    duplicate: (fd) => check(fcntl(fd, duplicateCloseOnExec, 0), 'fcntl'),
    block: (fd, receive, sending) => {
      const flags = check(fcntl(fd, getFlags, 0), 'fcntl');
      check(fcntl(fd, setFlags, flags & ~nonBlocking), 'fcntl');
      setTimeLimit(fd, receiveTimeout, receive);
      setTimeLimit(fd, sendTimeout, sending);
    },
    receive: (fd, memory) => moved(() => recv(fd, memory, memory.length, waitForAll), 'recv'),
    receiveReady: (fd, memory) => moved(() => recv(fd, memory, memory.length, dontWait), 'recv'),
    send: (fd, memory, more) =>
      moved(() => send(fd, memory, memory.length, noSignal | (more ? moreFollows : 0)), 'send'),
    finish: (fd) => void check(shutdown(fd, shutWrite), 'shutdown'),
    end: (fd) => void shutdown(fd, shutBoth),
    congestion: (fd) => {
      const name = Buffer.alloc(longestName);
      const length = new Int32Array([longestName]);
      check(getsockopt(fd, levelTcp, congestionName, name, length), 'getsockopt');
      return name.toString('latin1').replace(/\0.*$/s, '');
    },
    roundTrip: (fd) => {
      const information = new Int32Array(informationLength / 4);
      const length = new Int32Array([information.byteLength]);
      if (
        Number(getsockopt(fd, levelTcp, tcpInformation, information, length)) < 0 ||
        (length[0] ?? 0) < informationLength
      )
        return undefined;
      const least = (information[leastRoundTrip / 4] ?? 0) >>> 0;
      return least === 0 || least === notMeasured ? undefined : least / 1000;
    },
    setCongestion: (fd, name) => {
      const bytes = Buffer.from(name, 'latin1');
      check(setsockopt(fd, levelTcp, congestionName, bytes, bytes.length), 'setsockopt');
    },
  };
}

let bound: { readonly calls: SocketCalls | undefined } | undefined;

/** Undefined where the machine gives none. Tried once in each thread. */
export function socketCalls(): SocketCalls | undefined {
  bound ??= { calls: foreignFunctions(bind) };
  return bound.calls;
}

/**
 * A socket's descriptor of our own, for threads with blocking calls. When the process ends, all that are open are ended
 * first: a thread that waits in a call would keep it from ending.
 */
export class OwnDescriptor {
  private static readonly open = new Set<OwnDescriptor>();
  private closed = false;

  private constructor(
    readonly fd: number,
    private readonly calls: SocketCalls,
  ) {
    if (OwnDescriptor.open.size === 0) process.on('exit', OwnDescriptor.endAll);
    OwnDescriptor.open.add(this);
  }

  /** Duplicates `fd`. Throws the errors of the operating system. */
  static of(fd: number, calls: SocketCalls): OwnDescriptor {
    return new OwnDescriptor(calls.duplicate(fd), calls);
  }

  /** Ends the connection: whoever waits in a call on it goes on. */
  end(): void {
    if (!this.closed) this.calls.end(this.fd);
  }

  /** Once no thread uses it any more. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    OwnDescriptor.open.delete(this);
    if (OwnDescriptor.open.size === 0) process.off('exit', OwnDescriptor.endAll);
    closeSync(this.fd);
  }

  private static readonly endAll = (): void => {
    for (const own of OwnDescriptor.open) own.end();
  };
}
