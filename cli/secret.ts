import { existsSync } from 'node:fs';
import { wrongUsage } from './usage';
import { library } from './library';

/**
 * Where to, or where from: a ticket for a session, or an address for the plain wire. Both have been looked at, and make
 * sense.
 */
export type Target =
  { readonly kind: 'ticket'; readonly ticket: string } | { readonly kind: 'plain'; readonly address: string };

/** What a transfer may be about as well, which backups are not: a code, with or without hosts. */
export interface CodeTyped {
  readonly kind: 'code';
  readonly code: string;
}

/** Where tickets may come from besides the command line; everything defaults to this process. */
export interface TicketSources {
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: NodeJS.ReadStream;
  readonly output?: NodeJS.WritableStream;
  /** Whether a code may be typed where a ticket is asked for. */
  readonly codes?: boolean;
}

const variable = 'SENDALL_TICKET';
const longestTyped = 4096;

/**
 * What `word` names: a ticket `sendall://…`, the file `@FILE` with one in it, an address tcp:// or unix:, or a peer.
 * Where the word was left out: the ticket in `SENDALL_TICKET`, else one that is typed at a terminal, unseen. Undefined
 * if it is none of these: what to say about that is the command's. Rejects with `usage` for a ticket or an
 * address that makes no sense and for a file that others can read.
 */
export async function resolveTarget(
  word: string | undefined,
  sources: TicketSources = {},
): Promise<Target | undefined> {
  const { formatTicket, isPlainTarget, parseAddress, Peers } = library();
  if (word !== undefined && isPlainTarget(word)) {
    parseAddress(word);
    return { kind: 'plain', address: word };
  }
  const ticket = await givenTicket(word, sources);
  if (ticket !== undefined) return { kind: 'ticket', ticket };
  const peer = word === undefined ? undefined : await new Peers().find(word);
  return peer && { kind: 'ticket', ticket: formatTicket(peer) };
}

/**
 * `word` as a code, if it has the form of one and is not the name of a file here. Throws `usage` for a word that no
 * code has.
 */
export function codeTyped(word: string | undefined): CodeTyped | undefined {
  const { looksLikeCode, parseCodeTarget } = library();
  if (word === undefined || !looksLikeCode(word) || existsSync(word)) return undefined;
  parseCodeTarget(word);
  return { kind: 'code', code: word };
}

/**
 * Which of the words of `send PATH... TARGET` are paths, and what the target is: the last word, if it names one
 * (`./NAME` is a file even if NAME is a peer); else it was left out. A terminal is asked only if that word is a file or
 * standard input, and no name mistyped.
 */
export async function splitTarget(
  words: readonly string[],
  sources: TicketSources = {},
): Promise<{ paths: readonly string[]; target: Target | CodeTyped | undefined }> {
  const last = words.at(-1) ?? '';
  const named = await resolveTarget(last, sources);
  if (named) return { paths: words.slice(0, -1), target: named };
  const leftOut = last === '-' || existsSync(last) || ticketIn(sources.env) !== undefined;
  return { paths: words, target: leftOut ? await asked(sources) : undefined };
}

/** The ticket of the environment, or what is typed at a terminal. */
async function asked(sources: TicketSources): Promise<Target | CodeTyped | undefined> {
  const { env, input = process.stdin, output = process.stderr, codes = false } = sources;
  if (!codes || ticketIn(env) !== undefined || !input.isTTY) return resolveTarget(undefined, sources);
  const typed = (await askSecret('Code, or ticket (not shown): ', input, output, true)).trim();
  return codeTyped(typed) ?? { kind: 'ticket', ticket: checked(typed, 'What was typed') };
}

/**
 * The ticket that `word` is or leads to, else one of the environment, of a terminal, or of the first line of standard
 * input. Rejects with `usage`.
 */
export async function demandTicket(word: string | undefined, sources: TicketSources = {}): Promise<string> {
  const ticket = await givenTicket(word, sources);
  if (ticket !== undefined) return ticket;
  // Without the word itself: it may be a ticket with a mistake in it.
  if (word !== undefined)
    throw wrongUsage('What stands in place of the ticket is none.', {
      hint: 'It looks like sendall://HOST:PORT/TOKEN, or @FILE for a file with one.',
    });
  return checked(await firstLine(sources.input ?? process.stdin), 'What came from standard input');
}

