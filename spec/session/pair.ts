import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import type { ReceiverOptions, SendOptions } from '../../lib/index';
import { type Heard, ReceiveDirectory } from '../receive/receive-directory';
import { type Sent, sending, SourceTree } from '../send/source-tree';
import { Relay, type RelayOptions } from './relay';

/** Bytes that are different in every 4 KiB, and made quickly. */
export function noise(size: number, seed = 1): Buffer {
  const made = Buffer.alloc(size);
  let state = seed;
  for (let at = 0; at + 4 <= size; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    made.writeInt32LE(state, at);
  }
  if (size % 4 > 0) made.fill(seed, size - (size % 4));
  return made;
}

export function digestOf(bytes: Uint8Array, algorithm = 'sha256'): string {
  return createHash(algorithm).update(bytes).digest('hex');
}

export async function digestOfFile(place: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const bytes of createReadStream(place) as AsyncIterable<Buffer>) hash.update(bytes);
  return hash.digest('hex');
}

export const MiB = 1024 * 1024;

/**
 * A receiver that listens, files to be sent to it, and the network between them; `close` ends and removes all of it.
 */
export class Pair {
  private readonly relays: Relay[] = [];

  private constructor(
    readonly source: SourceTree,
    readonly to: ReceiveDirectory,
  ) {}

  static async make(
    files: Readonly<Record<string, string | Uint8Array>> = {},
    options: Partial<ReceiverOptions> = {},
    how: Parameters<typeof ReceiveDirectory.open>[1] = {},
  ): Promise<Pair> {
    return new Pair(await SourceTree.make(files), await ReceiveDirectory.open(options, how));
  }

  /** The ticket of the receiver. */
  get ticket(): string {
    return this.to.heard.all('listening')[0]?.ticket ?? '';
  }

  async relay(options: RelayOptions = {}): Promise<Relay> {
    const relay = await Relay.to(this.to.port, options);
    this.relays.push(relay);
    return relay;
  }

  /** Sends what is named, straight or through `relay`. */
  send(
    names: readonly string[],
    options: Partial<SendOptions> & { readonly relay?: Relay } = {},
    heard?: Heard,
  ): Promise<Sent> {
    const { relay, ...others } = options;
    return sending(
      {
        paths: names.map((name) => (name === '-' ? name : this.source.at(name))),
        target: relay ? relay.through(this.ticket) : this.ticket,
        ...others,
      },
      heard,
    );
  }

  async close(): Promise<void> {
    for (const relay of this.relays) await relay.close();
    await this.to.close();
    await this.source.remove();
  }
}

/** The warnings that this process printed while `work` ran. */
export async function warningsDuring(work: () => Promise<unknown>): Promise<string[]> {
  const warnings: string[] = [];
  const warned = ({ name, message }: Error): void => void warnings.push(`${name}: ${message}`);
  process.on('warning', warned);
  try {
    await work();
    await sleep(10);
  } finally {
    process.off('warning', warned);
  }
  return warnings;
}

/** Has the sessions of a suite use sealed connections, where this machine can. */
export function withSealed(): void {
  before(() => {
    process.env['SENDALL_SEALED'] = '1';
  });
  after(() => {
    delete process.env['SENDALL_SEALED'];
  });
}

/** Has the sessions of a suite use further connections of TLS only, as with a peer that knows no others. */
export function withoutSealed(): void {
  before(() => {
    process.env['SENDALL_SEALED'] = '0';
  });
  after(() => {
    delete process.env['SENDALL_SEALED'];
  });
}

/** That everything was sent, and how. */
export function succeeded({ error, result, failed }: Sent): NonNullable<Sent['result']> {
  expect(error?.message).to.equal(undefined);
  expect(failed).to.deep.equal([]);
  if (!result) throw new Error('there is no result');
  return result;
}
