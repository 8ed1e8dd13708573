import { opendir, stat } from 'node:fs/promises';
import path from 'node:path';
import { Connection, type HeaderDeadlines } from '../connection';
import { TransferError } from '../errors';
import type { Listener, Summary } from '../progress';
import { limitStore } from '../store/limited';
import { LocalStore, stagingName } from '../store/local';
import type { IfExists, Store } from '../store/store';
import { defaultPort, formatAddress, parseAddress } from '../transport/address';
import { dial, type Dialed, listen, type Listening } from '../transport/net';
import { type Received, receivePlain, type ReceiveRules } from './plain-receive';
import { failureOf, type Outcome, summarize } from './summary';

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

/** From accepting to the first whole header: nobody holds a connection longer without having said what it is for. */
const strangerDeadlines: HeaderDeadlines = { silence: 10_000, whole: 10_000 };
const laterDeadlines: HeaderDeadlines = { silence: 60_000, whole: 10_000 };
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
    const connection = new Connection(dialed.stream, dialed.peer);
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
    const connection = new Connection(accepted.stream, accepted.peer);
    if (this.closed) {
      connection.close(stopped());
      return;
    }
    void this.converse(connection, strangerDeadlines, laterDeadlines, this.plainRefusal(accepted)).then((outcome) => {
      // A port scan or a health check that sends nothing is not a transfer.
      if (connection.stream.bytesRead > 0) this.endFirst(outcome);
    });
  }

  private async converse(connection: Connection, first: HeaderDeadlines, later: HeaderDeadlines, refuseAll?: TransferError): Promise<Outcome> {
    const began = performance.now();
    const conversation = receivePlain(connection, this.store, refuseAll ? { ...this.rules, refuseAll } : this.rules, first, later).then((received): Outcome => {
      const outcome = { ...received, seconds: (performance.now() - began) / 1000, bottleneck: received.waits.longest };
      if (received.files.length + received.failures.length + received.skipped > 0) this.rules.on({ event: 'summary', ...summarize(outcome) });
      return outcome;
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

function concluded(outcome: Outcome): Summary {
  const failure = failureOf(outcome);
  if (failure) throw failure;
  return summarize(outcome);
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
