// What an entry has beside its content, permission bits and time: PROTOCOL.md 13.12.
import { wrong } from './fields';
import { type JsonObject, ownValue } from './json-object';

/** Who owns an entry on the machine that it is of: by number and, where they have one there, by name. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
  readonly user?: string;
  readonly group?: string;
}

/** Each part is absent where the entry has none, or nobody asked for it. */
export interface Metadata {
  /** The bits above the permissions: 4 setuid, 2 setgid, 1 sticky. */
  readonly special?: number;
  /** Its mtime in ns since 1970, where that is outside of what 64 bits hold. */
  readonly time?: bigint;
  readonly owner?: Owner;
  /** Extended attributes, POSIX ACLs and capabilities among them, by name; values in base64. */
  readonly xattrs?: Readonly<Record<string, string>>;
}

/** A larger id is none: it means "leave it" to chown(2). */
const mostId = 2 ** 32 - 2;
const longestOwnerName = 256;
/** All extended attributes of one entry, as they are encoded, in characters. */
export const longestXattrs = 64 * 1024;

/** The keys of an entry; those that are undefined are not written. */
export function metadataKeys(metadata: Metadata | undefined): JsonObject {
  if (metadata === undefined) return {};
  const { special, time, owner, xattrs } = metadata;
  return {
    special,
    time: time?.toString(),
    owned_by: owner && [owner.uid, owner.gid, owner.user ?? null, owner.group ?? null],
    attributes: xattrs,
  };
}

/** The metadata of an entry; undefined for none. @throws TransferError `bad-header` */
export function metadataUnder(entry: JsonObject): Metadata | undefined {
  const metadata: Metadata = {
    ...specialUnder(ownValue(entry, 'special')),
    ...exactTimeUnder(ownValue(entry, 'time')),
    ...ownerUnder(ownValue(entry, 'owned_by')),
    ...xattrsUnder(ownValue(entry, 'attributes')),
  };
  return Object.keys(metadata).length === 0 ? undefined : metadata;
}

/** The same without what is of this machine: for comparing two entries. */
export function sameMetadata(one: Metadata | undefined, other: Metadata | undefined): boolean {
  if (one === other) return true;
  // Most entries have an owner, and nothing else.
  if (isOwner(one) && isOwner(other)) {
    const [a, b] = [one.owner, other.owner];
    return a.uid === b.uid && a.gid === b.gid && a.user === b.user && a.group === b.group;
  }
  return JSON.stringify(sorted(one)) === JSON.stringify(sorted(other));
}

function isOwner(metadata: Metadata | undefined): metadata is Metadata & { readonly owner: Owner } {
  return (
    metadata?.owner !== undefined &&
    metadata.xattrs === undefined &&
    metadata.special === undefined &&
    metadata.time === undefined
  );
}

function sorted(metadata: Metadata | undefined): unknown {
  const { special, time, owned_by: owner, attributes: xattrs } = metadataKeys(metadata);
  return [special, time, owner, xattrs && Object.entries(xattrs).sort(([one], [other]) => (one < other ? -1 : 1))];
}

function specialUnder(special: unknown): Pick<Metadata, 'special'> {
  if (special === undefined) return {};
  if (typeof special !== 'number' || !Number.isInteger(special) || special < 1 || special > 7)
    throw wrong('special', 'a whole number from 1 to 7', special);
  return { special };
}

function exactTimeUnder(time: unknown): Pick<Metadata, 'time'> {
  if (time === undefined) return {};
  if (typeof time !== 'string' || !/^-?\d{19,29}$/.test(time))
    throw wrong('time', 'nanoseconds as a decimal string of 19 to 29 digits', time);
  return { time: BigInt(time) };
}

function ownerUnder(value: unknown): Pick<Metadata, 'owner'> {
  if (value === undefined) return {};
  const [uid, gid, user, group] = Array.isArray(value) ? (value as unknown[]) : [];
  if (!isId(uid) || !isId(gid) || !isOwnerName(user) || !isOwnerName(group))
    throw wrong('owned_by', '[uid, gid, name or null, name or null]', value);
  return { owner: { uid, gid, ...(user === null ? {} : { user }), ...(group === null ? {} : { group }) } };
}

function xattrsUnder(value: unknown): Pick<Metadata, 'xattrs'> {
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong('attributes', 'an object of names and values in base64', value);
  let length = 0;
  for (const [name, text] of Object.entries(value)) {
    if (name === '' || name.includes('\0') || typeof text !== 'string' || !/^[A-Za-z0-9+/]*={0,2}$/.test(text))
      throw wrong('attributes', 'an object of names and values in base64', value);
    length += name.length + text.length;
  }
  if (length > longestXattrs) throw wrong('attributes', `${String(longestXattrs)} characters at most`, length);
  return { xattrs: value as Record<string, string> };
}

function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= mostId;
}

function isOwnerName(value: unknown): value is string | null {
  return value === null || (typeof value === 'string' && value !== '' && value.length <= longestOwnerName);
}
