// Snapshots as they are found and read, wherever they are kept: in a receive directory, or in an object store.
import { errnoOf, TransferError } from '../../errors';
import { type EntryName, parseEntryName, printable } from '../../name';
import type { RegisteredSnapshot } from '../register/register-text';
import {
  type DecodedManifest,
  decodeManifest,
  fileLinesDecoder,
  type Manifest,
  ManifestDecoder,
  type ManifestEntry,
  type ManifestHead,
  type ManifestOutline,
  matchingDecoder,
  otherFilesDecoder,
  otherFilesIn,
  outlineDecoder,
} from './manifest';
import type { SnapshotId } from './snapshot-id';

/** The name that points to the newest snapshot of a backup. */
export const latestName = 'latest';

/** What a system says of a path at which there is nothing, or something that is no file. */
const nothingThere: readonly (string | undefined)[] = ['ENOENT', 'ENOTDIR', 'ELOOP', 'EISDIR'];

/**
 * Whether a manifest was not what it was, or was not there, when this was thrown. One that could not be read may be
 * whole.
 */
export function isDamage(error: unknown): boolean {
  if (!(error instanceof TransferError) || error.code !== 'mismatch') return false;
  for (let cause: unknown = error.cause; cause instanceof Error; cause = cause.cause) {
    const errno = errnoOf(cause);
    if (errno !== undefined) return nothingThere.includes(errno);
  }
  return true;
}

/** One complete snapshot. */
export interface Snapshot {
  readonly name: EntryName;
  readonly id: SnapshotId;
  /** Where it is, for people. On a disk, to reach what is in it, walk from `directory` to `NAME/ID/…`. */
  readonly pathname: string;
  /** The path of the receive directory, or the URL of the object store. */
  readonly directory: string;
  /** What the register says of it. */
  readonly entry: RegisteredSnapshot;
  /** The beginning of its manifest, or why that cannot be believed. */
  readonly head: ManifestHead | TransferError;
  /** Its directory is not there, and nobody removes it. */
  readonly lost: boolean;
}

/** The snapshots of a backup, the oldest first, and whose it is, whoever made them; undefined where there is none. */
export interface OwnedSnapshots {
  readonly owner: string | undefined;
  readonly snapshots: readonly Snapshot[];
}

/** A manifest of which most lines are not taken apart. */
export interface ManifestLines {
  /** Lines of files, by their names. */
  readonly files: ReadonlyMap<string, string>;
  /** All others. */
  readonly entries: readonly ManifestEntry[];
}

/** What there is of snapshots in one place. Reads only. */
export abstract class SnapshotCatalog {
  /** The path of the receive directory, or the URL of the object store. */
  abstract readonly directory: string;

  /** The backups that have a snapshot, sorted. Rejects with `directory` where that cannot be read. */
  abstract names(): Promise<EntryName[]>;

  /**
   * The snapshots of a backup by their numbers, the oldest first. None is an empty list. Rejects with `mismatch` where
   * what says so is damaged, with `directory` where it cannot be read.
   */
  abstract snapshots(name: EntryName): Promise<Snapshot[]>;

  /** The same, and whose backup it is. Rejects like `snapshots`. */
  abstract owned(name: EntryName): Promise<OwnedSnapshots>;

  /** What to do where a snapshot, or a backup, is not there; undefined where there is nothing to say. */
  protected abstract hint(name: string): Promise<string | undefined>;

  /** The bytes of a manifest. */
  protected abstract bytesOf(snapshot: Snapshot): AsyncIterable<Uint8Array>;

  /** The snapshot `NAME/ID` or `NAME/latest`. Rejects with `usage` where there is none. */
  async find(text: string): Promise<Snapshot> {
    const [first = '', second = '', ...others] = text.replace(/\/$/, '').split('/');
    const name = backupNameOf(first);
    if (name === undefined || second === '' || others.length > 0) {
      throw new TransferError('usage', printable(`"${text}" names no snapshot.`), {
        hint: 'It is NAME/2026-11-20T101233Z or NAME/latest; sendall snapshots lists them.',
      });
    }
    const all = await this.snapshots(name);
    const found =
      second === latestName
        ? all.filter(({ head }) => !(head instanceof TransferError)).at(-1)
        : all.find(({ id }) => id === second);
    if (!found)
      throw new TransferError('usage', printable(`There is no snapshot ${text}.`), {
        hint:
          all.length > 0
            ? printable(`sendall snapshots DIR ${name} lists what there is.`)
            : ((await this.hint(name)) ?? 'sendall snapshots lists them.'),
      });
    return found;
  }

