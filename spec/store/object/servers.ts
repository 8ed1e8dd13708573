// Object stores that specs store into: a tiny one of our own, and real ones where this machine has them.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
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

/** Why Ceph's radosgw cannot be started here; undefined where it can. */
export function radosgwLacks(): string | undefined {
  if (process.getuid?.() !== 0) return 'radosgw is started by root only';
  try {
    execFileSync('sh', ['-c', 'command -v radosgw && command -v ceph-mon && command -v ceph-osd'], { stdio: 'ignore' });
    return undefined;
  } catch {
    return 'there is no radosgw: apt-get install radosgw ceph-mon ceph-osd';
  }
}

/** One node of Ceph in memory; some ten seconds. */
export async function startRadosgw(): Promise<ObjectServer> {
  const directory = mkdtempSync(path.join(tmpdir(), 'sendall-radosgw-'));
  const [port, monitor] = [await freePort(), await freePort()];
  const script = path.join(__dirname, '../../../scripts/radosgw.sh');
  const server = spawn('bash', [script, directory, String(port), String(monitor)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  const endpoint = new URL(await ready(server));
  const keys = { accessKey: 'SENDALLSPEC', secretKey: 'secret-of-specs' };
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
