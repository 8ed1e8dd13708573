import { Allowance } from '../../lib/store/limited';
import { limitSession } from '../../lib/store/limited-session';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { IfExists } from '../../lib/store/store';
import { asTransferError, type TransferError } from '../../lib/errors';
import { createReceiver } from '../../lib/index';
import { parseAddress } from '../../lib/net/address';
import type { ByteStream } from '../../lib/net/byte-stream';
import { Connection } from '../../lib/net/connection';
import { memoryPair } from '../../lib/net/memory-pair';
import { dial, listen } from '../../lib/net/socket';
import { createKey, parseTicket } from '../../lib/net/ticket';
import { dialSecured } from '../../lib/net/tls';
import type { Digests } from '../../lib/progress';
import { type PlainDestination, receivePlain } from '../../lib/receive/plain-receive';
import { Session } from '../../lib/receive/session';
import { PlainSender } from '../../lib/send/plain-sender';
import { SessionTransfer } from '../../lib/send/transfer';
import { Link } from '../../lib/session/link';
import { failureOf } from '../../lib/session/summary';
import { LocalStore } from '../../lib/store/local/local';
import { WholeFiles } from '../../lib/store/whole-files';
import { sessionVersion } from '../../lib/wire/hello';
import { SessionPort } from '../net/session-port';
import { Heard, temporaryDirectory } from '../receive/receive-directory';
import { sending } from '../send/source-tree';

/** What a side that is tried is told. */
export interface Trial {
  readonly wire: 'plain' | 'session';
  readonly dials: 'sender' | 'receiver';
  readonly algorithm: keyof Digests;
  readonly before: Readonly<Record<string, Uint8Array>>;
  readonly ifExists: IfExists;
  /** What the receiver's disk does with names that differ only by case; undefined where that does not matter. */
  readonly disk: 'folds' | 'keeps apart' | undefined;
}

/** What became of the files: names to contents at a receiver, and the outcome of a sender. */
export interface Outcome {
  readonly files: Readonly<Record<string, Buffer>>;
  readonly sent: readonly string[];
  readonly failed: Readonly<Record<string, string>>;
  readonly ended: string | undefined;
}

/** A side that is tried, and the other end of its connection. */
export interface Tried {
  readonly stream: ByteStream;
  /** Dials a further connection. */
  readonly another?: () => Promise<ByteStream>;
  /** Waits until it has ended, or ends it; removes what it needed. */
  end(): Promise<Outcome>;
}

export type Trying = (trial: Trial) => Promise<Tried>;

async function directoryWith(files: Trial['before']): Promise<string> {
  const place = await temporaryDirectory();
  for (const [name, content] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(place, name)), { recursive: true });
    await writeFile(path.join(place, name), content);
  }
  return place;
}

async function received(place: string): Promise<Outcome> {
  const files: Record<string, Buffer> = {};
  for (const entry of await readdir(place, { recursive: true, withFileTypes: true })) {
    const name = path.relative(place, path.join(entry.parentPath, entry.name));
    if (entry.isFile() && !name.startsWith('.sendall')) files[name] = await readFile(path.join(place, name));
  }
  await rm(place, { recursive: true });
  return { files, sent: [], failed: {}, ended: undefined };
}

/** A receiver over sockets; in a session through TLS. */
export const receiverOverSockets: Trying = async ({ wire, dials, before, ifExists }) => {
  const place = await directoryWith(before);
  const heard = new Heard();
  const receiver = await createReceiver({ directory: place, ifExists, on: heard.on });
  const end = async (): Promise<Outcome> => {
    await receiver.close({ now: true });
    return received(place);
  };
  if (dials === 'receiver') {
    const port = await SessionPort.open();
    const key = createKey();
    port.keys.set(key.id, key.key);
    // That the script refuses it is what some of the conversations are about.
    const dialing = receiver.dial(ticketText(port, key)).catch(() => undefined);
    const { stream } = await port.nextOpened();
    return {
      stream,
      end: async () => {
        await dialing;
        await port.close();
        return end();
      },
    };
  }
  const { port = 0, ticket } = await receiver.listen('127.0.0.1:0');
  const { stream } =
    wire === 'plain'
      ? await dial(parseAddress(`tcp://127.0.0.1:${String(port)}`), {})
      : await dialSecured(parseTicket(ticket));
  return { stream, another: async () => (await dialSecured(parseTicket(ticket))).stream, end };
};

function ticketText(port: SessionPort, { id, key }: ReturnType<typeof createKey>): string {
  return `sendall://127.0.0.1:${String(port.number)}/${Buffer.concat([Buffer.from(id, 'hex'), key]).toString('base64url')}`;
}

async function plainPlace(store: LocalStore, ifExists: IfExists): Promise<PlainDestination> {
  const session = await store.session({ algorithm: 'md5', peer: 'plain', ifExists, inOrder: true });
  const files = new WholeFiles(session, ifExists);
  return { files, verified: store.verified, admission: files.admission };
}

