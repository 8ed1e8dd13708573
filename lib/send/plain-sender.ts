import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '../net/connection';
import { DigestCache, noDigestCache, type RememberedDigests } from '../digest/digest-cache';
import { DigestPool } from '../digest/digest-pool';
import { asTransferError, TransferError } from '../errors';
import { systemPath } from '../name-bytes';
import { type Bottleneck, type FileDone, fileEvent, type Listener, ofTransfer, Waits } from '../progress';
import { newSession } from '../session/opening';
import type { Waited } from '../wire/message';
import { parseAddress } from '../net/address';
import { dialFirst } from '../net/happy-eyeballs';
import type { Dialed } from '../net/socket';
import { OutgoingQueue } from './outgoing';
import type { AnsweredFile } from './plain-answers';
import { type SendEnd, type PlainTransfer, sendPlain } from './plain-send';
import { RateLimit } from './rate-limit';
import { measureSources, plainSources } from './plain-sources';
import type { SendOptions } from './send-options';
import type { OpenSource } from './open-source';
import { SmallSourceReader } from './small-source-reader';
import { failureEvent, heldBackBy, type Sender, Tally } from '../session/summary';
import { dialAfter } from '../session/deadlines';

/** Connections in a row that the receiver may close before anything was sent on them. */
const mostUnused = 3;

/** Ms after which the sizes of all files are summed up for an estimate of the end. */
const measureAfter = 500;

/** Everything that a sender does on the plain wire. */
export class PlainSender implements Sender {
  readonly files: FileDone[] = [];
  readonly failures: TransferError[] = [];
  readonly tally = new Tally();
  private readonly waits = new Waits();
  private readonly receiverWaits = new Waits();
  private readonly cache: RememberedDigests;
  congestion: string | undefined;
  private readonly on: Listener;
  private readonly sentOn: (file: FileDone) => void;
  private readonly connections: number;
  private readonly sending: PlainTransfer;
  private readonly worker = new SmallSourceReader();
  private readonly sent = new AbortController();
  private readonly pool = new DigestPool();

  constructor(private readonly options: SendOptions) {
    const id = newSession();
    const { useCache = true, connections = 'auto', limit = Infinity, signal } = options;
    const listener = options.on ?? (() => undefined);
    const on = ofTransfer(listener, () => id);
    this.cache = useCache ? new DigestCache() : noDigestCache;
    this.on = on;
    this.sentOn = (file) => listener(fileEvent('sent', id, file));
    this.connections = connections === 'auto' ? 1 : connections;
    const { waits, cache, pool } = this;
    this.sending = {
      queue: new OutgoingQueue(plainSources(options, on), {
        pool,
        worker: this.worker,
        cache,
        waits,
        on,
        largeAhead: this.connections,
      }),
      limit: new RateLimit(limit),
      waits,
      on,
      signal,
      mayRedial: options.target !== undefined,
      done: (file) => this.done(file),
      failed: (error) => this.failed(error),
      receiverWaited: (waited) => this.receiverWaited(waited),
      recheck: (file, source) => this.recheck(file, source),
    };
  }

