import net from 'node:net';

const little = (length: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(length);
  return bytes;
};

/** A frame as somebody writes it who means no good: any length of the payload. */
export function frame(header: object, payload = ''): Buffer {
  const json = Buffer.from(JSON.stringify(header));
  return Buffer.concat([little(json.length), json, Buffer.from(payload)]);
}

export const negative = little(-5);
export const huge = little(0x7fffffff);

const open = new Set<{ destroy(): void }>();

/** For `afterEach`. */
export function closeBadPeers(): void {
  for (const one of open) one.destroy();
  open.clear();
}

/** A server that says `bytes` to everyone and then closes, or keeps silent and never closes. Returns its port. */
export function badServer(bytes: Uint8Array | string, then: 'closes' | 'silent' = 'silent'): Promise<number> {
  return new Promise((resolve) => {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      open.add(socket.on('error', () => undefined).resume());
      socket.write(bytes);
      if (then === 'closes') socket.end();
    });
    open.add({ destroy: () => void server.close() });
    server.listen(0, '127.0.0.1', () => resolve((server.address() as net.AddressInfo).port));
  });
}

/** A client that says `bytes` to whoever listens on `port`, and then closes, or keeps silent and never closes. */
export function badClient(
  port: number,
  bytes: Uint8Array | string,
  then: 'closes' | 'silent' = 'silent',
): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => {
      socket.write(bytes);
      if (then === 'closes') socket.end();
      resolve(socket);
    });
    open.add(socket.on('error', reject));
  });
}
