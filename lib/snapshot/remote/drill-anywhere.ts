// A drill of the snapshots of this machine, or of an object store.
import type { DrillReport } from '../../progress';
import type { ObjectStoreOptions } from '../../store/object/object-store';
import { objectContentOf } from '../object/object-content';
import { withObjects } from '../object/object-snapshots';
import { drill, type DrillOptions, drillOf } from '../restore/drill';

/** Where the snapshots are: a receive directory of this machine, or an object store. */
export type DrillSource = { readonly directory: string } | { readonly objects: ObjectStoreOptions };

/** See `drill`. */
export function drillAt(options: Omit<DrillOptions, 'directory'> & DrillSource): Promise<DrillReport> {
  if (!('objects' in options)) return drill(options);
  return withObjects({ ...options.objects, signal: options.signal }, (catalog) =>
    drillOf(catalog, options, objectContentOf(catalog)),
  );
}
