// What every store says, and by what words it fails: the contract itself is in session-store.ts.
import type { DigestAlgorithm } from '../digest/digest';
import { TransferError } from '../errors';
import { printable } from '../name';
import type { Digests, Verified } from '../progress';
import type { LostPart } from '../wire/session-list';

/** What to do when something else stands under the final name. Identical content is success under every rule. */
export type IfExists = 'refuse' | 'skip' | 'rename' | 'replace';

/** What whoever runs a receiver lets entries have. */
export interface MetadataUse {
  /** By name where this machine has such a one, else by number; or by number alone. */
  readonly owner: 'none' | 'name' | 'number';
  /** Extended attributes, POSIX ACLs among them. */
  readonly xattrs: boolean;
  /** setuid and setgid, and capabilities: what lets a program do more than who starts it. */
  readonly setIds: boolean;
}

/** What of an entry's metadata did not come to be. PROTOCOL.md 17.2. */
export type Lost = LostPart;

/** The end of a file that was committed. */
export interface Committed {
  /** Under which name it is now, relative to the store; differs from the file's name only under `rename`. */
  readonly path: string;
  readonly verified: Verified;
  readonly outcome: 'stored' | 'replaced' | 'renamed' | 'identical';
  /** Where its disk does not hold the mode or the mtime that it was to have: what it has instead. */
  readonly kept?: Kept;
  /** What of its metadata it does not have, `kept` included. */
  readonly lost?: readonly Lost[];
}

/**
 * What a disk made of a mode (permission bits), of an mtime (ns since 1970), or of a hard link; each absent where it is
 * as it was to be.
 */
export interface Kept {
  readonly mode?: number;
  readonly mtime?: bigint;
  /** A hard link became a file of its own. */
  readonly apart?: true;
}

/** The algorithms that `digests` names. */
export function algorithmsOf(digests: Digests): DigestAlgorithm[] {
  return Object.keys(digests) as DigestAlgorithm[];
}

/** The first algorithm by which `actual` is not what was `expected`. */
export function firstDifference(expected: Digests, actual: Digests): DigestAlgorithm | undefined {
  return algorithmsOf(expected).find((algorithm) => actual[algorithm] !== expected[algorithm]);
}

/** The failure for a file that is in the store, and is not what it should be. */
export function mismatch(name: string, algorithm: keyof Digests, expected: Digests, actual: Digests): TransferError {
  return new TransferError(
    'mismatch',
    `${printable(name)} does not match: its ${algorithm} should be ${expected[algorithm] ?? ''}, and is ${actual[algorithm] ?? ''} on the disk.`,
  );
}

/** The failure for a file that is verified before all of its bytes were written. */
export function incomplete(
  file: { readonly name: string; readonly size: number | undefined },
  received: number,
): TransferError {
  return new TransferError(
    'unexpected',
    `${String((file.size ?? received) - received)} bytes of ${printable(file.name)} were never written.`,
  );
}

/** What whoever still uses a file is told that was thrown away. */
export function discarded(): TransferError {
  return new TransferError('interrupted', 'The file was discarded.');
}

/** The refusal for a name under which something else is, by this rule. */
export function alreadyExists(
  name: string,
  ifExists: IfExists,
  what = 'other content',
  cause?: unknown,
): TransferError {
  return nameTaken(
    `${printable(name)} already exists on the receiver: ${what} stands under that name.`,
    ifExists,
    what === 'other content',
    cause,
  );
}

/**
 * The refusal, in this sentence, for what has the name of something else. `replaceable`: the rule `replace` would have
 * that replaced.
 */
export function nameTaken(message: string, ifExists: IfExists, replaceable: boolean, cause?: unknown): TransferError {
  return new TransferError('exists', message, {
    nameTaken: true,
    ...(cause === undefined ? {} : { cause }),
    ...(replaceable && ifExists !== 'rename' && ifExists !== 'replace' ? {} : { hint: hintFor(ifExists) }),
  });
}

/** What helps where the rules that exist do not, or not all of them. */
function hintFor(ifExists: IfExists): string {
  if (ifExists === 'rename') return 'Remove or rename what is there, or send it under another name.';
  return 'What is there is never replaced: remove it, or have this received with --if-exists rename.';
}

/** The refusal for what would lie in something that is not a directory. */
export function notADirectory(name: string, cause?: unknown): TransferError {
  return new TransferError(
    'exists',
    `${printable(name)} is not a directory on the receiver, so nothing can be stored in it.`,
    { cause, hint: 'Remove or rename what is there, or send this under another name.' },
  );
}
