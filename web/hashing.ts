// Digests, asked of the worker.

export interface SmallFile {
  readonly name: string;
  readonly file: File;
}

export type HashOrder =
  | { readonly id: number; readonly do: 'digest'; readonly file: File; readonly upTo: number }
  /** A digest goes on up to so many bytes, or is not wanted any more. */
  | { readonly id: number; readonly do: 'advance'; readonly upTo: number }
  | { readonly id: number; readonly do: 'stop' }
  | { readonly id: number; readonly do: 'batch'; readonly files: readonly SmallFile[] };

export type HashAnswer =
  | { readonly id: number; readonly is: 'going'; readonly done: number }
  | { readonly id: number; readonly is: 'digested'; readonly blake3: string }
  | {
      readonly id: number;
      readonly is: 'gathered';
      /** A batch as api/batch takes it, without the files of `unread`. */
      readonly body: Blob;
      /** The number in the order, and why. */
      readonly unread: readonly (readonly [number, string])[];
    }
  | { readonly id: number; readonly is: 'failed'; readonly reason: string };

type Gathered = Extract<HashAnswer, { is: 'gathered' }>;

/** The file is not any more what was dropped: it was changed, moved or taken away. */
export class SourceChanged extends Error {}

/** A digest on its way. */
export interface Hashing {
  /** Bytes. */
  done: number;
  readonly blake3: Promise<string>;
  /** Lets it go on up to so many bytes. */
  advance(upTo: number): void;
  /** It is not wanted any more; nothing where it is over. */
  stop(): void;
}

interface Order {
  readonly hashing: Hashing | null;
  readonly settle: (answer: HashAnswer) => void;
}

export class Hasher {
  readonly #worker = new Worker('hash.js');
  readonly #orders = new Map<number, Order>();
  #last = 0;

  constructor() {
    this.#worker.onmessage = (event: MessageEvent<HashAnswer>) => {
      const answer = event.data;
      const order = this.#orders.get(answer.id);
      if (answer.is === 'going') {
        if (order?.hashing) order.hashing.done = answer.done;
        return;
      }
      this.#orders.delete(answer.id);
      order?.settle(answer);
    };
  }

  /**
   * Rejects with SourceChanged where the file cannot be read any more. It goes up to `upTo` bytes at first: what runs
   * far ahead of the sending takes the processor from it.
   */
  digest(file: File, upTo: number): Hashing {
    const { promise, resolve } = withResolvers<HashAnswer>();
    const id = ++this.#last;
    const blake3 = promise.then((answer) => {
      if (answer.is !== 'digested') throw failure(answer);
      return answer.blake3;
    });
    const post = (order: HashOrder): void => {
      this.#worker.postMessage(order);
    };
    const hashing: Hashing = {
      done: 0,
      blake3,
      advance: (further) => {
        post({ id, do: 'advance', upTo: further });
      },
      stop: () => {
        if (this.#orders.has(id)) post({ id, do: 'stop' });
      },
    };
    this.#orders.set(id, { hashing, settle: resolve });
    post({ id, do: 'digest', file, upTo });
    return hashing;
  }

  async gather(files: readonly SmallFile[]): Promise<Gathered> {
    const { promise, resolve } = withResolvers<HashAnswer>();
    const id = ++this.#last;
    this.#orders.set(id, { hashing: null, settle: resolve });
    this.#worker.postMessage({ id, do: 'batch', files } satisfies HashOrder);
    const answer = await promise;
    if (answer.is !== 'gathered') throw failure(answer);
    return answer;
  }
}

function failure(answer: HashAnswer): Error {
  const reason = answer.is === 'failed' ? answer.reason : '';
  if (reason === 'NotReadableError' || reason === 'NotFoundError') return new SourceChanged(reason);
  return new Error(`This browser could not make a digest (${reason}).`);
}

/** Promise.withResolvers, which not every browser has. */
function withResolvers<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
