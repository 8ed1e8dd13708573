// Object stores that specs store into: a tiny one of our own, and real ones where this machine has them.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { AddressInfo } from 'node:net';
import type { ObjectStoreOptions } from '../../../lib/store/object/object-store';
import { ObjectRequests } from '../../../lib/store/object/requests';
import { TinyS3 } from './tiny-s3';

export const specBucket = 'sendall-specs';

/** An object store that is there until `stop`. */
export interface ObjectServer {
  /** With an empty prefix of its own each time. */
  options(): ObjectStoreOptions;
  stop(): Promise<void>;
}

let prefixes = 0;

function optionsAt(endpoint: URL, keys: ObjectStoreOptions['keys']): ObjectStoreOptions {
  prefixes++;
  return { endpoint, region: 'us-east-1', bucket: specBucket, prefix: `p${String(prefixes)}/`, keys };
}

export async function startTiny(): Promise<ObjectServer & { readonly tiny: TinyS3 }> {
  const tiny = new TinyS3();
  const endpoint = await tiny.start();
  const deadlines = { silence: 30_000, whole: 60_000, pauses: [1, 1, 1, 1] };
  const keys = { accessKey: 'tiny', secretKey: 'tiny' };
  return { tiny, options: () => ({ ...optionsAt(endpoint, keys), deadlines }), stop: () => tiny.stop() };
}

/** The tiny one for all specs of a suite: started before them, as it was made after each, stopped after all of them. */
export function useTiny(): Pick<ObjectServer, 'options'> & {
  readonly tiny: TinyS3;
  /** The clock of this machine is ahead until the end of the spec, and that of the store with it unless told; in ms. */
  clockAhead(ms: number, ofStore?: number): void;
} {
  const realNow = Date.now;
  let started: Awaited<ReturnType<typeof startTiny>> | undefined;
  const server = (): Awaited<ReturnType<typeof startTiny>> => {
    if (!started) throw new Error('It is started before the first spec.');
    return started;
  };
  before(async () => {
    started = await startTiny();
  });
  after(() => server().stop());
  afterEach(() => {
    Date.now = realNow;
    server().tiny.settle();
  });
  return {
    options: () => server().options(),
    clockAhead: (ms, ofStore = ms) => {
      Date.now = () => realNow() + ms;
      server().tiny.skew = ofStore - ms;
    },
    get tiny() {
      return server().tiny;
    },
  };
}

/** A server of this protocol that others made, and how one is started. */
export interface RealServer {
  readonly name: string;
  /** Why it cannot be started here; undefined where it can. */
  lacks(): string | undefined;
  /** One node, empty; some ten seconds. Ceph's is in memory, and has so many GiB. */
  start(gibibytes?: number): Promise<ObjectServer>;
}

/** One node of Ceph in memory. */
export const radosgw: RealServer = {
  name: "Ceph's radosgw",
  lacks: () => {
    if (process.getuid?.() !== 0) return 'radosgw is started by root only';
    if (succeeds('command -v radosgw && command -v ceph-mon && command -v ceph-osd && command -v ceph'))
      return undefined;
    return 'there is no radosgw: apt-get install radosgw ceph-mon ceph-osd ceph-common';
  },
  start: (gibibytes = 3) =>
    startNode('radosgw.sh', 2, { accessKey: 'SENDALLSPEC', secretKey: 'secret-of-specs' }, [String(gibibytes)]),
};

/** One node of OpenStack's Swift: it knows no PUT on a condition. */
export const swift: RealServer = {
  name: "OpenStack's Swift",
  lacks: () => {
    const servers = ['proxy', 'account', 'container', 'object'].map((kind) => `swift-${kind}`);
    if (!succeeds(servers.map((server) => `command -v ${server}-server`).join(' && ')))
      return `there is no Swift: apt-get install ${servers.join(' ')}`;
    const keep = `cd "${tmpdir()}" && touch sendall-keeps-$$ && trap "rm sendall-keeps-$$" EXIT`;
    if (succeeds(`${keep} && /usr/bin/python3 -c 'import os; os.setxattr("sendall-keeps-'$$'", "user.swift", b"1")'`))
      return undefined;
    return `Swift wants extended attributes, and ${tmpdir()} keeps none`;
  },
  start: () => startNode('swift.sh', 1, { accessKey: 'sendall:spec', secretKey: 'secret-of-specs' }),
};

function succeeds(command: string): boolean {
  return spawnSync('sh', ['-c', command], { stdio: 'ignore' }).status === 0;
}

/** Runs a script of ours that starts a server on so many ports. */
async function startNode(
  script: string,
  ports: number,
  keys: ObjectStoreOptions['keys'],
  others: readonly string[] = [],
): Promise<ObjectServer> {
  const directory = mkdtempSync(path.join(tmpdir(), 'sendall-node-'));
  const free: string[] = [];
  while (free.length < ports) free.push(String(await freePort()));
  const words = [path.join(__dirname, '../../../scripts', script), directory, ...free, ...others];
  const server = spawn('bash', words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  const endpoint = new URL(await ready(server));
  const requests = new ObjectRequests({ endpoint, region: 'us-east-1', bucket: specBucket, keys });
  await requests.send({ method: 'PUT', takes: [409] });
  requests.close();
  return {
    options: () => optionsAt(endpoint, keys),
    stop: async () => {
      server.stdin?.end();
      await ended;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function ready(server: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = '';
    server.stdout?.on('data', (bytes: Buffer) => {
      said += bytes.toString();
      const [, url] = /^ready (\S+)\n/m.exec(said) ?? [];
      if (url !== undefined) resolve(url);
    });
    server.once('exit', (code) => reject(new Error(`The store ended with ${String(code)}.`)));
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
