/**
 * Puts snapshots on the register that this receiver has not committed, or has forgotten: after a disk was moved,
 * `.sendall` was lost, or where an older version without a register made them. For the owner of the machine alone;
 * nobody asks for it over the network.
 */
import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { asTransferError, errnoOf, TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import type { Listener, TransferEvent } from '../../progress';
import type { Directory } from '../../store/local/directory';
import { removeEmpty } from '../../store/local/receive-directory';
import { lockBackup, type LockedBackup } from '../backup/backup-lock';
import { backupNameOf, Catalog, readUnregistered, type Snapshot, within } from '../manifest/catalog';
import { foreignIn, unregisteredBackups } from '../manifest/foreign';
import { manifestName, type ManifestTotals } from '../manifest/manifest';
import { isSnapshotId, type SnapshotId } from '../manifest/snapshot-id';
import {
  type RegisteredBackup,
  registeredNames,
  type RegisteredSnapshot,
  removeRegister,
  removingPrefix,
  settleRegister,
  writeRegister,
} from '../register/register';
import { DeviceReader } from '../verify/device-reader';
import { VerifyRun } from '../verify/verify-run';

export interface AdoptOptions {
  /** The receive directory. */
  readonly directory: string;
  /**
   * This backup only, also where it is registered: then what lies under its name beside the registered snapshots is
   * adopted too.
   */
  readonly name?: string;
  /**
   * Whose they are from now on: the id of a key, `ticket`, or `local` for this machine. Default: whose they were, or
   * else `local`.
   */
  readonly owner?: string;
  /** Adopts also what is damaged: it can be restored and verified, and no backup ever links to it. */
  readonly damaged?: boolean;
  readonly signal?: AbortSignal;
  readonly on?: (event: AdoptEvent | TransferEvent) => void;
}

export type AdoptEvent =
  /**
   * It was read back, is as its manifest says (or is `damaged`, and was wanted all the same), and is on the register.
   */
  | {
      readonly event: 'adopted';
      readonly snapshot: string;
      readonly entries: number;
      readonly bytes: number;
      readonly damaged?: true;
    }
  /** It is not on the register, and why. */
  | { readonly event: 'not-adopted'; readonly snapshot: string; readonly reason: string }
  /** It is not there, and not on the register any more. */
  | { readonly event: 'forgotten'; readonly snapshot: string }
  /** What the register says of a backup by now. */
  | { readonly event: 'registered'; readonly name: string; readonly owner: string; readonly snapshots: number };

/** Something that says of itself that it is a snapshot. */
interface Candidate {
  readonly snapshot: Snapshot;
  readonly totals: ManifestTotals;
}

/** File of versions without registers: the owner of the last snapshot. */
const oldOwnerName = 'owner';
/** Highest snapshot number that is believed: a larger one would leave no number for the next snapshot. */
const highestBelieved = 2 ** 31 - 1;

/**
 * Reads back what lies in a receive directory and is not registered, compares it with its manifests, and registers what
 * is whole. What is registered and gone is taken off. Tells `damaged` and `progress` as `verify` does, then what became
 * of each. Interrupted, it goes on where it stopped.
 *
 * Resolves when all there is was registered. Rejects with `mismatch` where something was not, after all others were;
 * with `usage` where there is nothing of that name, with `directory` where it cannot be used or another process uses
 * the backup, and with `interrupted`.
 */
export async function adopt(options: AdoptOptions): Promise<void> {
  const { directory, name, on = () => undefined } = options;
  const registered = await registeredNames(directory);
  const names =
    name === undefined
      ? [...new Set([...registered, ...(await unregisteredBackups(directory, registered))])].sort()
      : [name];
  let left = 0;
  for (const each of names) {
    const backup = backupNameOf(each);
    if (backup === undefined) throw new TransferError('usage', `${printable(each)} cannot be the name of a backup.`);
    left += await adoptBackup(backup, registered.includes(backup), options);
  }
  if (name === undefined)
    for (const each of await foreignIn(new Catalog(directory))) on({ event: 'foreign', path: each });
  if (left > 0)
    throw new TransferError('mismatch', `${String(left)} ${left === 1 ? 'snapshot is' : 'snapshots are'} not whole.`, {
      hint: 'With --damaged they can be restored and verified all the same. Look at the disk first.',
    });
}

/** Resolves with how many are not whole. */
async function adoptBackup(name: EntryName, isRegistered: boolean, options: AdoptOptions): Promise<number> {
  const { directory, signal } = options;
  if (isRegistered) await remake(path.join(directory, name));
  const backup = await lockBackup(directory, name).catch((error: unknown) => {
    const cause = error instanceof TransferError ? error.cause : error;
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(cause) ?? ''))
      throw new TransferError('usage', `There is no backup ${printable(name)} in ${printable(directory)}.`, { cause });
    throw error;
  });
  try {
    return await new Adoption(backup, options).run();
  } catch (error) {
    if (signal?.aborted === true)
      throw new TransferError('interrupted', 'Interrupted. The same command goes on from here.', { cause: error });
    throw asTransferError(error, 'disk', `The backup ${printable(name)} cannot be registered`);
  } finally {
    await backup.release();
    if (isRegistered) await removeEmpty(path.join(directory, name));
  }
}

