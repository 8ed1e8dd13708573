import { type BigIntStats, statSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { asTransferError, TransferError } from '../errors';
import { createKey, hidden } from '../net/ticket';
import { isObjectUrl, parseObjectUrl } from '../object-address';
import {
  changePrivateFile,
  checkKeyName,
  configDirectory,
  damaged,
  entriesOf,
  isKeyName,
  isRecord,
  readPrivateFile,
} from './private-file';

/** What the holder of a key may do: add files; also read what is there; also replace and delete. */
export type Rights = 'write' | 'read' | 'admin';

/** One who may connect. */
export interface Authorization {
  /** 32 hexadecimal digits, by which the key is asked for. */
  readonly id: string;
  /** 32 bytes. */
  readonly key: Uint8Array;
  readonly name: string;
  readonly rights: Rights;
  /**
   * Absolute, or `s3://BUCKET/PREFIX`: where this one's files go; absent for wherever the receiver puts those of all.
   */
  readonly directory?: string;
  /** How much of this one's may be kept, in bytes. */
  readonly quota?: number;
  /** From then on the key is refused. */
  readonly expires?: Date;
  readonly created: Date;
}

/** What a new key is to be for. */
export type WantedAuthorization = Pick<Authorization, 'name' | 'rights' | 'directory' | 'quota' | 'expires'>;

/** What was found when the file was last read. */
interface AuthorizedReading {
  /** Which file, and which state of it. */
  readonly state: string;
  /** Whether a change after the reading is sure to show in `state`. */
  readonly settled: boolean;
  readonly keys: ReadonlyMap<string, Authorization>;
  readonly problem?: TransferError;
}

const coarsestTimestamp = 2_000; // ms: FAT's; within it, two states of a file may look the same
const allRights: readonly string[] = ['write', 'read', 'admin'] satisfies Rights[];
const fields: readonly string[] = ['key', 'name', 'directory', 'rights', 'quota', 'expires', 'created'];

/**
 * The keys of those who may connect to receivers of this user, in `authorized.json`; a running receiver sees every
 * change at once.
 */
export class AuthorizedKeys {
  readonly #file: string;
  #last: AuthorizedReading | undefined;

  /** `file` defaults to `authorized.json` in the user's configuration directory. */
  constructor(file: string = join(configDirectory(), 'authorized.json')) {
    this.#file = file;
  }

  /**
   * The authorization of `id` at this moment, undefined where there is none or it has expired. Reads the file again
   * only when it changed; synchronous, since TLS asks in the middle of a handshake. A file that cannot be read or is
   * damaged authorizes nobody: see `problem`.
   */
  find(id: string): Authorization | undefined {
    this.#last = this.#look();
    const found = this.#last.keys.get(id);
    return found?.expires !== undefined && found.expires.getTime() <= Date.now() ? undefined : found;
  }

  /** Why the last `find` could authorize nobody; undefined where all is well. */
  get problem(): TransferError | undefined {
    return this.#last?.problem;
  }

  /**
   * All of them by name, those that have expired as well. Rejects with `usage` where the file is damaged or others can
   * read it.
   */
  async list(): Promise<Authorization[]> {
    const keys = parseAuthorized(readPrivateFile(this.#file), this.#file);
    return [...keys.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Makes a new key. Rejects with `usage` where the name is taken or something is out of range. */
  async authorize(wanted: WantedAuthorization): Promise<Authorization> {
    checkWanted(wanted);
    const { name, rights, directory, quota, expires } = wanted;
    const made: Authorization = {
      ...createKey(),
      name,
      rights,
      ...(directory === undefined ? {} : { directory }),
      ...(quota === undefined ? {} : { quota }),
      ...(expires === undefined ? {} : { expires }),
      created: new Date(),
    };
    await this.#change((keys) => {
      if (keys.some((each) => each.name === name)) {
        throw new TransferError('usage', `There is a key for ${name} already.`, {
          hint: `sendall authorize --remove ${name} takes it away.`,
        });
      }
      return [...keys, made];
    });
    return made;
  }

  /** Takes the key of `name` away; that holds from the next connection on. Rejects with `usage` where there is none. */
  async revoke(name: string): Promise<void> {
    checkKeyName(name);
    await this.#change((keys) => {
      const left = keys.filter((each) => each.name !== name);
      if (left.length < keys.length) return left;
      throw new TransferError('usage', `There is no key for ${name}.`, {
        hint: 'sendall authorize --list names those that there are.',
      });
    });
  }

  async #change(change: (keys: Authorization[]) => Authorization[]): Promise<void> {
    await changePrivateFile(this.#file, (text) =>
      formatAuthorized(change([...parseAuthorized(text, this.#file).values()])),
    );
  }

  /** The state is taken before the text is read: a change in between makes the next look read again. */
  #look(): AuthorizedReading {
    const nobody = new Map<string, Authorization>();
    let found: BigIntStats | undefined;
    try {
      found = statSync(this.#file, { bigint: true, throwIfNoEntry: false });
    } catch (error) {
      return {
        state: '',
        settled: false,
        keys: nobody,
        problem: asTransferError(error, 'unexpected', `${this.#file} cannot be read`),
      };
    }
    if (found === undefined) return { state: 'none', settled: true, keys: nobody };
    const state = stateOf(found);
    if (this.#last?.settled === true && this.#last.state === state) return this.#last;
    const settled = isSettled(found);
    try {
      return { state, settled, keys: parseAuthorized(readPrivateFile(this.#file), this.#file) };
    } catch (error) {
      return {
        state,
        settled,
        keys: nobody,
        problem: asTransferError(error, 'unexpected', `${this.#file} cannot be read`),
      };
    }
  }
}

function stateOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
}

/** A file so fresh that a second change could leave every timestamp as it is must be read again, whatever its state. */
function isSettled({ mtimeNs, ctimeNs }: BigIntStats): boolean {
  const changed = mtimeNs > ctimeNs ? mtimeNs : ctimeNs;
  return Date.now() - Number(changed / 1_000_000n) > coarsestTimestamp;
}

function checkWanted({ name, rights, directory, quota, expires }: WantedAuthorization): void {
  checkKeyName(name);
  if (!isRights(rights)) throw new TransferError('usage', 'The rights must be write, read or admin.');
  if (directory !== undefined && isObjectUrl(directory)) parseObjectUrl(directory);
  else if (directory !== undefined && !isAbsolute(directory))
    throw new TransferError('usage', `The directory ${directory} must be absolute.`);
  if (quota !== undefined && !isQuota(quota))
    throw new TransferError('usage', 'The quota must be a whole number of bytes, at least 1.');
  if (expires !== undefined && Number.isNaN(expires.getTime()))
    throw new TransferError('usage', 'The time at which the key expires is none.');
}

function isRights(value: unknown): value is Rights {
  return typeof value === 'string' && allRights.includes(value);
}

function isQuota(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

function formatAuthorized(keys: readonly Authorization[]): string {
  const entries = keys.map(
    ({ id, key, ...others }) => [id, { key: Buffer.from(key).toString('base64url'), ...others }] as const,
  );
  return `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`;
}

/**
 * Everything must be as it was written. A field that is not known here could be a restriction, so that it is not passed
 * over either.
 */
function parseAuthorized(text: string | undefined, file: string): Map<string, Authorization> {
  return new Map(entriesOf(text, file).map(([id, entry]) => [id, parseEntry(id, entry, file)]));
}

function parseEntry(id: string, entry: unknown, file: string): Authorization {
  const wrong = (what: string): TransferError =>
    damaged(file, `of the key ${JSON.stringify(id.slice(0, 32))}, ${what} cannot be understood`);
  if (!/^[0-9a-f]{32}$/.test(id)) throw wrong('the id');
  if (!isRecord(entry)) throw wrong('the entry');
  const unknown = Object.keys(entry).find((field) => !fields.includes(field));
  if (unknown !== undefined) throw wrong(JSON.stringify(unknown.slice(0, 32)));
  const { key, name, rights, directory, quota, expires, created } = entry;
  if (typeof key !== 'string' || !/^[\w-]{43}$/.test(key)) throw wrong('key');
  if (typeof name !== 'string' || !isKeyName(name)) throw wrong('name');
  if (!isRights(rights)) throw wrong('rights');
  if (directory !== undefined && !(typeof directory === 'string' && (isAbsolute(directory) || isObjectUrl(directory))))
    throw wrong('directory');
  if (quota !== undefined && !isQuota(quota)) throw wrong('quota');
  const made = timeOf(created);
  if (made === undefined) throw wrong('created');
  const end = timeOf(expires);
  if (expires !== undefined && end === undefined) throw wrong('expires');
  return {
    id,
    key: hidden(Uint8Array.from(Buffer.from(key, 'base64url'))),
    name,
    rights,
    ...(directory === undefined ? {} : { directory }),
    ...(quota === undefined ? {} : { quota }),
    ...(end === undefined ? {} : { expires: end }),
    created: made,
  };
}

function timeOf(value: unknown): Date | undefined {
  if (typeof value !== 'string' || !/^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(value)) return undefined;
  const time = new Date(value);
  return Number.isNaN(time.getTime()) ? undefined : time;
}
