// 7. A remote command as it can be used: the server runs what its owner put on a list, and nothing else.
// It teaches: what comes over a network is a choice, never a command line. The list is a file that the owner alone can write:
//   {"disk": ["df", "-h"], "who": ["id"]}
// The client names an entry; the words behind it are started as they stand, by no shell, so there is nothing to escape. Time and output
// are capped. The header carries what text cannot: exit status, signal, and where standard output ends and standard
// error begins.
import { execFile } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { type Conversation, converse, type Message, serve, type Serving, TransferError } from '../lib/index';

export const options = { port: 0, allow: '', seconds: 10, output: 1_000_000, patience: 15_000 };
type Options = typeof options;
type AllowList = ReadonlyMap<string, readonly string[]>;

function readAllowList(path: string): AllowList {
  if (statSync(path).mode & 0o022) throw new TransferError('usage', `${path} can be written by others than its owner.`);
  const entries = Object.entries(JSON.parse(readFileSync(path, 'utf8')) as Readonly<Record<string, unknown>>);
  const isCommand = (words: unknown): words is string[] => Array.isArray(words) && words.every((word) => typeof word === 'string');
  return new Map(entries.map(([name, words]) => {
    if (!isCommand(words)) throw new TransferError('usage', `${path}: "${name}" is not a list of words.`);
    return [name, words];
  }));
}

interface Outcome {
  readonly header: object;
  readonly payload: Buffer;
}

const notAllowed: Outcome = { header: { status: null, reason: 'not on the list', stdout_size: 0 }, payload: Buffer.alloc(0) };

function runAllowed([program = '', ...words]: readonly string[], { seconds, output }: Options): Promise<Outcome> {
  const limits = { encoding: 'buffer', timeout: seconds * 1000, maxBuffer: output, killSignal: 'SIGKILL', shell: false } as const;
  return new Promise((resolve) => {
    execFile(program, words, limits, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : null; // else it was killed or never started
      const reason = status === null ? (error?.code ?? (error?.killed ? `stopped after ${seconds} s` : error?.signal)) : undefined;
      resolve({ header: { status, reason, stdout_size: stdout.length }, payload: Buffer.concat([stdout, stderr]) });
    });
  });
}

export async function listen(given: Options): Promise<Serving> {
  const allowed = readAllowList(given.allow);
  const answer = async (peer: Conversation): Promise<void> => {
    for (let asked = await peer.readMessage(0); asked; asked = await peer.readMessage(0)) {
      const words = allowed.get(String(asked.header['run']));
      const outcome = words ? await runAllowed(words, given) : notAllowed;
      await peer.sendMessage(outcome.header, outcome.payload);
    }
  };
  const failed = ({ message }: TransferError, peer: string): void => console.error(`${peer}: ${message}`);
  return serve(`127.0.0.1:${given.port}`, answer, { patience: given.patience, failed });
}

function show(name: string, { header, payload }: Message): void {
  const { status, reason, stdout_size: size } = header;
  if (typeof size !== 'number' || size < 0 || size > payload.length) throw new TransferError('bad-header', 'The answer makes no sense.');
  process.stdout.write(payload.subarray(0, size));
  process.stderr.write(payload.subarray(size));
  if (typeof status !== 'number') throw new TransferError('not-authorized', `${name} did not end by itself: ${String(reason)}.`);
  process.exitCode = status;
}

/** Runs the entry `name` there; standard output, standard error and the exit status are those of the command. */
export async function run({ port, output, patience }: Options, name = ''): Promise<void> {
  await converse(`tcp://127.0.0.1:${port}`, async (server) => {
    await server.sendMessage({ run: name });
    show(name, await server.readAnswer(2 * output));
  }, { patience });
}