/** A receiver at the other end of a pair in this process. */
export const receiverInProcess: Trying = async ({ wire, algorithm, before, ifExists, disk }) => {
  const place = await directoryWith(before);
  const store = await LocalStore.open(place, undefined, disk && { foldsNames: disk === 'folds' });
  const [stream, far] = memoryPair();
  const connection = new Connection(far, 'this process');
  const on = (): void => undefined;
  const running =
    wire === 'plain'
      ? receivePlain(
          connection,
          await plainPlace(store, ifExists),
          { ifExists, allowHidden: false, on },
          { silence: 10_000, whole: 10_000 },
          { silence: 10_000, whole: 10_000 },
        )
      : sessionInProcess(connection, store, algorithm, ifExists);
  return {
    stream,
    end: async () => {
      stream.destroy();
      await running;
      await store.close();
      return received(place);
    },
  };
};

async function sessionInProcess(
  connection: Connection,
  store: LocalStore,
  digest: keyof Digests,
  ifExists: IfExists,
): Promise<void> {
  const hello = {
    type: 'hello',
    role: 'sender',
    version: sessionVersion,
    session: '0'.repeat(32),
    connection: 0,
    digest,
  } as const;
  const link = new Link(connection);
  const session = await store.session({ algorithm: digest, peer: 'vectors', ifExists });
  await new Session(link, hello, {
    store: limitSession(session, { allowance: new Allowance({}), directory: '', peer: 'vectors', ifExists: 'refuse' }),
    rules: { peer: 'vectors', ifExists, mayCompare: true, on: () => undefined },
  })
    .run()
    .finally(() => link.close());
}

/** The files of a sender in their order, and how it says that all of it went. */
async function sourceOf(
  before: Trial['before'],
): Promise<{ readonly paths: string[]; readonly remove: () => Promise<void> }> {
  const place = await directoryWith(before);
  return {
    paths: Object.keys(before).map((name) => path.join(place, name)),
    remove: () => rm(place, { recursive: true }),
  };
}

function outcomeOf(
  sent: readonly { readonly file_name: string; readonly verified: unknown }[],
  failures: readonly TransferError[],
): Outcome {
  const failed = Object.fromEntries(
    failures.flatMap(({ fileName, code }) => (fileName === undefined ? [] : [[fileName, code]])),
  );
  const confirmed = sent.filter(({ verified }) => verified !== null).map(({ file_name }) => file_name);
  const unconfirmed = sent.some(({ verified }) => verified === null) ? 'not-confirmed' : undefined;
  return { files: {}, sent: confirmed, failed, ended: failureOf(confirmed.length, failures)?.code ?? unconfirmed };
}

/** A sender over sockets; in a session through TLS. */
export const senderOverSockets: Trying = async ({ wire, dials, algorithm, before }) => {
  const { paths, remove } = await sourceOf(before);
  const heard = new Heard();
  const options = { paths, digest: algorithm, connections: 1, retryFor: 0 };
  const finish = async (running: ReturnType<typeof sending>, close?: () => Promise<void>): Promise<Outcome> => {
    const { error } = await running;
    await close?.();
    await remove();
    const failed = Object.fromEntries(
      heard.all('failed').flatMap(({ file_name, code }) => (file_name === undefined ? [] : [[file_name, code]])),
    );
    const sent = heard.all('sent').filter(({ verified }) => verified !== null);
    return { files: {}, sent: sent.map(({ file_name }) => file_name), failed, ended: error?.code };
  };
  if (dials === 'receiver') {
    const running = sending({ ...options, listen: '127.0.0.1:0' }, heard);
    const { ticket = '' } = await heard.first('listening');
    const { stream } = await dialSecured(parseTicket(ticket));
    return { stream, end: () => finish(running) };
  }
  if (wire === 'plain') {
    let accepted: (stream: ByteStream) => void = () => undefined;
    const stream = new Promise<ByteStream>((resolve) => (accepted = resolve));
    const listening = await listen(parseAddress('tcp://127.0.0.1:0'), (dialed) => accepted(dialed.stream));
    const port = listening.address.kind === 'tcp' ? listening.address.port : 0;
    const running = sending({ ...options, target: `tcp://127.0.0.1:${String(port)}` }, heard);
    return { stream: await stream, end: () => finish(running, () => listening.close()) };
  }
  const port = await SessionPort.open();
  const key = createKey();
  port.keys.set(key.id, key.key);
  const running = sending({ ...options, target: ticketText(port, key) }, heard);
  const { stream } = await port.nextOpened();
  return { stream, end: () => finish(running, () => port.close()) };
};

/** A sender at the other end of a pair in this process. */
export const senderInProcess: Trying = async ({ wire, algorithm, before }) => {
  const { paths, remove } = await sourceOf(before);
  const [stream, far] = memoryPair();
  const options = { paths, digest: algorithm, connections: 1, retryFor: 0, useCache: false };
  let running: Promise<void>;
  let sender: PlainSender | SessionTransfer;
  if (wire === 'plain') {
    sender = new PlainSender(options);
    running = sender.run({ stream: far, peer: 'this process', own: 'this process', local: true });
  } else {
    const link = new Link(new Connection(far, 'this process'));
    sender = new SessionTransfer(options, {
      first: () => Promise.resolve({ link, roundTrip: 0, local: true }),
      another: () => Promise.reject(new Error('one connection is all')),
      close: () => Promise.resolve(),
    });
    running = sender.run();
  }
  return {
    stream,
    end: async () => {
      await running.catch((error: unknown) =>
        Promise.reject(asTransferError(error, 'unexpected', 'The sender failed')),
      );
      await sender.close();
      await remove();
      return outcomeOf(sender.files, sender.failures);
    },
  };
};
