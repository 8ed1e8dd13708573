import type { Readable } from 'node:stream';
import { Connection } from '../net/connection';
import { asTransferError, TransferError } from '../errors';
import type { Digests, FileDone, Listener, Summary } from '../progress';
import { sessionVersion } from '../wire/hello';
import { memoryPair } from '../net/memory-pair';
import type { SnapshotDone } from '../wire/snapshot-done';
import type { Destination } from '../receive/destinations';
import type { SnapshotStage } from '../receive/snapshot-stage';
import { Link, type LinkDeadlines } from '../session/link';
import type { Connector, FirstConnection } from '../send/connector';
import { newSession } from '../session/opening';
import { type SessionReceived, Session } from '../receive/session';
import { limitSession } from '../store/limited-session';
import type { LeavingOut } from '../scan/leaving-out';
import type { SessionRules } from '../receive/rules';
import type { SessionSource } from '../send/finding';
import { type ContentSource, SessionTransfer } from '../send/transfer';

export interface WithinOptions {
  /**
   * What is sent: files and directories, named as `send` names them, or whatever this finds, a few hundred entries at a
   * time.
   */
  readonly source: readonly string[] | SessionSource;
  /** What `-` among the paths reads, and what it is called; see `SendOptions`. */
  readonly input?: Readable;
  readonly inputName?: string;
  readonly receiver: {
    readonly destination: Destination;
    readonly rules: SessionRules;
    readonly stage?: SnapshotStage;
  };
  /** Reads what there is to send in another way, instead of `source`. */
  readonly content?: ContentSource | undefined;
  /** Default `blake3`. */
  readonly algorithm?: keyof Digests;
  /** Where `source` is paths. */
  readonly leaves?: LeavingOut;
  /** Bytes per second. */
  readonly limit?: number;
  /** The sender's events; those of the receiver go to its rules' `on`. */
  readonly on?: Listener;
  readonly signal?: AbortSignal | undefined;
}

/** How a session within one process went. */
export interface SentWithin {
  /** What is stored, where that is not more than 10,000 files; all of them were told as `sent`. */
  readonly files: readonly FileDone[];
  /** What is not stored, each with its `fileName`; all of them were told as `failed`. */
  readonly failures: readonly TransferError[];
  /** How many of them are about files that are stored, and are other than they were. */
  readonly alarms: number;
  readonly summary: Summary;
  /** The snapshot, where the receiver had a stage. */
  readonly snapshot: SnapshotDone | undefined;
  /** The same as the receiver saw it. */
  readonly received: SessionReceived;
}

/** Within a process no deadlines are needed; this is the longest time of a timer, in ms. */
const never = 2 ** 31 - 1;
const deadlines: LinkDeadlines = { heartbeat: never, silence: never };

/**
 * A whole session between a sender and a receiver that live in this process: the same promises as over a network, the
 * same resumption, and no keys. Resolves when every entry was stored or is among `failures`; `destination` stays open.
 * Rejects with what ended the session before that (`interrupted` after an abort, `directory` or `disk` of the store,
 * …), when both sides have ended: what is here and not finished is kept for the next session of the same `rules.peer`.
 */
export async function sendWithin({
  source,
  input,
  inputName,
  receiver,
  content,
  algorithm = 'blake3',
  leaves = {},
  limit,
  on,
  signal,
}: WithinOptions): Promise<SentWithin> {
  const began = performance.now();
  const connector = new InProcessConnector(receiver, algorithm);
  const fromPaths = Symbol.asyncIterator in source ? undefined : source;
  const transfer = new SessionTransfer(
    {
      paths: fromPaths ?? [],
      digest: algorithm,
      connections: 1,
      retryFor: 0,
      ...(input ? { input } : {}),
      ...(inputName === undefined ? {} : { inputName }),
      ...leaves,
      ...(limit === undefined ? {} : { limit }),
      ...(on ? { on } : {}),
      ...(signal ? { signal } : {}),
    },
    connector,
    {
      source: Symbol.asyncIterator in source ? source : undefined,
      shared: content,
      snapshot: receiver.stage !== undefined || receiver.rules.asked !== undefined,
      local: true,
    },
  );
  try {
    await transfer.run();
  } finally {
    await transfer.close();
  }
  const { files, failures, tally, bottleneck } = transfer;
  const received = await connector.received;
  // Left-out extended attributes do not end the session.
  const ended = failures.find(({ code, fileName }) => fileName === undefined && code !== 'some-failed');
  if (ended) throw ended;
  if (received === undefined) throw new TransferError('unexpected', 'The session did not begin.');
  if (received.lost) throw received.lost;
  return {
    files,
    failures,
    snapshot: transfer.snapshot,
    alarms: transfer.alarms,
    summary: tally.summary((performance.now() - began) / 1000, bottleneck),
    received,
  };
}

/** Connects to a receiver in this process, once. */
class InProcessConnector implements Connector {
  readonly seals = false;
  /** How the receiver's side ended, once it was met. */
  received: Promise<SessionReceived> | undefined;

  constructor(
    private readonly receiver: WithinOptions['receiver'],
    private readonly algorithm: keyof Digests,
  ) {}

  async first(signal: AbortSignal | undefined): Promise<FirstConnection> {
    if (signal?.aborted) throw new TransferError('interrupted', 'Interrupted.');
    const { destination, rules, stage } = this.receiver;
    const store = await destination.store
      .session({
        algorithm: this.algorithm,
        peer: rules.peer,
        ifExists: rules.ifExists,
        metadata: stage ? 'recorded' : rules.metadata,
      })
      .catch((error: unknown) => {
        throw asTransferError(error, 'directory', 'The receive directory cannot be used');
      });
    const [near, far] = memoryPair().map(
      (stream) => new Link(new Connection(stream, 'this process', never), deadlines),
    ) as [Link, Link];
    const hello = {
      type: 'hello',
      role: 'sender',
      version: sessionVersion,
      session: newSession(),
      connection: 0,
      digest: this.algorithm,
    } as const;
    this.received = new Session(far, hello, {
      store: limitSession(store, { ...destination, peer: rules.peer, ifExists: rules.ifExists }),
      rules,
      stage,
    })
      .run()
      .finally(() => far.close());
    return { link: near, roundTrip: 0, local: true };
  }

  another(): Promise<Link> {
    return Promise.reject(new TransferError('unexpected', 'Within a process, one connection is all.'));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
