// The main job, as a user would do it in two terminals: start a receiver, send it a real file, look at what arrived.
//   npm run demo [-- FILE]       without FILE it sends the node executable, about 100 MB
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, relative, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { pipeline } from 'node:stream/promises';

const sendall = join(__dirname, '..', 'dist', 'cli', 'main.js');
const say = console.log;

interface Line {
  readonly event: string;
  readonly message?: string;
  readonly port?: number;
  readonly file_size?: number;
  readonly seconds?: number;
  readonly digests?: { readonly md5?: string };
  readonly verified?: string;
}

async function md5(path: string): Promise<string> {
  const hash = createHash('md5');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** The first line of this event on the standard output of `sendall … --json`. */
async function eventFrom(output: NodeJS.ReadableStream, event: string): Promise<Line> {
  try {
    for await (const text of createInterface({ input: output })) {
      const line = JSON.parse(text) as Line;
      if (line.event === event) return line;
      if (line.event === 'failed') throw new Error(line.message);
    }
    throw new Error(`It ended without saying '${event}'.`);
  } finally {
    output.resume(); // whoever prints must not have to wait for a reader
  }
}

function start(args: readonly string[]): ChildProcess & { stdout: NodeJS.ReadableStream } {
  say(`$ node ${relative('', sendall)} ${args.join(' ')}`);
  return spawn(process.execPath, [sendall, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function transfer(source: string, directory: string): Promise<void> {
  const receiver = start(['receive', directory, '--listen', '127.0.0.1:0', '--json']);
  try {
    const { port } = await eventFrom(receiver.stdout, 'listening');
    const sender = start(['send', source, `tcp://127.0.0.1:${port}`, '--json']);
    const exited = once(sender, 'exit') as Promise<[number]>;
    const receipt = await eventFrom(sender.stdout, 'sent');
    const [code] = await exited;
    if (code !== 0) throw new Error(`The sender ended with exit code ${code}.`);
    const far = receipt.verified === 'device' ? 'from the device, past the page cache' : 'through the page cache';
    say(`receipt: ${receipt.file_size} bytes, md5 ${receipt.digests?.md5}, verified: ${receipt.verified}`);
    say(`         (written, flushed, read back ${far}, compared, committed), ${(receipt.seconds ?? 0).toFixed(2)} s`);

    const received = join(directory, basename(source));
    say(`$ ls -l ${received}\n${execFileSync('ls', ['-l', received], { encoding: 'utf8' }).trim()}`);
    const [before, after] = [await md5(source), await md5(received)];
    say(`md5 ${before}  ${source}\nmd5 ${after}  ${received}`);
    if (before !== after || receipt.digests?.md5 !== after) throw new Error('The digests differ.');
  } finally {
    if (receiver.exitCode === null && receiver.kill('SIGINT')) await once(receiver, 'exit');
  }
}

const directory = mkdtempSync(join(tmpdir(), 'sendall-demo-'));
transfer(resolve(process.argv[2] ?? process.execPath), directory)
  .then(() => say('Done: the same bytes are on the other side.'))
  .catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
    process.exitCode = 1;
  })
  .finally(() => rmSync(directory, { recursive: true, force: true }));