async function givenTicket(word: string | undefined, sources: TicketSources): Promise<string | undefined> {
  const { isTicket } = library();
  if (word?.startsWith('@') === true && word.length > 1) return ticketFrom(word.slice(1));
  if (word !== undefined) return isTicket(word) ? checked(word, 'What begins with sendall://') : undefined;
  const set = ticketIn(sources.env);
  if (set !== undefined) return checked(set, variable);
  const { input = process.stdin, output = process.stderr } = sources;
  return input.isTTY ? checked(await askSecret('Ticket (not shown): ', input, output), 'What was typed') : undefined;
}

/** Whether there is one that nobody has to name. */
export function hasTicketInEnvironment(): boolean {
  return ticketIn() !== undefined;
}

function ticketIn(env: NodeJS.ProcessEnv = process.env): string | undefined {
  return env[variable] || undefined;
}

function ticketFrom(path: string): string {
  const { readPrivateFile } = library();
  const text = readPrivateFile(path);
  if (text === undefined)
    throw wrongUsage(`There is no file ${path}.`, { hint: `@${path} means the file ${path} with a ticket in it.` });
  return checked(text, path);
}

/** `text` without the space around it, and the quotes that it is printed in for a shell, if it is a ticket. */
function checked(text: string, origin: string): string {
  const { parseTicket } = library();
  const ticket = text.trim().replace(/^(['"])(.*)\1$/s, '$2');
  try {
    parseTicket(ticket);
  } catch {
    throw wrongUsage(`${origin} is no ticket.`, {
      hint: 'A ticket looks like sendall://HOST:PORT/TOKEN; was it copied whole?',
    });
  }
  return ticket;
}

/**
 * Reads one line from a terminal that shows nothing of it, but for a code where `codes` may be typed: that is short
 * lived, and the rest of each of its words is shown, which Tab, `-` and Enter take. Rejects with `interrupted` on
 * Ctrl-C, Ctrl-D and when the terminal is gone.
 */
export function askSecret(
  question: string,
  input: NodeJS.ReadStream,
  output: NodeJS.WritableStream,
  codes = false,
): Promise<string> {
  const { restOfWord } = library();
  return new Promise((resolve, reject) => {
    let typed = '';
    let drawn = '';
    const draw = (): void => {
      const rest = restOfWord(typed);
      const shown =
        codes && /^\d/.test(typed) ? typed + (rest && `\u001b[2m${rest}\u001b[22m\u001b[${String(rest.length)}D`) : '';
      if (shown !== drawn) output.write(`\r\u001b[K${question}${shown}`);
      drawn = shown;
    };
    const finish = (settle: () => void): void => {
      input.off('data', hear).off('end', hangUp).setRawMode(false).pause();
      output.write('\n');
      settle();
    };
    const hangUp = (): void => finish(() => reject(interrupted()));
    const hear = (bytes: Buffer): void => {
      for (const key of bytes.toString()) {
        if (codes && /[\t\r\n-]/.test(key)) typed += restOfWord(typed);
        if (codes && key === '\t') continue;
        if (key === '\r' || key === '\n') draw();
        if (key === '\r' || key === '\n') return finish(() => resolve(typed.replace(/\u001b\[[\d;]*[~A-Za-z]/g, '')));
        if (key === '\u0003' || key === '\u0004') return hangUp();
        if (key === '\u007f' || key === '\b') typed = typed.slice(0, -1);
        else if (key === '\u0015') typed = '';
        else if (typed.length < longestTyped) typed += key;
      }
      draw();
    };
    input.setRawMode(true).on('data', hear).on('end', hangUp).resume();
    output.write(question); // now that nothing is echoed
  });
}

function interrupted(): Error {
  const { TransferError } = library();
  return new TransferError('interrupted', 'Interrupted.');
}

async function firstLine(input: AsyncIterable<unknown>): Promise<string> {
  let text = '';
  for await (const bytes of input) {
    text += String(bytes);
    if (text.includes('\n') || text.length > longestTyped) break;
  }
  return text.split('\n')[0] ?? '';
}
