import { type ErrorCode, isErrorCode, TransferError } from '../../errors';
import type { Damage, DamageReason, SnapshotEvent, TransferEvent, Verified } from '../../progress';
import {
  digestsUnder,
  levelUnder,
  optionalSizeUnder,
  optionalTextUnder,
  sizeUnder,
  textUnder,
  wrong,
} from '../../wire/fields';
import { type JsonObject, ownValue } from '../../wire/json-object';
import type { DamagedEntry } from '../repair/damaged-entries';
import type { ChangedEntry, Difference, OneSided } from '../manifest/difference';
import type { FoundEvent, FoundInSnapshot } from '../manifest/find';
import { parseEntry } from '../manifest/manifest-entry';
import type { ForgetEvent } from '../forget/forget';
import type { Pruned, PruneEvent } from '../prune/prune';
import type { KeepReason } from '../prune/retention';
import type { SnapshotDamaged, SnapshotForeign, SnapshotListed } from '../manifest/snapshots';

// What a receiver tells of its snapshots, as it came over the wire: nothing is believed that does not look as it
// should. All of them throw `bad-header`.

const reasons: readonly string[] = [
  'manifest',
  'missing',
  'unreadable',
  'truncated',
  'changed',
  'metadata',
  'foreign',
] satisfies DamageReason[];
const keepReasons: readonly string[] = [
  'newest',
  'last',
  'daily',
  'weekly',
  'monthly',
  'within',
  'damaged',
  'future',
  'content',
] satisfies KeepReason[];
const kinds: readonly string[] = ['file', 'directory', 'symlink', 'link'] satisfies OneSided['type'][];

/** One line of a listing. */
export function parseListed(line: unknown): SnapshotListed | SnapshotDamaged | SnapshotForeign {
  const fields = objectOf(line);
  if (eventOf(fields) === 'foreign') return { event: 'foreign', path: textUnder(fields, 'path') };
  if (eventOf(fields) !== 'damaged') return { event: 'snapshot', ...snapshotIn(fields) };
  return {
    event: 'damaged',
    ...damageIn(fields),
    failure: new TransferError('mismatch', textUnder(fields, 'message'), { hint: '' }),
  };
}

const foundTypes: readonly string[] = ['missing', ...kinds];

/** One entry that was found, or a snapshot whose manifest cannot be believed. */
export function parseFound(line: unknown): FoundEvent {
  const fields = objectOf(line);
  const event = eventOf(fields);
  if (event === 'damaged') {
    const failure = new TransferError('mismatch', textUnder(fields, 'message'), { hint: '' });
    return { event, ...damageIn(fields), failure };
  }
  if (event !== 'found') throw unknown(event);
  const text = (key: 'mtime' | 'target' | 'reason'): Record<string, string> => {
    const value = optionalTextUnder(fields, key);
    return value === undefined ? {} : { [key]: value };
  };
  const size = (key: 'bytes' | 'mode' | 'version'): Record<string, number> => {
    const value = optionalSizeUnder(fields, key);
    return value === undefined ? {} : { [key]: value };
  };
  return {
    event,
    snapshot: textUnder(fields, 'snapshot'),
    path: textUnder(fields, 'path'),
    type: oneOf(fields, 'type', foundTypes) as FoundInSnapshot['type'],
    ...size('bytes'),
    ...(ownValue(fields, 'digests') === undefined ? {} : { digests: digestsUnder(fields, 'digests') }),
    ...size('mode'),
    ...text('mtime'),
    ...text('target'),
    ...text('reason'),
    ...size('version'),
  };
}

/** Adds one line of a comparison to what is known of it. */
export function addDifference(
  line: unknown,
  difference: { readonly [Key in keyof Difference]: Difference[Key][number][] },
): void {
  const fields = objectOf(line);
  const event = eventOf(fields);
  const type = oneOf(fields, 'type', kinds) as OneSided['type'];
  const [bytes, missing] = [optionalSizeUnder(fields, 'bytes'), optionalTextUnder(fields, 'missing')];
  const entry = {
    path: textUnder(fields, 'path') as OneSided['path'],
    type,
    ...(bytes === undefined ? {} : { bytes }),
  };
  if (event === 'changed')
    difference.changed.push({ ...entry, what: oneOf(fields, 'what', ['content', 'metadata']) as ChangedEntry['what'] });
  else if (event === 'added' || event === 'removed')
    difference[event].push({ ...entry, ...(missing === undefined ? {} : { missing }) });
  else throw unknown(event);
}

/** What was taken out of one snapshot, or why nothing was. */
export function parseForgotten(line: unknown): ForgetEvent {
  const fields = objectOf(line);
  const event = eventOf(fields);
  if (event === 'failed') return failureIn(fields);
  if (event !== 'taken-out') throw unknown(event);
  const freed = optionalSizeUnder(fields, 'freed_bytes');
  return {
    event,
    snapshot: textUnder(fields, 'snapshot'),
    path: textUnder(fields, 'path'),
    entries: sizeUnder(fields, 'entries'),
    bytes: sizeUnder(fields, 'bytes'),
    ...(freed === undefined ? {} : { freed_bytes: freed }),
    ...(ownValue(fields, 'dry_run') === true ? { dry_run: true } : {}),
  };
}

