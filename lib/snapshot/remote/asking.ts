import { Connection } from '../../net/connection';
import { TransferError } from '../../errors';
import { type Ask, type RestoreAsk } from '../../wire/ask';
import { parseList } from '../../wire/json-list';
import { type AskDone, parseFromKeeper } from '../../wire/keeper-message';
import { parseTicket } from '../../net/ticket';
import { dialSecured } from '../../net/tls';
import { Link, type LinkDeadlines } from '../../session/link';
import { introduce, levelsOffer, newSession, refused } from '../../session/opening';

export interface AskOptions {
  /** Of the receiver that has the snapshots. */
  readonly ticket: string;
  readonly ask: Exclude<Ask, RestoreAsk>;
  /** Given everything that is told, as it comes. What it throws ends the conversation. */
  readonly onLine: (event: unknown) => void;
  readonly signal?: AbortSignal | undefined;
  /** @internal Shorter ones, for tests. */
  readonly deadlines?: LinkDeadlines | undefined;
}

/**
 * Has a receiver do something with its snapshots. Resolves when it is done; rejects with what the receiver says went
 * wrong, and with `usage` for a ticket that is none, `cannot-connect`, `not-authorized`, `connection-lost`, `timeout`
 * or `interrupted`: then the receiver stops too.
 */
export async function ask({ ticket, ask: asked, onLine, signal, deadlines }: AskOptions): Promise<AskDone> {
  const dialed = await dialSecured(parseTicket(ticket), { signal });
  const connection = new Connection(dialed.stream, dialed.peer, deadlines?.silence);
  const aborted = (): void => connection.close(new TransferError('interrupted', 'Interrupted.'));
  signal?.addEventListener('abort', aborted, { once: true });
  if (signal?.aborted) aborted();
  let link: Link | undefined;
  try {
    await introduce(connection, {
      role: 'receiver',
      session: newSession(),
      connection: 0,
      ask: asked,
      ...levelsOffer(0),
    });
    link = new Link(connection, deadlines);
    return await listen(link, onLine);
  } finally {
    signal?.removeEventListener('abort', aborted);
    link?.close();
    connection.close();
  }
}

async function listen(link: Link, onLine: (event: unknown) => void): Promise<AskDone> {
  for (let header = await link.receive(); header !== undefined; header = await link.receive()) {
    const message = parseFromKeeper(header);
    switch (message.type) {
      case 'told':
        for (const event of parseList(await link.receiveList(message.list))) onLine(event);
        break;
      case 'refusal':
        throw refused(message);
      case 'done':
        return message;
      case 'heartbeat':
        break;
    }
  }
  throw new TransferError('connection-lost', 'The receiver closed the connection before its end.');
}
