import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { parseEntryName } from '../../../lib/name';
import { DirectoryTree } from '../../../lib/store/local/directory-tree';
import {
  type BatchedDirectory,
  type BatchedFile,
  type BatchedSymlink,
  type BatchGround,
  BatchStore,
  type EntryOutcome,
} from '../../../lib/store/local/batch';
import { BatchThreads } from '../../../lib/store/local/batch-threads';
import { probe } from '../../../lib/store/local/local-probe';
import { openReceiveDirectory, type ReceiveDirectory } from '../../../lib/store/local/receive-directory';
import type { IfExists } from '../../../lib/store/store';
import { emptyDirectory } from './local-place';

/** What a file of a group may have, apart from name and content. */
export type Extras = Partial<Pick<BatchedFile, 'mode' | 'mtime' | 'ifExists' | 'digest'>>;

export const someTime = 1_700_000_000_123_456_789n;

export function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/**
 * A group store in a receive directory, to be filled in few words. Entries are numbered in the order in which they
 * come.
 */
export class Grouping {
  readonly store: BatchStore;
  private number = 0;
  private closed: Promise<void> | undefined;

  private constructor(
    readonly directory: string,
    private readonly place: BatchGround,
    readonly direct: boolean,
    private readonly opened: ReceiveDirectory,
  ) {
    this.store = new BatchStore(place);
  }

  static async open(
    options: {
      readonly directory?: string;
      readonly syncEach?: boolean;
      readonly foldsNames?: boolean;
      readonly workers?: number;
    } = {},
  ): Promise<Grouping> {
    const directory = options.directory ?? (await emptyDirectory());
    const opened = await openReceiveDirectory(directory);
    const { direct } = await probe(opened.staging);
    const foldsNames = options.foldsNames ?? false;
    const tree = new DirectoryTree(opened.root, foldsNames);
    const { syncEach } = options;
    const threads = new BatchThreads(
      { root: tree.root.at('.'), direct, foldsNames, ...(syncEach === undefined ? {} : { syncEach }) },
      options.workers,
    );
    const place = {
      tree,
      staging: opened.staging,
      verified: direct ? 'device' : 'cache',
      algorithm: 'sha256',
      threads,
    } as const;
    return new Grouping(directory, place, direct, opened);
  }

  /** One bundle: content by name. */
  async write(
    files: Readonly<Record<string, string | Uint8Array>>,
    extras: Extras = {},
    store = this.store,
  ): Promise<void> {
    const lease = await store.memory.lease();
    let at = 0;
    const bundle: BatchedFile[] = [];
    for (const [name, content] of Object.entries(files)) {
      const bytes = Buffer.from(content);
      lease.bytes.set(bytes, at);
      at += bytes.length;
      bundle.push({
        ...this.numbered(name),
        size: bytes.length,
        digest: sha256Of(bytes),
        mode: 0o644,
        mtime: someTime,
        ifExists: 'refuse',
        ...extras,
      });
    }
    await store.write(lease, bundle);
  }

  /**
   * Another group store in the same receive directory, for one bundle in one group at a time; close it before this one.
   */
  another(): { put(files: Readonly<Record<string, string>>): Promise<EntryOutcome[]>; close(): Promise<void> } {
    const store = new BatchStore(this.place);
    const put = async (files: Readonly<Record<string, string>>): Promise<EntryOutcome[]> => {
      await this.write(files, {}, store);
      return store.flush();
    };
    return { put, close: () => store.close() };
  }

  /** One bundle in one group: what became of each, as `words` says it. */
  async put(files: Readonly<Record<string, string | Uint8Array>>, extras: Extras = {}): Promise<string[]> {
    await this.write(files, extras);
    return words(await this.store.flush());
  }

  symlink(name: string, target: string, extras: Partial<Pick<BatchedSymlink, 'mtime' | 'ifExists'>> = {}): void {
    this.store.symlink({ ...this.numbered(name), target, mtime: someTime, ifExists: 'refuse', ...extras });
  }

  makeDirectory(name: string, extras: Partial<Pick<BatchedDirectory, 'mode' | 'mtime'>> = {}): void {
    this.store.directory({ ...this.numbered(name), mode: 0o755, mtime: someTime, ...extras });
  }

  async link(names: Readonly<Record<string, string>>, ifExists: IfExists = 'refuse'): Promise<string[]> {
    return words(
      await this.store.link(
        Object.entries(names).map(([name, target]) => ({
          ...this.numbered(name),
          target: parseEntryName(target),
          ifExists,
        })),
      ),
    );
  }

  at(...names: string[]): string {
    return path.join(this.directory, ...names);
  }

  /** Removes what was received, so that the next test finds nothing. */
  async clear(): Promise<void> {
    // Some names are too deep for a path.
    for (const name of await readdir(this.directory))
      if (name !== '.sendall') execFileSync('rm', ['-rf', this.at(name)]);
  }

  closeStore(): Promise<void> {
    this.closed ??= this.store.close();
    return this.closed;
  }

  async close(): Promise<void> {
    await this.closeStore();
    await this.place.threads.close();
    this.place.tree.close();
    await this.opened.release();
  }

  /** Also removes everything. */
  async end(): Promise<void> {
    await this.close();
    await rm(this.directory, { recursive: true, force: true });
  }

  private numbered(name: string): { readonly file: number; readonly name: ReturnType<typeof parseEntryName> } {
    return { file: this.number++, name: parseEntryName(name, { allowHidden: true }) };
  }
}

/** Each outcome as `stored a/b`, or as the code of its error. */
export function words(outcomes: readonly EntryOutcome[]): string[] {
  return outcomes.map(({ committed, error }) =>
    committed ? `${committed.outcome} ${committed.path}` : (error?.code ?? 'nothing'),
  );
}
