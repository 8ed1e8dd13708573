// What an entry has beside content, permission bits and time, as it is found on this machine.
import type { BigIntStats } from 'node:fs';
import { errnoOf } from '../errors';
import { accounts } from '../threads/accounts';
import { xattrCalls } from '../threads/xattr-calls';
import { longestXattrs, type Metadata, type Owner } from '../wire/metadata';
import { carriedTime } from '../threads/carried-time';

const [specialShift, specialMask] = [9n, 7n];
/** Attributes of `system.` that are not made by the kernel alone. */
const accessLists = new Set(['system.posix_acl_access', 'system.posix_acl_default']);
/** Labels are given by the policy of the machine where a file is; overlayfs keeps its own books. */
const ofTheMachine = /^(security\.(selinux|ima|evm|apparmor)$|trusted\.overlay\.)/;

/** What is found without being asked for: special bits, and a time that 64 bits do not hold. */
export function plainMetadata({ mode, mtimeNs }: BigIntStats): Metadata | undefined {
  const special = Number((mode >> specialShift) & specialMask);
  const carried = carriedTime(mtimeNs);
  if (special === 0 && carried === mtimeNs) return undefined;
  return { ...(special === 0 ? {} : { special }), ...(carried === mtimeNs ? {} : { time: mtimeNs }) };
}

/** Reads owners and extended attributes as well. Equal ones are the same object. */
export class MetadataReader {
  private readonly known = new Map<string, Metadata>();

  /** `path` is the entry itself, and not followed. Throws the errors of the operating system. */
  of(path: string | Buffer, stats: BigIntStats): Metadata {
    const { uid, gid } = stats;
    const plain = plainMetadata(stats);
    const xattrs = xattrsAt(path);
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

/**
 * Undefined where there are none, and where this machine or this disk has none at all. What is larger than an entry may
 * carry, and what this user may not read, is left out.
 */
function xattrsAt(path: string | Buffer): Record<string, string> | undefined {
  const calls = xattrCalls();
  if (!calls) return undefined;
  let names: string[];
  try {
    names = calls.names(path);
  } catch (error) {
    if (['ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'ERANGE', 'EACCES', 'EPERM'].includes(errnoOf(error) ?? ''))
      return undefined;
    throw error;
  }
  const xattrs: Record<string, string> = {};
  let length = 0;
  for (const name of names.sort()) {
    if ((name.startsWith('system.') && !accessLists.has(name)) || ofTheMachine.test(name)) continue;
    const text = valueOf(path, name)?.toString('base64');
    if (text === undefined || length + name.length + text.length > longestXattrs) continue;
    length += name.length + text.length;
    xattrs[name] = text;
  }
  return length === 0 ? undefined : xattrs;
}

function valueOf(path: string | Buffer, name: string): Buffer | undefined {
  try {
    return xattrCalls()?.value(path, name);
  } catch (error) {
    if (['EACCES', 'EPERM', 'ENOTSUP', 'EOPNOTSUPP'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
