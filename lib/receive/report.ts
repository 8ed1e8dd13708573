import path from 'node:path';
import { TransferError } from '../errors';
import { printable } from '../name';
import { fileEvent, type FileReceived, type Listener, withId } from '../progress';
import { failureEvent, Tally } from '../session/summary';
import { isObjectUrl } from '../object-address';
import { LostCount } from '../session/lost';
import { NameTable } from '../store/local/name-table';
import { mostKeptFailures } from './limits';
import type { BadEntry, Entry, LostPart, MissingEntry } from '../wire/session-list';

const tellOffersEvery = 250; // ms

/** What failed, of which not more is kept than whoever comes for the end of a session needs. */
export class KeptFailures {
  readonly first: TransferError[] = [];
  /** How many more there were. */
  more = 0;

  add(error: TransferError): void {
    if (this.first.length < mostKeptFailures) this.first.push(error);
    else this.more++;
  }
}

/**
 * Of which transfer events are: its id, the directory that it goes to, whose key it shows, and the relay that carries
 * it.
 */
export interface TransferIdentity {
  readonly id: string;
  readonly directory: string;
  readonly from?: string | undefined;
  readonly route?: string | undefined;
}

/** Passes events on, with the id, directory, sender and route that they are about. */
export function ofReceived(on: Listener, { id, directory, from, route }: TransferIdentity): Listener {
  const where = isObjectUrl(directory) ? directory : path.resolve(directory);
  return (event) => {
    if (event.event === 'received') {
      const received = fileEvent('received', id, event);
      received.directory = where;
      if (from !== undefined) received.from = from;
      if (route !== undefined) received.route = route;
      on(received);
    } else on(event.event === 'started' && from !== undefined ? { ...event, id, from } : withId(event, id));
  };
}

/** What the user of the receiver learns of one session: events at once, and sums at its end. */
export class Report {
  readonly tally = new Tally();
  readonly failures = new KeptFailures();
  /** The names of what the sender never had, as it should be. */
  readonly absent = new NameTable();
  private readonly lost = new LostCount();
  /** What the sender has offered, in files and streams, and when that was last told, by performance.now(). */
  private readonly offered = { files: 0, bytes: 0, reported: { files: 0, at: -Infinity } };

  constructor(private readonly on: Listener) {}

  received(file: FileReceived): void {
    this.tally.add(file);
    this.on(file);
  }

  /** Counts what is offered. Of more than one file that is told, now and then; with `all` it is told to the end. */
  offers(entries: readonly (Entry | BadEntry)[], all = false): void {
    const { offered } = this;
    let name = '';
    for (const entry of entries) {
      if (!('type' in entry) || entry.type !== 'file') continue;
      ({ name } = entry);
      offered.files += 1;
      offered.bytes += entry.size ?? 0; // a stream's end is not known
    }
    const { files, bytes, reported } = offered;
    if (files < 2 || files === reported.files || (!all && performance.now() - reported.at < tellOffersEvery)) return;
    offered.reported = { files, at: performance.now() };
    this.on({ event: 'progress', file_name: name, phase: 'scan', done: bytes, total: bytes, files });
  }

  /** What of an entry's metadata it does not have; told once, in the end. */
  without(name: string, lost: readonly LostPart[] | undefined): void {
    this.lost.add(name, lost);
  }

  ended(): void {
    for (const event of this.lost.events()) this.on(event);
  }

  failed(error: TransferError): void {
    this.failures.add(error);
    this.on(failureEvent(error));
  }

  skipped(fileName: string, reason: string): void {
    this.on({ event: 'skipped', file_name: fileName, reason });
  }

  /** The sender does not have it. */
  missing({ name, code, message, skipped }: MissingEntry): void {
    if (skipped) {
      this.absent.set(name, 0);
      this.skipped(name, message);
    } else this.failed(new TransferError(code, printable(message), { fileName: name, hint: '' }));
  }

  /** Words of the sender. */
  text(text: string): void {
    this.on({ event: 'text', text });
  }
}
