import type { IncomingMessage } from 'node:http';

/**
 * Does for a request what takes as long as it takes, such as reading a whole file: its connection, on which nothing
 * moves meanwhile, is not ended for that. Resolves and rejects like `work`.
 */
export async function unhurried<Result>({ socket }: IncomingMessage, work: () => Promise<Result>): Promise<Result> {
  const { timeout = 0 } = socket;
  socket.setTimeout(0);
  try {
    return await work();
  } finally {
    socket.setTimeout(timeout);
  }
}