/** One backup that is locked. */
class Adoption {
  private readonly on: NonNullable<AdoptOptions['on']>;
  private readonly name: EntryName;

  constructor(
    private readonly backup: LockedBackup,
    private readonly options: AdoptOptions,
  ) {
    this.on = options.on ?? (() => undefined);
    this.name = backup.name;
  }

  async run(): Promise<number> {
    const { backup, options, name } = this;
    const { own, root, backupDirectory } = backup;
    const before = await this.registerBefore();
    const owner = options.owner ?? before?.owner ?? (await oldOwner(own)) ?? 'local';
    const [known, lost] = await this.divided(before?.snapshots ?? []);
    // What came under the name of a backup that is registered is nothing that anybody waits for: whoever wants it says
    // so.
    const ids =
      before && options.name === undefined
        ? []
        : (await backupDirectory.list()).filter(isSnapshotId).filter((id) => !known.some((each) => each.id === id));
    const { candidates, refused } = await this.candidates(ids, owner);
    const damaged = await this.damagedOf(candidates);
    const adopted = candidates.filter(({ snapshot }) => options.damaged === true || !damaged.has(snapshot.id));
    const entries = adopted.map(({ snapshot: { id, entry } }): RegisteredSnapshot =>
      damaged.has(id) ? { ...entry, damaged: true } : entry,
    );
    const register = { name, owner, snapshots: numbered([...known, ...entries]) };
    if (register.snapshots.length > 0) await writeRegister(own, register);
    else if (before) await removeRegister(own);
    await rm(own.at(oldOwnerName), { force: true });
    for (const { id } of lost) await rm(own.at(`${id}.verified`), { force: true });
    await root.sync();
    this.tell(candidates, damaged, adopted);
    for (const { id } of lost) this.on({ event: 'forgotten', snapshot: `${name}/${id}` });
    if (register.snapshots.length > 0)
      this.on({ event: 'registered', name, owner, snapshots: register.snapshots.length });
    return refused + damaged.size;
  }

  /** One that is damaged is as good as none. */
  private async registerBefore(): Promise<RegisteredBackup | undefined> {
    const { own, root } = this.backup;
    try {
      return await settleRegister(own, root, this.name);
    } catch (error) {
      if (!(error instanceof TransferError) || error.code !== 'mismatch') throw error;
      await removeRegister(own);
      return undefined;
    }
  }

  /** What is registered and there, and what is gone and not being removed. */
  private async divided(
    snapshots: readonly RegisteredSnapshot[],
  ): Promise<[RegisteredSnapshot[], RegisteredSnapshot[]]> {
    const { backupDirectory, own } = this.backup;
    const [known, lost]: [RegisteredSnapshot[], RegisteredSnapshot[]] = [[], []];
    for (const each of snapshots) {
      const isPresent =
        (await backupDirectory.look(each.id))?.isDirectory() === true ||
        (await own.look(`${removingPrefix}${each.id}`)) !== undefined;
      (isPresent ? known : lost).push(each);
    }
    return [known, lost];
  }

