import type { Readable } from 'node:stream';
import { TransferError } from '../errors';
import { parseEntryName } from '../name';
import type { Listener } from '../progress';
import { isPlainTarget, parseAddress } from '../transport/address';
import type { Found } from './outgoing';
import { scan } from './source';

export interface SendOptions {
  /** Files and directories; `-` is `input`. */
  readonly paths: readonly string[];
  /** `tcp://HOST:PORT` or `unix:PATH`. Either this or `listen`. */
  readonly target?: string;
  /** `HOST:PORT` or `unix:PATH`, at which the receiver dials in. */
  readonly listen?: string;
  /** What `-` reads; default standard input. */
  readonly input?: Readable;
  /** Stores a single file under this name; default for `-` is `stdin`. */
  readonly name?: string;
  /** Patterns, as in gitignore(5), of what is left out of directories. */
  readonly exclude?: readonly string[];
  /** How many connections carry files at once; `auto` is one, since that fills the plain wire. */
  readonly connections?: number | 'auto';
  /** Bytes per second, over all connections. */
  readonly limit?: number;
  /** Whether digests of unchanged files are remembered between runs; default true. */
  readonly useCache?: boolean;
  /** Speaks the plain wire to another machine, where anybody on the way can read and change it. */
  readonly insecurePlain?: boolean;
  readonly on?: Listener;
  readonly signal?: AbortSignal;
}

const mostConnections = 64;

/** Throws `usage` for what makes no sense, before anything is begun. */
export function checkUsage({ paths, target, listen: where, name, connections = 'auto', limit }: SendOptions): void {
  const wrong = (message: string, hint?: string): never => {
    throw new TransferError('usage', message, hint === undefined ? {} : { hint });
  };
  if (paths.length === 0) wrong('There is nothing to send.');
  if ((target === undefined) === (where === undefined)) wrong('Either a target to dial or an address to listen at is needed.');
  if (target !== undefined && !isPlainTarget(target)) wrong(`Not a target: ${JSON.stringify(target)}.`, 'Targets look like tcp://192.168.1.20:8898 or unix:/run/sendall.sock.');
  parseAddress(target ?? where ?? '');
  if (name !== undefined && paths.length > 1) wrong('--name is for a single file.');
  if (name !== undefined) parseEntryName(name, { allowHidden: true });
  if (paths.filter((path) => path === '-').length > 1) wrong('Standard input can be sent only once.');
  if (connections !== 'auto' && !(Number.isInteger(connections) && connections >= 1 && connections <= mostConnections)) {
    wrong(`The number of connections is a whole number from 1 to ${String(mostConnections)}, or auto.`);
  }
  if (limit !== undefined && !(limit > 0)) wrong('The rate limit is a number of bytes per second above 0.');
}

/** What the options name, in their order. */
export async function* found({ paths, input = process.stdin, name, exclude }: SendOptions, on: Listener): AsyncGenerator<Found> {
  for (const path of paths) {
    if (path === '-') yield { input, name: parseEntryName(name ?? 'stdin', { allowHidden: true }) };
    else yield* scan([path], { name, exclude, on });
  }
}
