// Brings what is damaged in an object store from the files of this machine that it was made of.
import type { FileHandle } from 'node:fs/promises';
import { TransferError } from '../../errors';
import type { Damage, Listener } from '../../progress';
import { trace } from '../../trace';
import { fill } from '../../threads/fill';
import { openLocated } from '../../threads/walker';
import { damagedEntries, type DamagedEntry } from '../repair/damaged-entries';
import { locateSources } from '../repair/source-places';
import type { ObjectCatalog } from './object-catalog';
import { byObject, type ContentReader, healObject, type LostContent, readsRight } from './object-healing';
import { type ObjectVerifyOptions, verifyObjects } from './object-verify';

export interface ObjectRepairOptions extends ObjectVerifyOptions {
  /** The files and directories of this machine that were backed up. */
  readonly sources: readonly string[];
}

/** What became of damage. */
export interface RepairedObjects {
  /** How many names, in all snapshots, were damaged. */
  readonly damages: number;
  /** How many of them are not any more. */
  readonly repaired: number;
  /** What was put, in bytes. */
  readonly bytes: number;
}

/** What is lost, with the files that should have it. */
interface DamagedContent extends LostContent {
  readonly damaged: DamagedEntry[];
}

/**
 * Verifies, and brings what is damaged. Told are `damaged`, then `repaired`. Rejects with `usage` where content is
 * damaged and there is no source, and as `verifyObjects` does, but for damage.
 */
export async function repairObjects(catalog: ObjectCatalog, options: ObjectRepairOptions): Promise<RepairedObjects> {
  const { on = () => undefined, sources, signal } = options;
  const damages: Damage[] = [];
  const note: Listener = (event) => {
    if (event.event === 'damaged') damages.push(event);
    on(event);
  };
  await verifyObjects(catalog, { ...options, on: note }).catch((error: unknown) => {
    if (!(error instanceof TransferError) || error.code !== 'mismatch') throw error;
  });
  const lost = lostContents(await damagedEntries(catalog, damages));
  if (lost.length > 0 && sources.length === 0)
    throw new TransferError('usage', 'Nothing says where on this machine the files are whose content is damaged.', {
      hint: 'Name what was backed up with --source PATH.',
    });
  let [repaired, bytes] = [0, 0];
  for (const [key, contents] of byObject(lost)) {
    if (signal.aborted) throw new TransferError('interrupted', 'Interrupted.');
    const healing = { sources: (content: DamagedContent) => readersOf(content, sources), conditional: false };
    const put = await healObject(catalog.bucket, key, contents, healing);
    bytes += put;
    for (const content of put > 0 ? contents : []) {
      if (!(await readsRight(catalog.bucket, content))) continue;
      for (const { snapshot, path } of content.damaged) {
        on({ event: 'repaired', snapshot, path });
        repaired++;
      }
    }
  }
  return { damages: damages.length, repaired, bytes };
}

/** Each content once, however many names and snapshots have it. */
function lostContents(entries: readonly DamagedEntry[]): DamagedContent[] {
  const found = new Map<string, DamagedContent>();
  for (const damaged of entries) {
    const { entry, algorithm } = damaged;
    const digest = entry.digests[algorithm];
    if (entry.content === undefined || digest === undefined) continue;
    const { content, size } = entry;
    const key = [content.key, content.offset, size, digest].join(' ');
    const known = found.get(key) ?? { content, size, algorithm, digest, damaged: [] };
    known.damaged.push(damaged);
    found.set(key, known);
  }
  return [...found.values()];
}

/** The files that may have that content, each once, however many snapshots know it by the same name. */
export async function* readersOf(
  { damaged, size }: Pick<DamagedContent, 'damaged' | 'size'>,
  sources: readonly string[],
): AsyncGenerator<ContentReader> {
  for (const name of new Set(damaged.map(({ entry }) => entry.name)))
    for (const located of locateSources(name, sources)) {
      let file: FileHandle;
      try {
        file = await openLocated(located);
      } catch (error) {
        trace('%s is not in a source: %o', name, error);
        continue;
      }
      try {
        const stats = await file.stat();
        if (stats.isFile() && stats.size === size) yield (memory, at) => fill(file, memory, at);
      } finally {
        await file.close();
      }
    }
}
