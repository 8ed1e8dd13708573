// Reads what snapshots in an object store count on back from it, and compares all of it with their manifests.
import { createDigestOf } from '../../digest/digest';
import { asTransferError, TransferError } from '../../errors';
import type { DamageReason, Listener } from '../../progress';
import type { Bucket } from '../../store/object/bucket';
import { digestContent } from '../../store/object/contents';
import type { ContentLocation } from '../../store/object/records';
import { ignored, trace } from '../../trace';
import { ownValue, parseJsonObject } from '../../wire/json-object';
import { backupNameOf } from '../manifest/catalog';
import { type Manifest, manifestName } from '../manifest/manifest';
import { VerifyCount } from '../verify/verify-count';
import { choosePass, includes, type Pass, type PassHere } from '../verify/verify-pass';
import type { VerifyResult } from '../verify/verify-run';
import type { ObjectCatalog, ObjectSnapshot } from './object-catalog';
import type { ObjectFile } from './object-content';
import { recordKey } from './snapshot-record';
import { forgetVerified, noteVerified, sampleKey } from './verified-note';

export interface ObjectVerifyOptions {
  /** Only the snapshots of this backup. */
  readonly name?: string | undefined;
  /** Only this one: `NAME/ID` or `NAME/latest`. */
  readonly snapshot?: string | undefined;
  /** About this share of the files, above 0 and up to 1, which is the default. */
  readonly sample?: number | undefined;
  readonly signal: AbortSignal;
  readonly on?: Listener | undefined;
}

/** Not more is in memory at once for one request. */
const readTogether = 8 * 1024 * 1024;
const readsAtOnce = 3;

type FileWithContent = ObjectFile & { readonly content: ContentLocation };

/**
 * Reads the files of snapshots back from the store, each content once, however many snapshots have it. What is damaged
 * is told in `damaged` events for each snapshot that has it, then comes a `summary`. A share is made as on a disk: the
 * next one of the same choice begins where the last one ended. Rejects with `mismatch` after everything was looked at,
 * if there was damage; with `usage` where there is no such snapshot, with `disk` where the store does not answer, and
 * with `interrupted`.
 */
export async function verifyObjects(
  catalog: ObjectCatalog,
  { name, snapshot, sample = 1, signal, on = () => undefined }: ObjectVerifyOptions,
): Promise<VerifyResult> {
  if (!(sample > 0 && sample <= 1)) throw new TransferError('usage', 'A sample is more than nothing, and at most all.');
  const chosen = await choose(catalog, name, snapshot);
  const { bucket } = catalog;
  const noteKey = sampleKey(snapshot?.replace(/\/$/, '') ?? name);
  const { pass } = choosePass(sample < 1 ? await lastSample(bucket, noteKey) : [], sample);
  const count = new VerifyCount(snapshot ?? name ?? catalog.directory, on);
  const reading = new StoredContents(bucket, signal, count);
  let [snapshots, damaged, damages, manifests] = [0, 0, 0, 0];
  try {
    for (const each of chosen) {
      const manifest = await manifestOf(catalog, each);
      const found = manifest
        ? await reading.check(manifest, pass)
        : [{ file: manifestName, reason: 'manifest' as const }];
      // What a prune has taken meanwhile is not damaged.
      if (found.length > 0 && (await bucket.sizeOf(recordKey(each.record))) === undefined) continue;
      snapshots++;
      damaged += found.length > 0 ? 1 : 0;
      damages += found.length;
      manifests += manifest ? 0 : 1;
      for (const { file, reason } of found)
        on({ event: 'damaged', snapshot: `${each.name}/${each.id}`, path: file, reason });
      await note(bucket, each, found.length > 0, sample);
    }
    if (sample < 1)
      await bucket
        .put(noteKey, Buffer.from(`${JSON.stringify({ began: pass.began, from: pass.from, share: sample })}\n`))
        .catch(ignored('the next sample begins anywhere'));
  } finally {
    count.stop();
    on({ event: 'summary', ...count.summary, verified: 'store' });
  }
  if (damages > 0) throw failure(damages, damaged, manifests);
  return { ...count.summary, snapshots, verified: 'store' };
}

