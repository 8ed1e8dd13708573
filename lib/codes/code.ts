/**
 * Codes as people say and type them: a number that tells receivers apart, which is no secret, and words that are.
 * PROTOCOL.md 28.1.
 */
import { createHash, randomInt } from 'node:crypto';
import { TransferError } from '../errors';
import { type Address, parseAddress, parseRelay } from '../net/address';
import { codeWords } from './words';

/** `4821-crane-velvet`. */
export interface Code {
  /** Four digits, or six. */
  readonly number: string;
  /** Two or more, each whole and in lower case. */
  readonly words: readonly string[];
}

/** A code, and where to dial whoever shows it; no address where that is to be found out. */
export interface CodeTarget {
  readonly code: Code;
  readonly addresses: readonly Address[];
  /** A relay at which that one may be met, too. */
  readonly relay?: Address | undefined;
  /** Of that relay. */
  readonly relayPassword?: string | undefined;
}

const fewestWords = 2;
/** Most hosts that may be typed, as in a ticket. */
const mostAddresses = 8;
/** Letters of a word that are enough to tell it. */
const enoughLetters = 4;

const codeForm = /^(\d{4}|\d{6})((?:-[A-Za-z]{3,8}){2,4})(?:@([^?]*))?(?:\?relay=([^?]*))?$/s;

/** A new code. Its number has six digits where others may show theirs at the same relay. */
export function drawCode(words = fewestWords, digits: 4 | 6 = 4): Code {
  return {
    number: String(randomInt(10 ** digits)).padStart(digits, '0'),
    words: Array.from({ length: words }, () => codeWords[randomInt(codeWords.length)] ?? ''),
  };
}

export function formatCode({ number, words }: Code): string {
  return [number, ...words].join('-');
}

/** Whether `text` has the form of a code, with or without hosts; its words may be none. */
export function looksLikeCode(text: string): boolean {
  return codeForm.test(text);
}

/**
 * Reads `NUMBER-WORD-WORD` or `NUMBER-WORD-WORD@HOST[:PORT][,HOST[:PORT]]…`, with `?relay=HOST[:PORT]` behind it or
 * not; the first four letters of a word are enough, in any case. Throws `usage`, in words that repeat nothing of the
 * code.
 */
export function parseCodeTarget(text: string): CodeTarget {
  const [, number, typed = '', hosts, relay] = codeForm.exec(text) ?? [];
  if (number === undefined)
    throw new TransferError('usage', 'That is not a code.', { hint: 'A code looks like 4821-crane-velvet.' });
  const words = typed
    .slice(1)
    .toLowerCase()
    .split('-')
    .map((word, at) => {
      const found = codeWords.includes(word) ? word : word.length < enoughLetters ? undefined : only(wordsFrom(word));
      if (found !== undefined) return found;
      throw new TransferError('usage', `Word ${String(at + 1)} of the code is none that codes have.`, {
        hint: 'Compare it with what the other side shows; four letters of each word are enough.',
      });
    });
  return {
    code: { number, words },
    addresses: hosts === undefined ? [] : addressesBehind(hosts),
    ...(relay === undefined ? {} : { relay: parseRelay(relay) }),
  };
}

/** What is left of the last word of a code that is being typed, once only one word begins so; else nothing. */
export function restOfWord(typed: string): string {
  const [, beginning = ''] = /^\d{4,6}(?:-[a-z]+)*-([a-z]+)$/i.exec(typed) ?? [];
  return only(beginning === '' ? [] : wordsFrom(beginning.toLowerCase()))?.slice(beginning.length) ?? '';
}

/** The words that begin with `beginning`, in lower case. */
function wordsFrom(beginning: string): string[] {
  return codeWords.filter((word) => word.startsWith(beginning));
}

/** Under what a code is kept in files: nobody reads a word out of it. 32 hexadecimal digits. */
export function codeName(code: Code): string {
  return createHash('sha256')
    .update(`sendall code ${formatCode(code)}`)
    .digest('hex')
    .slice(0, 32);
}

function addressesBehind(hosts: string): Address[] {
  const addresses = hosts.split(',').map((host) => parseAddress(host));
  if (addresses.length > mostAddresses || addresses.some((each) => each.kind === 'tcp' && each.port === 0))
    throw new TransferError('usage', 'What stands behind the @ of the code are not the addresses of a machine.', {
      hint: `It looks like 4821-crane-velvet@192.168.1.20 or …@192.168.1.20:8898,10.0.0.5:8898, up to ${String(mostAddresses)} of them.`,
    });
  return addresses;
}

function only(words: readonly string[]): string | undefined {
  return words.length === 1 ? words[0] : undefined;
}
