import { asTransferError } from '../../errors';

/** Gives back one thing that was taken. */
export type Undo = () => Promise<unknown>;

/**
 * The last one first; one that fails does not keep the others from being undone. Rejects with `disk`, in words that
 * begin with `failing`.
 */
export async function undoAll(undo: Undo[], failing: string): Promise<void> {
  const failures: unknown[] = [];
  for (const step of undo.splice(0).reverse()) await step().catch((error: unknown) => failures.push(error));
  if (failures.length > 0) throw asTransferError(failures[0], 'disk', failing);
}
