import type { ErrorCode } from '../lib/index';
import { usualHint } from '../lib/internal';
import { cutShort, receiverGoesOn, type ReceiverMeets } from './going-on';

/**
 * What this command does: it sends to another side, keeps what comes, backs up to a directory of this machine, fetches
 * what another side or this machine has, or makes plain files of an object store.
 */
export type Role = 'sender' | 'receiver' | 'keeper' | 'restorer' | 'exporter';

/** What the library says to a sender, said to whoever has the options and the disk in his own hands. */
const ownHints: Readonly<Record<Exclude<Role, 'sender'>, Readonly<Partial<Record<ErrorCode, string>>>>> = {
  receiver: {
    exists: 'Started with --if-exists skip, rename or replace, this receiver takes it another way.',
    quota: 'Started with a larger --quota, this receiver takes more.',
    size: 'Started with a larger --max-size, this receiver takes it.',
    space: 'Free space on this disk.',
    disk: "Check this machine's disk and its system log.",
  },
  keeper: {
    space: 'Free space on that disk: sendall prune removes old snapshots.',
    disk: 'Check that disk and its system log.',
    name: 'Rename it, or leave it out with --exclude.',
    mismatch: 'Start the same backup again; if it happens again, check memory and disk.',
  },
  restorer: {
    exists: 'Restore into an empty directory, or add --if-exists skip, rename or replace.',
    quota: 'Free space on this disk.',
    size: 'Free space on this disk.',
    space: 'Free space on this disk.',
    disk: "Check this machine's disk and its system log.",
    mismatch: 'sendall verify says whether the snapshot is whole; another one may have the file.',
  },
  exporter: {
    exists: 'Export to another place, or add --if-exists replace.',
    quota: 'Free space where it goes.',
    size: 'Free space where it goes.',
    space: 'Free space where it goes.',
    mismatch:
      'Bring an earlier version of its object back, if the bucket keeps them; or send it again, with --if-exists replace.',
  },
};

/** Said to a receiver of a file of the plain wire, which has no memory of a part of one. */
const comesWhole = 'Nothing of that file is stored: it comes whole when it is sent again.';

/** Codes with cases for which other things help than for most. */
const hasOwnHints: ReadonlySet<ErrorCode> = new Set(['disk', 'exists', 'quota']);

/** What a hint is for. */
interface Hinted {
  readonly code: ErrorCode;
  /** The library's. */
  readonly hint?: string | undefined;
  /** The file that it is about. Only on the plain wire does a conversation end with a single one. */
  readonly file?: string | undefined;
  /** Of a receiver. */
  readonly meets?: ReceiverMeets;
}

/** What helps against a failure, for whoever runs a command of this role. */
export function roleHint(role: Role, { code, hint, file, meets = 'listens' }: Hinted): string | undefined {
  if (hint === undefined || role === 'sender') return hint;
  if (role === 'receiver' && cutShort.has(code))
    return file === undefined ? (receiverGoesOn(meets, code) ?? hint) : comesWhole;
  // What is said of this case, and not of the code in general, is said to whoever has the disk or the store.
  if (hasOwnHints.has(code) && hint !== usualHint(code)) return hint;
  return ownHints[role][code] ?? hint;
}
