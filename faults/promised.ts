import { lstatSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { TransferEvent } from '../lib/index';
import { eventsOf, SendallProcess } from '../spec/cli/sendall-process';
import { type Content, type Contents, isSame, readTree } from './trees';

/** The backup's name in these experiments. */
export const backupName = 'b';
/** What a snapshot has of its own. */
const ownNames = ['MANIFEST', 'SHA256SUMS'];

/** What a receive directory has to hold at one instant. */
export interface Expected {
  /** What was sent so far, the last of it perhaps in part. */
  readonly versions: readonly Contents[];
  /** For each file the newest version that has a receipt. */
  readonly receipts: ReadonlyMap<string, number>;
  /** The snapshots that have one, by their ids. */
  readonly snapshots: ReadonlyMap<string, Kept>;
}

/** A snapshot with its receipt. */
interface Kept {
  readonly version: number;
  /** How many entries it lacks, as its receipt says. */
  readonly missing: number;
}

/** Listens to the promises that are made about a receive directory. */
export class Promised {
  private readonly versions: Contents[] = [];
  private readonly receipts = new Map<string, number>();
  private readonly snapshots = new Map<string, Kept>();
  /** How far the reading back went, by the receipts. */
  readonly levels = { device: 0, cache: 0 };

  /** The next version is about to be sent. */
  offer(version: Contents): void {
    this.versions.push(version);
  }

  /** Takes the events of a sender or receiver. */
  readonly heard = (event: TransferEvent): void => {
    if (event.event === 'snapshot') {
      const id = event.snapshot.slice(backupName.length + 1);
      if (!this.snapshots.has(id))
        this.snapshots.set(id, { version: this.versions.length - 1, missing: event.missing });
    }
    if ((event.event !== 'sent' && event.event !== 'received') || event.verified === null) return;
    const { digests, file_name: fileName, path: name = fileName, verified } = event;
    const version = this.versions.findLastIndex((contents) => {
      const content = contents.get(name);
      return content !== undefined && (content.md5 === digests.md5 || content.sha256 === digests.sha256);
    });
    if (verified === 'device' || verified === 'cache') this.levels[verified]++;
    this.receipts.set(name, Math.max(version, this.receipts.get(name) ?? -1));
  };

  /** What holds from now on, whatever happens. */
  now(): Expected {
    return { versions: [...this.versions], receipts: new Map(this.receipts), snapshots: new Map(this.snapshots) };
  }
}

/**
 * What in the receive directory `place` is not as promised, a sentence each: a file that had its receipt, and one that
 * is not whole.
 */
export function brokenFiles({ versions, receipts }: Expected, place: string): string[] {
  const broken: string[] = [];
  const standing = readTree(place, ['.sendall']);
  for (const [name, version] of receipts) {
    const found = standing.get(name);
    const good = versions.slice(Math.max(0, version)).some((contents) => isSame(contents.get(name), found));
    if (version === -1) broken.push(`The receipt of ${name} has a digest that none of its versions has.`);
    else if (!found) broken.push(`${name} had a receipt, and is not there.`);
    else if (!good)
      broken.push(
        `${name} had a receipt, and is not what was sent: ${found.size} bytes of ${versions[version]?.get(name)?.size}, or other ones.`,
      );
  }
  for (const [name, content] of standing) {
    if (receipts.has(name) || versions.some((contents) => isSame(contents.get(name), content))) continue;
    broken.push(`${name} stands under its final name with ${content.size} bytes, and is not whole.`);
  }
  return broken;
}

/** The same for snapshots; `build` has to find them good as well. */
export async function brokenSnapshots(
  { versions, snapshots }: Expected,
  place: string,
  build: string,
): Promise<string[]> {
  const broken: string[] = [];
  const home = join(place, backupName);
  const standing = (lstatSync(home, { throwIfNoEntry: false }) ? readdirSync(home) : []).filter(
    (name) => name !== 'latest',
  );
  for (const id of standing) {
    const found = readTree(join(home, id), ownNames);
    const kept = snapshots.get(id);
    const candidates = kept ? versions.slice(kept.version, kept.version + 1) : versions;
    const right = ([name, content]: [string, Content]): boolean =>
      candidates.some((contents) => isSame(contents.get(name), content));
    const wrong = [...found].filter((entry) => !right(entry)).map(([name]) => name);
    if (wrong.length > 0)
      broken.push(`The snapshot ${id} has ${wrong.length} files that are not as they were, ${wrong[0]} the first.`);
    // What one without a receipt lacks, only its manifest knows.
    const lacks = kept ? (versions[kept.version]?.size ?? 0) - found.size : 0;
    if (kept && lacks > kept.missing)
      broken.push(`The snapshot ${id} lacks ${lacks} files, and ${kept.missing} by its receipt.`);
  }
  for (const id of snapshots.keys())
    if (!standing.includes(id)) broken.push(`The snapshot ${id} had a receipt, and is not there.`);
  const newest = [...snapshots.keys()].at(-1);
  if (newest !== undefined && statSync(join(home, 'latest'), { throwIfNoEntry: false }) === undefined)
    broken.push(`After the receipt of ${newest}, latest points nowhere.`);
  else if (newest !== undefined && readlinkSync(join(home, 'latest')) < newest)
    broken.push(`After the receipt of ${newest}, latest points to an older one.`);
  if (standing.length === 0) return broken;
  const verified = await new SendallProcess(['verify', place, '--json'], { build, cwd: place }).ended;
  const damaged = eventsOf(verified).filter(({ event }) => event === 'damaged');
  if (verified.code !== 0)
    broken.push(`sendall verify ends with ${verified.code}: ${JSON.stringify(damaged[0] ?? verified.stderr)}`);
  return broken;
}
