import type { Connection } from '../../net/connection';
import { asTransferError, TransferError } from '../../errors';
import { failureEvent } from '../../session/summary';
import { answerAsk } from './answering';
import { Link } from '../../session/link';
import type { Asker, ServiceOptions, SnapshotService } from '../../receive/keeper';
import { refuseUnknownLevel, rightsHint } from '../../receive/open-receiving';
import { fits } from '../../receive/fair-shares';
import type { SnapshotAnswers } from './question';
import { answerIntroduction, unknownSession } from '../../session/opening';
import { SnapshotSendings } from './snapshot-sendings';

/** Each may read all that is here. */
const mostAtOnce = 16;

/** Everything that others have done with the snapshots of a receiver. */
export class AskedSnapshots implements SnapshotService {
  private readonly sendings: SnapshotSendings;
  /** What is being answered, each with the id of the key that asked. */
  private readonly running = new Map<AbortController, string>();
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
    const isKnown = ask.for === 'restore' && this.sendings.has(hello.session);
    if (hello.connection > 0 && !isKnown) throw unknownSession();
    const destination = await this.options.destination(authorization);
    if (ask.for === 'verify') refuseUnknownLevel(hello, destination.store.verified);
    // Nothing is awaited between this and its being counted itself: many requests may come at once.
    if (!(ask.for === 'restore' && this.sendings.has(hello.session)) && !this.mayAsk(peer))
      throw new TransferError('timeout', 'Too many others ask at this moment.');
    if (ask.for === 'restore') return this.sendings.take(connection, { hello, ask, peer, destination, roundTrip });
    const stop = new AbortController();
    this.running.set(stop, peer);
    const link = new Link(connection, this.options.deadlines, false);
    try {
      await answerIntroduction(connection, hello, { role: 'sender' });
      link.greeted();
      await answerAsk(link, this.answers, { ask, destination }, stop.signal);
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
    for (const stop of this.running.keys()) stop.abort();
    await this.sendings.stop();
  }

  /** No key takes all, and a restore that lost its connection keeps its place only as long as nobody else needs it. */
  private mayAsk(peer: string): boolean {
    const fit = (): boolean => {
      const askers = [...this.running.values(), ...this.sendings.peers()];
      return fits(askers.length, mostAtOnce, askers.filter((each) => each === peer).length);
    };
    while (!fit()) if (!this.sendings.giveUpLost(peer)) return false;
    return true;
  }
}

/** "A `write` key asks for nothing, and only an `admin` key has snapshots removed or mended." */
function checkRights({ ask, authorization }: Asker): void {
  if (authorization?.rights === 'write')
    throw new TransferError('not-authorized', 'This key may send, and not read.', { hint: rightsHint });
  if ((ask.for === 'prune' || ask.for === 'forget') && authorization?.rights !== 'admin')
    throw new TransferError('not-authorized', 'Only an admin key may remove snapshots, or what is in them.', {
      hint: rightsHint,
    });
  if (ask.for === 'verify' && ask.mend && authorization && authorization.rights !== 'admin')
    throw new TransferError('not-authorized', 'Only an admin key may repair snapshots.', { hint: rightsHint });
}
