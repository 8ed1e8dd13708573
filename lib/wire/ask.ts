import { countUnder, optionalTextUnder, textUnder, wrong } from './fields';
import { type JsonObject, ownValue } from './json-object';

/** Which snapshots are to stay; see `KeepRules`. */
const keepKeys = ['last', 'daily', 'weekly', 'monthly'] as const;

/**
 * What the side that dials wants to have done with the snapshots of the other one, under `ask` in its hello. `name` is
 * that of a backup; `snapshot`, `a` and `b` are `NAME/ID` or `NAME/latest`.
 */
export type Ask =
  /**
   * To be told of each snapshot; with `foreign`, of what lies there and is none, with `alone`, how many bytes each
   * alone holds.
   */
  | { readonly for: 'snapshots'; readonly name?: string; readonly foreign?: true; readonly alone?: true }
  /** To be told what is in one; `pattern` is as a path of a restore. */
  | { readonly for: 'entries'; readonly snapshot: string; readonly pattern?: string }
  /** To be told in which of them something is; `pattern` is as in gitignore(5). */
  | { readonly for: 'find'; readonly pattern: string; readonly name?: string }
  /** To be told what differs between two. */
  | { readonly for: 'difference'; readonly a: string; readonly b: string }
  /**
   * To have them read back; `sample` is a share above 0 and up to 1. With `entries`, to be told of the manifests' lines
   * for files that are damaged. With `mend`, to have mended what the manifests alone make right again.
   */
  | {
      readonly for: 'verify';
      readonly name?: string;
      readonly snapshot?: string;
      readonly sample?: number;
      readonly entries?: true;
      readonly foreign?: true;
      readonly mend?: true;
    }
  /**
   * To have those removed that nothing keeps; `within` in ms. With `future`, to be told which stay because they are
   * dated in the future, with `content`, which because they are the last that had what a source has lost; with
   * `allow_shrink` those do not stay; `remove_damaged`, `NAME/ID`, goes as well. In an object store: `grace` in ms, and
   * with `collected`, to be told of garbage.
   */
  | {
      readonly for: 'prune';
      readonly name?: string;
      readonly keep: Readonly<Partial<Record<(typeof keepKeys)[number] | 'within', number>>>;
      readonly dry_run?: true;
      readonly future?: true;
      readonly content?: true;
      readonly allow_shrink?: true;
      readonly remove_damaged?: string;
      readonly grace?: number;
      readonly collected?: true;
    }
  /** To have what a pattern matches taken out of all of them; as for `find`, and directories with what is below. */
  | { readonly for: 'forget'; readonly pattern: string; readonly name?: string; readonly dry_run?: true }
  /** To get one, or what `paths` choose of it, in this session. */
  | { readonly for: 'restore'; readonly snapshot: string; readonly paths: readonly string[] };

/** Of a restore; PROTOCOL.md 23.1. */
const mostPaths = 4096;
const longestPath = 4096;

export type RestoreAsk = Extract<Ask, { readonly for: 'restore' }>;

/** What stands under `ask`. Keys that are not named are ignored. @throws TransferError `bad-header` */
export function parseAsk(value: unknown): Ask {
  const ask = objectOf('ask', value);
  const what = ownValue(ask, 'for');
  switch (what) {
    case 'snapshots':
      return { for: what, ...textIn(ask, 'name'), ...trueIn(ask, 'foreign'), ...trueIn(ask, 'alone') };
    case 'entries':
      return { for: what, snapshot: textUnder(ask, 'snapshot'), ...patternIn(ask) };
    case 'find':
      return { for: what, pattern: patternUnder(ask), ...textIn(ask, 'name') };
    case 'forget':
      return { for: what, pattern: patternUnder(ask), ...textIn(ask, 'name'), ...trueIn(ask, 'dry_run') };
    case 'difference':
      return { for: what, a: textUnder(ask, 'a'), b: textUnder(ask, 'b') };
    case 'verify':
      return {
        for: what,
        ...textIn(ask, 'name'),
        ...textIn(ask, 'snapshot'),
        ...sampleIn(ask),
        ...trueIn(ask, 'entries'),
        ...trueIn(ask, 'foreign'),
        ...trueIn(ask, 'mend'),
      };
    case 'prune':
      return {
        for: what,
        ...textIn(ask, 'name'),
        keep: keepOf(objectOf('keep', ownValue(ask, 'keep'))),
        ...trueIn(ask, 'dry_run'),
        ...trueIn(ask, 'future'),
        ...trueIn(ask, 'content'),
        ...trueIn(ask, 'allow_shrink'),
        ...textIn(ask, 'remove_damaged'),
        ...spanIn(ask, 'grace'),
        ...trueIn(ask, 'collected'),
      };
    case 'restore':
      return { for: what, snapshot: textUnder(ask, 'snapshot'), paths: pathsOf(ownValue(ask, 'paths')) };
    default:
      throw wrong('ask.for', 'something that can be asked for', what);
  }
}

function objectOf(key: string, value: unknown): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(key, 'an object', value);
  return value as JsonObject;
}

function textIn<Key extends string>(ask: JsonObject, key: Key): { readonly [K in Key]?: string } {
  const text = optionalTextUnder(ask, key);
  return (text === undefined ? {} : { [key]: text }) as { readonly [K in Key]?: string };
}

function patternIn(ask: JsonObject): { readonly pattern?: string } {
  const { pattern } = textIn(ask, 'pattern');
  if (pattern !== undefined && pattern.length > longestPath)
    throw wrong('pattern', `a text of up to ${String(longestPath)} characters`, pattern);
  return pattern === undefined ? {} : { pattern };
}

function patternUnder(ask: JsonObject): string {
  const { pattern = '' } = patternIn(ask);
  if (pattern === '') throw wrong('pattern', 'a text', ownValue(ask, 'pattern'));
  return pattern;
}

function trueIn<Key extends string>(ask: JsonObject, key: Key): { readonly [K in Key]?: true } {
  return (ownValue(ask, key) === true ? { [key]: true } : {}) as { readonly [K in Key]?: true };
}

function sampleIn(ask: JsonObject): { readonly sample?: number } {
  const sample = ownValue(ask, 'sample');
  if (sample === undefined) return {};
  if (typeof sample !== 'number' || !(sample > 0 && sample <= 1))
    throw wrong('sample', 'a share above 0 and up to 1', sample);
  return { sample };
}

function keepOf(keep: JsonObject): Extract<Ask, { readonly for: 'prune' }>['keep'] {
  const rules: Partial<Record<(typeof keepKeys)[number] | 'within', number>> = {};
  for (const key of keepKeys) if (Object.hasOwn(keep, key)) rules[key] = countUnder(keep, key);
  return { ...rules, ...spanIn(keep, 'within') };
}

function spanIn<Key extends string>(fields: JsonObject, key: Key): { readonly [K in Key]?: number } {
  const span = ownValue(fields, key);
  if (span !== undefined && (typeof span !== 'number' || !Number.isFinite(span) || span <= 0))
    throw wrong(key, 'a number of milliseconds', span);
  return (span === undefined ? {} : { [key]: span }) as { readonly [K in Key]?: number };
}

function pathsOf(value: unknown): readonly string[] {
  if (
    Array.isArray(value) &&
    value.length <= mostPaths &&
    value.every((path): path is string => typeof path === 'string' && path.length <= longestPath)
  )
    return value;
  throw wrong(
    'paths',
    `an array of up to ${String(mostPaths)} strings of up to ${String(longestPath)} characters`,
    value,
  );
}
