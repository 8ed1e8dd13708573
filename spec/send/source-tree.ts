import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { send, TransferError, type SendOptions, type SendResult } from '../../lib/index';
import { Heard, temporaryDirectory } from '../receive/receive-directory';

/** Bytes that differ from place to place, the same ones for the same `seed`. */
export function bytes(size: number, seed = 1): Buffer {
  const made = Buffer.alloc(size);
  for (let at = 0, state = seed; at < size; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    made.fill(state & 0xff, at, Math.min(at + 4, size));
  }
  return made;
}

/** Files to send, in a directory of their own. */
export class SourceTree {
  private constructor(readonly place: string) {}

  static async make(files: Readonly<Record<string, string | Uint8Array>> = {}): Promise<SourceTree> {
    const tree = new SourceTree(await temporaryDirectory());
    for (const [name, content] of Object.entries(files)) await tree.write(name, content);
    return tree;
  }

  at(name: string): string {
    return path.join(this.place, name);
  }

  async write(name: string, content: string | Uint8Array): Promise<string> {
    await mkdir(path.dirname(this.at(name)), { recursive: true });
    await writeFile(this.at(name), content);
    return this.at(name);
  }

  remove(): Promise<void> {
    return rm(this.place, { recursive: true, force: true });
  }
}

export interface Sent {
  readonly heard: Heard;
  readonly result: SendResult | undefined;
  readonly error: TransferError | undefined;
  /** The codes of its `failed` events, in their order. */
  readonly failed: readonly string[];
}

/** Sends without the digest cache, and gives back whatever came of it. */
export async function sending(options: SendOptions, heard = new Heard()): Promise<Sent> {
  const end = await send({ useCache: false, on: heard.on, ...options }).then(
    (result) => ({ result, error: undefined }),
    (error: unknown) => {
      if (error instanceof TransferError) return { result: undefined, error };
      throw error;
    },
  );
  return { heard, ...end, failed: heard.all('failed').map(({ code }) => code) };
}
