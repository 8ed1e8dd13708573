// Whether the other side is reached: one answer for everything on the page, so that a lost connection is looked for
// once and not by each file.
import { Refusal, type Api, type ReceiveSession, type SendSession } from './api';

/** Milliseconds between two attempts: at first, and at most. */
const soonest = 300;
const latest = 3000;

export class Reach {
  /** `locked`: it answers, and does not take the token. */
  state: 'connecting' | 'connected' | 'lost' | 'locked' = 'connecting';
  session: ReceiveSession | SendSession | null = null;
  readonly #api: Api;
  #connected = new AbortController();
  #coming: Promise<void> | null = null;
  #wake: () => void = () => undefined;

  constructor(api: Api) {
    this.#api = api;
    addEventListener('online', () => {
      this.#wake();
    });
  }

  /** Ends when the connection is lost: for requests that would wait for their answer in vain. */
  get signal(): AbortSignal {
    return this.#connected.signal;
  }

  /** A new token, after `locked`. */
  unlock(token: string): void {
    this.#api.token = token;
    this.#wake();
  }

  /** Waits for a token, where there is none to begin with; then as `back`. */
  async locked(): Promise<void> {
    this.state = 'locked';
    await this.#woken(null);
    await this.back();
  }

  /** Asks whether the other side answers, until it does; at once, if it never was away. */
  async back(): Promise<void> {
    this.#coming ??= this.#ask().finally(() => {
      this.#coming = null;
    });
    await this.#coming;
  }

  async #ask(): Promise<void> {
    for (let pause = soonest; ; pause = Math.min(pause * 1.5, latest)) {
      try {
        this.session = await this.#api.session();
        this.state = 'connected';
        if (this.#connected.signal.aborted) this.#connected = new AbortController();
        return;
      } catch (error) {
        this.state = error instanceof Refusal && error.status === 401 ? 'locked' : 'lost';
        this.#connected.abort();
      }
      await this.#woken(this.state === 'lost' ? pause : null);
    }
  }

  /** Resolves after `pause` ms, or when something happens that makes another attempt worth while. */
  async #woken(pause: number | null): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (pause !== null) setTimeout(resolve, pause);
    });
  }
}
