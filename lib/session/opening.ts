import { randomBytes } from 'node:crypto';
import type { Connection } from '../net/connection';
import { TransferError } from '../errors';
import { ownValue } from '../wire/json-object';
import { knownLevels } from '../wire/fields';
import { parseRefusal } from '../wire/message';
import { sealedSuites } from './sealed-opening';
import { type Hello, parseHello, type Role, sessionVersion } from '../wire/hello';
import { helloWithin, answerWithin } from './deadlines';

/** What one side says of itself. */
export type Introduction = Pick<
  Hello,
  | 'role'
  | 'session'
  | 'connection'
  | 'digest'
  | 'backup'
  | 'repair'
  | 'checksum'
  | 'allow_shrink'
  | 'check'
  | 'metadata'
  | 'ask'
  | 'levels'
  | 'codings'
  | 'sealed'
>;

export function newSession(): string {
  return randomBytes(16).toString('hex');
}

/**
 * The first message of the side that dialed, and the answer to it. Rejects with the refusal that came instead, or with
 * `bad-header`.
 */
export async function introduce(connection: Connection, introduction: Introduction): Promise<Hello> {
  await sayHello(connection, introduction);
  return awaitAnswer(connection, introduction);
}

/**
 * The first message of the side that dialed; the answer is to be awaited before anything else that the other side says.
 */
export function sayHello(connection: Connection, introduction: Introduction): Promise<void> {
  return connection.send({ type: 'hello', version: sessionVersion, ...introduction });
}

/** The answer to `sayHello`. Rejects like `introduce`. */
export async function awaitAnswer(connection: Connection, introduction: Introduction): Promise<Hello> {
  const hello = await readHello(connection, answerWithin);
  if (hello.session !== introduction.session || hello.connection !== introduction.connection)
    throw new TransferError('bad-header', 'The other side answers for another session.');
  return checkRoles(hello, introduction.role);
}

/**
 * The first message of whoever dialed us as `ours`; `answer` it once it is clear that it is welcome. One that asks for
 * something may be either.
 */
export async function awaitIntroduction(connection: Connection, ours: Role): Promise<Hello> {
  const hello = await readHello(connection, helloWithin);
  return hello.ask === undefined ? checkRoles(hello, ours) : hello;
}

export function answerIntroduction(
  connection: Connection,
  { session, connection: number }: Hello,
  introduction: Omit<Introduction, 'session' | 'connection'> & Pick<Hello, 'snapshot'>,
): Promise<void> {
  return connection.send({ type: 'hello', version: sessionVersion, session, connection: number, ...introduction });
}

/** What the `hello` of a sender, or of who asks, on connection 0 says of receipts. PROTOCOL.md 12.4. */
export function levelsOffer(connection: number): Pick<Hello, 'levels'> {
  return connection === 0 ? { levels: knownLevels } : {};
}

/** What a `hello` on connection 0 says of sealed connections; an answer says it only to who did. */
export function sealedOffer(
  connection: number,
  asked: { readonly sealed?: Hello['sealed'] } = { sealed: [] },
): Pick<Hello, 'sealed'> {
  const sealed = sealedSuites();
  return connection === 0 && asked.sealed !== undefined && sealed.length > 0 ? { sealed } : {};
}

async function readHello(connection: Connection, within: number): Promise<Hello> {
  const header = await connection.readHeader({ silence: 0, whole: within });
  if (header === undefined) throw new TransferError('connection-lost', 'The other side closed the connection at once.');
  if (ownValue(header, 'type') === 'refusal') throw refused(parseRefusal(header));
  const hello = parseHello(header);
  if (hello.version !== sessionVersion) {
    throw new TransferError(
      'bad-header',
      `The other side speaks version ${String(hello.version)} of the session, and this is version ${String(sessionVersion)}.`,
      {
        hint: 'Install the same version on both sides.',
      },
    );
  }
  return hello;
}

function checkRoles(hello: Hello, ours: Role): Hello {
  if (hello.role !== ours) return hello;
  throw new TransferError('usage', `Both sides are ${ours}s.`, {
    hint: 'One side runs sendall send, the other one sendall receive.',
  });
}

/** The refusal of a connection whose session does not exist here, or belongs to another peer. */
export function unknownSession(): TransferError {
  return new TransferError('connection-lost', 'There is no such session any more.');
}

/** A refusal as the failure on this side: `interrupted` there is `stopped` here. */
export function refused({ code, message, hint, file_name: fileName }: ReturnType<typeof parseRefusal>): TransferError {
  const about = fileName === undefined ? {} : { fileName };
  if (code === 'interrupted' || code === 'stopped') return new TransferError('stopped', message, about);
  return new TransferError(code, message, { hint: hint ?? '', ...about });
}