/** The damage of one file. */
interface DamagedFile {
  readonly file: string;
  readonly reason: DamageReason;
}

/** The contents of one run: each is read once. */
class StoredContents {
  /** The damage of each content, by location and digest; undefined for an intact one. */
  private readonly known = new Map<string, DamageReason | undefined>();

  constructor(
    private readonly bucket: Bucket,
    private readonly signal: AbortSignal,
    private readonly count: VerifyCount,
  ) {}

  async check({ head, entries }: Manifest, pass: Pass): Promise<DamagedFile[]> {
    const files = entries.filter(
      (entry): entry is ObjectFile => entry.type === 'file' && includes(pass, entry.digests[head.digest] ?? ''),
    );
    const lacking = files.filter(({ size, content }) => size > 0 && content === undefined);
    const held = files.filter((file): file is FileWithContent => file.content !== undefined);
    const fresh = new Map<string, FileWithContent>();
    for (const file of held) {
      const key = keyOf(file, head.digest);
      if (!this.known.has(key)) fresh.set(key, file);
    }
    this.count.expect([...fresh.values()].reduce((sum, { size }) => sum + size, 0));
    const runs = runsOf([...fresh.values()]).values();
    const work = async (): Promise<void> => {
      for (const run of runs) {
        if (this.signal.aborted) throw new TransferError('interrupted', 'Interrupted.');
        await this.read(run, head.digest);
      }
    };
    await Promise.all(Array.from({ length: readsAtOnce }, work));
    return [
      ...lacking.map(({ name }) => ({ file: name, reason: 'missing' as const })),
      ...held.flatMap((file) => {
        const reason = this.known.get(keyOf(file, head.digest));
        return reason === undefined ? [] : [{ file: file.name, reason }];
      }),
    ];
  }

  private async read(run: readonly FileWithContent[], algorithm: Manifest['head']['digest']): Promise<void> {
    const [first] = run;
    if (!first) return;
    const { key, offset: from } = first.content;
    const end = Math.max(...run.map(({ content, size }) => content.offset + size));
    if (end - from > readTogether) {
      const reason = await this.readLarge(first, algorithm);
      this.known.set(keyOf(first, algorithm), reason);
      this.count.read(first.name, first.size, true);
      return;
    }
    const memory = Buffer.allocUnsafe(end - from);
    let at = 0;
    const failed = await this.bucket
      .read(key, from, end - from, (bytes) => {
        memory.set(bytes, at);
        at += bytes.length;
      })
      .then(
        () => undefined,
        (error: unknown) => error,
      );
    const digestOf = await createDigestOf(algorithm);
    const why = failed === undefined ? undefined : await this.reasonOf(failed, key);
    for (const file of run) {
      const start = file.content.offset - from;
      const isHere = start + file.size <= at;
      const same = isHere && digestOf(memory.subarray(start, start + file.size)) === file.digests[algorithm];
      this.known.set(keyOf(file, algorithm), same ? undefined : isHere ? 'changed' : (why ?? 'truncated'));
      this.count.read(file.name, file.size, true);
    }
  }

  private async readLarge(
    file: FileWithContent,
    algorithm: Manifest['head']['digest'],
  ): Promise<DamageReason | undefined> {
    try {
      const digest = await digestContent(this.bucket, file, algorithm, (done) => {
        if (this.signal.aborted) throw new TransferError('interrupted', 'Interrupted.');
        this.count.read(file.name, done, false);
      });
      return digest === file.digests[algorithm] ? undefined : 'changed';
    } catch (error) {
      return this.reasonOf(error, file.content.key);
    }
  }

  /** Rejects with what says nothing of the object. */
  private async reasonOf(error: unknown, key: string): Promise<DamageReason> {
    if (!(error instanceof TransferError) || error.code !== 'mismatch')
      throw asTransferError(error, 'disk', 'The object store does not answer');
    return (await this.bucket.sizeOf(key)) === undefined ? 'missing' : 'truncated';
  }
}

