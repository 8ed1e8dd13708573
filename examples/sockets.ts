// 11. What else a socket can: unix sockets, IPv6, deadlines, connect with an error code, both ends' addresses, a restart at once.
// It teaches: an address is only a way to a conversation; on a path, on ::1 or on 127.0.0.1 the program is the same. Whoever waits says how
// long: connecting and reading each have an end (--patience). That nobody is there is no exception for who only wants
// to know: `probe` gets an error code, as from connect_ex. And a port is free again as soon as its server has closed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { converse, printable, serve, type Serving, TransferError, tryDial } from '../lib/index';

export const options = { patience: 2000 };
type Options = typeof options;

/** So that nothing here is reached from another machine. */
function loopback(address: string): string {
  if (/^(unix:.+|(tcp:\/\/)?(127\.0\.0\.1|\[::1\]):\d+)$/.test(address)) return address;
  throw new TransferError('usage', 'The address is unix:PATH, 127.0.0.1:PORT or [::1]:PORT.');
}

const target = (address: string): string => (/^(unix|tcp):/.test(address) ? address : `tcp://${address}`);

/** Tells everyone who they are and who it is. */
export async function listen({ patience }: Options, address = '127.0.0.1:0'): Promise<Serving> {
  const failed = ({ message }: TransferError): void => console.error(message);
  return serve(loopback(address), (peer) => peer.sendMessage({ you: peer.peer, me: peer.own }), { patience, failed });
}

export async function ask({ patience }: Options, address = ''): Promise<void> {
  await converse(target(loopback(address)), async (server) => {
    const { you, me } = (await server.readAnswer(0)).header;
    console.log(printable(`I am ${server.own} and asked ${server.peer}; it says: you are ${String(you)}, I am ${String(me)}`));
  }, { patience });
}

/** Prints OK or why not, by the name of the error number; exit code 1 if it is not OK. */
export async function probe({ patience }: Options, address = ''): Promise<void> {
  const { code, dialed } = await tryDial(target(loopback(address)), { timeout: patience });
  dialed?.stream.destroy();
  console.log(code);
  if (!dialed) process.exitCode = 1;
}

/** A listener that never accepts: the system takes two connections in its stead, then no more. */
const deaf = `const server = require('net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
  require('fs').writeSync(1, String(server.address().port));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60000);
});`;

/** All of it, one after another. */
export async function show(given: Options): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'sockets-'));
  for (const address of [`unix:${directory}/socket`, '[::1]:0', '127.0.0.1:0']) {
    const first = await listen(given, address);
    await ask(given, first.address);
    await first.close();
    const again = await listen(given, first.address.replace('tcp://', ''));
    console.log(`restarted at once on ${again.address}`);
    await again.close();
    await probe(given, first.address);
  }
  const child = spawn(process.execPath, ['-e', deaf], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [port] = (await once(child.stdout, 'data')) as [Buffer];
  for (let n = 0; n < 2; n += 1) await tryDial(`tcp://127.0.0.1:${String(port)}`);
  await probe(given, `127.0.0.1:${String(port)}`);
  child.kill('SIGKILL');
  rmSync(directory, { recursive: true });
  process.exitCode = 0;
}
