import { asTransferError, TransferError } from '../errors';
import type { Waits } from '../progress';
import type { Hello, Segment } from '../wire/session-message';
import type { SessionStore } from '../store/session-store';
import type { Answers } from './answers';
import { ArrivingFile, type ArrivingSink } from './arriving-file';
import type { LargeArrival } from './arriving-offer';
import type { ArrivingTree } from './arriving-tree';
import type { Link } from '../session/link';
import type { Lease } from '../threads/aligned-memory';
import type { SessionRules } from './rules';

/** The files of a session that arrive in segments, from the moment that they are begun. */
export class ArrivingFiles {
  private readonly files = new Map<number, ArrivingFile>();
  private readonly sink: ArrivingSink;
  private over = false;

  /** `work` does something beside the reading of the connections. */
  constructor(
    private readonly store: SessionStore,
    private readonly rules: SessionRules,
    private readonly algorithm: NonNullable<Hello['digest']>,
    private readonly tree: ArrivingTree,
    told: { readonly answers: Answers; readonly waits: Waits; work(task: () => Promise<void>): void; arrival(whole: Promise<void>): Promise<void> },
  ) {
    const { answers, waits } = told;
    this.sink = {
      on: rules.on,
      waits,
      answers,
      ask: ({ entry: { file } }) => tree.ask(file),
      arrival: told.arrival,
      stored: ({ entry: { file } }, stored) => {
        this.files.delete(file);
        told.work(() => tree.stored(file, stored));
      },
      linked: ({ entry: { file } }, earlier) => {
        this.files.delete(file);
        tree.link(file, earlier);
      },
      failed: ({ entry }, error) => {
        this.files.delete(entry.file);
        tree.refuse(entry, error);
      },
    };
  }

  /** The file of that number, if it is on its way. */
  get(file: number): ArrivingFile | undefined {
    return this.files.get(file);
  }

  /** Opens what is here of it already, and asks the sender for the rest. */
  async begin(arrival: LargeArrival): Promise<void> {
    const { entry, update, alike } = arrival;
    const { peer, ifExists } = this.rules;
    try {
      const partial = await this.store.partials.take({ ...entry, peer, ifExists, algorithm: this.algorithm }, update ? {} : alike ? { basis: { path: alike.file.root, below: alike.file.name } } : false);
      if (this.over || !this.tree.expects(entry.file)) {
        await partial.suspend();
        return;
      }
      const file = new ArrivingFile(arrival, partial, this.sink);
      this.files.set(entry.file, file);
      await file.begin();
    } catch (error) {
      this.tree.refuse(entry, asTransferError(error, 'disk', 'The file could not be staged').about(entry.name));
    }
  }

  /** Takes a segment off its connection, of which `before` bytes had been consumed before its header. Rejects with what ends the connection. */
  async segment({ connection }: Link, segment: Segment, before: number): Promise<void> {
    const file = this.get(segment.file);
    if (file) await file.segment(connection, segment);
    else if (this.tree.awaitsWhole(segment.file)) throw new TransferError('bad-header', 'A small file came as a segment.');
    else if (!segment.zero) await connection.skip(segment.size);
    if (file) file.bytesOnWire += connection.consumed - before;
  }

  /** A segment that is here already; its memory is given back in any case. Rejects with what ends the connection. */
  async arrived(segment: Segment, lease: Lease | undefined, wire: number): Promise<void> {
    const file = this.get(segment.file);
    if (file) {
      await file.arrived(segment, lease);
      file.bytesOnWire += wire;
      return;
    }
    lease?.release();
    if (this.tree.awaitsWhole(segment.file)) throw new TransferError('bad-header', 'A small file came as a segment.');
  }

  /** Nothing is begun any more; what is here and not finished is kept. */
  async suspend(): Promise<void> {
    this.over = true;
    await Promise.all([...this.files.values()].map((file) => file.suspend()));
  }
}
