/**
 * Files that come whole, one after another, each from its first byte to its last, into any session's store: the way of
 * the plain wire (PROTOCOL.md 1 to 10). A small file goes into a batch together with others (`gathered-files.ts`); a
 * large one is a partial file that nobody goes on with.
 */
import { TransferError } from '../errors';
import { printable } from '../name';
import type { Digests, Verified } from '../progress';
import { alignment } from '../threads/aligned-memory';
import { smallFile } from '../wire/segment';
import { type FileOutcome, GatheredFile, GatheredFiles, type TakenFiles } from './gathered-files';
import type { OfferedFile, PartialFile, Room, SessionStore } from './session-store';
import type { NewFile, StagedFile } from './staged-file';
import { StagedSteps } from './staged-steps';
import { alreadyExists, type Committed, type IfExists, incomplete } from './store';

/** From this size on, in bytes, a file that would be refused at the end is refused before its bytes are taken. */
const worthLooking = 1024 * 1024;

/** What promises room to files, each as they come: a store, or one with limits. */
export type Admission = Pick<SessionStore, 'admit'>;

/** Files that come whole, of however many connections, into one store. */
export class WholeFiles {
  private readonly gathered: GatheredFiles;
  private readonly files = new Set<StagedFile>();

  /** `store` is theirs alone, opened `inOrder` with this rule, and released by `close`. */
  constructor(
    private readonly store: SessionStore,
    private readonly ifExists: IfExists,
  ) {
    this.gathered = new GatheredFiles(store);
  }

  /** How far reading back goes in this store. */
  get verified(): Verified {
    return this.store.verified;
  }

  /** What promises room where nobody has limits. */
  get admission(): Pick<SessionStore, 'admit' | 'lookup'> {
    return this.store;
  }

  /**
   * Promises room for a file and stages it. Rejects with `space`, `size` or `quota`, `exists` (where that is known this
   * early), `name` or `disk`.
   */
  async stage(file: NewFile, admission: Admission = this.store): Promise<StagedFile> {
    const offered: OfferedFile = { file: 0, name: file.name, size: file.size };
    const [room] = await admission.admit([offered]);
    if (!room || room instanceof TransferError)
      throw room ?? new TransferError('unexpected', `${printable(file.name)} was not admitted.`);
    try {
      if (file.size >= worthLooking) await this.refuseEarly(offered);
      const staged = await this.open(file, offered, room);
      this.files.add(staged);
      return staged;
    } catch (error) {
      room.settle(false);
      throw error;
    }
  }

  /**
   * The same as staging, verifying and committing each of these small files, in one go. Resolves once all that have
   * room are in memory of the store, whose outcomes are those that `stage`, `verify` and `commit` reject with. Rejects
   * with `disk`.
   */
  async put(
    files: readonly NewFile[],
    contents: readonly Uint8Array[],
    admission: Admission = this.store,
  ): Promise<TakenFiles> {
    const rooms = await admission.admit(files.map(({ name, size }) => ({ file: 0, name, size })));
    const hasRoom = (_: unknown, at: number): boolean => isRoom(rooms[at]);
    try {
      const { settled } = await this.gathered.take(files.filter(hasRoom), contents.filter(hasRoom));
      return { settled: settled.then((outcomes) => settleRooms(rooms, outcomes)) };
    } catch (error) {
      settleRooms(rooms, []);
      throw error;
    }
  }

  /** Throws away what is still staged, and releases the store. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.files].map((file) => file.discard()));
    await this.gathered.close();
    await this.store.release();
  }

  private async open(file: NewFile, offered: OfferedFile, room: Room): Promise<StagedFile> {
    const over = (ended: StagedFile, kept: boolean): void => {
      this.files.delete(ended);
      room.settle(kept);
    };
    if (file.size > smallFile) {
      const partial = await this.store.partial(offered, undefined);
      return new StreamedFile(file, partial, { [this.store.algorithm]: file.digest }, room, over);
    }
    await this.gathered.room();
    return new GatheredFile(file, this.store.algorithm, this.gathered, over);
  }

  private async refuseEarly(offered: OfferedFile): Promise<void> {
    const { ifExists } = this;
    const [existing] = await this.store.lookup([offered]);
    if (!existing || ifExists === 'rename') return;
    if (existing.kind !== 'file') throw alreadyExists(offered.name, ifExists, 'something that is not a regular file');
    if (ifExists !== 'replace' && existing.size !== offered.size) throw alreadyExists(offered.name, ifExists);
  }
}

function isRoom(room: Room | TransferError | undefined): room is Room {
  return room !== undefined && !(room instanceof TransferError);
}

/** What became of files, of which those with room have `outcomes`; their rooms are settled by that. */
function settleRooms(rooms: readonly (Room | TransferError)[], outcomes: readonly FileOutcome[]): FileOutcome[] {
  let next = 0;
  return rooms.map((room) => {
    if (!isRoom(room)) return room;
    const outcome = outcomes[next++] ?? new TransferError('unexpected', 'A file was not stored.');
    room.settle(!(outcome instanceof TransferError) && outcome.outcome !== 'identical');
    return outcome;
  });
}

/** A large file that comes in order. */
class StreamedFile implements StagedFile {
  private readonly steps: StagedSteps;
  private received = 0;
  private written = 0;
  /** Bytes behind the last whole sector, kept until more of them make one. */
  private carry: Uint8Array = new Uint8Array(0);

  constructor(
    private readonly file: NewFile,
    private readonly partial: PartialFile,
    private readonly digests: Digests,
    private readonly room: Room,
    /** Told once, when it has ended, and whether its bytes were kept. */
    over: (file: StagedFile, kept: boolean) => void,
  ) {
    this.steps = new StagedSteps((kept) => over(this, kept));
  }

  async write(fill: (memory: Uint8Array, hurry: () => boolean) => Promise<number>): Promise<number> {
    const { partial, file } = this;
    await partial.room();
    const lease = await partial.memory.lease();
    let taken = false;
    try {
      this.steps.throwIfEnded();
      const { carry } = this;
      lease.bytes.set(carry);
      const most = Math.min(lease.bytes.length - carry.length, file.size - this.received);
      const memory = lease.bytes.subarray(carry.length, carry.length + most);
      const count = await fill(memory, () => partial.memory.contended);
      this.steps.throwIfEnded();
      this.received += count;
      const have = carry.length + count;
      const length = this.received === file.size ? have : have - (have % alignment);
      this.carry = lease.bytes.slice(length, have);
      if (length > 0) {
        taken = true;
        const offset = this.written;
        this.written += length;
        partial.put(lease, offset, length);
        this.room.wrote(length);
      }
      return count;
    } finally {
      if (!taken) lease.release();
    }
  }

  async verify(onProgress?: (done: number) => void): Promise<void> {
    const { file, partial, received } = this;
    this.steps.throwIfEnded();
    if (received !== file.size) throw incomplete(file, received);
    await this.steps.verify(() => partial.verify(file.size, this.digests, onProgress));
  }

  commit(): Promise<Committed> {
    return this.steps.commit(() => this.partial.commit());
  }

  discard(): Promise<void> {
    return this.steps.discard(() => this.partial.discard());
  }
}
