import { PerformanceObserver } from 'node:perf_hooks';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';

/** So long, in ms, the heap may grow as V8 likes. */
export const loadedWithin = 1_000;
/** Bytes of `new_space`, half of which is empty. */
const enoughForYoung = 8 * 1024 * 1024;
const firstGrowth = 4;

let young: YoungSpace | undefined;

/**
 * Has V8 collect garbage before it has become several times as much as what is alive. Left alone it takes memory for as
 * long as it need not collect: 100,000 files would leave 100 MiB behind, and it is hardly slower without. For this
 * process, its threads included.
 */
export function keepHeapSmall(): void {
  // While the program is loaded nearly everything stays alive, and a small file is sent by then.
  setTimeout(() => setFlagsFromString('--heap-growing-percent=25'), loadedWithin).unref();
  // Of threads, before they have collected anything; in MiB.
  setFlagsFromString('--initial-old-space-size=8');
  young = new YoungSpace();
  // Each thread that is started has V8 set it back to what is usual, at some time before it is online.
  process.on('worker', (worker) => {
    const meanwhile = setInterval(() => young?.limit(), 5).unref();
    const end = (): void => {
      clearInterval(meanwhile);
      young?.limit();
    };
    worker.once('online', end).once('exit', end);
  });
}

/**
 * What `make` returns, with the settings of a process that has just begun: code that V8 keeps is taken only with those
 * that it was made with. Within `loadedWithin` nothing else of them changes.
 */
export function withFirstSettings<Made>(make: () => Made): Made {
  setFlagsFromString(`--semi-space-growth-factor=${String(firstGrowth)}`);
  try {
    return make();
  } finally {
    young?.limit();
  }
}

/**
 * Has V8 optimize a function only once nine times as much of it ran as usual. A command is over before most of what is
 * compiled earlier pays: of 20,000 small files the compiler's threads took a fifth of a receiver's processor time.
 * Engines after that of Node 20 wait long enough.
 */
export function optimizeLate(): void {
  if (!process.versions.v8.startsWith('11.')) return;
  // In bytes of bytecode; V8 begins with 67,584.
  setFlagsFromString('--interrupt-budget=600000');
}

/**
 * Lets the young objects of the main thread have four times as much as V8 begins with, 1 MiB, and no more: in less than
 * that, what is received is still alive when it is collected, and is copied and grows old for nothing. V8 knows no such
 * limit that may be set once it runs, and would go on to 16 MiB. Threads have a limit of their own.
 */
class YoungSpace {
  private growth = firstGrowth;

  constructor() {
    this.limit();
    const collected = new PerformanceObserver(() => {
      const young = getHeapSpaceStatistics().find(({ space_name: name }) => name === 'new_space');
      if (young && young.space_size < enoughForYoung) return;
      collected.disconnect();
      this.growth = 1;
      this.limit();
    });
    collected.observe({ entryTypes: ['gc'] });
  }

  limit(): void {
    setFlagsFromString(`--semi-space-growth-factor=${String(this.growth)}`);
  }
}
