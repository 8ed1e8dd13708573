// Plain files, or plain keys, of what receivers have stored in an object store: its own records keep the promises, and
// this is for those who want the bytes under their names.
import { createDigest, createDigestOf, type DigestAlgorithm } from '../../digest/digest';
import { asTransferError, TransferError } from '../../errors';
import { formatObjectUrl, type ObjectAddress } from '../../object-address';
import { type EntryName, parseEntryName, printable } from '../../name';
import { bytesOfName } from '../../name-bytes';
import { type FileDone, type Listener, ofTransfer } from '../../progress';
import { failureEvent, failureOf, Tally } from '../../session/summary';
import { newSession } from '../../session/opening';
import { Bucket, partSizeFor, type UploadedPart } from '../../store/object/bucket';
import { digestContent } from '../../store/object/contents';
import { type ObjectStoreOptions, openBucket } from '../../store/object/object-store';
import { type FileRecord, nameOfKey, type NameRecord, namesPrefix, parseRecord } from '../../store/object/records';
import { ObjectFailure, objectError } from '../../store/object/requests';
import type { IfExists } from '../../store/store';
import { ignored } from '../../trace';
import { sendWithin } from '../in-process';
import type { ManifestEntry } from '../manifest/manifest';
import { reachDestination, within } from '../restore/restore';
import { chooseEntries } from '../restore/selection';
import { together } from '../verify/together';
import { objectContent } from './object-content';

export interface ExportOptions {
  readonly objects: ObjectStoreOptions;
  /** A directory, made where it is missing; or a bucket and a prefix at the same endpoint, with the same keys. */
  readonly to: { readonly directory: string } | { readonly address: ObjectAddress };
  /** What of it; see `chooseEntries`. Default: everything. */
  readonly paths?: readonly string[];
  /** Default `refuse`. The same content is success under every rule. For keys `refuse` and `replace` only. */
  readonly ifExists?: IfExists;
  readonly on?: Listener;
  readonly signal?: AbortSignal | undefined;
}

const recordsAtOnce = 24;
const filesAtOnce = 4;
const algorithms = ['blake3', 'sha256', 'md5'] as const;

/**
 * Makes them. Into a directory each file comes as from a receiver: read back from its disk, with mode and mtime. A key
 * is fetched again after it was put. Nothing is there in the end whose digest is not that of its record. Resolves only
 * if all of them are there; else rejects like `restore`.
 */
export async function exportObjects(options: ExportOptions): Promise<void> {
  const { objects, to, paths = [], signal } = options;
  const own = newSession();
  const on = ofTransfer(options.on ?? (() => undefined), () => own);
  const began = performance.now();
  if ('address' in to) refuseInside(objects, to.address);
  const bucket = await openBucket({ ...objects, signal });
  const tally = new Tally();
  const tell: Listener = (event) => {
    if (event.event === 'received') tally.add(event);
    on(event);
  };
  try {
    const chosen = await chooseEntries(await entriesIn(bucket, signal), paths);
    const failures =
      'address' in to
        ? await toKeys(bucket, new Bucket(objectsAt(objects, to.address), to.address.prefix), chosen, tell, options)
        : await toDirectory(bucket, to.directory, chosen, tell, options);
    on({ event: 'summary', ...tally.summary((performance.now() - began) / 1000, null) });
    const failure = failureOf(tally.files, failures);
    if (failure) throw failure;
  } catch (error) {
    throw asTransferError(error, 'disk', 'The export failed');
  } finally {
    bucket.close();
  }
}

function objectsAt(objects: ObjectStoreOptions, { bucket }: ObjectAddress): ObjectStoreOptions {
  return { ...objects, bucket };
}

function refuseInside(objects: ObjectStoreOptions, to: ObjectAddress): void {
  if (to.bucket !== objects.bucket || !to.prefix.startsWith(objects.prefix)) return;
  throw new TransferError('usage', `${formatObjectUrl(to)} is in the store itself.`, {
    hint: 'Export to another prefix, or another bucket.',
  });
}

