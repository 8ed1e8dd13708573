/** Which congestion control a connection uses: BBR holds a long and lossy way full where cubic does not. */
import { readFileSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { errnoOf, TransferError } from '../errors';
import { type SocketCalls, socketCalls } from '../threads/socket-calls';

const preferred = 'bbr';
const allowedPath = '/proc/sys/net/ipv4/tcp_allowed_congestion_control';

/**
 * Has the system use `wanted` for what is sent on a TCP connection; without it, BBR where this user may choose that.
 * Throws `usage` where what is wanted cannot be had. Returns what is used; undefined where this machine does not tell.
 */
export function chooseCongestion(socket: Duplex, wanted: string | undefined): string | undefined {
  const fd = (socket as { readonly _handle?: { readonly fd?: number } })._handle?.fd;
  const calls = fd === undefined || fd < 0 ? undefined : socketCalls();
  if (!calls || fd === undefined) {
    if (wanted === undefined) return undefined;
    throw new TransferError('usage', 'The congestion control cannot be chosen on this machine.', {
      hint: 'Without --congestion the system chooses it.',
    });
  }
  try {
    calls.setCongestion(fd, wanted ?? preferred);
  } catch (cause) {
    if (wanted !== undefined) throw unavailable(wanted, cause);
    // What the system uses anyway is good enough.
  }
  return current(calls, fd);
}

function current(calls: SocketCalls, fd: number): string | undefined {
  try {
    return calls.congestion(fd);
  } catch {
    return undefined; // closed already, or no TCP: whoever uses it will be told
  }
}

function unavailable(name: string, cause: unknown): TransferError {
  const why = errnoOf(cause) === 'EPERM' ? 'This user may not choose' : 'This system has no';
  return new TransferError('usage', `${why} congestion control ${JSON.stringify(name)}.`, {
    cause,
    hint: `It allows: ${allowed()}.`,
  });
}

function allowed(): string {
  try {
    return readFileSync(allowedPath, 'latin1').trim().split(/\s+/).join(', ');
  } catch {
    return 'nothing that it tells of'; // no Linux, or no /proc
  }
}
