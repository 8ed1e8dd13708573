import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { freemem } from 'node:os';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { find, freePort, run } from './command';

/** An object store of this machine, and what programs need in their environment to use it. */
export interface ObjectServer {
  readonly endpoint: string;
  readonly bucket: string;
  stop(): Promise<void>;
}

const bucket = 'bench';
const gibi = 2 ** 30;

/**
 * One node of Ceph in memory, of so many bytes; programs that are started from then on find it by their environment.
 * Throws what is missing here for that.
 */
export async function startObjectServer(directory: string, bytes: number): Promise<ObjectServer> {
  if (process.getuid?.() !== 0) throw new Error('it wants root');
  const lacking = ['radosgw', 'ceph-mon', 'ceph-osd', 'rclone'].filter((program) => find(program) === undefined);
  if (lacking.length > 0) throw new Error(`not installed: ${lacking.join(', ')}`);
  if (bytes + 2 * gibi > freemem()) throw new Error(`it wants ${String(Math.ceil(bytes / gibi) + 2)} GiB of memory`);
  await mkdir(directory, { recursive: true });
  const script = join(__dirname, '..', 'scripts', 'radosgw.sh');
  const [port, monitor] = [await freePort(), await freePort()];
  const words = [script, directory, String(port), String(monitor), String(Math.ceil(bytes / gibi) + 1)];
  const child = spawn('bash', words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  let said = '';
  const endpoint = await new Promise<string>((resolve, reject) => {
    child.stdout.on('data', (text: Buffer) => {
      said += text.toString();
      const [, url] = /^ready (\S+)\n/m.exec(said) ?? [];
      if (url !== undefined) resolve(url);
    });
    void ended.then(([code]) => reject(new Error(`radosgw ended with ${String(code)}`)));
  });
  // Nothing here is reached by TLS, and rclone cannot load such a file.
  delete process.env['AWS_CA_BUNDLE'];
  Object.assign(process.env, {
    AWS_ACCESS_KEY_ID: 'SENDALLSPEC',
    AWS_SECRET_ACCESS_KEY: 'secret-of-specs',
    AWS_ENDPOINT_URL_S3: endpoint,
    RCLONE_S3_PROVIDER: 'Ceph',
    RCLONE_S3_ENV_AUTH: 'true',
    RCLONE_S3_ENDPOINT: endpoint,
  });
  await run('rclone', ['mkdir', `:s3:${bucket}`]);
  return {
    endpoint,
    bucket,
    stop: async () => {
      child.stdin.end();
      await ended;
    },
  };
}
