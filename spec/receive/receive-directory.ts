import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { lstat, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createReceiver, type Receiver, type ReceiverOptions, type TransferEvent } from '../../lib/index';

type Named<Name> = Extract<TransferEvent, { readonly event: Name }>;

/** Ours while the directory is open, from the first file on. */
const ownWhileOpen = path.join('.sendall', 'partial');

/**
 * Everything below a directory, hidden things too: what it is, and of what size, digest or target; but for the
 * directory of unfinished files, of which there may be none.
 */
export async function contentOf(directory: string): Promise<Record<string, string>> {
  const content: Record<string, string> = {};
  for (const name of await readdir(directory, { recursive: true })) {
    if (name === ownWhileOpen) continue;
    const place = path.join(directory, name);
    const found = await lstat(place);
    if (found.isFile())
      content[name] = `file ${createHash('md5')
        .update(await readFile(place))
        .digest('hex')} ${String(found.mtimeMs)}`;
    else if (found.isSymbolicLink()) content[name] = `link to ${await readlink(place)}`;
    else content[name] = found.isDirectory() ? 'directory' : 'special';
  }
  return content;
}

/**
 * Most tests here are about the wire. In memory they do not wait for a busy disk; what disks do is tested with the
 * stores.
 */
const inMemory = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

/** A new directory, in memory or `onDisk`. Whoever made it removes it. */
export function temporaryDirectory(onDisk = false): Promise<string> {
  return mkdtemp(path.join(onDisk ? tmpdir() : inMemory, 'sendall-spec-'));
}

/** Events as they come, without the ids of their transfers, for whoever wants to look at them or to wait for one. */
export class Heard {
  readonly events: TransferEvent[] = [];
  private readonly watchers = new Set<() => void>();
  /** Of which transfers they were, in the order of the events. */
  readonly ids: (string | undefined)[] = [];
  readonly on = ({ id, ...event }: TransferEvent): void => {
    this.ids.push(id);
    this.events.push(event);
    for (const watcher of [...this.watchers]) watcher();
    this.other?.({ ...event, ...(id === undefined ? {} : { id }) });
  };
  private other: ((event: TransferEvent) => void) | undefined;

  /** Tells somebody else, too. */
  also(other: (event: TransferEvent) => void): void {
    this.other = other;
  }

  all<Name extends TransferEvent['event']>(name: Name): Named<Name>[] {
    return this.events.filter((event): event is Named<Name> => event.event === name);
  }

  /** The first event of that name for which `wanted` is true, from the past or the future. */
  async first<Name extends TransferEvent['event']>(
    name: Name,
    wanted: (event: Named<Name>) => boolean = () => true,
  ): Promise<Named<Name>> {
    for (;;) {
      const found = this.all(name).find(wanted);
      if (found) return found;
      await new Promise<void>((resolve) => {
        const watcher = (): void => {
          this.watchers.delete(watcher);
          resolve();
        };
        this.watchers.add(watcher);
      });
    }
  }
}

/** A receive directory of its own with a real receiver that listens on loopback. */
export class ReceiveDirectory {
  private constructor(
    readonly place: string,
    readonly receiver: Receiver,
    readonly heard: Heard,
    readonly port: number,
  ) {}

  static async open(
    options: Partial<ReceiverOptions> = {},
    { address = '127.0.0.1:0', onDisk = false } = {},
  ): Promise<ReceiveDirectory> {
    const place = await temporaryDirectory(onDisk);
    const heard = new Heard();
    const receiver = await createReceiver({ directory: place, on: heard.on, ...options });
    const { port } = await receiver.listen(address);
    return new ReceiveDirectory(place, receiver, heard, port ?? 0);
  }

  get target(): string {
    return `tcp://127.0.0.1:${String(this.port)}`;
  }

  /** The ticket that it printed. */
  get ticket(): string {
    return this.heard.all('listening')[0]?.ticket ?? '';
  }

  content(): Promise<Record<string, string>> {
    return contentOf(this.place);
  }

  read(name: string): Promise<Buffer> {
    return readFile(path.join(this.place, name));
  }

  async close(): Promise<void> {
    await this.receiver.close({ now: true });
    await rm(this.place, { recursive: true, force: true });
  }
}
