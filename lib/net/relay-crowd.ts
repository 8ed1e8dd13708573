import { isIPv4, type Socket } from 'node:net';

/** What ours says to whoever finds it, or its share of it, full. PROTOCOL.md 30.5. */
export const noRoom = 'no room';

/** Connections in one state, by the network that each comes from; the oldest first. */
export class RelayCrowd {
  private readonly networks = new Map<Socket, string>();
  private readonly of = new Map<string, Set<Socket>>();

  get size(): number {
    return this.networks.size;
  }

  /** How many there are of the same network as `socket`. */
  besides(socket: Socket): number {
    return this.of.get(this.networks.get(socket) ?? networkOf(socket.remoteAddress))?.size ?? 0;
  }

  add(socket: Socket): void {
    const network = networkOf(socket.remoteAddress);
    this.networks.set(socket, network);
    const same = this.of.get(network) ?? new Set();
    this.of.set(network, same.add(socket));
  }

  delete(socket: Socket): void {
    const network = this.networks.get(socket);
    if (network === undefined) return;
    this.networks.delete(socket);
    const same = this.of.get(network);
    same?.delete(socket);
    if (same?.size === 0) this.of.delete(network);
  }

  oldest(): Socket | undefined {
    return this.networks.keys().next().value;
  }

  /** The oldest of the same network as `socket`. */
  oldestBesides(socket: Socket): Socket | undefined {
    return this.of
      .get(this.networks.get(socket) ?? networkOf(socket.remoteAddress))
      ?.values()
      .next().value;
  }
}

/** What one stranger has for certain: an IPv4 address, or the first 64 bits of one of IPv6. */
export function networkOf(host = ''): string {
  const plain = host.replace(/^::ffff:/i, '').replace(/%.*$/, '');
  if (isIPv4(plain) || !plain.includes(':')) return plain;
  const [first = [], last = []] = plain.split('::').map((half) => (half === '' ? [] : half.split(':')));
  const zeros = Array.from({ length: Math.max(0, 8 - first.length - last.length) }, () => '0');
  return [...first, ...zeros, ...last].slice(0, 4).join(':').toLowerCase();
}
