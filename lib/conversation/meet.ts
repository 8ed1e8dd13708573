import { asTransferError, TransferError } from '../errors';
import { formatAddress, parseAddress } from '../net/address';
import { dial, type Dialed, listen } from '../net/socket';
import { Conversation, usualPatience } from './conversation';
import { ignored } from '../trace';

/** What is said to one peer, from the first word to the last. */
export type Talk<T> = (conversation: Conversation) => Promise<T>;

export interface ConverseOptions {
  /** How long, in ms, the peer may take to be there and for each thing said; default 10,000. */
  readonly patience?: number;
  readonly signal?: AbortSignal;
}

export interface ServeOptions {
  /** How long, in ms, a peer may take for each thing said; default 10,000. */
  readonly patience?: number;
  /** How many connections the system keeps waiting until they are accepted; default that of `listen`. */
  readonly backlog?: number;
  /** Serves one conversation and stops; its failure is then that of `ended`. */
  readonly once?: boolean;
  /** Hears of each conversation that failed. The others go on. */
  readonly failed?: (error: TransferError, peer: string) => void;
}

export interface Serving {
  /** `tcp://HOST:PORT` with the port that was taken, or `unix:PATH`. */
  readonly address: string;
  /** Resolves when it serves no more; with `once`, rejects if that one conversation failed. */
  readonly ended: Promise<void>;
  /** Stops listening and closes every conversation. */
  close(): Promise<void>;
}

/**
 * Dials `address` (`tcp://HOST:PORT` or `unix:PATH`), holds one conversation, and ends it: in peace when `talk`
 * resolves, at once when it rejects. Rejects with what `talk` rejects with, `cannot-connect`, or `interrupted` when
 * `signal` aborts.
 */
export async function converse<T>(address: string, talk: Talk<T>, options: ConverseOptions = {}): Promise<T> {
  const { patience = usualPatience, signal } = options;
  const conversation = new Conversation(await dial(parseAddress(address), { timeout: patience, signal }), patience);
  const interrupt = (): void => conversation.close(new TransferError('interrupted', 'Interrupted.'));
  signal?.addEventListener('abort', interrupt, { once: true });
  try {
    return await hold(conversation, talk);
  } finally {
    signal?.removeEventListener('abort', interrupt);
  }
}

/**
 * Listens at `address` (`HOST:PORT` or `unix:PATH`; port 0 takes a free one) and holds a conversation with everyone who
 * connects, all at the same time. Rejects with `cannot-connect`, for instance where something else listens there.
 */
export async function serve(address: string, talk: Talk<void>, options: ServeOptions = {}): Promise<Serving> {
  const { patience = usualPatience, backlog, once = false, failed } = options;
  const met = new Set<Conversation>();
  let end: (outcome?: Promise<void>) => void = () => undefined;
  const ended = new Promise<void>((resolve) => (end = resolve));
  ended.catch(ignored('whoever waits for it gets it all the same'));
  const accept = (dialed: Dialed): void => {
    const conversation = new Conversation(dialed, patience);
    if (once && met.size > 0) {
      conversation.close();
      return;
    }
    met.add(conversation);
    const outcome = hold(conversation, talk).catch((error: unknown) => {
      throw asTransferError(error, 'unexpected', 'The conversation failed');
    });
    if (once) end(outcome.finally(() => listening.close()));
    else
      void outcome
        .catch((error: TransferError) => failed?.(error, conversation.peer))
        .finally(() => met.delete(conversation));
  };
  const listening = await listen(parseAddress(address), accept, backlog === undefined ? {} : { backlog });
  return {
    address: formatAddress(listening.address),
    ended,
    close: async () => {
      for (const conversation of met) conversation.close(new TransferError('interrupted', 'Interrupted.'));
      await listening.close();
      end();
    },
  };
}

async function hold<T>(conversation: Conversation, talk: Talk<T>): Promise<T> {
  try {
    const result = await talk(conversation);
    await conversation.end();
    return result;
  } catch (error) {
    conversation.close();
    throw error;
  }
}
