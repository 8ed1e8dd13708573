import { type EntryName, parseEntryName } from '../name';
import type { Verified } from '../progress';
import { type Ask, parseAsk } from './ask';
import { countUnder, type DigestName, isLevel, optionalTextUnder, roleUnder, textUnder, wrong } from './fields';
import type { JsonObject } from './frame';
import { ownValue } from './json-object';
import { type Coding, isCoding } from './coding';
import type { Suite } from './record';
import { isSuite } from './sealed-hello';

/** The version of the session's conversation that is spoken here. */
export const sessionVersion = 1;

export type Role = 'sender' | 'receiver';

/** The first message on every connection, from both sides; see PROTOCOL.md, "The session". */
export interface Hello {
  readonly type: 'hello';
  readonly version: number;
  /** What the side that says it is. */
  readonly role: Role;
  /** 32 hexadecimal digits, chosen by the side that dials; the same on all connections of one session. */
  readonly session: string;
  /** 0 for the one that carries the conversation, 1 and up for those that carry segments only. */
  readonly connection: number;
  /** By the sender: what the digests of this session are. */
  readonly digest?: DigestName;
  /** By the sender, on connection 0: everything that it offers becomes one snapshot of the backup of this name. */
  readonly backup?: EntryName;
  /**
   * By the sender, on connection 0: what it offers heals the snapshots of the backup of this name; the receiver repeats
   * it in its answer.
   */
  readonly repair?: EntryName;
  /** By the sender of a backup: it reads every file, changed or not. */
  readonly checksum?: boolean;
  /** By the sender of a backup: its sources may have lost most of what the snapshot before had. */
  readonly allow_shrink?: boolean;
  /**
   * By the sender, on connection 0: what the receiver has already is read back before its receipt is repeated. By the
   * receiver: it does that where it is asked.
   */
  readonly check?: boolean;
  /**
   * By the sender, on connection 0: entries come with their metadata, and are to get it. By the receiver: it gives it
   * to them.
   */
  readonly metadata?: boolean;
  /** By the sender, on connection 0: the levels of receipts that it knows; without it `device` and `cache`. */
  readonly levels?: readonly Verified[];
  /** The receiver's answer to `backup`: what the snapshot will be called. */
  readonly snapshot?: string;
  /** By a receiver that dials: what the other side is to do with its snapshots. */
  readonly ask?: Ask;
  /** By the receiver, on connection 0: contents may come in these codings, the best first. PROTOCOL.md 14.17. */
  readonly codings?: readonly Coding[];
  /** By both sides, on connection 0: further connections may be sealed by these suites, the best first. */
  readonly sealed?: readonly Suite[];
}

/** @throws TransferError `bad-header`; `name` for what no backup can be called */
export function parseHello(header: JsonObject): Hello {
  const type = ownValue(header, 'type');
  if (type !== 'hello') throw wrong('type', '"hello"', type);
  const session = textUnder(header, 'session');
  if (!/^[0-9a-f]{32}$/.test(session)) throw wrong('session', '32 hexadecimal digits', session);
  const digest = ownValue(header, 'digest');
  const ask = ownValue(header, 'ask');
  if (digest !== undefined && digest !== 'blake3' && digest !== 'sha256' && digest !== 'md5')
    throw wrong('digest', '"blake3", "sha256" or "md5"', digest);
  return {
    type,
    version: countUnder(header, 'version'),
    role: roleUnder(header, 'role'),
    session,
    connection: countUnder(header, 'connection'),
    ...(digest === undefined ? {} : { digest }),
    ...parseBackup(header),
    ...(ask === undefined ? {} : { ask: parseAsk(ask) }),
    ...(ownValue(header, 'check') === true ? { check: true } : {}),
    ...(ownValue(header, 'metadata') === true ? { metadata: true } : {}),
    ...parseLevels(ownValue(header, 'levels')),
    ...parseSealed(ownValue(header, 'sealed')),
    ...parseCodings(ownValue(header, 'codings')),
  };
}

/** Levels that are not known here are left out. */
function parseLevels(levels: unknown): Pick<Hello, 'levels'> {
  if (levels === undefined) return {};
  if (!Array.isArray(levels)) throw wrong('levels', 'an array of levels', levels);
  return { levels: levels.filter(isLevel) };
}

/** Suites that are not known here are left out. */
function parseSealed(sealed: unknown): Pick<Hello, 'sealed'> {
  if (sealed === undefined) return {};
  if (!Array.isArray(sealed)) throw wrong('sealed', 'an array of suites', sealed);
  return { sealed: sealed.filter(isSuite) };
}

/** Codings that are not known here are left out. */
function parseCodings(codings: unknown): Pick<Hello, 'codings'> {
  if (codings === undefined) return {};
  if (!Array.isArray(codings)) throw wrong('codings', 'an array of codings', codings);
  return { codings: codings.filter(isCoding) };
}

function parseBackup(header: JsonObject): Pick<Hello, 'backup' | 'repair' | 'checksum' | 'allow_shrink' | 'snapshot'> {
  const [backup, repair] = [backupNameUnder(header, 'backup'), backupNameUnder(header, 'repair')];
  const snapshot = optionalTextUnder(header, 'snapshot');
  return {
    ...(backup === undefined ? {} : { backup }),
    ...(repair === undefined ? {} : { repair }),
    ...(ownValue(header, 'checksum') === true ? { checksum: true } : {}),
    ...(ownValue(header, 'allow_shrink') === true ? { allow_shrink: true } : {}),
    ...(snapshot === undefined ? {} : { snapshot }),
  };
}

/** "The name of a backup is a single component." */
function backupNameUnder(header: JsonObject, key: string): EntryName | undefined {
  const name = optionalTextUnder(header, key);
  if (name?.includes('/') === true) throw wrong(key, 'a name without slashes', name);
  return name === undefined ? undefined : parseEntryName(name);
}
