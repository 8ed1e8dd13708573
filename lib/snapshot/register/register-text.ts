/**
 * The register of one backup as text: whose it is, and what this receiver has committed of it. A line each, JSON: the
 * head, the snapshots in the order of their numbers, and the SHA-256 of all bytes before that last line.
 * docs/backups.md describes it.
 */
import { createHash } from 'node:crypto';
import { TransferError } from '../../errors';
import { type EntryName, parseEntryName, printable } from '../../name';
import { countUnder, isDigest, sizeUnder, textUnder, wrong } from '../../wire/fields';
import { type JsonObject, ownValue, parseJsonObject } from '../../wire/json-object';
import { parseSnapshotId, type SnapshotId } from '../manifest/snapshot-id';

/** What was committed as one snapshot. */
export interface RegisteredSnapshot {
  /** Decides what is newer; never given twice within a backup. */
  readonly number: number;
  readonly id: SnapshotId;
  /** Who made it: the id of a key, `ticket` for whoever held the receiver's ticket, `local` for this machine. */
  readonly owner: string;
  /** The SHA-256 that the last line of its manifest says, in hexadecimal digits: it vouches for every byte of it. */
  readonly manifest: string;
  /** Of its manifest, in bytes. */
  readonly size: number;
  /** It was registered although not all of its files are as they should be: nothing is ever linked to it. */
  readonly damaged?: true;
  /**
   * By the names of sources that lost most of their entries in the snapshot after it, how many they had here; absent
   * for none, and gone once a later one has as many again. Pruning keeps such a snapshot.
   */
  readonly content?: Readonly<Record<string, number>>;
}

/** What a receiver knows of one backup. */
export interface RegisteredBackup {
  readonly name: EntryName;
  /** Whose backup it is, as in `RegisteredSnapshot`; only this one makes snapshots of it. */
  readonly owner: string;
  /** Sorted by their numbers. */
  readonly snapshots: readonly RegisteredSnapshot[];
}

const version = 1;

/** The bytes of a register. */
export function encodeRegister({ name, owner, snapshots }: RegisteredBackup): string {
  const sorted = [...snapshots].sort((one, other) => one.number - other.number);
  const lines = [{ sendall: 'register', version, name, owner }, ...sorted].map((line) => `${JSON.stringify(line)}\n`);
  const text = lines.join('');
  return `${text}${sumLine(text)}`;
}

/** @throws TransferError `mismatch` for what was cut off or changed, or never was the register of the backup `name`. */
export function parseRegister(text: string, name: EntryName): RegisteredBackup {
  const end = text.lastIndexOf('\n', text.length - 2) + 1;
  if (text.slice(end) !== sumLine(text.slice(0, end))) throw damagedRegister(name);
  try {
    const [head = {}, ...snapshots] = text
      .slice(0, end)
      .trimEnd()
      .split('\n')
      .map((line) => parseJsonObject(Buffer.from(line)));
    if (ownValue(head, 'sendall') !== 'register' || ownValue(head, 'version') !== version)
      throw wrong('version', 'that of a register', ownValue(head, 'version'));
    if (parseEntryName(textUnder(head, 'name'), { allowHidden: true }) !== name)
      throw wrong('name', 'that of the backup', ownValue(head, 'name'));
    return { name, owner: textUnder(head, 'owner'), snapshots: snapshots.map(parseSnapshot) };
  } catch (error) {
    throw damagedRegister(name, error);
  }
}

function parseSnapshot(line: JsonObject): RegisteredSnapshot {
  const manifest = textUnder(line, 'manifest');
  if (!isDigest(manifest, 'sha256')) throw wrong('manifest', 'a SHA-256', manifest);
  const damaged = ownValue(line, 'damaged') === true ? { damaged: true as const } : {};
  return {
    number: countUnder(line, 'number'),
    id: parseSnapshotId(textUnder(line, 'id')),
    owner: textUnder(line, 'owner'),
    manifest,
    size: sizeUnder(line, 'size'),
    ...damaged,
    ...contentIn(line),
  };
}

function contentIn(line: JsonObject): Pick<RegisteredSnapshot, 'content'> {
  const content = ownValue(line, 'content');
  if (typeof content !== 'object' || content === null || Array.isArray(content)) return {};
  return {
    content: Object.fromEntries(Object.keys(content).map((key) => [key, sizeUnder(content as JsonObject, key)])),
  };
}

function sumLine(text: string): string {
  return `${JSON.stringify({ sha256: createHash('sha256').update(text).digest('hex') })}\n`;
}

function damagedRegister(name: EntryName, cause?: unknown): TransferError {
  return new TransferError('mismatch', `The register of the backup ${printable(name)} is damaged.`, {
    cause,
    hint: 'sendall adopt DIR reads its snapshots back, and registers them anew.',
  });
}
