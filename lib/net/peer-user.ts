import { readFileSync, statSync } from 'node:fs';
import { release } from 'node:os';
import type net from 'node:net';
import { errnoOf } from '../errors';
import { foreignFunctions, type ForeignFunctions } from '../threads/system-calls';

// Which user of this machine has the other end of a connection. The plain wire knows no keys, so on loopback that is
// all there is to tell our own processes from those of everybody else who has an account here.

/**
 * The number of the user; `closed` where the peer closed its end before anybody could ask, after which the system no
 * longer says; `unknown` where the system has no way to tell.
 */
export type PeerUser = number | 'closed' | 'unknown';

/** One end of a TCP connection on loopback. */
interface SocketEnd {
  readonly host: string;
  readonly port: number;
}

/** What the system has about a TCP socket: the same in the answers of sock_diag(7) and in /proc/net/tcp. */
interface SocketRow {
  readonly uid: number;
  /** 0 where no process has it open any more. */
  readonly inode: number;
  /** It is no socket any more, only what TCP keeps of one for a minute. */
  readonly remains: boolean;
}

/** The part of the kernel that tells more than one line about sockets. */
interface SocketQueries {
  /**
   * The socket whose own end is `near`, connected to `far`; undefined if there is none. Throws where the kernel does
   * not answer.
   */
  tcp(near: SocketEnd, far: SocketEnd): SocketRow | undefined;
  /** Who connected to the unix socket behind `fd`. unix(7), SO_PEERCRED */
  unix(fd: number): number;
}

const netlink = 16;
const sockDiag = 4;
const datagramCloseOnExec = 3 | 0o2000000;
const inet = 2;
const inet6 = 10;
const byFamily = 20;
const requestFlag = 1;
const tcpProtocol = 6;
const errorMessage = 2;
const noSuchSocket = 2; // ENOENT
const headerBytes = 16;
const queryBytes = headerBytes + 56;
const timeWaitTimer = 3;
const socketLevel = 1;
const peerCredentials = 17;
const dontWait = 0x40;
const anyone = 0xffffffff;
/**
 * From this Linux on a socket that was closed still tells whose it was, as long as it is one. Before, it told 0, which
 * is root.
 */
const keepsOwnerSince = [6, 17] as const;

/** Who is at the other end of `socket`, which was accepted on loopback, or at the unix socket `path`. Never throws. */
export function userOfPeer(socket: net.Socket, path: string | undefined): PeerUser {
  if (process.platform !== 'linux') return 'unknown';
  if (path !== undefined) return unixPeer(socket, path);
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  if (remoteAddress === undefined || remotePort === undefined || localAddress === undefined || localPort === undefined)
    return 'closed';
  const near = { host: unmapped(remoteAddress), port: remotePort };
  const far = { host: unmapped(localAddress), port: localPort };
  const row = askKernel(near, far);
  if (row === 'unknown') return 'unknown';
  if (row === undefined || row.remains || (row.inode === 0 && !keepsOwner(release()))) return 'closed';
  return row.uid;
}

/** Whether this Linux, as uname(2) names it, tells the owner of a socket that no process has open any more. */
export function keepsOwner(kernel: string): boolean {
  const [major = 0, minor = 0] = kernel.split('.', 2).map((number) => Number.parseInt(number, 10));
  return major > keepsOwnerSince[0] || (major === keepsOwnerSince[0] && minor >= keepsOwnerSince[1]);
}

function askKernel(near: SocketEnd, far: SocketEnd): SocketRow | 'unknown' | undefined {
  try {
    const found = queries()?.tcp(near, far);
    if (found) return found;
  } catch {
    // A kernel without sock_diag, or a sandbox: the table in /proc has the same, and takes longer.
  }
  try {
    return rowOf(near, far, (table) => readFileSync(`/proc/net/${table}`, 'latin1'));
  } catch (error) {
    // Without /proc nothing is known of anybody. Whatever else fails, out of descriptors for one, must open nothing.
    return errnoOf(error) === 'ENOENT' ? 'unknown' : undefined;
  }
}

/**
 * The row of /proc/net/tcp or tcp6 for the socket whose own end is `near`. proc_net_tcp.rst of the kernel describes the
 * columns.
 */
export function rowOf(near: SocketEnd, far: SocketEnd, read: (table: 'tcp' | 'tcp6') => string): SocketRow | undefined {
  for (const [table, form] of [
    ['tcp', hexOfIpv4],
    ['tcp6', hexOfIpv6],
  ] as const) {
    const ends = ` ${form(near)} ${form(far)} `;
    const text = near.host.includes(':') && table === 'tcp' ? '' : read(table);
    const at = text.indexOf(ends);
    if (at < 0) continue;
    const columns = text
      .slice(at + ends.length, text.indexOf('\n', at))
      .trim()
      .split(/\s+/);
    const [, , timer = '', , uid, , inode] = columns;
    return { uid: Number(uid), inode: Number(inode), remains: timer.startsWith('03:') };
  }
  return undefined;
}