function keyOf({ content, size, digests }: FileWithContent, algorithm: Manifest['head']['digest']): string {
  return `${content.key} ${String(content.offset)} ${String(size)} ${digests[algorithm] ?? ''}`;
}

/** Files that lie beside one another in one object, as many as are read at once. */
function runsOf(files: FileWithContent[]): FileWithContent[][] {
  const sorted = files.sort((one, other) =>
    one.content.key === other.content.key
      ? one.content.offset - other.content.offset
      : one.content.key < other.content.key
        ? -1
        : 1,
  );
  const runs: FileWithContent[][] = [];
  for (const file of sorted) {
    const run = runs.at(-1);
    const [first] = run ?? [];
    const fits =
      first?.content.key === file.content.key && file.content.offset + file.size - first.content.offset <= readTogether;
    if (run && fits) run.push(file);
    else runs.push([file]);
  }
  return runs;
}

/** Undefined for one that cannot be believed. */
async function manifestOf(catalog: ObjectCatalog, snapshot: ObjectSnapshot): Promise<Manifest | undefined> {
  try {
    return await catalog.manifest(snapshot);
  } catch (error) {
    if (error instanceof TransferError && error.code === 'mismatch') return undefined;
    throw error;
  }
}

async function choose(
  catalog: ObjectCatalog,
  name: string | undefined,
  snapshot: string | undefined,
): Promise<ObjectSnapshot[]> {
  if (snapshot !== undefined) return [(await catalog.find(snapshot)) as ObjectSnapshot];
  const names = await catalog.names();
  const backup = name === undefined ? undefined : backupNameOf(name);
  if (name !== undefined && !names.some((each) => each === backup)) throw await catalog.noBackup(name);
  const chosen: ObjectSnapshot[] = [];
  for (const each of backup === undefined ? names : [backup]) chosen.push(...(await catalog.snapshots(each)));
  if (chosen.length === 0)
    throw new TransferError('usage', `There is no snapshot in ${catalog.directory}.`, {
      hint: 'sendall backup makes one.',
    });
  return chosen;
}

/** A damaged snapshot is not a verified one, whenever it was. */
async function note(bucket: Bucket, { record }: ObjectSnapshot, isDamaged: boolean, sample: number): Promise<void> {
  const noting = isDamaged
    ? forgetVerified(bucket, record)
    : sample < 1
      ? Promise.resolve()
      : noteVerified(bucket, record);
  await noting.catch(ignored('who may only read keeps no note'));
}

/** The last sample that was read of the same choice. */
async function lastSample(bucket: Bucket, noteKey: string): Promise<PassHere[]> {
  const found = await bucket.get(noteKey);
  if (!found) return [];
  try {
    const line = parseJsonObject(Buffer.from(found.text));
    const [began, from, share] = ['began', 'from', 'share'].map((key) => ownValue(line, key));
    if (typeof began !== 'string' || typeof from !== 'number' || typeof share !== 'number') return [];
    return [{ began, from, share, complete: true, done: [] }];
  } catch (error) {
    trace('%s is none of ours, and the sample begins anywhere: %o', noteKey, error);
    return [];
  }
}

/** `manifests` are those among the damages that are one. */
function failure(damages: number, snapshots: number, manifests: number): TransferError {
  const things = damages === 1 ? '1 thing is' : `${String(damages)} things are`;
  return new TransferError(
    'mismatch',
    `${things} damaged in ${snapshots === 1 ? '1 snapshot' : `${String(snapshots)} snapshots`}.`,
    {
      hint: [
        'What is not named here is whole. If the bucket keeps versions, bring earlier ones of damaged objects back.',
        damages > manifests ? 'Else the next sendall backup --checksum sends content again.' : '',
        manifests > 0
          ? 'A manifest is not sent again: sendall prune --remove-damaged NAME/ID gives its snapshot up.'
          : '',
      ]
        .filter((each) => each !== '')
        .join(' '),
    },
  );
}
