import type { Connection } from '../../net/connection';
import { TransferError } from '../../errors';
import type { Listener } from '../../progress';
import type { RestoreAsk } from '../../wire/ask';
import type { Hello } from '../../wire/hello';
import { DialedIn } from '../../send/dialed-in';
import { furtherDeadlines, Link } from '../../session/link';
import type { ServiceOptions } from '../../receive/keeper';
import type { SnapshotAnswers } from './question';
import { answerIntroduction, unknownSession } from '../../session/opening';
import { SessionTransfer } from '../../send/transfer';

/** How long a session that was lost may stay away, in ms. */
const returnWithin = 300_000;

/** One who came to get a snapshot. */
export interface Fetching {
  readonly hello: Hello;
  readonly ask: RestoreAsk;
  /** The id of its key. */
  readonly peer: string;
  /** The receive directory that has the snapshot. */
  readonly directory: string;
  /** In ms. */
  readonly roundTrip: number;
}

interface SnapshotSending {
  readonly peer: string;
  readonly meeting: DialedIn;
  readonly algorithm: NonNullable<Hello['digest']>;
  readonly ended: Promise<void>;
}

/** The sessions in which a receiver sends snapshots to those who ask for them. */
export class SnapshotSendings {
  private readonly sessions = new Map<string, SnapshotSending>();
  private readonly beginning = new Set<Fetching>();
  private readonly stopped = new AbortController();

  constructor(
    private readonly options: Pick<ServiceOptions, 'on' | 'deadlines'>,
    private readonly answers: Pick<SnapshotAnswers, 'source'>,
  ) {}

  /** The key of each, of those that begin too. */
  peers(): string[] {
    return [...this.sessions.values(), ...this.beginning].map(({ peer }) => peer);
  }

  /** A connection of such a session. Resolves when it has ended. Rejects with what the peer is to be refused with. */
  async take(connection: Connection, fetching: Fetching): Promise<void> {
    const { hello, peer, roundTrip } = fetching;
    const known = this.sessions.get(hello.session);
    if (known ? known.peer !== peer : hello.connection > 0) throw unknownSession();
    const { meeting, algorithm } = known ?? (await this.begin(fetching));
    await answerIntroduction(connection, hello, { role: 'sender', digest: algorithm });
    const { deadlines } = this.options;
    const link = new Link(connection, hello.connection === 0 ? deadlines : furtherDeadlines(deadlines));
    meeting.take({ link, roundTrip }, hello.connection);
    await connection.stream.whenClosed();
  }

  /** Ends all of them. */
  async stop(): Promise<void> {
    this.stopped.abort();
    await Promise.all([...this.sessions.values()].map(({ ended }) => ended));
  }

  private async begin(fetching: Fetching): Promise<SnapshotSending> {
    const { hello, ask, peer, directory } = fetching;
    this.beginning.add(fetching);
    const { algorithm, ...contents } = await this.answers
      .source(ask, directory)
      .finally(() => this.beginning.delete(fetching));
    if (this.sessions.has(hello.session)) throw new TransferError('bad-header', 'This session has begun already.');
    const meeting = new DialedIn();
    const failures: Listener = (event) =>
      event.event === 'failed' && event.code !== 'interrupted' && this.options.on(event);
    const transfer = new SessionTransfer(
      { paths: [], digest: algorithm, retryFor: returnWithin, on: failures, signal: this.stopped.signal },
      meeting,
      { ...contents, snapshot: true },
    );
    const ended = transfer
      .run()
      .then(() => transfer.close())
      .finally(() => this.sessions.delete(hello.session));
    const sending = { peer, meeting, algorithm, ended };
    this.sessions.set(hello.session, sending);
    return sending;
  }
}