  /**
   * The snapshot `NAME/ID` whose manifest is damaged, of `backup` if one is told. Rejects with `usage` where there is
   * none, or its manifest is as it was, with `mismatch` where more than that is lost, and with `disk` where it is not
   * known, since that cannot be read.
   */
  async findDamaged(text: string, backup: string | undefined): Promise<Snapshot> {
    const snapshot = await this.find(text);
    const called = `${snapshot.name}/${snapshot.id}`;
    if (text.replace(/\/$/, '') !== called)
      throw new TransferError('usage', printable(`${text} may be another one by then.`), {
        hint: printable(`It is ${called} now.`),
      });
    if (backup !== undefined && snapshot.name !== backup)
      throw new TransferError('usage', printable(`${text} is no snapshot of the backup ${backup}.`));
    if (snapshot.lost && snapshot.head instanceof TransferError) throw snapshot.head;
    if (await this.isDamaged(snapshot)) return snapshot;
    throw new TransferError('usage', printable(`The manifest of ${called} is not damaged: only rules remove it.`), {
      hint: 'sendall verify names what is damaged.',
    });
  }

  /** Whether its manifest is damaged. Rejects with `disk` where that is not known, since it cannot be read. */
  async isDamaged(snapshot: Snapshot): Promise<boolean> {
    try {
      await this.outline(snapshot);
      return false;
    } catch (error) {
      if (isDamage(error)) return true;
      if (!(error instanceof TransferError) || error.code !== 'mismatch') throw error;
      const called = `${snapshot.name}/${snapshot.id}`;
      throw new TransferError('disk', printable(`Whether ${called} is damaged is not known. ${error.message}`), {
        cause: error,
        hint: 'See to it that its manifest can be read, and try again.',
      });
    }
  }

  /**
   * All that a snapshot says of itself. Rejects with `mismatch` where its manifest is missing, or is not the one that
   * was registered.
   */
  async manifest(snapshot: Snapshot): Promise<Manifest> {
    const { head, entries, totals } = await this.decode(snapshot, new ManifestDecoder());
    return { head, entries, totals };
  }

  /** The same without the entries, which takes a fraction of the time. */
  async outline(snapshot: Snapshot): Promise<ManifestOutline> {
    const { head, totals } = await this.decode(snapshot, outlineDecoder());
    return { head, totals };
  }

  /** Those of its entries whose names `wants` chooses: no others are kept. Rejects like `manifest`. */
  async matching(
    snapshot: Snapshot,
    wants: (name: string, isDirectory: boolean) => boolean,
  ): Promise<readonly ManifestEntry[]> {
    return (await this.decode(snapshot, matchingDecoder(wants))).entries;
  }

  /** Its files whose digest is not `known`; see `parseOtherFiles`. Rejects like `manifest`. */
  async otherFiles(
    snapshot: Snapshot,
    known: (digest: string) => boolean,
  ): Promise<ReturnType<typeof otherFilesIn>['files']> {
    return otherFilesIn(await this.decode(snapshot, otherFilesDecoder(known)), known).files;
  }

  /**
   * All of its entries, of which the files are lines as they stand where `fileLine` allows that. What no line tells
   * alone is not looked at. Rejects like `manifest`.
   */
  async lines(snapshot: Snapshot): Promise<ManifestLines> {
    const files = new Map<string, string>();
    const { entries } = await this.decode(
      snapshot,
      fileLinesDecoder(({ name, text }) => files.set(name, text)),
    );
    return { files, entries };
  }

  private async decode(snapshot: Snapshot, decoder: ManifestDecoder): Promise<DecodedManifest> {
    return asRegistered(snapshot, await decodeManifest(this.bytesOf(snapshot), decoder));
  }

  /** The failure for the name of a backup that has no snapshot. */
  async noBackup(name: string): Promise<TransferError> {
    const hint = (await this.hint(name)) ?? 'sendall snapshots DIR lists what there is.';
    return new TransferError('usage', printable(`There is no backup ${name} in ${this.directory}.`), { hint });
  }
}

/** Rejects with `mismatch` for a manifest that is not the one that was registered for this snapshot. */
export function asRegistered(
  snapshot: Pick<Snapshot, 'name' | 'id' | 'entry'>,
  read: DecodedManifest,
): DecodedManifest {
  const { name, id, entry } = snapshot;
  if (ofItself(snapshot, read).sum === entry.manifest) return read;
  throw new TransferError('mismatch', `The manifest of ${name}/${id} is not the one that was committed.`);
}

/** Rejects with `mismatch` for the manifest of another snapshot. */
export function ofItself<Read extends Pick<ManifestOutline, 'head'>>(
  { name, id }: Pick<Snapshot, 'name' | 'id'>,
  read: Read,
): Read {
  if (read.head.name === name && read.head.id === id) return read;
  throw new TransferError('mismatch', `The manifest of ${name}/${id} is that of another snapshot.`);
}

/** The name of a backup: one component that may be stored; undefined for other text. */
export function backupNameOf(text: string): EntryName | undefined {
  try {
    return text.includes('/') ? undefined : parseEntryName(text);
  } catch {
    // No name that may be stored, which is the answer.
    return undefined;
  }
}
