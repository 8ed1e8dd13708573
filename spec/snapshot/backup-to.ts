import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TransferEvent } from '../../lib/index';
import { TransferError } from '../../lib/errors';
import { backup, type BackupOptions, type BackupResult } from '../../lib/snapshot/backup/backup';
import { createReceiver } from '../../lib/snapshot/receiver';
import { type Manifest, manifestName, parseManifest } from '../../lib/snapshot/manifest/manifest';
import type { Receiver } from '../../lib/receive/receiver';

/** How one backup ended, and what it told. */
export interface Backed {
  readonly result?: BackupResult;
  readonly error?: TransferError;
  readonly events: readonly TransferEvent[];
  /** `NAME/ID` of the snapshot, if one was made. */
  readonly snapshot: string | undefined;
}

export type Way = 'a directory of this machine' | 'a receiver, in a session';

/** A receive directory that is backed up to in one of both ways; `close` removes it. */
export class BackupPlace {
  private receiver: Receiver | undefined;
  private ticket = '';
  readonly received: TransferEvent[] = [];

  private constructor(
    readonly root: string,
    private readonly way: Way,
  ) {}

  static async make(way: Way): Promise<BackupPlace> {
    const place = new BackupPlace(await mkdtemp(path.join(tmpdir(), 'sendall-backup-')), way);
    if (way === 'a receiver, in a session') await place.startReceiver();
    return place;
  }

  async startReceiver(): Promise<void> {
    this.receiver = await createReceiver({ directory: this.root, on: (event) => void this.received.push(event) });
    this.ticket = (await this.receiver.listen('127.0.0.1:0')).ticket;
  }

  async stopReceiver(): Promise<void> {
    await this.receiver?.close();
    this.receiver = undefined;
  }

  /** Backs up to here; never rejects. */
  async backup(paths: readonly string[], options: Partial<BackupOptions> = {}): Promise<Backed> {
    const events: TransferEvent[] = [];
    const on = (event: TransferEvent): void => void events.push(event);
    const made = (): string | undefined => events.find((event) => event.event === 'snapshot')?.snapshot;
    try {
      const result = await backup({ paths, name: 'b', ...this.where, retryFor: 0, on, ...options });
      return { result, events, snapshot: made() };
    } catch (error) {
      if (!(error instanceof TransferError)) throw error;
      return { error, events, snapshot: made() };
    }
  }

  /** How it is named to whoever wants something of its snapshots. */
  get where(): { readonly target: string } | { readonly directory: string } {
    return this.receiver ? { target: this.ticket } : { directory: this.root };
  }

  at(...names: readonly string[]): string {
    return path.join(this.root, ...names);
  }

  manifest(snapshot: string): Manifest {
    return parseManifest(readFileSync(this.at(snapshot, manifestName)));
  }

  /** What the real tool says of a snapshot; throws where it finds something wrong. */
  check(snapshot: string, tool: 'sha256sum' | 'md5sum' = 'sha256sum'): string {
    const list = tool === 'sha256sum' ? 'SHA256SUMS' : 'MD5SUMS';
    return execFileSync(tool, ['--strict', '-c', list], { cwd: this.at(snapshot), encoding: 'utf8' });
  }

  async close(): Promise<void> {
    await this.stopReceiver();
    await rm(this.root, { recursive: true, force: true });
  }
}

/** Types, modes, times in ns, sizes and link targets of everything below `place`, as `find` tells them. */
export function listing(place: string): string {
  return execFileSync('find', ['.', '-printf', '%P\t%y\t%m\t%s\t%l\t%T@\n'], { cwd: place, encoding: 'utf8' })
    .split('\n')
    .map((line) => (line.split('\t')[1] === 'd' ? line.replace(/\t\d+\t\t/, '\t\t\t') : line))
    .sort()
    .join('\n');
}
