// What goes out: headers of every answer, JSON, and failures as statuses.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type ErrorCode, TransferError } from '../errors';
import { forPeer } from '../session/refusal';
import type { HttpRefusal } from './checks';

/** Of every answer: nobody keeps it, guesses its type, frames it, or learns from where one has come. */
const always = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
} as const;

/** Of the page: its own files alone, no code or style within them, and hashing by WebAssembly. */
export const pagePolicy =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; style-src 'self'; " +
  "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Of everything else: whatever it is, it is not run. */
const filePolicy = "default-src 'none'; frame-ancestors 'none'; sandbox";

/** Of files: the same, and nothing is run of them. */
export const headersOfFiles = { ...always, 'content-security-policy': filePolicy } as const;

const statuses: Partial<Record<ErrorCode, number>> = {
  usage: 400,
  'bad-header': 400,
  'bad-frame': 400,
  // Who has shown the token may not do this.
  'not-authorized': 403,
  'connection-lost': 404,
  'source-unreadable': 404,
  timeout: 503,
  stopped: 503,
  interrupted: 503,
  mismatch: 422,
  name: 422,
  exists: 409,
  'source-changed': 409,
  size: 413,
  quota: 507,
  space: 507,
};

/** The status that fits a failure. */
export function statusOf(code: ErrorCode): number {
  return statuses[code] ?? 500;
}

/** Window in ms for the rest of an unwanted body, which is read so that its sender hears the answer. */
const lingersFor = 10_000;
const unidentifiedLinger = 1_000;

/**
 * Answers with all of `body`. Where the request is not read to its end, the connection ends behind the answer: the rest
 * is thrown away for `linger` ms, since a connection that is closed before takes the answer with it.
 */
export function answer(
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string | number>> = {},
  body: string | Uint8Array = '',
  linger = lingersFor,
): void {
  if (response.headersSent || response.destroyed) return;
  const { req: request } = response;
  const read = request.complete || !hasBody(request);
  if (!read) response.shouldKeepAlive = false;
  const length = status === 204 ? {} : { 'content-length': Buffer.byteLength(body) };
  response.writeHead(status, { ...headersOfFiles, ...length, ...headers });
  if (read) {
    response.end(request.method === 'HEAD' ? undefined : body);
    return;
  }
  response.write(body);
  const end = (): void => void response.end();
  const timer = setTimeout(() => response.destroy(), linger);
  request.once('close', () => clearTimeout(timer));
  request.once('end', end).resume();
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
}

export function answerJson(response: ServerResponse, status: number, value: unknown, linger?: number): void {
  answer(response, status, { 'content-type': 'application/json; charset=utf-8' }, JSON.stringify(value), linger);
}

/** Refuses one who has shown nothing, and hangs up. */
export function refuse(
  response: ServerResponse,
  { status, message }: HttpRefusal,
  code: ErrorCode = 'not-authorized',
): void {
  response.shouldKeepAlive = false;
  answerJson(response, status, { code, message }, unidentifiedLinger);
}

/** `more` is what else is to be told. */
export function answerFailure(response: ServerResponse, error: TransferError, more: object = {}): void {
  answerJson(response, statusOf(error.code), { ...refusalOf(error), ...more });
}

/** What helps at a page, where the usual advice is about a command. */
const hints: Partial<Record<ErrorCode, string>> = {
  exists: 'A page never replaces: give it another name.',
  name: 'Give it another name.',
  mismatch: 'Nothing was stored. Try again; if it happens again, check memory and disk.',
  'source-changed': 'Try again once nothing writes to it any more.',
  'connection-lost': 'Try again.',
  timeout: 'Try again in a moment.',
  stopped: 'Try again once the receiver runs again: what is there is not sent a second time.',
  'bad-header': '',
  'bad-frame': '',
};

/** What whoever is at a page is told of a failure, as an object. */
export function refusalOf(error: TransferError): object {
  const { code, message, hint } = error;
  const usual = new TransferError(code, message).hint;
  return forPeer(hint === usual ? new TransferError(code, message, { hint: hints[code] ?? usual ?? '' }) : error);
}
