import { TransferError } from '../errors';
import { printable } from '../name';
import type { Digests } from '../progress';
import { smallFile } from '../wire/segment';
import type { FileEntry } from '../wire/session-list';
import type { SessionStore, Standing } from '../store/session-store';
import type { Earlier } from './intake';
import type { SessionRules } from './rules';

/** What becomes of an offered file. */
export type Verdict =
  /** It is here already, and has its receipt: these are its digests. */
  | { readonly known: Digests }
  /** It is one more name of a file in an earlier snapshot. */
  | { readonly link: Earlier }
  /**
   * It is to be sent. `alike` is a file of an earlier snapshot that may have the same content. `update`: what stands under its name may be the same in part, and the sender may learn of that.
   * `unlessSame` is why it is refused as soon as it turns out to differ from that.
   */
  | { readonly update: boolean; readonly unlessSame: TransferError | undefined; readonly alike?: Earlier | undefined };

/** Decides about a file that goes into a snapshot: what stands there was staged by an earlier try, of the same peer if it `mayKnow`. */
export function judgeStaged(entry: FileEntry, there: Standing | undefined, before: Earlier | undefined, store: SessionStore, mayKnow: boolean): Verdict {
  const digests = there && mayKnow ? knownDigests(entry, there, store) : undefined;
  if (digests) return { known: digests };
  return before?.unchanged === true ? { link: before } : { update: false, unlessSame: undefined, alike: before };
}

/** Decides about an offered file by what stands under its name. Throws `exists` where that is in the way for certain. */
export function judge(entry: FileEntry, there: Standing | undefined, store: SessionStore, rules: Pick<SessionRules, 'ifExists' | 'mayCompare'>): Verdict {
  // Whether a stream is what stands there shows only when all of it is here.
  if (there === undefined || (entry.size === undefined && there.kind === 'file')) return { update: false, unlessSame: undefined };
  const digests = knownDigests(entry, there, store);
  if (digests) return { known: digests };
  const unlessSame = inTheWay(entry, there, rules.ifExists);
  if (unlessSame && (there.kind !== 'file' || entry.size !== there.size)) throw unlessSame;
  const update = there.kind === 'file' && rules.mayCompare && mayShare(entry, there);
  return { update, unlessSame: update ? unlessSame : undefined };
}

/** The digests of a file for which a receipt was given, if neither it nor its source was touched since. */
export function knownDigests(entry: FileEntry, there: Standing, store: SessionStore): Digests | undefined {
  const kept = there.kind === 'file' ? store.index.find(entry.name) : undefined;
  if (kept?.digests[store.algorithm] === undefined || kept.verified !== store.verified) return undefined;
  const same = kept.size === entry.size && kept.sourceMtime === entry.mtime && entry.ctime !== undefined && kept.sourceCtime === entry.ctime;
  const untouched = kept.ino === there.ino && kept.size === there.size && kept.mtimeNs === there.mtimeNs && kept.ctimeNs === there.ctimeNs;
  return same && untouched ? kept.digests : undefined;
}

/** Whether an offered file and one that stands there may have anything in common: a small one comes as a whole, or not at all. */
function mayShare({ size }: FileEntry, there: Standing): boolean {
  return size === undefined || size > smallFile || (size === there.size && size > 0);
}

function inTheWay(entry: FileEntry, there: Standing, ifExists: SessionRules['ifExists']): TransferError | undefined {
  if (ifExists === 'rename' || (there.kind === 'file' && ifExists === 'replace')) return undefined;
  const what = { file: 'with other content', directory: 'as a directory', symlink: 'as a symbolic link', other: 'as something that is not a regular file' };
  return new TransferError('exists', `${printable(entry.name)} already exists ${what[there.kind]}.`);
}