function unixPeer(socket: net.Socket, path: string): PeerUser {
  const fd = (socket as unknown as { readonly _handle: { readonly fd?: number } | null })._handle?.fd ?? -1;
  const calls = queries();
  try {
    if (calls && fd >= 0) return calls.unix(fd);
    // Whoever connects must be allowed to write to the socket's file.
    const { uid, mode } = statSync(path);
    return uid === process.geteuid?.() && (mode & 0o022) === 0 ? uid : 'unknown';
  } catch {
    // Gone, or the kernel does not say: whoever asks takes nobody whom it does not know.
    return 'unknown';
  }
}

function bindQueries(foreign: ForeignFunctions): SocketQueries {
  const library = foreign.load(null);
  const socket = library.func('int socket(int domain, int type, int protocol)');
  const send = library.func('int64_t send(int fd, _In_ uint8_t *bytes, int64_t length, int flags)');
  const receive = library.func('int64_t recv(int fd, _Out_ uint8_t *bytes, int64_t length, int flags)');
  const option = library.func(
    'int getsockopt(int fd, int level, int option, _Out_ uint8_t *value, _Inout_ uint32_t *length)',
  );
  let diag: number | undefined;
  let sequence = 0;
  const answer = Buffer.alloc(1024);
  return {
    tcp(near, far) {
      diag ??= Number(socket(netlink, datagramCloseOnExec, sockDiag));
      if (diag < 0) throw new Error('The kernel has no sock_diag.');
      sequence = (sequence + 1) % 2 ** 31;
      const query = queryFor(near, far, sequence);
      if (Number(send(diag, query, query.length, dontWait)) !== query.length)
        throw new Error('The kernel takes no question about sockets.');
      for (;;) {
        // It answers before send returns, so that this never waits.
        const length = Number(receive(diag, answer, answer.length, dontWait));
        if (length < headerBytes + 4) throw new Error('The kernel does not answer.');
        if (answer.readUInt32LE(8) !== sequence) continue; // of a question whose answer was not taken
        if (answer.readUInt16LE(4) !== errorMessage) return rowIn(answer);
        if (answer.readInt32LE(headerBytes) === -noSuchSocket) return undefined;
        throw new Error('The kernel knows no question about this kind of socket.');
      }
    },
    unix(fd) {
      const credentials = Buffer.alloc(12);
      if (Number(option(fd, socketLevel, peerCredentials, credentials, new Uint32Array([credentials.length]))) < 0)
        throw new Error('The system does not tell who connected.');
      return credentials.readUInt32LE(4);
    },
  };
}

/** A `struct nlmsghdr` and a `struct inet_diag_req_v2` for one socket. */
function queryFor(near: SocketEnd, far: SocketEnd, sequence: number): Buffer {
  const query = Buffer.alloc(queryBytes);
  query.writeUInt32LE(queryBytes, 0);
  query.writeUInt16LE(byFamily, 4);
  query.writeUInt16LE(requestFlag, 6);
  query.writeUInt32LE(sequence, 8);
  query[headerBytes] = near.host.includes(':') ? inet6 : inet;
  query[headerBytes + 1] = tcpProtocol;
  query.writeUInt32LE(anyone, headerBytes + 4); // in any state
  query.writeUInt16BE(near.port, headerBytes + 8);
  query.writeUInt16BE(far.port, headerBytes + 10);
  query.set(bytesOf(near.host), headerBytes + 12);
  query.set(bytesOf(far.host), headerBytes + 28);
  query.writeUInt32LE(anyone, headerBytes + 48); // no cookie
  query.writeUInt32LE(anyone, headerBytes + 52);
  return query;
}

/** What a `struct inet_diag_msg` says. */
function rowIn(answer: Buffer): SocketRow {
  return {
    uid: answer.readUInt32LE(headerBytes + 64),
    inode: answer.readUInt32LE(headerBytes + 68),
    remains: answer[headerBytes + 2] === timeWaitTimer,
  };
}

function unmapped(host: string): string {
  return host.replace(/^::ffff:(?=\d+\.)/i, '');
}

/** Of an address on loopback: 127.x.x.x or ::1. */
function bytesOf(host: string): Uint8Array {
  if (!host.includes(':')) return Uint8Array.from(host.split('.'), Number);
  const bytes = new Uint8Array(16);
  bytes[15] = 1;
  return bytes;
}

/** As the kernel prints it: words of 32 bits in the order of the machine, which is little-endian wherever this runs. */
function hexOfIpv4({ host, port }: SocketEnd): string {
  return `${hexOf(bytesOf(host).toReversed())}:${hexOfPort(port)}`;
}

function hexOfIpv6(end: SocketEnd): string {
  if (!end.host.includes(':')) return `0000000000000000FFFF0000${hexOfIpv4(end)}`;
  return `000000000000000000000000${hexOf(bytesOf(end.host).slice(12).toReversed())}:${hexOfPort(end.port)}`;
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex').toUpperCase();
}

function hexOfPort(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, '0');
}

let bound: { readonly calls: SocketQueries | undefined } | undefined;

/** Undefined without the optional dependency, and where the C library lacks something. Tried once. */
function queries(): SocketQueries | undefined {
  bound ??= { calls: foreignFunctions(bindQueries) };
  return bound.calls;
}
