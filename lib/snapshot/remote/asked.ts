import type { Connection } from '../../net/connection';
import { asTransferError, TransferError } from '../../errors';
import { failureEvent } from '../../session/summary';
import { answerAsk } from './answering';
import { Link } from '../../session/link';
import type { Asker, ServiceOptions, SnapshotService } from '../../receive/keeper';
import { rightsHint } from '../../receive/open-receiving';
import type { SnapshotAnswers } from './question';
import { answerIntroduction } from '../../session/opening';
import { SnapshotSendings } from './snapshot-sendings';

/** Each may read all that is here. */
const mostAtOnce = 16;

/** Everything that others have done with the snapshots of a receiver. */
export class AskedSnapshots implements SnapshotService {
  private readonly sendings: SnapshotSendings;
  private readonly running = new Set<AbortController>();
  private stopped = false;

  constructor(
    private readonly options: ServiceOptions,
    private readonly answers: SnapshotAnswers,
  ) {
    this.sendings = new SnapshotSendings(options, answers);
  }

  /**
   * Does what is asked over `connection`. Resolves when that has ended. Rejects with what the peer is to be refused
   * with.
   */
  async take(connection: Connection, asker: Asker): Promise<void> {
    const { hello, ask, authorization, peer, roundTrip } = asker;
    checkRights(asker);
    if (this.stopped) throw new TransferError('interrupted', 'The receiver was stopped.');
    if (hello.connection === 0 && this.running.size + this.sendings.count >= mostAtOnce)
      throw new TransferError('timeout', 'Too many others ask at this moment.');
    const { directory } = await this.options.home(authorization);
    if (ask.for === 'restore') return this.sendings.take(connection, { hello, ask, peer, directory, roundTrip });
    const stop = new AbortController();
    this.running.add(stop);
    const link = new Link(connection, this.options.deadlines, false);
    try {
      await answerIntroduction(connection, hello, { role: 'sender' });
      link.greeted();
      await answerAsk(link, this.answers, { ask, directory }, stop.signal);
    } catch (thrown) {
      // The peer was told already.
      const error = asTransferError(thrown, 'unexpected', 'It could not be done');
      if (error.code !== 'connection-lost') this.options.on(failureEvent(error));
    } finally {
      this.running.delete(stop);
      link.close();
    }
  }

  /** Ends all of it. */
  async stop(): Promise<void> {
    this.stopped = true;
    for (const stop of this.running) stop.abort();
    await this.sendings.stop();
  }
}

/** "A `write` key asks for nothing, and only an `admin` key has snapshots removed." */
function checkRights({ ask, authorization }: Asker): void {
  if (authorization?.rights === 'write')
    throw new TransferError('not-authorized', 'This key may send, and not read.', { hint: rightsHint });
  if (ask.for === 'prune' && authorization?.rights !== 'admin')
    throw new TransferError('not-authorized', 'Only an admin key may remove snapshots.', { hint: rightsHint });
}
