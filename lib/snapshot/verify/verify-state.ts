import { constants } from 'node:fs';
import { open, readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { isRecord } from '../../access/private-file';
import { errnoOf, TransferError } from '../../errors';
import type { EntryName } from '../../name';
import { parseJsonObject } from '../../wire/json-object';
import { Directory } from '../../store/local/directory';
import { openPrivate } from '../../store/local/receive-directory';
import { ownPathOf } from '../register/register';
import type { SnapshotId } from '../manifest/snapshot-id';
import type { PassHere } from './verify-pass';

/** What is kept of the verification of one snapshot, between one run and the next. */
export interface VerifyState {
  /** SHA-256 of the manifest that it is about; with another one it is forgotten. */
  readonly manifest: string;
  /**
   * When the last verification of all of the snapshot ended, ISO 8601; absent if there was none, or if damage was
   * found.
   */
  readonly verified_at?: string;
  /** The last pass over everything, and the last one over a share. */
  readonly full?: PassHere;
  readonly sample?: PassHere;
}

interface Whose {
  readonly name: EntryName;
  readonly id: SnapshotId;
}

const mostAttempts = 5;
const { O_CREAT, O_NOFOLLOW, O_TRUNC, O_WRONLY } = constants;

/**
 * The files `.sendall/snapshots/NAME/ID.verified`. What cannot be kept is lost: the next run then does everything anew.
 */
export class VerifyStates {
  /** Why nothing more is kept. */
  failure: unknown;

  /** `directory` is the path of the receive directory. */
  constructor(private readonly directory: string) {}

  /** Undefined where there is none that makes sense. */
  async read({ name, id }: Whose): Promise<VerifyState | undefined> {
    try {
      return parseState(await readFile(path.join(ownPathOf(this.directory, name), `${id}.verified`)));
    } catch {
      return undefined; // it is ours alone, and worth one more reading at most
    }
  }

  /** Atomic and durable. Never rejects: after the first `failure` nothing more is tried. */
  async write(whose: Whose, state: VerifyState): Promise<void> {
    for (let attempt = 1; this.failure === undefined; attempt++) {
      try {
        return await this.replace(whose, `${JSON.stringify(state)}\n`);
      } catch (error) {
        // Another process that is done with the backup removes our empty directories.
        if (errnoOf(error) !== 'ENOENT' || attempt === mostAttempts) this.failure = error;
      }
    }
  }

  private async replace({ name, id }: Whose, text: string): Promise<void> {
    const opened: Directory[] = [];
    try {
      let parent = await Directory.open(this.directory, true);
      opened.push(parent);
      for (const below of ownPathOf('.', name).split(path.sep))
        opened.push((parent = await openPrivate(parent, below)));
      const staged = parent.at(`${id}.verified.new`);
      const file = await open(staged, O_CREAT | O_TRUNC | O_NOFOLLOW | O_WRONLY, 0o600);
      try {
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(staged, parent.at(`${id}.verified`));
      await parent.sync();
    } finally {
      for (const directory of opened) await directory.close();
    }
  }
}

function parseState(bytes: Uint8Array): VerifyState {
  const { manifest, verified_at: verifiedAt, full, sample } = parseJsonObject(bytes);
  if (typeof manifest !== 'string') throw senseless();
  return {
    manifest,
    ...(typeof verifiedAt === 'string' ? { verified_at: verifiedAt } : {}),
    ...(full === undefined ? {} : { full: parsePass(full) }),
    ...(sample === undefined ? {} : { sample: parsePass(sample) }),
  };
}

function parsePass(value: unknown): PassHere {
  if (!isRecord(value)) throw senseless();
  const { began, share, from, complete, done } = value;
  if (
    typeof began !== 'string' ||
    typeof share !== 'number' ||
    typeof from !== 'number' ||
    typeof complete !== 'boolean' ||
    !Array.isArray(done)
  )
    throw senseless();
  return { began, share, from, complete, done: done.map(parseRange) };
}

function parseRange(value: unknown): [number, number] {
  const [first, last] = Array.isArray(value) ? (value as unknown[]) : [];
  if (typeof first !== 'number' || typeof last !== 'number' || first < 0 || last < first) throw senseless();
  return [first, last];
}

function senseless(): TransferError {
  return new TransferError('unexpected', 'The state of a verification makes no sense.');
}
