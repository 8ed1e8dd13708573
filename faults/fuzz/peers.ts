// Peers that say what chance makes of a conversation, each to a receiver or sender that runs, and what may come of it.
import { setTimeout as sleep } from 'node:timers/promises';
import { TransferError, isErrorCode } from '../../lib/errors';
import { HeaderDecoder, type JsonObject } from '../../lib/wire/frame';
import { parseFileHeader } from '../../lib/wire/message';
import { md5, RawSender } from '../../spec/send/raw-sender';
import { newSession, RawSession } from '../../spec/session/raw-session';
import { encodePart, type Part } from './corpus';

/** What stands for a new session in the corpus. */
const anySession = '00112233445566778899aabbccddeeff';
/** A message that is waited for may never come. */
const awaitedFor = 200;
/** A peer that has said everything is let go within that, in ms: the deadlines in the wire and a busy machine. */
export const endsWithin = 60_000;

/** Says it on the plain wire. @returns a sentence if something came of it that must not. */
export async function sayPlain(port: number, bytes: Buffer): Promise<string | undefined> {
  const sender = await RawSender.dial(port);
  void sender.send(bytes);
  sender.finish();
  const answers = await orHang(sender.framesToTheEnd());
  if (answers === undefined) {
    sender.socket.destroy();
    return 'the connection did not end';
  }
  const whole = wholeFiles(bytes);
  for (const answer of answers) {
    const wrong = flawOf(answer);
    if (wrong !== undefined) return wrong;
    if (answer['type'] === 'receipt' && !whole.has(`${String(answer['file_name'])}\n${String(answer['md5'])}`))
      return `a receipt for what never came whole: ${JSON.stringify(answer)}`;
  }
  return undefined;
}

/** Says it in a session, to a receiver or to a sender that listens. */
export async function saySession(ticket: string, parts: readonly Part[]): Promise<string | undefined> {
  let raw: RawSession;
  try {
    raw = await RawSession.dial(ticket, { hello: undefined });
  } catch (error) {
    return error instanceof TransferError && error.code === 'cannot-connect'
      ? undefined
      : `no session was possible: ${String(error)}`;
  }
  const session = newSession();
  const saying = (async () => {
    for (const part of parts) {
      if (part.await !== undefined)
        await Promise.race([
          raw.first(part.await).catch(() => undefined),
          sleep(awaitedFor, undefined, { ref: false }),
        ]);
      else await raw.sendBytes(withSession(encodePart(part), session));
    }
    await raw.leave().catch(() => undefined);
    return true;
  })();
  if ((await orHang(saying)) === undefined) {
    raw.hangUp();
    return 'the session did not end';
  }
  for (const said of raw.heard) {
    const wrong = said.type === 'refusal' ? flawOf(said) : undefined;
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

/** The same bytes, in a session of their own. */
export function withSession(bytes: Buffer, session: string): Buffer {
  const at = bytes.indexOf(anySession);
  if (at === -1) return bytes;
  const changed = Buffer.from(bytes);
  changed.write(session, at);
  return changed;
}

/** An answer that no input may cause: a code that is none, or the one for what nobody thought of. */
function flawOf(answer: JsonObject): string | undefined {
  if (answer['type'] !== 'refusal')
    return answer['type'] === 'receipt' ? undefined : `an answer that is none: ${JSON.stringify(answer)}`;
  const code = String(answer['code']);
  return !isErrorCode(code) || code === 'unexpected'
    ? `a refusal that nobody thought of: ${JSON.stringify(answer)}`
    : undefined;
}

/** Name and md5 of every file in these bytes that is all there, as the wire says. */
function wholeFiles(bytes: Buffer): Set<string> {
  const whole = new Set<string>();
  try {
    for (let rest = bytes; rest.length > 0;) {
      const decoder = new HeaderDecoder();
      rest = rest.subarray(decoder.push(rest));
      if (!decoder.header) break;
      const { file_name, file_size, md5: announced } = parseFileHeader(decoder.header);
      const payload = rest.subarray(0, file_size);
      rest = rest.subarray(file_size);
      if (payload.length === file_size && md5(payload) === announced) whole.add(`${file_name}\n${announced}`);
    }
  } catch {
    // Where it is no frame any more, nobody knows of further files.
  }
  return whole;
}

async function orHang<Result>(work: Promise<Result>): Promise<Result | undefined> {
  const late = new AbortController();
  try {
    return await Promise.race([work, sleep(endsWithin, undefined, { signal: late.signal })]);
  } finally {
    late.abort();
  }
}
