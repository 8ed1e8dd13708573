// 9. Numbers as bytes: what Python's struct (and C) make of formats like `i`, `I3sf`, `4sI` and `ii`.
// It teaches: a number on the wire has a size and an order of bytes that both sides have to agree on. `<` and `>` (or `!`) say the order
// and use the standard sizes with nothing in between. Without them, the native way puts each number at a multiple of
// its own size, as a C compiler does, so that `I3sf` has 12 bytes here and `<I3sf` has 11. And a number that does not
// fit is refused, not shortened.
import { endianness } from 'node:os';
import { TransferError } from '../lib/index';

export const options = {};

type Range = readonly [least: bigint | number, largest: bigint | number];
type Put = (view: DataView, at: number, text: string, little: boolean) => void;
type Get = (view: DataView, at: number, little: boolean) => number | bigint;
type Code = readonly [size: number, range: Range, put: Put, get: Get];

const largestFloat = (2 - 2 ** -23) * 2 ** 127;
const codes: Readonly<Record<string, Code>> = {
  i: [4, [-(2 ** 31), 2 ** 31 - 1], (v, at, text, le) => v.setInt32(at, Number(text), le), (v, at, le) => v.getInt32(at, le)],
  I: [4, [0, 2 ** 32 - 1], (v, at, text, le) => v.setUint32(at, Number(text), le), (v, at, le) => v.getUint32(at, le)],
  q: [8, [-(2n ** 63n), 2n ** 63n - 1n], (v, at, text, le) => v.setBigInt64(at, BigInt(text), le), (v, at, le) => v.getBigInt64(at, le)],
  f: [4, [-largestFloat, largestFloat], (v, at, text, le) => v.setFloat32(at, Number(text), le), (v, at, le) => v.getFloat32(at, le)],
};

type Field = Readonly<Record<'at' | 'size', number>> & { readonly code: string };

const mostBytes = 1_000_000;
const wrong = (message: string): TransferError => new TransferError('usage', message);

/** Where each value of a format stands. */
function layout(format: string): { readonly fields: readonly Field[]; readonly size: number; readonly little: boolean } {
  const [, order = '', body = ''] = /^([@=<>!]?)((?:\d*[iIqfs])*)$/.exec(format) ?? [];
  if (body === '') throw wrong(`"${format}" is no format: an order (@ = < > !) and then i, I, q, f or s, each with a count before it.`);
  const fields: Field[] = [];
  let at = 0;
  for (const [, digits = '', code = ''] of body.matchAll(/(\d*)(\w)/g)) {
    const count = digits === '' ? 1 : Number(digits);
    const [size] = codes[code] ?? [count]; // an s is as long as its count
    if (at + (codes[code] ? count * size : size) > mostBytes) throw wrong(`"${format}" is longer than ${mostBytes} bytes.`);
    if (codes[code] && (order === '' || order === '@')) at = Math.ceil(at / size) * size;
    for (let n = codes[code] ? count : 1; n > 0; n -= 1, at += size) fields.push({ code, at, size });
  }
  return { fields, size: at, little: order === '<' || (order !== '>' && order !== '!' && endianness() === 'LE') };
}

function checked(text: string, code: string, [, [least, largest]]: Code): string {
  if (!(code === 'f' ? /^-?\d+(\.\d+)?(e[-+]?\d+)?$/ : /^-?\d+$/).test(text)) throw wrong(`"${text}" is no number for ${code}.`);
  const value = code === 'f' ? Math.fround(Number(text)) : BigInt(text);
  if (value < least || value > largest) throw wrong(`${text} does not fit in ${code}, which holds ${least} to ${largest}.`);
  return text;
}

function packed(format: string, values: readonly string[]): Buffer {
  const { fields, size, little } = layout(format);
  if (values.length !== fields.length) throw wrong(`"${format}" takes ${fields.length} values, not ${values.length}.`);
  const bytes = Buffer.alloc(size);
  const view = new DataView(bytes.buffer, bytes.byteOffset, size);
  for (const [n, { code, at, size: width }] of fields.entries()) {
    const value = values[n] ?? '';
    if (codes[code]) codes[code][2](view, at, checked(value, code, codes[code]), little);
    else Buffer.from(value).copy(bytes, at, 0, width);
  }
  return bytes;
}

export async function size(_: typeof options, ...formats: string[]): Promise<void> {
  for (const format of formats) console.log(`${format}: ${layout(format).size} bytes`);
}

export async function pack(_: typeof options, format = '', ...values: string[]): Promise<void> {
  console.log(packed(format, values).toString('hex'));
}

export async function unpack(_: typeof options, format = '', hex = ''): Promise<void> {
  const { fields, size: wanted, little } = layout(format);
  const bytes = Buffer.from(hex, 'hex');
  if (bytes.length * 2 !== hex.length || bytes.length !== wanted) throw wrong(`"${format}" takes exactly ${wanted} bytes, in hexadecimal.`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const text = (at: number, width: number): string => JSON.stringify(bytes.toString('latin1', at, at + width));
  console.log(fields.map(({ code, at, size: width }) => codes[code]?.[3](view, at, little) ?? text(at, width)).join(' '));
}
