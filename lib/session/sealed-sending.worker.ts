import { parentPort, workerData } from 'node:worker_threads';
import { asTransferError, type ErrorCode, TransferError } from '../errors';
import { socketCalls } from '../threads/socket-calls';
import { SealedLink, type SealedSetup } from './sealed-link';

export type SendingOrder =
  /** The payload is sealed where it lies: in shared memory, nothing of it is left there afterwards. */
  | { readonly order: 'send'; readonly header: object; readonly payload: readonly Uint8Array[] }
  /** FIN after everything that was ordered before. */
  | { readonly order: 'finish' };

/** For each frame in its turn what it cost beside its payload, in bytes; at the end, once, why it ended. */
export type SendingAnswer =
  { readonly sent: number } | { readonly ended: { readonly code: ErrorCode; readonly message: string } | undefined };

const setup = workerData as SealedSetup;
/** Interval in ms at which the other side is checked after FIN. */
const finishing = 10;
/** The other side has nothing to say but heartbeats. */
const heard = new Uint8Array(64 * 1024);

let over = false;

function post(answer: SendingAnswer): void {
  parentPort?.postMessage(answer);
}

function end(failure?: unknown): void {
  if (over) return;
  over = true;
  clearInterval(timer);
  link?.close();
  const error =
    failure === undefined ? undefined : asTransferError(failure, 'unexpected', 'A sealed connection failed');
  post({ ended: error && { code: error.code, message: error.message } });
  parentPort?.close();
}

function attempt(work: (link: SealedLink) => void): void {
  if (over || !link) return;
  try {
    work(link);
  } catch (error) {
    end(error);
  }
}

let link: SealedLink | undefined;
let timer: NodeJS.Timeout | undefined;
let heardAt = 0;

/** Looks for heartbeats, and says that we are alive where nothing else was said. */
function lookAfter(): void {
  attempt((link) => {
    heardAt = performance.now();
    if (!link.hear(heard)) end();
    else link.beat(() => void link.hear(heard));
  });
}

try {
  const calls = socketCalls();
  if (!calls) throw new TransferError('unexpected', 'This thread has no calls for sealed connections.');
  link = new SealedLink(setup, calls);
  const { patience } = link;
  timer = setInterval(lookAfter, patience);
  parentPort?.on('message', (order: SendingOrder) => {
    attempt((link) => {
      if (order.order === 'finish') {
        link.finish();
        // Wait for the FIN of the other side.
        clearInterval(timer);
        timer = setInterval(lookAfter, finishing);
        return;
      }
      post({ sent: link.send(order.header, order.payload, () => void link.hear(heard)) });
    });
    // The timer does not get its turn while there is always something to send.
    if (performance.now() - heardAt > patience) lookAfter();
  });
} catch (error) {
  end(error);
}