/** Everything that has a name, sorted by it. */
async function entriesIn(bucket: Bucket, signal: AbortSignal | undefined): Promise<ManifestEntry[]> {
  const keys: string[] = [];
  for await (const { key } of bucket.list(namesPrefix)) keys.push(key);
  const entries: ManifestEntry[] = [];
  await together(keys, recordsAtOnce, async (key) => {
    throwIfStopped(signal);
    const found = await bucket.get(key);
    const name = parseEntryName(nameOfKey(key), { allowHidden: true, names: 'any' });
    // One that is gone was removed in the meantime.
    if (found) entries.push(entryOf(name, parseRecord(found.text, name)));
  });
  return entries.sort((one, other) => (one.name < other.name ? -1 : 1));
}

function entryOf(name: EntryName, record: NameRecord): ManifestEntry {
  const { mtime = BigInt(Date.now()) * 1_000_000n, metadata } = record;
  switch (record.type) {
    case 'file': {
      const { size, mode = 0o644, digests, content } = record;
      return { type: 'file', name, size, mode, mtime, digests, metadata, content, source: {} };
    }
    case 'directory':
      return { type: 'directory', name, mode: record.mode ?? 0o755, mtime, metadata };
    case 'symlink':
      return { type: 'symlink', name, target: record.target, mtime, metadata };
  }
}

function algorithmOf(digests: FileRecord['digests']): DigestAlgorithm {
  return algorithms.find((each) => digests[each] !== undefined) ?? 'blake3';
}

/** One session for each kind of digest, which is one as a rule; the first brings what is no file, too. */
async function toDirectory(
  bucket: Bucket,
  directory: string,
  chosen: readonly ManifestEntry[],
  on: Listener,
  { ifExists = 'refuse', signal }: ExportOptions,
): Promise<readonly TransferError[]> {
  const kinds = new Set(chosen.flatMap((entry) => (entry.type === 'file' ? [algorithmOf(entry.digests)] : [])));
  const [first = 'blake3'] = kinds;
  return within(await reachDestination(directory), async ({ own: destination }) => {
    const failures: TransferError[] = [];
    for (const algorithm of new Set([first, ...kinds])) {
      const entries = chosen.filter((entry) =>
        entry.type === 'file' ? algorithmOf(entry.digests) === algorithm : algorithm === first,
      );
      const sent = await sendWithin({
        source: [],
        content: objectContent(bucket, algorithm, entries),
        receiver: {
          destination,
          rules: {
            peer: 'export',
            ifExists,
            mayCompare: true,
            // The sender tells why something failed: both would tell twice.
            on: (event) => event.event !== 'failed' && event.event !== 'summary' && on(event),
            ...(destination.backups ? { backups: destination.backups } : {}),
          },
        },
        algorithm,
        on: (event) => event.event === 'failed' && on(event),
        signal,
      });
      failures.push(...sent.failures);
    }
    return failures;
  });
}

async function toKeys(
  from: Bucket,
  to: Bucket,
  chosen: readonly ManifestEntry[],
  on: Listener,
  { ifExists = 'refuse', signal }: ExportOptions,
): Promise<readonly TransferError[]> {
  if (ifExists !== 'refuse' && ifExists !== 'replace')
    throw new TransferError('usage', 'A key that is there is refused or replaced, and nothing else.');
  const failures: TransferError[] = [];
  const files = chosen.filter((entry) => entry.type === 'file');
  for (const { type, name } of chosen)
    if (type === 'symlink') on({ event: 'skipped', file_name: name, reason: 'an object store has no symbolic links' });
  try {
    await together(files, filesAtOnce, async (file) => {
      throwIfStopped(signal);
      const began = performance.now();
      try {
        const sent = await putFile(from, to, file, ifExists === 'replace');
        on({ event: 'received', ...doneOf(file, sent, (performance.now() - began) / 1000) });
      } catch (error) {
        const { code, message, hint } = objectError(error, `${printable(file.name)} could not be exported`);
        const failure = new TransferError(code, message, { fileName: file.name, hint: hint ?? '', cause: error });
        failures.push(failure);
        on(failureEvent(failure));
      }
    });
  } finally {
    to.close();
  }
  return failures;
}

