import { Connection } from '../../lib/net/connection';
import { Link, type LinkDeadlines } from '../../lib/session/link';
import { ByteStream } from '../../lib/net/byte-stream';
import { type Pair, pair } from '../net/pair';

/** Two links over a real connection. */
export interface Links {
  readonly near: Link;
  readonly far: Link;
  readonly sockets: Pair;
  close(): Promise<void>;
}

export async function links(
  nearDeadlines?: LinkDeadlines,
  farDeadlines = nearDeadlines,
  nearHasGreeted = true,
): Promise<Links> {
  const sockets = await pair('dialed');
  const near = new Link(new Connection(sockets.stream, 'far', nearDeadlines?.silence), nearDeadlines, nearHasGreeted);
  const far = new Link(
    new Connection(new ByteStream().attach(sockets.peer, 'events'), 'near', farDeadlines?.silence),
    farDeadlines,
  );
  return {
    near,
    far,
    sockets,
    close: async () => {
      near.close();
      far.close();
      await sockets.close();
    },
  };
}
