// Small files of the plain wire as whole frames, many in one piece of memory: read, hashed and put there by one thread.
import { failureOf } from '../threads/order-worker';
import { encodeFrame } from '../wire/frame';
import { readSmallSource, type SmallFlaw, type SmallReading } from './small-source';
import type { SourceFile } from './open-source';

/** Files to be read, in flat form: an object for each would cost more than reading it. */
export interface SmallOrder {
  /** Of each file its path, what is below that, and its name, each ended by NUL. */
  readonly texts: string;
}

/** What became of one that is not there as a frame. */
export type NoFrame = SmallFlaw | ReturnType<typeof failureOf>['failure'];

/** Frames one after another, with what a sender of them has to know. */
export interface SmallFrames {
  /** How many of the files were read: those behind them found no room. */
  readonly count: number;
  /** Where the frame of each ends; for one without a frame, that of the one before. */
  readonly ends: Float64Array;
  /** How many bytes each has. */
  readonly sizes: Float64Array;
  /** Their digests one after another, 32 digits for each; blanks where there is none. */
  readonly md5s: string;
  readonly flaws: ReadonlyMap<number, NoFrame>;
  /** Those that are longer by now than their content. */
  readonly grew: readonly number[];
}

export interface FrameReading extends SmallReading {
  /** The md5 of some bytes. */
  readonly digestOf: (content: Uint8Array) => string;
}

const nothing = new Uint8Array();
const textsOfFile = 3;
const noDigest = ' '.repeat(32);
/** From where the digest begins to the end of a header. */
const behindDigest = `${noDigest}","reply":true}`.length;

export function orderOf(files: readonly SourceFile[]): SmallOrder {
  let texts = '';
  for (const { path, below = '', name } of files) texts += `${path}\0${below}\0${name}\0`;
  return { texts };
}

/** Reads files into `memory`, as many as have room there; at least one has. Asks for replies (PROTOCOL.md 5.1). */
export function readFrames({ texts }: SmallOrder, memory: Uint8Array, reading: FrameReading): SmallFrames {
  const fields = texts.split('\0');
  const count = Math.floor(fields.length / textsOfFile);
  const [ends, sizes] = [new Float64Array(count), new Float64Array(count)];
  const flaws = new Map<number, NoFrame>();
  const grew: number[] = [];
  const { buffer, byteOffset, length } = memory;
  const bytes = Buffer.from(buffer, byteOffset, length);
  let md5s = '';
  let end = 0;
  for (let row = 0; row < count; row++) {
    const [path = '', below = '', name = ''] = fields.slice(row * textsOfFile, (row + 1) * textsOfFile);
    let frame: Uint8Array = nothing;
    try {
      const found = readSmallSource({ path, below }, reading, bytes, (size) => {
        frame = encodeFrame({ file_name: name, file_size: size, md5: noDigest, reply: true });
        const begin = end + frame.length;
        return begin + size <= length ? begin : undefined;
      });
      if (found === undefined) return { count: row, ends, sizes, md5s, flaws, grew };
      if (typeof found === 'object') {
        const { begin, size } = found;
        const md5 = reading.digestOf(bytes.subarray(begin, begin + size));
        bytes.set(frame, end);
        bytes.write(md5, begin - behindDigest, 'latin1');
        end = begin + size;
        md5s += md5;
        sizes[row] = size;
        if (found.grew) grew.push(row);
      } else {
        flaws.set(row, found);
        md5s += noDigest;
      }
    } catch (error) {
      flaws.set(row, failureOf(error).failure);
      md5s += noDigest;
    }
    ends[row] = end;
  }
  return { count, ends, sizes, md5s, flaws, grew };
}