  /**
   * Sends everything: to the target, or to a receiver that has dialed in. Never rejects: everything is in the results.
   */
  async run(accepted?: Dialed): Promise<void> {
    const { target = '', signal } = this.options;
    const { queue } = this.sending;
    const aborted = (): void => void queue.drop();
    signal?.addEventListener('abort', aborted, { once: true });
    if (signal?.aborted) aborted();
    const measuring = this.measure();
    try {
      if (accepted) await this.sendOn(accepted);
      else await this.dialAll(target);
    } catch (error) {
      this.failed(asTransferError(error, 'unexpected', 'Sending failed'));
    } finally {
      signal?.removeEventListener('abort', aborted);
      this.sent.abort();
      await measuring;
      const anyLeft = await queue.drop();
      const isReported = this.failures.some(({ code }) => code === 'interrupted');
      if (anyLeft && signal?.aborted && !isReported) this.failed(new TransferError('interrupted', 'Interrupted.'));
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.pool.close(), this.worker.close()]);
  }

  /** A single file announces its own size; what is in a directory has to be looked for. */
  private async measure(): Promise<void> {
    const { paths } = this.options;
    try {
      const looked = await Promise.all(
        paths.map(async (pathname) => pathname !== '-' && (await stat(systemPath(pathname))).isDirectory()),
      );
      if (!looked.includes(true)) return;
      await sleep(measureAfter, undefined, { signal: this.sent.signal });
      await measureSources(this.options, this.on, this.sent.signal);
    } catch {
      // What cannot be looked at is reported when its turn comes; without the sum there is only no estimate.
    }
  }

  get bottleneck(): Bottleneck | null {
    return heldBackBy(this.waits, this.receiverWaits, false);
  }

  private async dialAll(target: string): Promise<void> {
    const ends = await Promise.allSettled(Array.from({ length: this.connections }, () => this.dialUntilDone(target)));
    const broken = ends.find((end) => end.status === 'rejected');
    if (broken) throw broken.reason;
  }

  private async dialUntilDone(target: string): Promise<void> {
    const { queue, signal } = this.sending;
    // Dialing comes before long hashing, so that a missing receiver is noticed at once.
    await queue.readyWithin(dialAfter);
    for (let unused = 0; unused < mostUnused;) {
      const end = await this.converse(await this.dial(target));
      if (end === 'finished' || end instanceof TransferError || signal?.aborted) return;
      // The receiver may have given up waiting for a file that took long to hash, but not for one that is ready.
      unused = end === 'unused' ? unused + 1 : 0;
      if (!(await queue.ready())) return;
    }
    throw new TransferError('connection-lost', 'The receiver closes every connection at once.');
  }

  private async dial(target: string): Promise<Dialed> {
    const { signal, congestion = 'auto' } = this.options;
    const dialed = await dialFirst([parseAddress(target)], { signal, congestion });
    this.congestion = dialed.congestion;
    return dialed;
  }

  /** There is only this connection: what it does not take cannot be sent. */
  private async sendOn(accepted: Dialed): Promise<void> {
    const end = await this.converse(accepted);
    if (end !== 'again' && end !== 'unused') return;
    for (let left = await this.sending.queue.take(); left; left = await this.sending.queue.take()) {
      if (left instanceof TransferError) {
        this.failed(left);
        continue;
      }
      if ('source' in left) await left.source.close();
      else left.release();
      for (const { name } of 'source' in left ? [left] : left.files)
        this.failed(new TransferError('connection-lost', 'The connection ended before its turn.', { fileName: name }));
    }
  }

  private async converse({ stream, peer, local }: Dialed): Promise<SendEnd> {
    const connection = new Connection(stream, peer);
    if (local || this.options.insecurePlain === true) return sendPlain(connection, this.sending);
    connection.close();
    throw new TransferError(
      'not-authorized',
      `${peer} is another machine, and the plain wire is neither encrypted nor authenticated.`,
      {
        hint: 'On a network that you trust, add --insecure-plain on both sides.',
      },
    );
  }

  private done(file: FileDone): void {
    this.sentOn(file);
    if (file.verified !== null) {
      this.files.push(file);
      this.tally.add(file);
      return;
    }
    this.failures.push(
      new TransferError('not-confirmed', 'Sent, not confirmed: the receiver closed without an answer.', {
        fileName: file.file_name,
      }),
    );
  }

  private failed(error: TransferError): void {
    this.failures.push(error);
    this.on(failureEvent(error));
  }

  private receiverWaited({ network, write, verify }: Waited): void {
    Object.assign(this.receiverWaits.spent, { network, write, verify });
  }

  /**
   * Computes the digest of a file again that arrived different: either it was damaged on its way, or the source has
   * changed.
   */
  private async recheck(file: AnsweredFile, source: OpenSource): Promise<TransferError | undefined> {
    try {
      await source.check();
      const hashingBegan = Date.now();
      const { md5 = '' } = await this.pool.digestFile({ fd: source.handle.fd, size: file.size, algorithms: ['md5'] })
        .digests;
      if (md5 === file.md5) return undefined;
      if (!source.grew) await this.cache.remember(source.before, 'md5', md5, hashingBegan);
      return source.changed();
    } catch (error) {
      return error instanceof TransferError ? error : source.changed();
    }
  }
}