  /** Those whose manifests can be believed; how many cannot. */
  private async candidates(
    ids: readonly SnapshotId[],
    owner: string,
  ): Promise<{ readonly candidates: Candidate[]; readonly refused: number }> {
    const candidates: Candidate[] = [];
    const { name, options } = this;
    for (const id of [...ids].sort()) {
      const { directory } = options;
      try {
        const { outline, size } = await readUnregistered({ directory, name, id });
        const { head, totals, sum } = outline;
        if (head.number < 1 || head.number > highestBelieved)
          throw new TransferError(
            'mismatch',
            `Its manifest has the number ${String(head.number)}, which no backup comes to.`,
          );
        candidates.push({
          snapshot: {
            name,
            id,
            directory,
            pathname: path.join(directory, name, id),
            head,
            lost: false,
            entry: { number: head.number, id, owner, manifest: sum, size },
          },
          totals,
        });
      } catch (error) {
        const { message } = asTransferError(error, 'mismatch', 'The manifest cannot be read');
        this.on({ event: 'not-adopted', snapshot: `${name}/${id}`, reason: message });
      }
    }
    return { candidates, refused: ids.length - candidates.length };
  }

  /**
   * Reads all of them back; those of which something is missing or other than it was. What was put in beside it is
   * told, and harms nothing.
   */
  private async damagedOf(candidates: readonly Candidate[]): Promise<Set<string>> {
    const damaged = new Set<string>();
    const chosen = candidates.map(({ snapshot }) => snapshot);
    const [first] = chosen;
    if (!first) return damaged;
    const { directory, signal = new AbortController().signal } = this.options;
    const note: Listener = (event) => {
      if (event.event === 'damaged' && event.reason !== 'foreign')
        damaged.add(event.snapshot.slice(this.name.length + 1));
      if (event.event !== 'summary') this.on(event);
    };
    const reader = await DeviceReader.open(directory, within(first, manifestName).below);
    try {
      await new VerifyRun({
        catalog: new Catalog(directory),
        chosen,
        called: this.name,
        reader,
        share: 1,
        signal,
        on: note,
      }).run();
    } catch (error) {
      if (!(error instanceof TransferError) || error.code !== 'mismatch') throw error;
    } finally {
      await reader.close();
    }
    return damaged;
  }

  private tell(candidates: readonly Candidate[], damaged: ReadonlySet<string>, adopted: readonly Candidate[]): void {
    for (const candidate of candidates) {
      const { snapshot, totals } = candidate;
      const called = `${this.name}/${snapshot.id}`;
      const flaw = damaged.has(snapshot.id) ? ({ damaged: true } as const) : {};
      if (adopted.includes(candidate))
        this.on({ event: 'adopted', snapshot: called, entries: totals.entries, bytes: totals.bytes, ...flaw });
      else this.on({ event: 'not-adopted', snapshot: called, reason: 'It is not as its manifest says.' });
    }
  }
}

/** Each with a number of its own, in their order; none lower than its manifest says, so that the next ones follow. */
function numbered(snapshots: readonly RegisteredSnapshot[]): RegisteredSnapshot[] {
  let last = 0;
  return [...snapshots]
    .sort((one, other) => one.number - other.number || (one.id < other.id ? -1 : 1))
    .map((each) => ({ ...each, number: (last = Math.max(last + 1, each.number)) }));
}

async function oldOwner(own: Directory): Promise<string | undefined> {
  const text = await readFile(own.at(oldOwnerName), 'utf8').catch(() => ''); // nobody knows, then
  return text === '' ? undefined : text;
}

/** The directory of a backup that is registered, and of which nothing is there any more. */
async function remake(pathname: string): Promise<void> {
  await mkdir(pathname).catch((error: unknown) => {
    if (errnoOf(error) !== 'EEXIST') throw asTransferError(error, 'directory', `${printable(pathname)} cannot be made`);
  });
}
