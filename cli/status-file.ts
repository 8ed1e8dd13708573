// What a receiver leaves in its directory for `sendall status`, and what verifications and drills leave there.
import { existsSync, mkdirSync, readFileSync, renameSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TransferEvent } from '../lib/index';
import { ignored } from '../lib/internal';

/** What runs and what came. */
export interface ReceiverStatus {
  readonly pid: number;
  /** ISO 8601, as all times here. */
  readonly since: string;
  readonly address: string | null;
  /** Bytes. */
  readonly quota: number | null;
  readonly transfers: readonly TransferStatus[];
  readonly last_received: LastReceived | null;
}

export interface LastReceived {
  readonly file_name: string;
  readonly from: string | null;
  readonly at: string;
}

/** One transfer that has not ended; bytes. */
export interface TransferStatus {
  readonly id: string;
  readonly from: string | null;
  readonly files: number;
  readonly bytes: number;
  /** The file that was told of last, and how far it is. */
  readonly file_name: string | null;
  readonly done: number;
  readonly total: number;
}

/** What was checked on this machine. */
export interface Checks {
  /** The last verification of everything that came to its end. */
  readonly verify?: { readonly at: string; readonly damaged: number };
  /** The last drill of each backup. */
  readonly drills?: Readonly<Record<string, { readonly at: string; readonly failures: number }>>;
}

type Changing<Status> = { -readonly [Key in keyof Status]: Status[Key] };

const statusName = 'status.json';
const checksName = 'checks.json';
const writeEvery = 1_000; // ms between what is written while something changes
const notKept = ignored('sendall status says less then, and nothing else is the worse');

/** Keeps the status of a running receiver in `directory/.sendall`, written at most once a second. */
export class StatusFile {
  private readonly since = new Date().toISOString();
  private readonly transfers = new Map<string, Changing<TransferStatus>>();
  private address: string | null = null;
  private received: { readonly event: TransferEvent & { event: 'received' }; readonly at: number } | undefined;
  /** What a receiver before this one received last. */
  private readonly before: LastReceived | null;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly directory: string,
    private readonly quota: number | undefined,
  ) {
    this.before = readStatus(directory)?.last_received ?? null;
  }

  note(event: TransferEvent): void {
    const { id } = event;
    if (event.event === 'listening') this.address = event.address;
    else if (id === undefined) return;
    else if (event.event === 'summary' || (event.event === 'failed' && event.file_name === undefined))
      this.transfers.delete(id);
    else this.noteOf(id, event);
    this.timer ??= setTimeout(() => this.write(), writeEvery).unref();
  }

  /** The receiver has ended; where nothing ever came, nothing is left of it. */
  close(): void {
    this.transfers.clear();
    this.address = null;
    if (this.last !== null) return this.write();
    clearTimeout(this.timer);
    const own = join(this.directory, '.sendall');
    try {
      rmSync(join(own, statusName), { force: true });
      rmdirSync(own);
    } catch (error) {
      ignored('something else is in it, it is gone, or may not be changed')(error);
    }
  }

  /** What one event says of its transfer. */
  private noteOf(id: string, event: TransferEvent): void {
    let transfer = this.transfers.get(id);
    if (!transfer) this.transfers.set(id, (transfer = begun(id)));
    switch (event.event) {
      case 'started':
        transfer.from = event.from ?? null;
        transfer.file_name = event.file_name;
        transfer.done = 0;
        transfer.total = event.file_size;
        break;
      case 'progress':
        if (event.phase === 'scan') break; // of all files together
        transfer.file_name = event.file_name;
        transfer.done = event.done;
        transfer.total = event.total;
        break;
      case 'received':
        this.received = { event, at: Date.now() };
        transfer.from = event.from ?? null;
        transfer.files++;
        transfer.bytes += event.file_size;
        break;
      default:
    }
  }

  /** What was received last, now or before this receiver ran. */
  private get last(): LastReceived | null {
    if (!this.received) return this.before;
    const { event, at } = this.received;
    return { file_name: event.file_name, from: event.from ?? null, at: new Date(at).toISOString() };
  }

  private write(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    const { address, last, quota = null, since } = this;
    const transfers = [...this.transfers.values()];
    keep(this.directory, statusName, {
      pid: process.pid,
      since,
      address,
      quota,
      transfers,
      last_received: last,
    } satisfies ReceiverStatus);
  }
}

function begun(id: string): Changing<TransferStatus> {
  return { id, from: null, files: 0, bytes: 0, file_name: null, done: 0, total: 0 };
}

/** What the receiver that runs at a directory, or ran there last, has left; undefined where none has. */
export function readStatus(directory: string): ReceiverStatus | undefined {
  return readKept(directory, statusName) as ReceiverStatus | undefined;
}

/** Whether that receiver still runs. */
export function isRunning({ pid, address }: ReceiverStatus): boolean {
  if (address === null) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'; // another user's
  }
}

export function readChecks(directory: string): Checks {
  return (readKept(directory, checksName) as Checks | undefined) ?? {};
}

/** Notes how a verification of everything ended: how many things are damaged. */
export function noteVerified(directory: string, damaged: number): void {
  keep(directory, checksName, { ...readChecks(directory), verify: { at: new Date().toISOString(), damaged } });
}

/** Notes how a drill of a backup ended: how many files did not come back as they were. */
export function noteDrill(directory: string, backup: string, failures: number): void {
  const checks = readChecks(directory);
  const drills = { ...checks.drills, [backup]: { at: new Date().toISOString(), failures } };
  keep(directory, checksName, { ...checks, drills });
}

function readKept(directory: string, name: string): unknown {
  try {
    return JSON.parse(readFileSync(join(directory, '.sendall', name), 'utf8'));
  } catch (error) {
    return notKept(error);
  }
}

/**
 * Whenever this ends there is the old file or the new one. A directory that was removed meanwhile is not made again.
 */
function keep(directory: string, name: string, content: object): void {
  const pathname = join(directory, '.sendall');
  const fresh = join(pathname, `${name}.new`);
  try {
    if (!existsSync(pathname)) mkdirSync(pathname, { mode: 0o700 });
    writeFileSync(fresh, `${JSON.stringify(content)}\n`, { mode: 0o600 });
    renameSync(fresh, join(pathname, name));
  } catch (error) {
    notKept(error);
  }
}
