// What an entry has beside content, permission bits and time, as it is found on this machine.
import { errnoOf } from '../errors';
import { accounts } from '../threads/accounts';
import type { EntryStats } from '../threads/entry-stats';
import { xattrCalls } from '../threads/xattr-calls';
import { longestXattrs, type Metadata, type Owner } from '../wire/metadata';
import { carriedTime } from '../threads/carried-time';

const [specialShift, specialMask] = [9n, 7n];
/** Attributes of `system.` that are not made by the kernel alone. */
const accessLists = new Set(['system.posix_acl_access', 'system.posix_acl_default']);
/** Labels are given by the policy of the machine where a file is; overlayfs keeps its own books. */
const ofTheMachine = /^(security\.(selinux|ima|evm|apparmor)$|trusted\.overlay\.)/;

/** What is found without being asked for: special bits, and a time that 64 bits do not hold. */
export function plainMetadata({ mode, mtimeNs }: EntryStats): Metadata | undefined {
  const special = Number((mode >> specialShift) & specialMask);
  const carried = carriedTime(mtimeNs);
  if (special === 0 && carried === mtimeNs) return undefined;
  return { ...(special === 0 ? {} : { special }), ...(carried === mtimeNs ? {} : { time: mtimeNs }) };
}

/** Extended attributes that an entry has, and that do not travel with it. */
export interface LeftOut {
  /** The first of them; absent where not even their names could be read. */
  readonly attribute?: string;
  /** Of all of them that were left out for the reason of the first. */
  readonly reason: string;
}

/** Reads owners and extended attributes as well. Equal ones are the same object. */
export class MetadataReader {
  private readonly known = new Map<string, Metadata>();

  /** `path` is the entry itself, and not followed. `leftOut` says why not all of its attributes are in there. */
  of(path: string | Buffer, stats: EntryStats): { readonly metadata: Metadata; readonly leftOut?: LeftOut } {
    const { xattrs, leftOut } = xattrsAt(path);
    return { metadata: this.with(xattrs, stats), ...(leftOut && { leftOut }) };
  }

  private with(xattrs: Metadata['xattrs'], stats: EntryStats): Metadata {
    const { uid, gid } = stats;
    const plain = plainMetadata(stats);
    if (plain?.time !== undefined || xattrs) return { ...plain, owner: ownerOf(uid, gid), ...(xattrs && { xattrs }) };
    const key = `${String(uid)} ${String(gid)} ${String(plain?.special ?? 0)}`;
    const metadata = this.known.get(key) ?? { ...plain, owner: ownerOf(uid, gid) };
    this.known.set(key, metadata);
    return metadata;
  }
}

function ownerOf(uid: bigint, gid: bigint): Owner {
  const { users, groups } = accounts();
  const [user, group] = [users.nameOf.get(Number(uid)), groups.nameOf.get(Number(gid))];
  return {
    uid: Number(uid),
    gid: Number(gid),
    ...(user === undefined ? {} : { user }),
    ...(group === undefined ? {} : { group }),
  };
}

interface ReadXattrs {
  /** Undefined where there are none. */
  readonly xattrs?: Record<string, string>;
  readonly leftOut?: LeftOut;
}

/** None where this machine or this disk has none at all. What cannot travel is left out, and that is said. */
function xattrsAt(path: string | Buffer): ReadXattrs {
  const calls = xattrCalls();
  if (!calls) return {};
  let names: string[];
  try {
    names = calls.names(path);
  } catch (error) {
    return hasNone(error) ? {} : { leftOut: { reason: reasonOf(error) } };
  }
  const xattrs: Record<string, string> = {};
  let leftOut: LeftOut | undefined;
  let length = 0;
  for (const name of names.sort()) {
    if ((name.startsWith('system.') && !accessLists.has(name)) || ofTheMachine.test(name)) continue;
    const value = valueOf(path, name);
    if (value === undefined) continue;
    if (!('text' in value)) leftOut ??= { attribute: name, ...value };
    else if (length + name.length + value.text.length > longestXattrs)
      leftOut ??= { attribute: name, reason: tooLarge };
    else {
      length += name.length + value.text.length;
      xattrs[name] = value.text;
    }
  }
  return { ...(length === 0 ? {} : { xattrs }), ...(leftOut && { leftOut }) };
}

const tooLarge = `one entry has room for ${String(longestXattrs / 1024)} KiB of them, in base64`;

/** In base64, or why it cannot be read; undefined for one that is not there any more. */
function valueOf(path: string | Buffer, name: string): { text: string } | { reason: string } | undefined {
  try {
    const value = xattrCalls()?.value(path, name);
    return value && { text: value.toString('base64') };
  } catch (error) {
    return hasNone(error) ? undefined : { reason: reasonOf(error) };
  }
}

/** Whether this means that there are no attributes, and not that they cannot be read. */
function hasNone(error: unknown): boolean {
  return ['ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'ENOENT'].includes(errnoOf(error) ?? '');
}

/** Told of many entries at once, so without any path. */
function reasonOf(error: unknown): string {
  const code = errnoOf(error);
  if (code === 'EACCES' || code === 'EPERM') return `they cannot be read by this user (${code})`;
  if (code === 'ERANGE' || code === 'E2BIG') return tooLarge;
  return `they cannot be read (${code ?? 'of an unknown reason'})`;
}
