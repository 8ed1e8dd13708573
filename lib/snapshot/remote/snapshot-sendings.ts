import type { Connection } from '../../net/connection';
import { TransferError } from '../../errors';
import type { Listener } from '../../progress';
import type { RestoreAsk } from '../../wire/ask';
import type { Hello } from '../../wire/hello';
import { isHere } from '../../net/address';
import { commonCoding } from '../../session/content-coding';
import { DialedIn } from '../../send/dialed-in';
import { furtherDeadlines, Link } from '../../session/link';
import type { ServiceOptions } from '../../receive/keeper';
import type { AskedDestination, SnapshotAnswers } from './question';
import { answerIntroduction, unknownSession } from '../../session/opening';
import { oldestOfMost } from '../../receive/fair-shares';
import { SessionTransfer } from '../../send/transfer';

/** Window in ms for the return of a session that was lost. */
const returnWithin = 300_000;

/** One who came to get a snapshot. */
export interface Fetching {
  readonly hello: Hello;
  readonly ask: RestoreAsk;
  /** The id of its key. */
  readonly peer: string;
  /** What has the snapshot. */
  readonly destination: AskedDestination;
  /** In ms. */
  readonly roundTrip: number;
}

interface SnapshotSending {
  readonly session: string;
  readonly peer: string;
  readonly connector: DialedIn;
  readonly algorithm: NonNullable<Hello['digest']>;
  readonly ended: Promise<void>;
  /** How many connections it has at this moment: without any it waits for whoever asked to come back. */
  connections: number;
  stop(): void;
}

/** The sessions in which a receiver sends snapshots to those who ask for them. */
export class SnapshotSendings {
  private readonly sessions = new Map<string, SnapshotSending>();
  private readonly beginning = new Set<Fetching>();
  /** All that have not ended, those that were given up too. */
  private readonly ending = new Set<Promise<void>>();
  private readonly stopped = new AbortController();

  constructor(
    private readonly options: Pick<ServiceOptions, 'on' | 'deadlines'>,
    private readonly answers: Pick<SnapshotAnswers, 'source'>,
  ) {}

  /** Whether there is one, which may have lost its connection. */
  has(session: string): boolean {
    return this.sessions.has(session);
  }

  /** The key of each, of those that begin too. */
  peers(): string[] {
    return [...this.sessions.values(), ...this.beginning].map(({ peer }) => peer);
  }

  /**
   * Gives up the oldest of those of `peer` that lost their connection; without such ones, of those of the key that has
   * most of all. False where there is none. Who comes back all the same begins anew, and goes on with what it has.
   */
  giveUpLost(peer: string): boolean {
    const held = this.peers().map((each) => ({ peer: each }));
    const lost = [...this.sessions.values()].filter(({ connections }) => connections === 0);
    const found = lost.find((sending) => sending.peer === peer) ?? oldestOfMost(lost, held);
    if (!found) return false;
    this.sessions.delete(found.session);
    found.stop();
    return true;
  }

  /** A connection of such a session. Resolves when it has ended. Rejects with what the peer is to be refused with. */
  async take(connection: Connection, fetching: Fetching): Promise<void> {
    const { hello, peer } = fetching;
    const known = this.sessions.get(hello.session);
    if (known ? known.peer !== peer : hello.connection > 0) throw unknownSession();
    if (known) known.connections++;
    const sending = known ?? (await this.begin(fetching));
    try {
      await this.join(connection, sending, fetching);
    } finally {
      sending.connections--;
    }
  }

  private async join(
    connection: Connection,
    { connector, algorithm }: SnapshotSending,
    { hello, roundTrip }: Fetching,
  ): Promise<void> {
    await answerIntroduction(connection, hello, { role: 'sender', digest: algorithm });
    const { deadlines } = this.options;
    const link = new Link(connection, hello.connection === 0 ? deadlines : furtherDeadlines(deadlines));
    const coding = commonCoding(hello.codings);
    connector.take({ link, roundTrip, local: isHere(connection.peer), coding }, hello.connection);
    await connection.stream.whenClosed();
  }

  /** Ends all of them. */
  async stop(): Promise<void> {
    this.stopped.abort();
    await Promise.all(this.ending);
  }

  private async begin(fetching: Fetching): Promise<SnapshotSending> {
    const { hello, ask, peer, destination } = fetching;
    this.beginning.add(fetching);
    const { algorithm, ...contents } = await this.answers
      .source(ask, destination)
      .finally(() => this.beginning.delete(fetching));
    if (this.sessions.has(hello.session)) throw new TransferError('bad-header', 'This session has begun already.');
    const connector = new DialedIn();
    const failures: Listener = (event) =>
      event.event === 'failed' && event.code !== 'interrupted' && this.options.on(event);
    const given = new AbortController();
    const signal = AbortSignal.any([this.stopped.signal, given.signal]);
    const transfer = new SessionTransfer(
      { paths: [], digest: algorithm, retryFor: returnWithin, on: failures, signal },
      connector,
      { ...contents, snapshot: true },
    );
    const ended = transfer
      .run()
      .then(() => transfer.close())
      .finally(() => {
        if (this.sessions.get(hello.session) === sending) this.sessions.delete(hello.session);
        this.ending.delete(ended);
      });
    this.ending.add(ended);
    const { session } = hello;
    const sending = { session, peer, connector, algorithm, ended, connections: 1, stop: () => given.abort() };
    this.sessions.set(hello.session, sending);
    return sending;
  }
}
