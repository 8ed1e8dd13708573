import { closeSync, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { TransferError } from '../errors';
import { type EntryName, parseEntryName, printable } from '../name';
import { systemPath } from '../name-bytes';
import { unreadable } from '../scan/source';
import { readFlags } from '../threads/walker';

/** Something that can be read only once: standard input, or a named pipe that the user named. */
export interface StreamSource {
  readonly name: EntryName;
  /** Begins to read it. Throws `source-unreadable`. */
  readonly open: () => Readable;
}

/** What the user named, told apart: what a scan finds, and what can be read only once. */
export interface Sources {
  readonly pathnames: readonly string[];
  readonly streams: readonly StreamSource[];
}

/**
 * Tells streams from `paths`: `-` is `input`, and travels as `inputName`; a named pipe, such as a shell's `<(…)`, as
 * what it is called, or as `single`. A pipe within a directory is never read. Rejects with `name`, and with `usage`
 * where two of them would travel under one name.
 */
export async function splitSources(
  paths: readonly string[],
  {
    input,
    inputName,
    single,
  }: { readonly input: Readable; readonly inputName: string; readonly single?: string | undefined },
): Promise<Sources> {
  const pathnames: string[] = [];
  const streams: StreamSource[] = [];
  for (const pathname of paths) {
    const isInput = pathname === '-';
    if (!isInput && !(await isNamedPipe(pathname))) {
      pathnames.push(pathname);
      continue;
    }
    const text = isInput ? inputName : (single ?? path.basename(path.resolve(pathname)));
    const name = parseEntryName(text, { allowHidden: true, names: 'any' });
    if (streams.some((other) => other.name === name))
      throw new TransferError('usage', `Two of what is read once would be called ${printable(name)}.`, {
        hint: 'Send them one by one, with --name.',
      });
    streams.push({ name, open: () => (isInput ? input : openNamedPipe(pathname, name)) });
  }
  return { pathnames, streams };
}

async function isNamedPipe(pathname: string): Promise<boolean> {
  // What cannot be looked at is told by whoever reads it.
  return stat(systemPath(pathname)).then(
    (found) => found.isFIFO(),
    () => false,
  );
}

/** As a socket, it is waited for without a thread: whoever stops waiting does not hang in a call of the system. */
function openNamedPipe(pathname: string, name: string): Readable {
  try {
    const fd = openSync(systemPath(pathname), readFlags);
    try {
      return new Socket({ fd, readable: true, writable: false });
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  } catch (error) {
    throw unreadable(name, error);
  }
}
