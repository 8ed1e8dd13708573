import { opendir, stat } from 'node:fs/promises';
import path from 'node:path';
import { Connection, type HeaderDeadlines, usualStall } from '../connection';
import { TransferError } from '../errors';
import type { Listener, Summary } from '../progress';
import { limitStore } from '../store/limited';
import { LocalStore } from '../store/local';
import { stagingName } from '../store/receive-directory';
import type { IfExists, Store } from '../store/store';
import { defaultPort, formatAddress, parseAddress } from '../transport/address';
import { dial, type Dialed, listen, type Listening } from '../transport/net';
import { receivePlain, type ReceiveRules } from './plain-receive';
import { failureOf } from './summary';

export interface ReceiverOptions {
  /** Where files go. It must exist, be ours, and not be writable by others. */
  readonly directory: string;
  /** Default `refuse`. Identical content is success under every rule. */
  readonly ifExists?: IfExists;
  /** Takes names with components that begin with a dot. */
  readonly allowHidden?: boolean;
  /** The largest file taken, in bytes. */
  readonly maxSize?: number;
  /** How many bytes may be in the directory in all. */
  readonly quota?: number;
  /** Takes the plain wire from other machines, where anybody on the way can read and change it. */
  readonly insecurePlain?: boolean;
  readonly on?: Listener;
  /** @internal Shorter ones, for tests. */
  readonly deadlines?: Partial<ReceiverDeadlines>;
}

/** How long a receiver waits for those whom it did not dial. */
export interface ReceiverDeadlines {
  /** Nobody holds a connection longer without having said what it is for, so this one counts from accepting. */
  readonly first: HeaderDeadlines;
  readonly later: HeaderDeadlines;
  /** How long nothing may move in the middle of something, in ms. */
  readonly stall: number;
}

/** A receive directory that is open for senders. */
export interface Receiver {
  /** Accepts senders at `HOST:PORT` or `unix:PATH` until `close`; port 0 takes a free one. Rejects with `usage` or `cannot-connect`. */
  listen(address?: string): Promise<{ readonly address: string; readonly port: number | null }>;
  /** The end of the first transfer that a sender began; rejects with its failure. */
  once(): Promise<Summary>;
  /** Connects to a sender that listens, and takes all that it sends. Rejects with its failure. */
  dial(address: string, options?: { readonly signal?: AbortSignal }): Promise<Summary>;
  /**
   * Stops. Files whose bytes are all here are still verified and answered, others are discarded (with `now`: all of them).
   */
  close(options?: { readonly now?: boolean }): Promise<void>;
}

const usualDeadlines: ReceiverDeadlines = {
  first: { silence: 0, whole: 10_000 },
  later: { silence: 600_000, whole: 10_000 },
  stall: usualStall,
};
/** Whom we dialed may hash for hours before the first header. TCP keep-alive notices if it is gone. */
const dialedDeadlines: HeaderDeadlines = { silence: null, whole: 10_000 };

/** Opens a directory for receiving. Rejects with `directory` when it is unsafe or in use. */
export async function createReceiver(options: ReceiverOptions): Promise<Receiver> {
  const used = options.quota === undefined ? 0 : await bytesIn(options.directory);
  const store = limitStore(await LocalStore.open(options.directory), { maxSize: options.maxSize, quota: options.quota, used });
  return new OpenReceiver(store, options);
}

class OpenReceiver implements Receiver {
  private readonly rules: ReceiveRules;
  private readonly insecurePlain: boolean;
  private readonly deadlines: ReceiverDeadlines;
  private readonly listening = new Set<Listening>();
  private readonly conversations = new Map<Connection, Promise<Outcome>>();
  private readonly firstTransfer: Promise<Outcome | TransferError>;
  private endFirst: (outcome: Outcome | TransferError) => void = () => undefined;
  private closed: Promise<void> | undefined;

  constructor(
    private readonly store: Store,
    options: ReceiverOptions,
  ) {
    const { ifExists = 'refuse', allowHidden = false, insecurePlain = false, on = () => undefined } = options;
    this.rules = { ifExists, allowHidden, on };
    this.insecurePlain = insecurePlain;
    this.deadlines = { ...usualDeadlines, ...options.deadlines };
    this.firstTransfer = new Promise((resolve) => {
      this.endFirst = resolve;
    });
  }

