import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { here, run, start, stop, type CommandOptions, type Place, type Server } from './command';

const binary = join(__dirname, '..', 'dist', 'cli', 'main.js');

/** A receiver of the built package, as a user would start it. */
export interface RunningReceiver extends Server {
  readonly port: number;
  /** Where it takes the plain wire. */
  readonly target: string;
  /** What a session needs. */
  readonly ticket: string;
  readonly pid: number;
}

export interface ReceiverOptions {
  readonly at?: Place;
  /** Take other content for a name that is there already. */
  readonly replace?: boolean;
  /** Say nothing of single files. */
  readonly quiet?: boolean;
}

/**
 * Starts a receiver into `directory` on a free port. @returns when it listens. @throws Error with what it said if it
 * ended before.
 */
export async function startReceiver(
  directory: string,
  { at = here, replace = false, quiet = false }: ReceiverOptions = {},
): Promise<RunningReceiver> {
  const existing = replace ? ['--if-exists', 'replace'] : [];
  const child = start(at, process.execPath, [
    binary,
    'receive',
    directory,
    '--listen',
    `${at.host}:0`,
    ...(quiet ? [] : ['--json']),
    ...existing,
  ]);
  let errors = '';
  child.stderr.on('data', (bytes: Buffer) => (errors = (errors + bytes.toString()).slice(-4096)));
  const { port, ticket } = await new Promise<{ port: number; ticket: string }>((resolve, reject) => {
    createInterface({ input: quiet ? child.stderr : child.stdout }).on('line', (text) => {
      const said = quiet ? ticketIn(text) : (JSON.parse(text) as Said);
      if (said?.event === 'listening' && said.port !== undefined)
        resolve({ port: said.port, ticket: said.ticket ?? '' });
    });
    void once(child, 'exit').then(([code]) =>
      reject(new Error(`The receiver ended with ${String(code)}: ${errors.trim()}`)),
    );
  });
  return { port, ticket, target: `tcp://${at.host}:${port}`, pid: child.pid ?? 0, stop: () => stop(child, 'SIGINT') };
}

interface Said {
  readonly event: string;
  readonly port?: number;
  readonly ticket?: string;
}

/** What a receiver without `--json` tells a person when it listens. */
function ticketIn(line: string): Said | undefined {
  const [ticket, port] = /sendall:\/\/[^:/ ]+:(\d+)\/\S+/.exec(line) ?? [];
  return ticket === undefined ? undefined : { event: 'listening', port: Number(port), ticket };
}

export interface SenderOptions {
  readonly at?: Place;
  /** Where the digest cache is kept, so that the user's own stays as it is; undefined for none. */
  readonly cache?: string | undefined;
  readonly connections?: number | undefined;
  readonly compress?: 'auto' | 'on' | 'off' | undefined;
  /** Say nothing of single files: nothing is returned but of failures. */
  readonly quiet?: boolean | undefined;
  readonly onStart?: (pid: number) => void;
}

/**
 * Sends a file or a directory to a target of the plain wire or, in a session, to a ticket, which goes in by the
 * environment as it should.
 * @returns its events, a line each. @throws Error with what it said unless everything was verified.
 */
export async function send(
  source: string,
  target: string,
  { at = here, cache, connections, compress, quiet = false, onStart }: SenderOptions = {},
): Promise<string> {
  const secret = target.startsWith('sendall://');
  const args = ['send', source, ...(secret ? [] : [target])];
  if (cache === undefined) args.push('--no-cache');
  if (connections !== undefined) args.push('--connections', String(connections));
  if (compress !== undefined) args.push('--compress', compress);
  const env = {
    ...process.env,
    ...(secret ? { SENDALL_TICKET: target } : {}),
    ...(cache === undefined ? {} : { XDG_CACHE_HOME: cache }),
  };
  if (quiet) return run(process.execPath, [binary, ...args, '--quiet'], { at, env });
  return sendall(args, { at, env, ...(onStart === undefined ? {} : { onStart }) });
}

/** Sends a file to several receivers at once. @throws Error with what it said unless all have it. */
export async function sendToAll(
  source: string,
  tickets: readonly string[],
  onStart: (pid: number) => void,
): Promise<void> {
  await sendall(['send', source, ...tickets, '--no-cache'], { at: here, onStart });
}

/**
 * Makes a snapshot of a file or a directory in a receive directory of this machine, or in a session. @returns its
 * events, as `send` does.
 */
export async function backup(
  source: string,
  to: { readonly directory: string } | { readonly ticket: string },
  name: string,
): Promise<string> {
  const where = 'directory' in to ? [to.directory] : [];
  const env = { ...process.env, ...('ticket' in to ? { SENDALL_TICKET: to.ticket } : {}) };
  return sendall(['backup', source, ...where, '--name', name], { env });
}

/** Runs a command of the built package to its end. @returns its events, a line each. @throws Error with what failed. */
export function sendall(args: readonly string[], options: CommandOptions = {}): Promise<string> {
  return run(process.execPath, [binary, ...args, '--json'], { telling: /"event":"(failed|damaged)"/, ...options });
}

/**
 * What `send` said of how far the reading back went, and how many bytes it took: of the last file, and of the whole
 * transfer.
 */
export function parseSent(events: string): { readonly verified: string; readonly bytesOnWire: number } {
  let [verified, bytesOnWire] = ['unknown', NaN];
  for (const text of events.trim().split('\n')) {
    const line = JSON.parse(text) as {
      readonly event: string;
      readonly verified?: string | null;
      readonly bytes_on_wire?: number;
    };
    if (line.event === 'sent') verified = String(line.verified);
    if (line.event === 'summary') bytesOnWire = line.bytes_on_wire ?? NaN;
  }
  return { verified, bytesOnWire };
}
