import { constants } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { DigestPool } from '../../digest/digest-pool';
import { asTransferError, TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import type { DiskVerified } from '../../progress';
import { formatSizes } from '../../size-text';
import { DirectoryTree } from './directory-tree';
import { BatchStore } from './batch';
import { BatchThreads } from './batch-threads';
import { probe, type Abilities } from './local-probe';
import { partialName, PartialFiles } from './partial-files';
import { mountsBelow, refuseOtherDisk } from './other-disks';
import { ReceiptIndex } from './receipt-index';
import { openReceiveDirectory, type OwnDirectory, type ReceiveDirectory, removeEmpty } from './receive-directory';
import { LocalSession } from './local-session';
import { Receipts } from './receipts';
import type { OfferedFile, Room, StoreRoot, SessionStore, StoreUse } from '../session-store';
import { pieceSize } from '../../wire/segment';
import { AlignedMemory } from '../../threads/aligned-memory';
import { openLocated } from '../../threads/walker';
import { ignored, trace } from '../../trace';
import { undoAll } from './undo';

const { O_DIRECT, O_NONBLOCK, O_RDONLY } = constants as typeof constants & { readonly O_DIRECT?: number };

/** From this size on, in bytes, the free space is looked at anew for a file. */
const worthLooking = 1024 * 1024;
const freeSpaceGoodFor = 100;

/**
 * A directory of a local disk. Each session has a store of its own there, which keeps the promises of `SessionStore` by
 * descriptors, O_DIRECT, link and fsync.
 */
export class LocalStore implements StoreRoot {
  /** For the pieces of large files, of all sessions. */
  private readonly memory = new AlignedMemory(pieceSize, 24);
  private readonly threads: BatchThreads;
  /** What a new file of ours is allowed, as any program would make it. */
  private readonly mode = 0o666 & ~process.umask();
  private readonly pool = new DigestPool();
  private free: FreeRoom = { bytes: 0, mounts: new Set(), at: -Infinity };
  private promised = 0;
  private readonly promises: Promises = {
    look: async (name, size) => {
      await this.lookAtFree(size >= worthLooking);
      this.promiseNow(name, size, 'further');
      this.promised -= size;
    },
    redeem: (bytes) => (this.promised -= bytes),
  };
  /** Read ahead; its failure is reported to the first caller that needs it. */
  private readonly index: Promise<ReceiptIndex>;
  /** Partial files and receipts, which outlive the process; opened for the first session. */
  private kept:
    Promise<{ readonly partials: PartialFiles; readonly index: ReceiptIndex; readonly receipts: Receipts }> | undefined;

  private constructor(
    private readonly tree: DirectoryTree,
    private readonly opened: ReceiveDirectory,
    private readonly abilities: Abilities,
  ) {
    this.index = ReceiptIndex.open(opened.own);
    this.index.catch(ignored('whoever needs it reads it anew, and is told'));
    const { direct, foldsNames } = abilities;
    this.threads = new BatchThreads({ root: tree.root.at('.'), direct, foldsNames });
  }

  /**
   * Opens a receive directory: checks that it is ours and not writable by others, locks it, finds out what its disk can
   * do, and removes what an earlier run left staged. What we keep is in there, or at `own`. What is told of the disk in
   * `known` is taken so, and not as it was found out: for disks that a machine has not. Rejects with `directory`, and
   * then leaves it as it was.
   */
  static async open(pathname: string, own?: OwnDirectory, known: Partial<Abilities> = {}): Promise<LocalStore> {
    const opened = await openReceiveDirectory(pathname, own);
    try {
      const abilities = { ...(await probe(opened.staging)), ...known };
      return new LocalStore(new DirectoryTree(opened.root, abilities.foldsNames, opened.staging), opened, abilities);
    } catch (error) {
      await opened.release();
      throw asTransferError(error, 'directory', `${printable(pathname)} cannot be used`);
    }
  }

  get verified(): DiskVerified {
    return this.abilities.direct ? 'device' : 'cache';
  }

  /** Whether names that differ only by case or Unicode form are one here. */
  get foldsNames(): boolean {
    return this.abilities.foldsNames;
  }

  /** Whether it can go on: false once its directory, or what is ours in there, was removed or moved. */
  isUnmoved(): Promise<boolean> {
    return this.opened.isUnmoved();
  }

  /**
   * Gives the directory up, since it was removed or moved, so that it can be opened anew; sessions end by themselves.
   */
  retire(): Promise<void> {
    return this.opened.unlock();
  }

  /** Starts what small files will need. */
  warm(): void {
    this.threads.idlest().warm();
  }

  /**
   * A store for one session, or for all of the plain wire. Rejects with `disk` where what sessions keep cannot be
   * opened.
   */
  async session(use: StoreUse): Promise<SessionStore> {
    this.kept ??= this.openKept();
    const { partials, receipts } = await this.kept.catch((error: unknown) => {
      // Removed while it is opened, for instance.
      throw asTransferError(error, 'disk', 'The receive directory cannot be used');
    });
    return new LocalSession(
      use,
      {
        verified: this.verified,
        mode: this.mode,
        partials,
        receipts,
        unfinished: this.tree.unfinished,
        readBack: (file, algorithm, onProgress) => this.readBack(file, algorithm, onProgress),
        promise: (files, here) => this.promiseEach(files, here),
      },
      this.openBatches(use.algorithm),
    );
  }

  async close(): Promise<void> {
    const [kept] = await Promise.all([
      this.kept?.catch(ignored('whoever used it was told')),
      this.index.catch(ignored('whoever used it was told')),
    ]);
    // What cannot be kept must not keep the directory locked.
    const undo = [
      () => this.opened.release(),
      async () => this.tree.close(),
      () => Promise.all([this.pool.close(), this.threads.close()]),
    ];
    await undoAll(
      kept
        ? [
            ...undo,
            () => kept.index.close().catch(ignored('without its receipts the files of a directory are read again')),
            () => kept.partials.close(),
          ]
        : // One that was killed has left it.
          [...undo, () => removeEmpty(this.opened.own.at(partialName))],
      'The receive directory could not be closed',
    );
  }

  /** See `LocalShared.readBack`. */
  private async readBack(
    { name, size = 0 }: OfferedFile,
    algorithm: StoreUse['algorithm'],
    onProgress: (done: number) => void,
  ): Promise<string | undefined> {
    const direct = this.abilities.direct ? (O_DIRECT ?? 0) : 0;
    try {
      const handle = await openLocated({ path: this.tree.root.at('.'), below: name }, O_RDONLY | O_NONBLOCK | direct);
      try {
        const stat = await handle.stat();
        if (!stat.isFile() || stat.size !== size) return undefined;
        const reading = this.pool.digestFile({ fd: handle.fd, size, algorithms: [algorithm], onProgress });
        return (await reading.digests)[algorithm];
      } finally {
        await handle.close();
      }
    } catch (error) {
      trace('%s cannot be read back: %o', name, error);
      return undefined;
    }
  }

  private openBatches(algorithm: StoreUse['algorithm']): BatchStore {
    const { tree, verified, threads } = this;
    try {
      return new BatchStore({ tree, staging: this.opened.staging, verified, algorithm, threads });
    } catch (error) {
      throw asTransferError(error, 'disk', 'The staging directory cannot be opened');
    }
  }

  /** What fails is tried again for the next session. */
  private async openKept(): Promise<{ partials: PartialFiles; index: ReceiptIndex; receipts: Receipts }> {
    const { tree, pool, verified, memory, mode } = this;
    const { own, staging } = this.opened;
    try {
      const index = await this.index.catch(() => ReceiptIndex.open(own)); // opened anew, and what fails then is told
      const receipts = new Receipts(index, tree.root.at('.'), verified);
      return {
        partials: await PartialFiles.in(own, {
          tree,
          pool,
          verified,
          direct: this.abilities.direct,
          memory,
          receipts,
          staging,
          mode,
        }),
        index,
        receipts,
      };
    } catch (error) {
      this.kept = undefined;
      throw error;
    }
  }

  /** See `LocalShared.promise`: free space less what others were promised and have not written yet. */
  private async promiseEach(files: readonly OfferedFile[], here: readonly number[]): Promise<(Room | TransferError)[]> {
    await this.lookAtFree(files.some(({ size = 0 }) => size >= worthLooking));
    return files.map(({ name, size = 0, data = size }, at) => {
      const lacks = Math.max(0, Math.min(size, data) - (here[at] ?? 0));
      const elsewhere = refuseOtherDisk(name, this.free.mounts);
      if (elsewhere) return elsewhere;
      try {
        this.promiseNow(name, lacks);
        return new PromisedRoom(name, size, lacks, this.promises);
      } catch (error) {
        return asTransferError(error, 'space', 'There is no room');
      }
    });
  }

  /** A little stale for small files, since full disks are noticed anyway. */
  private async lookAtFree(now: boolean): Promise<void> {
    if (!now && Date.now() - this.free.at <= freeSpaceGoodFor) return;
    const { root } = this.opened;
    const [{ bavail, bsize, blocks }, mounts] = await Promise.all([statfs(root.at('.')), mountsBelow(root)]);
    // Some disks in user space do not tell: what does not fit fails when it is written.
    const bytes = blocks === 0 ? Infinity : bavail * bsize;
    this.free = { bytes, mounts, at: Date.now() };
  }

  /** `bytes`: whether these are all of a file, or some that follow others. Throws `space`. */
  private promiseNow(name: EntryName, size: number, bytes: 'all' | 'further' = 'all'): void {
    const left = this.free.bytes - this.promised;
    if (size > left) {
      const [needed, free] = formatSizes(size, Math.max(0, left));
      throw new TransferError(
        'space',
        `${printable(name)} needs ${needed}${bytes === 'all' ? '' : ' more'}, and ${free} are free where it goes.`,
      );
    }
    this.promised += size;
  }
}

/** What is free on the disk, and what of the names in the directory is not on it, as they were found at that moment. */
interface FreeRoom {
  readonly bytes: number;
  /** See `mountsBelow`. */
  readonly mounts: ReadonlySet<string>;
  /** By Date.now(). */
  readonly at: number;
}

/** The promises of one disk. */
interface Promises {
  /** Looks at what is free without promising any of it. Rejects with `space`. */
  look(name: EntryName, size: number): Promise<void>;
  /** Bytes that were promised are not any more. */
  redeem(bytes: number): void;
}

/** One object for each arriving file. */
class PromisedRoom implements Room {
  /** `owed`: how many bytes are promised to it. */
  constructor(
    private readonly name: EntryName,
    private size: number,
    private owed: number,
    private readonly promises: Promises,
  ) {}

  async grow(size: number): Promise<void> {
    const more = size - this.size;
    this.size = Math.max(this.size, size);
    // Not promised: it is written at once.
    if (more > 0) await this.promises.look(this.name, more);
  }

  wrote(bytes: number): void {
    const redeemed = Math.min(bytes, this.owed);
    this.owed -= redeemed;
    this.promises.redeem(redeemed);
  }

  settle(): void {
    this.wrote(this.owed);
  }

  suspend(): void {
    this.settle();
  }
}
