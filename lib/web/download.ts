// A file on its way to a browser: as an attachment, in ranges, and cut off where its source changes meanwhile.
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { DigestPool } from '../digest/digest-pool';
import { asTransferError, TransferError } from '../errors';
import { printable } from '../name';
import type { Digests } from '../progress';
import { OpenSource, type SourceFile } from '../send/open-source';
import type { KnownDigest } from './links';
import { answer, headersOfFiles } from './answer';
import { ignored } from '../trace';
import { unhurried } from './unhurried';

/** Bytes of one read. */
const readSize = 256 * 1024;

/** Bytes from `first` up to and with `last`. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

/**
 * What a Range header asks for (RFC 9110, 14.2): one range; `none` where the whole is to be sent, which is so for what
 * is not understood and for several ranges; `unsatisfiable` where there is nothing of it.
 */
export function parseRange(header: string | undefined, size: number): ByteRange | 'none' | 'unsatisfiable' {
  const [, first = '', last = ''] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header ?? '') ?? [];
  if (first === '' && last === '') return 'none';
  if (first === '') {
    const count = Number(last);
    return count === 0 || size === 0 ? 'unsatisfiable' : { first: Math.max(0, size - count), last: size - 1 };
  }
  const range = { first: Number(first), last: Math.min(size - 1, last === '' ? Infinity : Number(last)) };
  if (last !== '' && Number(last) < range.first) return 'none';
  return range.first >= size ? 'unsatisfiable' : range;
}

/** `Content-Disposition` of RFC 6266, with any name. */
export function attachment(name: string): string {
  const base = printable(name.slice(name.lastIndexOf('/') + 1)).replace(/["\\]/g, '_');
  const ascii = base.replace(/[^ -~]/g, '_');
  const encoded = encodeURIComponent(base).replace(
    /['()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}

/** How a file is sent. */
export interface Delivery {
  /** From before, where it was computed: it counts for a file that nobody has written to since. */
  readonly known: KnownDigest | undefined;
  /** For what is not known. */
  readonly pool: DigestPool;
  /** The last bytes of the file are about to go out: whoever has them may ask for more at once. */
  readonly ending: () => void;
}

/** Whether `Want-Repr-Digest` (RFC 9530, 4) asks for SHA-256: with a weight of 1 to 10. */
export function wantsSha256(header: string | undefined): boolean {
  return /(?:^|,)\s*sha-256\s*=\s*(?:[1-9]|10)\s*(?:,|$)/.test(header ?? '');
}

/**
 * Sends a file, or what of it is asked for, with its SHA-256 where that is known, or wanted: it is read for that before
 * it is sent. Resolves with whether the answer went out to its last byte, and that was
 * the end of the file. Rejects with `source-unreadable` and `source-changed` before the first byte; later the
 * connection is cut, so that nobody takes what came for the whole.
 */
export async function sendFile(
  response: ServerResponse,
  file: SourceFile,
  { known, pool, ending }: Delivery,
): Promise<boolean> {
  const { req: request } = response;
  const source = await OpenSource.open(file);
  try {
    const { size, before } = source;
    const etag = `"${before.size.toString(16)}-${before.mtimeNs.toString(16)}"`;
    const condition = request.headers['if-range'];
    const asked = condition === undefined || condition === etag ? request.headers.range : undefined;
    const range = parseRange(asked, size);
    const isKnown = known !== undefined && source.wasAs(known.of);
    const wanted = !isKnown && wantsSha256(textOf(request.headers['want-repr-digest']));
    const { sha256 } = wanted
      ? await unhurried(request, () => digest(request, source, pool))
      : { sha256: isKnown ? known.sha256 : undefined };
    const headers = {
      'content-type': 'application/octet-stream',
      'content-disposition': attachment(file.name),
      'accept-ranges': 'bytes',
      'last-modified': new Date(Number(before.mtimeNs / 1_000_000n)).toUTCString(),
      etag,
      ...digestHeader(sha256),
    };
    if (range === 'unsatisfiable') {
      answer(response, 416, { ...headers, 'content-range': `bytes */${String(size)}` });
      return false;
    }
    const { first, last } = range === 'none' ? { first: 0, last: size - 1 } : range;
    response.writeHead(range === 'none' ? 200 : 206, {
      ...headersOfFiles,
      ...headers,
      'content-length': last - first + 1,
      ...(range === 'none' ? {} : { 'content-range': `bytes ${String(first)}-${String(last)}/${String(size)}` }),
    });
    if (request.method === 'HEAD') {
      response.end();
      return false;
    }
    await pour(response, source, { first, last, ending });
    return last === size - 1;
  } catch (error) {
    if (response.headersSent) response.destroy();
    throw error;
  } finally {
    await source.handle.close();
  }
}

/**
 * Of all of a file. Rejects with `source-unreadable`, and with `connection-lost` where nobody waits for it any more.
 */
async function digest({ socket }: IncomingMessage, { handle, size }: OpenSource, pool: DigestPool): Promise<Digests> {
  const reading = pool.digestFile({ fd: handle.fd, size, algorithms: ['sha256'] });
  const cancel = (): void => reading.cancel();
  socket.once('close', cancel);
  try {
    return await reading.digests;
  } catch (error) {
    throw socket.destroyed ? hungUp() : asTransferError(error, 'source-unreadable', 'The file cannot be read');
  } finally {
    socket.off('close', cancel);
  }
}

function textOf(header: string | readonly string[] | undefined): string | undefined {
  return typeof header === 'string' ? header : header?.join();
}

async function pour(
  response: ServerResponse,
  source: OpenSource,
  { first, last, ending }: ByteRange & Pick<Delivery, 'ending'>,
): Promise<void> {
  // Of the connection: a response that waits behind others of its connection is never told that nobody reads it.
  const { socket } = response.req;
  const gone = new AbortController();
  const leave = (): void => gone.abort();
  socket.once('close', leave);
  if (socket.destroyed) leave();
  try {
    for (let at = first; at <= last;) {
      const piece = Buffer.allocUnsafe(Math.min(readSize, last - at + 1));
      if (!(await source.fill(piece, at)))
        throw new TransferError('source-changed', 'The file became shorter while it was sent.');
      at += piece.length;
      // The last bytes go out only if all of them were of one file.
      if (at > last) await source.check();
      if (gone.signal.aborted) throw hungUp();
      if (at === source.size) ending();
      if (!response.write(piece)) await once(response, 'drain', gone).catch(ignored('said above'));
    }
    if (gone.signal.aborted) throw hungUp();
    await new Promise<void>((resolve, reject) => {
      gone.signal.addEventListener('abort', () => reject(hungUp()));
      response.end(resolve);
    });
  } finally {
    socket.off('close', leave);
  }
}

function hungUp(): TransferError {
  return new TransferError('connection-lost', 'Whoever downloads has hung up.');
}

/** `Repr-Digest` of RFC 9530, of all of the file whatever range is sent. */
function digestHeader(sha256: string | undefined): Record<string, string> {
  if (sha256 === undefined) return {};
  return { 'repr-digest': `sha-256=:${Buffer.from(sha256, 'hex').toString('base64')}:` };
}
