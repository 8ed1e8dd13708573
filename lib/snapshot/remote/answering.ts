import { asTransferError, TransferError } from '../../errors';
import type { SnapshotQuestion, SnapshotAnswers } from './question';
import type { Link } from '../../session/link';
import { forPeer, withoutPaths } from '../../session/refusal';
import { ignored } from '../../trace';

/** Ms for which events are collected before they are sent, and the most that are collected. */
const tellEvery = 100;
const mostPending = 1_000;

/**
 * Does what was asked over `link`, whose hello is answered: tells what `answers` tells, and at the end `done` or why
 * there is none. Stops when the peer is gone. Rejects with why it was not done, after the peer was told.
 */
export async function answerAsk(
  link: Link,
  answers: SnapshotAnswers,
  asked: Pick<SnapshotQuestion, 'ask' | 'destination'>,
  stopped: AbortSignal,
): Promise<void> {
  const gone = new AbortController();
  const lines = new AnswerLines(link, () => gone.abort());
  // The peer has nothing to say any more: what comes is a heartbeat, or the end.
  void watch(link).finally(() => gone.abort());
  try {
    const done = await answers.answer({
      ...asked,
      signal: AbortSignal.any([gone.signal, stopped]),
      tell: (event) => lines.add(event),
      heard: () => lines.flush(),
    });
    await lines.flush();
    await link.send({ type: 'done', ...done });
  } catch (thrown) {
    const error = asTransferError(thrown, 'unexpected', 'It could not be done');
    if (gone.signal.aborted) throw new TransferError('connection-lost', 'Whoever asked is gone.', { cause: error });
    await lines.flush().catch(ignored('the failure itself is what is told'));
    await link.send({ type: 'refusal', ...forPeer(error) }).catch(ignored('who asked is gone'));
    throw error;
  } finally {
    lines.stop();
    await link.linger();
  }
}

async function watch(link: Link): Promise<void> {
  try {
    while ((await link.receive()) !== undefined);
  } catch {
    // The reason does not matter: the peer is gone.
  }
}

/** Events on their way to the peer, many in one message. */
class AnswerLines {
  private waiting: object[] = [];
  private sending: Promise<unknown> = Promise.resolve();
  private readonly timer: NodeJS.Timeout;

  constructor(
    private readonly link: Link,
    private readonly lost: () => void,
  ) {
    this.timer = setInterval(() => this.send(), tellEvery);
  }

  add(event: object): void {
    if (
      this.waiting.push('message' in event ? { ...event, message: withoutPaths(String(event.message)) } : event) >=
      mostPending
    )
      this.send();
  }

  /** Resolves when the system has taken everything. */
  async flush(): Promise<void> {
    this.send();
    await this.sending;
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private send(): void {
    const list = this.waiting;
    if (list.length === 0) return;
    this.waiting = [];
    // Messages go out in the order of the calls, so that the last one is the one to wait for.
    this.sending = this.link.sendList({ type: 'told' }, list);
    this.sending.catch(this.lost);
  }
}
