/**
 * Codes contents for the wire and back, by node:zlib, in threads of the system's pool. PROTOCOL.md 14.17.
 */
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { TransferError } from '../errors';
import { type Coding, knownCodings } from '../wire/coding';

type ContentCode = (bytes: Uint8Array, options: object) => Promise<Buffer>;

/** From Node 22.15 on. */
const { zstdCompress, zstdDecompress, zstdCompressSync } = zlib as unknown as Partial<
  Record<'zstdCompress' | 'zstdDecompress', typeof zlib.brotliCompress>
> & { readonly zstdCompressSync?: typeof zlib.brotliCompressSync };
const { BROTLI_PARAM_QUALITY, BROTLI_PARAM_SIZE_HINT } = zlib.constants;
/** Of brotli: 0 is hardly faster, and codes worse. */
const quality = 1;

const encoders: Readonly<Record<Coding, ContentCode | undefined>> = {
  zstd: zstdCompress && promisify(zstdCompress),
  br: promisify(zlib.brotliCompress),
};
const decoders: Readonly<Record<Coding, ContentCode | undefined>> = {
  zstd: zstdDecompress && promisify(zstdDecompress),
  br: promisify(zlib.brotliDecompress),
};

/** The codings that this system has, the best first. */
export const ownCodings: readonly Coding[] = knownCodings.filter((coding) => encoders[coding] && decoders[coding]);

/** The best coding that both sides have; undefined for none. */
export function commonCoding(theirs: readonly Coding[] | undefined): Coding | undefined {
  return ownCodings.find((coding) => theirs?.includes(coding));
}

/** `content`, coded; it may be longer than before. */
export async function encodeContent(coding: Coding, content: Uint8Array): Promise<Uint8Array> {
  return (await encoders[coding]?.(content, settingsOf(coding, content))) ?? content;
}

/** What coding a sample took, and made of it. */
export interface CodedSample {
  /** Bytes of content per ms, of this thread. */
  readonly perMs: number;
  /** How long it is, as a share of what it was. */
  readonly share: number;
}

/** Codes a sample in this thread, now. */
export function codeSample(coding: Coding, sample: Uint8Array): CodedSample {
  const began = performance.now();
  const code = coding === 'br' ? zlib.brotliCompressSync : zstdCompressSync;
  const coded = code?.(sample, settingsOf(coding, sample)) ?? sample;
  return {
    perMs: sample.length / Math.max(0.01, performance.now() - began),
    share: coded.length / Math.max(1, sample.length),
  };
}

function settingsOf(coding: Coding, content: Uint8Array): object {
  // One buffer for all of it: each further one costs another turn of a thread.
  const room = { chunkSize: Math.max(64, content.length) };
  const params = { [BROTLI_PARAM_QUALITY]: quality, [BROTLI_PARAM_SIZE_HINT]: content.length };
  return coding === 'br' ? { ...room, params } : room;
}

/**
 * The content of which `coded` was made, `size` bytes long: never more memory is taken than that. Rejects with
 * `bad-frame` where it is no such content.
 */
export async function decodeContent(coding: Coding, coded: Uint8Array, size: number): Promise<Uint8Array> {
  const content = await decoders[coding]?.(coded, {
    chunkSize: Math.max(64, size),
    maxOutputLength: size,
  }).catch((cause: unknown) => {
    throw notAsCoded(cause);
  });
  if (content?.length !== size) throw notAsCoded();
  return content;
}

function notAsCoded(cause?: unknown): TransferError {
  return new TransferError('bad-frame', 'A compressed content is not what its header says.', { cause });
}
