import { TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import { ignored } from '../../trace';
import { numberedNames } from '../numbered-names';
import { type IfExists, nameTaken, notADirectory } from '../store';
import type { Bucket } from './bucket';
import {
  directoriesAbove,
  type DirectoryRecord,
  encodeRecord,
  keyOfName,
  newRecordId,
  type NameRecord,
  parseRecord,
} from './records';

/** What is at a name, and which version of it that is. */
export interface FoundRecord {
  readonly record: NameRecord;
  readonly etag: string;
}

/** Where a record went. */
export interface Published {
  readonly path: string;
  readonly outcome: 'stored' | 'replaced' | 'renamed' | 'identical';
  /** What is there now: the record itself, or the one that was there with the same content. */
  readonly record: NameRecord;
}

const mostAttempts = 10;
/** Directories that are known to be there. */
const mostDirectories = 100_000;

/** Who else may want the same name: any receiver, or only this one. */
export type Writers = 'any' | 'only this';

/**
 * The names of an object store. A record gets its name by a conditional PUT where the store can do that (`writers` is
 * `any`), else one after another in this process. Methods reject with `name` for a name that no store takes, and with
 * the failures of `Bucket`.
 */
export class ObjectNames {
  private readonly directories = new Set<string>();
  /** Those that are being made. */
  private readonly making = new Map<string, Promise<void>>();
  /** Names that are being given, where the store does not keep others from them. */
  private readonly turns = new Map<string, Promise<unknown>>();

  constructor(
    private readonly bucket: Bucket,
    private readonly writers: Writers,
  ) {}

  /** What is at a name; undefined where nothing is. Rejects with `name` for one that no store takes. */
  async look(name: string): Promise<FoundRecord | undefined> {
    const found = await this.bucket.get(this.keyOf(name));
    return found && { record: parseRecord(found.text, name), etag: found.etag };
  }

  /**
   * Gives a record its final name, or another one, as the rule says. `same` tells whether what is there has the same
   * content. Rejects with `exists` and `name`.
   */
  async publish(
    name: EntryName,
    record: NameRecord,
    ifExists: IfExists,
    same: (existing: NameRecord) => Promise<boolean>,
  ): Promise<Published> {
    await this.makeAbove(name);
    for (const path of namesFor(name)) {
      const existing = await this.take(path, record);
      if (existing === undefined) return { path, outcome: path === name ? 'stored' : 'renamed', record };
      if (ifExists === 'replace' && path === name && existing.type === record.type && record.type !== 'directory') {
        await this.write(path, record);
        return { path, outcome: 'replaced', record };
      }
      if (await same(existing)) return { path, outcome: 'identical', record: existing };
      if (ifExists !== 'rename') throw alreadyAt(name, existing, ifExists);
    }
    throw nameTaken(`${printable(name)} and all names like it are taken.`, 'rename', true);
  }

  /** Writes over what is at a name: a directory, or what its rule says is to be replaced. */
  async write(name: string, record: NameRecord): Promise<void> {
    await this.bucket.put(this.keyOf(name), encodeRecord(record));
  }

  /** Writes over what is at a name, if that is still this version. */
  async writeOver(name: string, record: NameRecord, { etag }: FoundRecord): Promise<boolean> {
    return (await this.bucket.put(this.keyOf(name), encodeRecord(record), { etag })) !== undefined;
  }

  /** Makes a directory. False if there is one. Rejects with `exists` for anything else. */
  async makeDirectory(name: EntryName, record: DirectoryRecord): Promise<boolean> {
    await this.makeAbove(name);
    const existing = await this.take(name, record);
    if (existing !== undefined && existing.type !== 'directory') throw notADirectory(name);
    this.remember(name);
    return existing === undefined;
  }

  /** Makes what is missing of the directories above a name. Rejects with `exists` where something else is there. */
  private async makeAbove(name: string): Promise<void> {
    this.keyOf(name);
    for (const above of directoriesAbove(name)) {
      if (this.directories.has(above)) continue;
      // All files of a directory come at once.
      const making = this.making.get(above) ?? this.makeOne(above).finally(() => this.making.delete(above));
      this.making.set(above, making);
      await making;
    }
  }

  private async makeOne(above: EntryName): Promise<void> {
    const existing = await this.take(above, { type: 'directory', id: newRecordId() });
    if (existing !== undefined && existing.type !== 'directory') throw notADirectory(above);
    this.remember(above);
  }

  /** Gives a record its name if that is free; what is there otherwise. The answer to an earlier attempt may be lost. */
  private async take(name: string, record: NameRecord): Promise<NameRecord | undefined> {
    for (let attempt = 0; attempt < mostAttempts; attempt++) {
      const taken = this.writers === 'any' ? await this.takeIfFree(name, record) : await this.takeInTurn(name, record);
      if (taken) return undefined;
      const found = await this.look(name);
      if (found) return found.record.id === record.id ? undefined : found.record;
    }
    throw new TransferError('disk', `${printable(name)} is taken, and nothing is there.`);
  }

  private async takeIfFree(name: string, record: NameRecord): Promise<boolean> {
    return (await this.bucket.put(this.keyOf(name), encodeRecord(record), 'free')) !== undefined;
  }

  private async takeInTurn(name: string, record: NameRecord): Promise<boolean> {
    const before = this.turns.get(name);
    const turn = (async () => {
      await before?.catch(ignored('whoever had that turn is told'));
      if ((await this.bucket.get(this.keyOf(name))) !== undefined) return false;
      await this.write(name, record);
      return true;
    })();
    this.turns.set(name, turn);
    try {
      return await turn;
    } finally {
      if (this.turns.get(name) === turn) this.turns.delete(name);
    }
  }

  private remember(directory: string): void {
    if (this.directories.size >= mostDirectories) this.directories.clear();
    this.directories.add(directory);
  }

  private keyOf(name: string): string {
    return keyOfName(name, Buffer.byteLength(this.bucket.prefix));
  }
}

function alreadyAt(name: EntryName, existing: NameRecord, ifExists: IfExists): TransferError {
  const isFile = existing.type === 'file';
  const what = isFile ? 'exists already with other content' : `is a ${existing.type} already`;
  return nameTaken(`${printable(name)} ${what}.`, ifExists, isFile);
}

/** Its own name first. */
function* namesFor(name: EntryName): Generator<EntryName> {
  yield name;
  for (const numbered of numberedNames(name)) yield numbered.name;
}
