import type { TransferError } from '../../errors';
import type { EntryName } from '../../name';
import type { Digests } from '../../progress';
import type { Destination } from '../../receive/destinations';
import type { Earlier, SnapshotStage } from '../../receive/snapshot-stage';
import type { Entry, FileEntry as OfferedFile } from '../../wire/session-list';
import type { SnapshotCatalog } from '../manifest/snapshot-catalog';
import { WantedFiles } from './wanted-files';

/**
 * What snapshots of a backup once had, on its way to heal them: each entry is called `ID/NAME`, as it is in one of
 * them. What comes whole, and is what that manifest says, is here; what is done with it, each kind of store knows.
 */
export abstract class HealingStage implements SnapshotStage {
  abstract readonly destination: Destination;
  readonly mayKnow = true;
  /** A repair is left to its end. */
  readonly superseded = new Promise<never>(() => undefined);
  protected readonly wanted: WantedFiles;
  /** The names of those that are here. */
  protected readonly here = new Set<EntryName>();
  protected healed = false;

  /** `id` is the backup. */
  protected constructor(
    readonly id: EntryName,
    catalog: SnapshotCatalog,
  ) {
    this.wanted = new WantedFiles(catalog, id);
  }

  abstract earlier(entries: readonly OfferedFile[]): Promise<(Earlier | undefined)[]>;

  refusal(name: EntryName): TransferError | undefined {
    return this.wanted.refusal(name);
  }

  stored(entry: Entry, digests: Digests = {}): void {
    if (this.wanted.isWanted(entry, digests)) this.here.add(entry.name);
  }

  missing(): void {
    // The sender knows; what does not come heals nothing.
  }

  unsent(): Promise<void> {
    return Promise.resolve();
  }

  alarm(): undefined {
    return undefined;
  }

  abstract commit(): Promise<undefined>;

  abstract leave(): Promise<void>;
}