type ExportedFile = Extract<ManifestEntry, { readonly type: 'file' }>;

function doneOf({ name, size, digests }: ExportedFile, sent: number, seconds: number): FileDone {
  return { file_name: name, file_size: size, digests, verified: 'store', path: name, bytes_on_wire: sent, seconds };
}

/** Resolves with how many bytes were put. Rejects with `exists`, `mismatch`, `name`. */
async function putFile(from: Bucket, to: Bucket, file: ExportedFile, replaces: boolean): Promise<number> {
  const { name, size, digests } = file;
  const algorithm = algorithmOf(digests);
  if (bytesOfName(name).toString() !== name)
    throw new TransferError('name', `${printable(name)} is no UTF-8, as keys have to be.`);
  const isPresent = async (): Promise<boolean> =>
    (await digestContent(to, { size, content: { key: name, offset: 0 } }, algorithm)) === digests[algorithm];
  const isSame = async (existingSize: number | undefined): Promise<boolean> =>
    existingSize === size && (await isPresent());
  const existingSize = await to.sizeOf(name);
  if (await isSame(existingSize)) return 0;
  if (existingSize !== undefined && !replaces)
    throw new TransferError('exists', `${printable(name)} is there already with other content.`);
  if (size > partSizeFor(size)) await putLarge(from, to, file, algorithm);
  else if (!(await putSmall(from, to, file, algorithm, replaces))) {
    // The answer to an earlier attempt may be lost.
    if (await isSame(await to.sizeOf(name))) return size;
    throw new TransferError('exists', `${printable(name)} is there already.`);
  }
  if (size === 0 || (await isPresent())) return size;
  await to.delete(name);
  throw new TransferError('mismatch', `${printable(name)} does not read back from the object store as it was sent.`);
}

/** False where something is there already. */
async function putSmall(
  from: Bucket,
  to: Bucket,
  { name, size, digests, content }: ExportedFile,
  algorithm: DigestAlgorithm,
  replaces: boolean,
): Promise<boolean> {
  const bytes = await readPart(from, content, 0, size);
  if ((await createDigestOf(algorithm))(bytes) !== digests[algorithm]) throw damaged(name);
  const put = await to.put(name, bytes, replaces ? 'always' : 'free').catch((error: unknown) => {
    if (error instanceof ObjectFailure && error.status === 501) throw unconditional();
    throw error;
  });
  return put !== undefined;
}

/** Nothing is at the key before all of it has been compared with its digest. */
async function putLarge(
  from: Bucket,
  to: Bucket,
  { name, size, digests, content }: ExportedFile,
  algorithm: DigestAlgorithm,
): Promise<void> {
  const partSize = partSizeFor(size);
  const upload = await to.beginUpload(name);
  try {
    const digest = await createDigest(algorithm);
    const parts: UploadedPart[] = [];
    for (let at = 0; at < size; at += partSize) {
      const bytes = await readPart(from, content, at, Math.min(partSize, size - at));
      digest.update(bytes);
      parts.push(await to.putPart(name, upload, parts.length + 1, bytes));
    }
    if (digest.digest() !== digests[algorithm]) throw damaged(name);
    await to.completeUpload(name, upload, parts, size);
  } catch (error) {
    await to.abortUpload(name, upload).catch(ignored('the lifecycle rule of the bucket removes it'));
    throw error;
  }
}

async function readPart(
  bucket: Bucket,
  content: ExportedFile['content'],
  offset: number,
  length: number,
): Promise<Buffer> {
  const memory = Buffer.allocUnsafe(length);
  if (content) await bucket.readInto(content.key, content.offset + offset, memory);
  return memory;
}

function unconditional(): TransferError {
  return new TransferError('directory', 'This object store cannot keep a key that is there from being overwritten.', {
    hint: 'With --if-exists replace it need not.',
  });
}

function damaged(name: string): TransferError {
  return new TransferError('mismatch', `${printable(name)} is damaged in the object store.`);
}

function throwIfStopped(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new TransferError('interrupted', 'Interrupted.');
}
