// The files of the page, which are part of the package.
import path from 'node:path';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { errnoOf, TransferError } from '../errors';
import { pageParts } from '../threads/program-parts';

/** A file of the page, in memory. */
export interface PageFile {
  readonly type: string;
  readonly bytes: Uint8Array;
  /** The same compressed, where that is worth it. */
  readonly br?: Uint8Array;
  readonly gzip?: Uint8Array;
}

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.json': 'application/json; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
  '.woff2': 'font/woff2',
};

/**
 * All files of the page by their path in its URL, `/` for `index.html`. Nothing is read from the disk for a request, so
 * that none can name another file. Throws `usage` where the package was built without them.
 */
export function pageFiles(): ReadonlyMap<string, PageFile> {
  try {
    return new Map(
      pageParts().flatMap(([name, bytes]) => {
        const type = types[path.extname(name)];
        return type === undefined ? [] : [[name === 'index.html' ? '/' : `/${name}`, fileOf(type, bytes)]];
      }),
    );
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    throw new TransferError('usage', 'This build of sendall has no web page.', {
      cause: error,
      hint: 'Install the package, or build it with npm run build.',
    });
  }
}

function fileOf(type: string, bytes: Uint8Array): PageFile {
  if (/^(?:image\/(?!svg)|font)/.test(type)) return { type, bytes };
  return { type, bytes, br: brotliCompressSync(bytes), gzip: gzipSync(bytes) };
}

/** A file in the best form that a request accepts (RFC 9110, 12.5.3), and what says so. */
export function encodedFor(
  file: PageFile,
  accepted = '',
): { readonly bytes: Uint8Array; readonly headers: Readonly<Record<string, string>> } {
  for (const encoding of ['br', 'gzip'] as const) {
    const bytes = file[encoding];
    if (bytes && new RegExp(`(?:^|,)\\s*${encoding}\\s*(?:,|;(?!\\s*q=0(?:\\.0*)?\\s*(?:,|$))|$)`).test(accepted))
      return { bytes, headers: { 'content-encoding': encoding, vary: 'accept-encoding' } };
  }
  return { bytes: file.bytes, headers: { vary: 'accept-encoding' } };
}
