import { expect } from 'chai';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { contentOf } from './grouping-process';
import { everythingIn } from './local-place';
import { compiled } from './receiving-process';

/** The files in a receive directory, without what is ours. */
export const received = async (directory: string): Promise<string[]> =>
  (await everythingIn(directory)).filter((name) => !name.startsWith('.sendall') && !name.endsWith('/'));

/** Starts one of the programs; `command` stands before it. */
export function start(
  directory: string,
  program: 'tree' | 'three' | 'endless',
  command: readonly string[] = [],
  how: 'each' | 'one thread' | '' = '',
): { readonly child: ChildProcessByStdio<null, Readable, null>; readonly lines: string[] } {
  const [file = '', ...rest] = [...command, process.execPath, compiled('grouping-process'), directory, program, how];
  const child = spawn(file, rest, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_V8_COVERAGE: '' },
  });
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  return { child, lines };
}

/** Runs one of the programs to its end; resolves with what it wrote. */
export async function run(...words: Parameters<typeof start>): Promise<string[]> {
  const { child, lines } = start(...words);
  await once(child, 'close');
  return lines;
}

/** Expects every file to have the content that the programs give it; resolves with their names. */
export async function expectWhole(directory: string): Promise<string[]> {
  const names = await received(directory);
  for (const name of names) expect(await readFile(path.join(directory, name), 'utf8'), name).to.equal(contentOf(name));
  return names;
}
