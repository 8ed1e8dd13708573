import type { Link } from '../session/link';
import { ignored } from '../trace';
import { takenEvery } from '../session/deadlines';

/**
 * Counts the frames taken off each connection of a session, and tells the sender: what it was not told of, it sends
 * again when a connection dies.
 */
export class TakenFrames {
  private readonly connections = new Map<number, { frames: number; announced: number }>();
  private readonly timer: NodeJS.Timeout;

  constructor(private readonly control: Link) {
    this.timer = setInterval(() => this.tell(), takenEvery);
  }

  count(connection: number): void {
    const taken = this.connections.get(connection) ?? { frames: 0, announced: 0 };
    taken.frames++;
    this.connections.set(connection, taken);
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private tell(): void {
    for (const [connection, taken] of this.connections) {
      if (taken.frames === taken.announced) continue;
      taken.announced = taken.frames;
      // A failed send is noticed where the connection is read.
      this.control
        .send({ type: 'taken', connection, frames: taken.frames })
        .catch(ignored('whoever reads from that connection notices its end'));
    }
  }
}
