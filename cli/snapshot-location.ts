import { existsSync } from 'node:fs';
import type { ReceiverOptions } from '../lib/index';
import { isObjectUrl, TransferError } from '../lib/internal';
import { withoutTickets } from './hide-tickets';
import { type ObjectFlags, objectStoreOf } from './object-options';
import { resolveTarget } from './secret';
import { wrongUsage } from './usage';

/** Where the snapshots are that a command is about. */
export type SnapshotLocation =
  | { readonly directory: string }
  | { readonly target: string }
  | { readonly objects: NonNullable<ReceiverOptions['objects']> };

/** How DIR|TARGET is described in the help of commands that do not work on object stores. */
export const machineArgument =
  'the receive directory with the snapshots; or where it is on another machine: a ticket, @FILE with one, or a peer';
/** The same for those that do. */
export const locationArgument = `${machineArgument}; or s3://BUCKET/PREFIX`;

/**
 * The receive directory on this machine, or the ticket of the receiver, that `word` names; a peer goes before a
 * directory (`./NAME` is a directory even if NAME is a peer). Rejects with `usage` for the plain wire, with `directory`
 * where there is none, and never repeats a ticket.
 */
export async function snapshotLocation(word: string, flags: ObjectFlags = {}): Promise<SnapshotLocation> {
  const objects = objectStoreOf(word, flags);
  if (objects) return { objects };
  const named = await resolveTarget(word);
  if (named?.kind === 'plain')
    throw wrongUsage('The plain wire carries no backups.', {
      hint: 'Take the ticket that sendall receive prints, a peer, or a directory.',
    });
  if (named) return { target: named.ticket };
  if (!existsSync(word)) throw noSuchLocation(word);
  return { directory: word };
}

/** A word is no directory, and nothing else in which snapshots could be, or, where they are `toBeMade`, are to be. */
export function noSuchLocation(word: string, toBeMade = false): TransferError {
  const made = toBeMade ? 'Make a directory for backups, such as by mkdir -m 700; or ' : '';
  const hint = `${made}sendall peers list says which machines are known.`;
  return new TransferError(
    'directory',
    `There is no directory ${withoutTickets(word)} here, and no peer of that name.`,
    { hint },
  );
}

/** Throws `usage` for an object store, where a command does not work on one. */
export function refuseObjects(word: string, command: string): void {
  if (isObjectUrl(word))
    throw wrongUsage(`sendall ${command} does not work on an object store.`, {
      hint: 'backup, snapshots, find, verify, restore, prune, copy, export and receive do.',
    });
}
