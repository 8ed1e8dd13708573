import { connect } from 'node:net';

/** Connects to `tcp://HOST:PORT`, writes `bytes`, sends FIN, and waits until the other side has closed. */
export function dialRaw(target: string, bytes: Uint8Array): Promise<void> {
  const { hostname, port } = new URL(target);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.end(bytes));
    socket
      .on('error', reject)
      .on('close', () => resolve())
      .resume();
  });
}