/** What became of one snapshot, or of garbage, or why a backup could not be pruned. */
export function parsePruned(line: unknown): PruneEvent {
  const fields = objectOf(line);
  const event = eventOf(fields);
  const dry = ownValue(fields, 'dry_run') === true ? { dry_run: true as const } : {};
  switch (event) {
    case 'failed':
      return failureIn(fields);
    case 'kept':
      return { event, snapshot: textUnder(fields, 'snapshot'), reasons: keepReasonsIn(fields) };
    case 'removed':
      return {
        event,
        snapshot: textUnder(fields, 'snapshot'),
        freed_bytes: sizeUnder(fields, 'freed_bytes'),
        ...(ownValue(fields, 'after_grace') === true ? { after_grace: true } : {}),
        ...dry,
      };
    case 'collected':
      return {
        event,
        deleted_objects: sizeUnder(fields, 'deleted_objects'),
        deleted_bytes: sizeUnder(fields, 'deleted_bytes'),
        condemned_objects: sizeUnder(fields, 'condemned_objects'),
        condemned_bytes: sizeUnder(fields, 'condemned_bytes'),
        ...dry,
      };
    default:
      throw unknown(event);
  }
}

/** What happens in a verification; with the lines of the manifests that were asked for. */
export function parseVerification(line: unknown): TransferEvent | ({ readonly event: 'entry' } & DamagedEntry) {
  const fields = objectOf(line);
  const event = eventOf(fields);
  switch (event) {
    case 'damaged':
      return { event, ...damageIn(fields) };
    case 'repaired':
      return { event, snapshot: textUnder(fields, 'snapshot'), path: textUnder(fields, 'path') };
    case 'foreign':
      return { event, path: textUnder(fields, 'path') };
    case 'skipped':
      return { event, file_name: textUnder(fields, 'file_name'), reason: textUnder(fields, 'reason') };
    case 'progress':
      return {
        event,
        phase: 'verify',
        file_name: textUnder(fields, 'file_name'),
        done: sizeUnder(fields, 'done'),
        total: sizeUnder(fields, 'total'),
      };
    case 'summary':
      return { event, ...summaryIn(fields) };
    case 'entry': {
      const algorithm = oneOf(fields, 'algorithm', ['md5', 'sha256', 'blake3']) as DamagedEntry['algorithm'];
      const entry = parseEntry(objectOf(ownValue(fields, 'entry')), algorithm);
      if (entry.type !== 'file') throw wrong('entry', 'a file', entry.type);
      return { event, snapshot: textUnder(fields, 'snapshot'), path: textUnder(fields, 'path'), algorithm, entry };
    }
    default:
      throw unknown(event);
  }
}

function snapshotIn(fields: JsonObject): SnapshotEvent {
  const verified = ownValue(fields, 'verified_at');
  const alone = optionalSizeUnder(fields, 'alone_bytes');
  return {
    snapshot: textUnder(fields, 'snapshot'),
    time: textUnder(fields, 'time'),
    entries: sizeUnder(fields, 'entries'),
    bytes: sizeUnder(fields, 'bytes'),
    new_bytes: sizeUnder(fields, 'new_bytes'),
    missing: sizeUnder(fields, 'missing'),
    ...(alone === undefined ? {} : { alone_bytes: alone }),
    verified_at: verified === null ? null : textUnder(fields, 'verified_at'),
  };
}

function damageIn(fields: JsonObject): Damage {
  return {
    snapshot: textUnder(fields, 'snapshot'),
    path: textUnder(fields, 'path'),
    reason: oneOf(fields, 'reason', reasons) as DamageReason,
  };
}

function failureIn(fields: JsonObject): Extract<TransferEvent, { event: 'failed' }> {
  const [code, hint, name] = [
    textUnder(fields, 'code'),
    optionalTextUnder(fields, 'hint'),
    optionalTextUnder(fields, 'file_name'),
  ];
  const known: ErrorCode = isErrorCode(code) ? code : 'unexpected';
  return {
    event: 'failed',
    code: known,
    message: textUnder(fields, 'message'),
    ...(hint === undefined ? {} : { hint }),
    ...(name === undefined ? {} : { file_name: name }),
  };
}

function summaryIn(fields: JsonObject): {
  files: number;
  bytes: number;
  bytes_on_wire: number;
  seconds: number;
  bottleneck: null;
  verified: Verified;
} {
  const seconds = ownValue(fields, 'seconds');
  if (typeof seconds !== 'number' || !(seconds >= 0)) throw wrong('seconds', 'a number of seconds', seconds);
  return {
    files: sizeUnder(fields, 'files'),
    bytes: sizeUnder(fields, 'bytes'),
    bytes_on_wire: 0,
    seconds,
    bottleneck: null,
    verified: levelUnder(fields, 'verified'),
  };
}

function keepReasonsIn(fields: JsonObject): Extract<Pruned, { event: 'kept' }>['reasons'] {
  const value = ownValue(fields, 'reasons');
  if (Array.isArray(value) && value.every((each) => keepReasons.includes(each as string))) return value as KeepReason[];
  throw wrong('reasons', 'an array of reasons', value);
}

function objectOf(line: unknown): JsonObject {
  if (typeof line !== 'object' || line === null || Array.isArray(line)) throw wrong('told', 'a list of objects', line);
  return line as JsonObject;
}

function eventOf(fields: JsonObject): string {
  return textUnder(fields, 'event');
}

function oneOf(fields: JsonObject, key: string, allowed: readonly string[]): string {
  const value = ownValue(fields, key);
  if (typeof value === 'string' && allowed.includes(value)) return value;
  throw wrong(key, `one of ${allowed.join(', ')}`, value);
}

function unknown(event: string): TransferError {
  return wrong('event', 'one that belongs here', event);
}
