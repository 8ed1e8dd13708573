// What an entry has beside content, permission bits and time, given to what was stored of it.
import { fchownSync, fstatSync, lchownSync, lstatSync } from 'node:fs';
import { systemPath } from '../../name-bytes';
import { accounts, type Names } from '../../threads/accounts';
import { xattrCalls } from '../../threads/xattr-calls';
import { trace } from '../../trace';
import type { Metadata } from '../../wire/metadata';
import type { Lost, MetadataUse } from '../store';

/** Metadata as it is to be given here. */
export interface Given {
  readonly owner?: { readonly uid: number; readonly gid: number };
  readonly xattrs?: Readonly<Record<string, string>>;
  /** setuid, setgid and sticky, as they are in a mode. */
  readonly special: number;
  /** In ns since 1970, where that is outside of what 64 bits hold. */
  readonly time?: bigint;
}

export interface Allowed {
  /** Undefined where there is nothing to be given. */
  readonly given: Given | undefined;
  /** What the entry has, and nobody allows here. */
  readonly lost: readonly Lost[];
}

const nothing: Allowed = { given: undefined, lost: [] };
const [setIds, sticky] = [0o6000, 0o1000];
const capability = 'security.capability';

/** What of an entry's metadata is given to it in this use of a store. */
export function allowedMetadata(metadata: Metadata | undefined, use: MetadataUse | 'recorded' | undefined): Allowed {
  if (metadata === undefined) return nothing;
  const time = metadata.time === undefined ? {} : { time: metadata.time };
  const bits = (metadata.special ?? 0) << 9;
  // A manifest has all of it.
  if (use === 'recorded') return { given: metadata.time === undefined ? undefined : { special: 0, ...time }, lost: [] };
  const { owner = 'none', xattrs = false, setIds: mayRise = false } = use ?? {};
  const special = (use ? bits & sticky : 0) | (mayRise ? bits & setIds : 0);
  const given: Given = {
    special,
    ...time,
    ...(owner === 'none' || !metadata.owner
      ? {}
      : {
          owner: {
            uid: idHere(metadata.owner.uid, metadata.owner.user, owner, accounts().users),
            gid: idHere(metadata.owner.gid, metadata.owner.group, owner, accounts().groups),
          },
        }),
    ...(xattrs && metadata.xattrs ? { xattrs: mayRise ? metadata.xattrs : withoutCapability(metadata.xattrs) } : {}),
  };
  const lost: Lost[] = special === bits ? [] : ['special'];
  if (xattrs && !mayRise && metadata.xattrs?.[capability] !== undefined) lost.push('xattrs');
  return { given, lost };
}

function withoutCapability({ [capability]: _, ...others }: Readonly<Record<string, string>>): Record<string, string> {
  return others;
}

/** By name first: a number means another one on another machine. Nobody's name stands for 0. */
function idHere(id: number, name: string | undefined, by: 'name' | 'number', { idOf }: Names): number {
  return by === 'number' || id === 0 || name === undefined ? id : (idOf.get(name) ?? id);
}

/**
 * Gives it to what is open as `fd`, or to the symbolic link at a path; mode and time come after it. Returns what could
 * not be given: nothing of it keeps the entry from being stored. Special bits are for the mode, and lost with the
 * owner.
 */
export function giveMetadata(to: number | { readonly link: string }, { owner, xattrs, special }: Given): Lost[] {
  const lost: Lost[] = [];
  if (owner && !owns(to, owner)) {
    try {
      if (typeof to === 'number') fchownSync(to, owner.uid, owner.gid);
      else lchownSync(systemPath(to.link), owner.uid, owner.gid);
    } catch (error) {
      trace('an owner cannot be given: %o', error);
      lost.push('owner');
      if ((special & setIds) !== 0) lost.push('special');
    }
  }
  if (!giveXattrs(to, xattrs)) lost.push('xattrs');
  return lost;
}

function giveXattrs(to: number | { readonly link: string }, xattrs: Given['xattrs'] = {}): boolean {
  const calls = xattrCalls();
  let all = true;
  for (const [name, text] of Object.entries(xattrs)) {
    try {
      if (!calls) return false;
      const value = Buffer.from(text, 'base64');
      if (typeof to === 'number') calls.set(to, name, value);
      else calls.setOfLink(to.link, name, value);
    } catch (error) {
      trace('the attribute %s cannot be given: %o', name, error);
      all = false;
    }
  }
  return all;
}

function owns(to: number | { readonly link: string }, { uid, gid }: NonNullable<Given['owner']>): boolean {
  const found = typeof to === 'number' ? fstatSync(to) : lstatSync(systemPath(to.link));
  return found.uid === uid && found.gid === gid;
}

/** The mode that is set in the end. */
export function modeWith(mode: number, given: Given | undefined, lost: readonly Lost[]): number {
  if (!given) return mode;
  return mode | (lost.includes('special') ? given.special & sticky : given.special);
}
