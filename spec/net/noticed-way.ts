import net from 'node:net';

export interface NoticedWay {
  /** HOST:PORT. */
  readonly where: string;
  readonly close: () => void;
}

/** What goes over one connection, in that direction: pieces and bytes before this piece, and the bytes of it. */
export interface Going {
  readonly pieces: number;
  readonly before: number;
  readonly bytes: number;
}

/** A way to `port` of this machine; the first piece that goes there and is `wanted` is noticed before it arrives. */
export async function noticedWay(
  port: number,
  wanted: (going: Going) => boolean,
  notice: () => void,
): Promise<NoticedWay> {
  const sockets = new Set<net.Socket>();
  let noticed = false;
  const server = net.createServer((socket) => {
    let [pieces, before] = [0, 0];
    const far = net.connect(port, '127.0.0.1');
    for (const [from, to] of [
      [socket, far],
      [far, socket],
    ] as const)
      sockets.add(from.on('error', () => from.destroy()).on('close', () => to.destroy()));
    socket.on('data', (bytes) => {
      if (!noticed && wanted({ pieces, before, bytes: bytes.length })) {
        noticed = true;
        notice();
      }
      pieces += 1;
      before += bytes.length;
      far.write(bytes);
    });
    far.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    where: `127.0.0.1:${String((server.address() as net.AddressInfo).port)}`,
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
