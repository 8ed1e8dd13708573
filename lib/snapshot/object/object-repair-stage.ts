import { TransferError } from '../../errors';
import { type EntryName, printable } from '../../name';
import type { Digests } from '../../progress';
import type { Destination } from '../../receive/destinations';
import type { StageRequest } from '../../receive/snapshot-stage';
import { condemnedKeys } from '../../store/object/condemned';
import type { ObjectStore } from '../../store/object/object-store';
import { objectError } from '../../store/object/requests';
import { StagedNames } from '../../store/object/staged-names';
import type { StagedObjects } from '../../store/object/staged-objects';
import { ignored } from '../../trace';
import type { FileEntry as OfferedFile } from '../../wire/session-list';
import { HealingStage } from '../repair/healing-stage';
import { ObjectCatalog } from './object-catalog';
import { byObject, type ContentReader, healObject, type LostContent, readsRight } from './object-healing';

/** What is damaged, and under which name it was brought. */
interface BroughtContent extends LostContent {
  readonly brought: EntryName;
}

/**
 * Takes files that heal snapshots in an object store through a receiver: staged as for a backup, then put where the
 * manifests say that they are.
 */
export class ObjectRepairStage extends HealingStage {
  readonly destination: Destination;
  private readonly catalog: ObjectCatalog;

  private constructor(
    { name, destination: { allowance } }: StageRequest,
    private readonly objects: ObjectStore,
    private readonly store: StagedObjects,
  ) {
    const catalog = new ObjectCatalog(objects.bucket, objects.url);
    super(name, catalog);
    this.catalog = catalog;
    this.destination = { directory: objects.url, store, allowance };
  }

  /** Goes on with what an earlier repair by the same peer has brought. Rejects with `disk`. */
  static async open(request: StageRequest, objects: ObjectStore): Promise<ObjectRepairStage> {
    const { name, peer } = request;
    const { bucket, verified } = objects;
    const use = { backup: `${name}/repair`, peer, verified }; // no backup is called so
    try {
      const condemned = await condemnedKeys(bucket);
      const names = await StagedNames.open(bucket, use, ({ key }) => !condemned.has(key));
      return new ObjectRepairStage(request, objects, objects.staged(names, use.backup));
    } catch (error) {
      throw objectError(error, `The backup ${printable(name)} cannot be repaired`);
    }
  }

  /** No object is made of a part of another one. */
  async earlier(entries: readonly OfferedFile[]): Promise<undefined[]> {
    await this.wanted.find(entries);
    return entries.map(() => undefined);
  }

  /** Rejects with `disk` also where something does not read back as it should. */
  async commit(): Promise<undefined> {
    const { bucket, replacesInTurn: conditional } = this.objects;
    const sources = (lost: BroughtContent): AsyncGenerator<ContentReader> => this.readersOf(lost);
    try {
      for (const [key, contents] of byObject(await this.damaged())) {
        await healObject(bucket, key, contents, { sources, conditional });
        for (const content of contents) if (!(await readsRight(bucket, content))) throw notHealed(content.brought);
      }
      this.healed = true;
      await this.removeBrought();
    } catch (error) {
      throw objectError(error, `The backup ${printable(this.id)} could not be repaired`);
    }
  }

  /** What was brought and has healed nothing yet is noted for the next time. */
  async leave(): Promise<void> {
    await this.store.close();
    if (!this.healed) await this.store.names.settle();
  }

  /** What was brought is nobody's any more. */
  private async removeBrought(): Promise<void> {
    const { names } = this.store;
    const brought = new Set([...this.here].map((name) => names.file(name)?.content?.key));
    await names.forget().catch(ignored('notes that stay are removed when they are old'));
    for (const key of brought)
      if (key !== undefined) await this.objects.bucket.delete(key).catch(ignored('what is left is collected later'));
  }

  /** Where in all snapshots of the backup the contents that are here should be, and are not. */
  private async damaged(): Promise<BroughtContent[]> {
    const brought = new Map<string, EntryName>();
    for (const name of this.here) {
      const { entry, algorithm } = this.wanted.get(name) ?? {};
      if (entry && algorithm) brought.set(contentOf(algorithm, entry.digests[algorithm], entry.size), name);
    }
    const known = new Map<string, BroughtContent>();
    for (const snapshot of await this.catalog.snapshots(this.id)) {
      const manifest = await this.catalog.manifest(snapshot).catch(ignored('told of by whoever verifies'));
      for (const entry of manifest?.entries ?? []) {
        if (!manifest || entry.type !== 'file' || !entry.content) continue;
        const algorithm = manifest.head.digest;
        const { size, content, digests } = entry;
        const digest = digests[algorithm] ?? '';
        const name = brought.get(contentOf(algorithm, digest, size));
        if (name !== undefined)
          known.set(`${content.key} ${String(content.offset)} ${digest}`, {
            content,
            size,
            algorithm,
            digest,
            brought: name,
          });
      }
    }
    const found: BroughtContent[] = [];
    for (const content of known.values()) if (!(await readsRight(this.objects.bucket, content))) found.push(content);
    return found;
  }

  private async *readersOf({ brought }: BroughtContent): AsyncGenerator<ContentReader> {
    const staged = this.store.names.file(brought)?.content;
    if (!staged) return;
    yield async (memory, at) => {
      await this.objects.bucket.readInto(staged.key, staged.offset + at, memory);
      return true;
    };
  }
}

function contentOf(algorithm: keyof Digests, digest: string | undefined, size: number): string {
  return `${algorithm} ${String(digest)} ${String(size)}`;
}

function notHealed(name: EntryName): TransferError {
  return new TransferError('disk', `${printable(name)} does not read back from the object store as it was sent.`, {
    hint: 'The store does not keep what it takes. Look at it before anything else is stored there.',
  });
}
