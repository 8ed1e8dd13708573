import { asTransferError, TransferError } from '../errors';
import type { Address } from '../net/address';
import type { Connection } from '../net/connection';
import type { SessionKey } from '../net/ticket';
import { codeLife } from '../session/deadlines';
import { forPeer } from '../session/refusal';
import type { Role } from '../wire/hello';
import { ignored } from '../trace';
import { type Code, drawCode } from './code';
import { proofOfCode, readCodeHello, sameRoles, sayAgreed } from './exchange';

/** Most wrong tries, after which the code is used up. */
export const mostTries = 3;

type CodeState =
  | { readonly is: 'open'; /** Those that have begun, and those that came to nothing. */ begun: number; wrong: number }
  | { readonly is: 'used' }
  | { readonly is: 'over'; readonly why: TransferError };

/**
 * A code that this side shows and another may use, once. A peer that dials and sends a public value has made a try,
 * whatever becomes of the connection; after three wrong ones the code is used up, so that nobody guesses more than
 * three of the four million pairs of words. PROTOCOL.md 28.7.
 */
export class OpenCode {
  /** Where this side is found by whoever has used the code; known once it listens. */
  addresses: readonly Address[] = [];
  /** Rejects once nobody can use the code any more who has not: with `not-authorized`, or with `timeout`. */
  readonly over: Promise<never>;
  private state: CodeState = { is: 'open', begun: 0, wrong: 0 };
  private readonly timer: NodeJS.Timeout;
  private fail: (error: TransferError) => void = () => undefined;

  constructor(
    private readonly role: Role,
    readonly code: Code = drawCode(),
    /** In ms. */
    life = codeLife,
  ) {
    this.over = new Promise((_resolve, reject) => {
      this.fail = reject;
    });
    this.over.catch(ignored('whoever waits for the end of the code is told'));
    this.timer = setTimeout(() => this.end(tooOld()), life);
  }

  /**
   * Takes a connection that begins with a code. Resolves with the key that both sides have from now on, which `known`
   * has been given before the other side is told; rejects with why there is none, which the other side is told, too.
   */
  async answer(connection: Connection, known: (key: SessionKey) => void): Promise<void> {
    try {
      const hello = await readCodeHello(connection);
      if (hello.offer.role === this.role) throw sameRoles(this.role);
      const state = this.openFor(hello.number);
      state.begun += 1;
      const key = await proofOfCode(connection, this.code, this.role, hello).catch((error: unknown) => {
        throw this.wrong(state, error);
      });
      this.openFor(hello.number, 0);
      this.state = { is: 'used' };
      clearTimeout(this.timer);
      known(key);
      await sayAgreed(connection, key, this.addresses).catch(ignored('whoever has the key can show it all the same'));
      await connection.linger();
    } catch (error) {
      const failure = asTransferError(error, 'connection-lost', 'The connection was lost');
      await sayRefused(connection, failure);
      throw failure;
    }
  }

  /** Whether somebody may still use it. */
  get isOpen(): boolean {
    return this.state.is === 'open';
  }

  /** Nobody can use it any more. */
  close(): void {
    clearTimeout(this.timer);
    this.state = { is: 'over', why: usedUp() };
  }

  /** Throws `not-authorized` or `timeout` unless the code can be tried once `more`. */
  private openFor(number: string, more = 1): CodeState & { is: 'open' } {
    const { state } = this;
    if (number !== this.code.number)
      throw new TransferError('not-authorized', 'Whoever listens here shows a code with another number.', {
        hint: 'Is it the right machine, and the code that it shows now?',
      });
    if (state.is === 'over') throw state.why;
    if (state.is === 'used') throw usedUp();
    if (state.begun + more > mostTries) throw burnt();
    return state;
  }

  /** Counts a try that came to nothing, and says what to tell. */
  private wrong(state: CodeState & { is: 'open' }, error: unknown): TransferError {
    state.wrong += 1;
    const left = mostTries - state.wrong;
    if (left === 0 && this.state === state) this.end(burnt());
    if (left === 0) return burnt();
    // Whoever has another code hangs up when our answer shows that.
    const isSilent = error instanceof TransferError && error.code === 'timeout';
    return new TransferError(
      'not-authorized',
      `${isSilent ? 'A try of the code broke off' : 'Somebody tried a wrong code'}: ${left === 1 ? '1 try is' : `${String(left)} tries are`} left.`,
      { cause: error, hint: '' },
    );
  }

  private end(why: TransferError): void {
    if (this.state.is !== 'open') return;
    clearTimeout(this.timer);
    this.state = { is: 'over', why };
    this.fail(why);
  }
}

/** Takes a connection that begins with a code where none is shown. */
export function refuseCode(connection: Connection): Promise<void> {
  const failure = new TransferError('not-authorized', 'Whoever listens here shows no code.', {
    hint: 'Start it with --code, or use its ticket.',
  });
  return sayRefused(connection, failure);
}

async function sayRefused(connection: Connection, failure: TransferError): Promise<void> {
  await connection
    .send({ type: 'refusal', ...forPeer(failure) })
    .catch(ignored('a peer that does not take our last word is gone'));
  await connection.linger();
}

function usedUp(): TransferError {
  return new TransferError('not-authorized', 'That code has been used.', { hint: 'A code is good for one sender.' });
}

function burnt(): TransferError {
  return new TransferError('not-authorized', 'Somebody tried a wrong code three times.', {
    hint: 'That code is used up: start the same command again for a new one.',
  });
}

function tooOld(): TransferError {
  return new TransferError('timeout', 'Nobody used the code in time.', {
    hint: 'A code is good for 15 minutes: start the same command again for a new one.',
  });
}