  async listen(where = `[::]:${String(defaultPort)}`): Promise<{ address: string; port: number | null }> {
    const listening = await listen(parseAddress(where), (accepted) => this.accept(accepted));
    this.listening.add(listening);
    const { address } = listening;
    const shown = { address: formatAddress(address), port: address.kind === 'tcp' ? address.port : null };
    this.rules.on({ event: 'listening', ...shown, ticket: null });
    return shown;
  }

  async once(): Promise<Summary> {
    const end = await this.firstTransfer;
    if (end instanceof TransferError) throw end;
    return concluded(end);
  }

  async dial(where: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<Summary> {
    const address = parseAddress(where);
    const dialed = await dial(address, { signal });
    const connection = new Connection(dialed.stream, dialed.peer, this.deadlines.stall);
    const refusal = this.plainRefusal(dialed);
    if (refusal) {
      connection.close(refusal);
      throw refusal;
    }
    const aborted = (): void => connection.stopReading(new TransferError('interrupted', 'Interrupted.'));
    signal?.addEventListener('abort', aborted, { once: true });
    try {
      return concluded(await this.converse(connection, dialedDeadlines, dialedDeadlines));
    } finally {
      signal?.removeEventListener('abort', aborted);
    }
  }

  close({ now = false } = {}): Promise<void> {
    this.closed ??= this.shut(now);
    if (now) for (const connection of this.conversations.keys()) connection.close(stopped());
    return this.closed;
  }

  private async shut(now: boolean): Promise<void> {
    this.endFirst(stopped());
    const addressesFree = [...this.listening].map((listening) => listening.close());
    for (const connection of this.conversations.keys()) {
      if (now) connection.close(stopped());
      else connection.stopReading(stopped());
    }
    await Promise.allSettled(this.conversations.values());
    await Promise.all(addressesFree);
    await this.store.close();
  }

  private accept(accepted: Dialed): void {
    const { first, later, stall } = this.deadlines;
    const connection = new Connection(accepted.stream, accepted.peer, stall);
    if (this.closed) {
      connection.close(stopped());
      return;
    }
    void this.converse(connection, first, later, this.plainRefusal(accepted)).then((outcome) => {
      // A port scan or a health check that sends nothing is not a transfer.
      if (connection.stream.bytesRead > 0) this.endFirst(outcome);
    });
  }

  private async converse(connection: Connection, first: HeaderDeadlines, later: HeaderDeadlines, refuseAll?: TransferError): Promise<Outcome> {
    const began = performance.now();
    const conversation = receivePlain(connection, this.store, refuseAll ? { ...this.rules, refuseAll } : this.rules, first, later).then((received): Outcome => {
      const { tally, failures, skipped, waits } = received;
      const summary = tally.summary((performance.now() - began) / 1000, waits.longest);
      if (tally.files + failures.length + skipped > 0) this.rules.on({ event: 'summary', ...summary });
      return { summary, failure: failureOf(tally.files, failures) };
    });
    this.conversations.set(connection, conversation);
    try {
      return await conversation;
    } finally {
      this.conversations.delete(connection);
    }
  }

  /** "The plain wire is spoken on loopback and unix sockets; anywhere else only where the user allowed it." */
  private plainRefusal({ local, peer }: Dialed): TransferError | undefined {
    if (local || this.insecurePlain) return undefined;
    return new TransferError('not-authorized', `${peer} is another machine, and the plain wire is neither encrypted nor authenticated.`, {
      hint: 'On a network that you trust, start the receiver with --insecure-plain.',
    });
  }
}

/** How a conversation ended, for whoever waits for it. */
interface Outcome {
  readonly summary: Summary;
  readonly failure: TransferError | undefined;
}

function concluded({ summary, failure }: Outcome): Summary {
  if (failure) throw failure;
  return summary;
}

function stopped(): TransferError {
  return new TransferError('interrupted', 'The receiver was stopped.');
}

/** Sizes of all regular files below a directory, our staging directory left out. */
async function bytesIn(directory: string): Promise<number> {
  let sum = 0;
  for await (const entry of await opendir(directory, { recursive: false })) {
    const place = path.join(directory, entry.name);
    if (entry.isDirectory() && entry.name !== stagingName) sum += await bytesIn(place);
    else if (entry.isFile()) sum += (await stat(place)).size;
  }
  return sum;
}
