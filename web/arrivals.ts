// What arrives at the receiver, from anyone: read from its stream of events for as long as somebody looks.
import { Lost, Refusal, type Api, type LiveEvent, type ReceiveSession } from './api';
import { byId, icon, make, nameElement, say } from './elements';
import { aborted } from './large-file';
import type { Reach } from './reach';
import { Rows, fileRow, type Row } from './rows';
import { verifiedWords } from './upload-view';
import { filesWords, nameWords, percentWords, sizeWords } from './words';

type ArrivalState =
  | { readonly is: 'arriving'; readonly phase: string; readonly done: number }
  | { readonly is: 'received'; readonly verified: 'device' | 'cache' | null }
  | { readonly is: 'failed'; readonly message: string };

interface Arrival {
  readonly name: string;
  readonly from: string | null;
  readonly size: number | null;
  state: ArrivalState;
}

/** Those that are over and still shown. */
const mostOver = 1000;
/** Milliseconds: a stream says something every 15 s. */
const silence = 40_000;

export class Arrivals {
  /** The newest first. */
  list: Arrival[] = [];
  free: number | null;
  files = 0;
  bytes = 0;
  readonly #byId = new Map<string, Arrival>();

  constructor(session: ReceiveSession) {
    this.free = session.free;
  }

  take(event: LiveEvent): void {
    switch (event.event) {
      case 'started':
        this.#add(event.id, {
          name: event.name,
          from: event.from,
          size: event.size,
          state: { is: 'arriving', phase: 'receive', done: 0 },
        });
        return;
      case 'progress': {
        const arrival = this.#byId.get(event.id);
        if (arrival) arrival.state = { is: 'arriving', phase: event.phase, done: event.done };
        return;
      }
      case 'received':
      case 'failed': {
        const state: ArrivalState =
          event.event === 'received'
            ? { is: 'received', verified: event.verified }
            : { is: 'failed', message: event.message };
        const arrival = this.#byId.get(event.id);
        this.#byId.delete(event.id);
        if (arrival) arrival.state = state;
        else {
          const size = event.event === 'received' ? event.size : null;
          this.list.unshift({ name: event.name, from: event.from ?? null, size, state });
        }
        this.#forget();
        return;
      }
      case 'totals':
        this.free = event.free;
        this.files = event.files;
        this.bytes = event.bytes;
        return;
      case 'alive':
    }
  }

  /** The stream was lost: what was under way is told anew, or is not known any more. */
  lost(): void {
    this.list = this.list.filter(({ state }) => state.is !== 'arriving');
    this.#byId.clear();
  }

  #add(id: string, arrival: Arrival): void {
    const known = this.#byId.get(id);
    if (known) this.list = this.list.filter((one) => one !== known);
    this.#byId.set(id, arrival);
    this.list.unshift(arrival);
  }

  #forget(): void {
    if (this.list.length > mostOver + this.#byId.size + 100)
      this.list = this.list.filter(({ state }, index) => state.is === 'arriving' || index < mostOver);
  }
}

/** Follows the stream, over losses, while the page is in sight or `busy` says that it is waited for. */
export async function follow(arrivals: Arrivals, api: Api, reach: Reach, busy: () => boolean): Promise<never> {
  for (;;) {
    const watch = new AbortController();
    let heard = performance.now();
    const timer = setInterval(() => {
      // A browser has six connections for one server, and each page that looks takes one.
      if (performance.now() - heard > silence || (document.hidden && !busy())) watch.abort();
    }, 1000);
    try {
      for await (const events of api.live(watch.signal)) {
        heard = performance.now();
        for (const event of events) arrivals.take(event);
      }
    } catch (error) {
      if (!(error instanceof Lost) && !(error instanceof Refusal) && !aborted(error)) throw error;
    } finally {
      clearInterval(timer);
    }
    arrivals.lost();
    while (document.hidden && !busy()) await pause();
    await pause();
    await reach.back();
  }
}

async function pause(): Promise<void> {
  await new Promise((resolve) => {
    setTimeout(resolve, 500);
  });
}

export class ArrivalView {
  readonly #arrivals: Arrivals;
  readonly #none = byId('arrivals-none', HTMLElement);
  readonly #scroll = byId('arrivals-scroll', HTMLElement);
  readonly #rows: Rows<Arrival>;

  constructor(arrivals: Arrivals) {
    this.#arrivals = arrivals;
    this.#rows = new Rows(this.#scroll, byId('arrivals-list', HTMLElement), arrivalRow);
    this.#scroll.addEventListener('scroll', () => {
      this.draw();
    });
  }

  draw(): void {
    const { list, files, bytes, free } = this.#arrivals;
    this.#none.hidden = list.length > 0;
    this.#scroll.hidden = list.length === 0;
    if (list.length > 0) this.#rows.draw(list);
    const room = free === null ? [] : [`${sizeWords(free)} free`];
    const sum = files === 0 ? [] : [`${filesWords(files)}, ${sizeWords(bytes)}`];
    say(byId('totals', HTMLElement), [...sum, ...room].join(' · '));
  }
}

function arrivalRow(arrival: Arrival): Row {
  const { element, mark, said, figure } = fileRow(
    nameElement(arrival.name),
    make('span', 'mark', icon('verified'), icon('refused')),
  );
  const from = arrival.from === null ? '' : ` · from ${nameWords(arrival.from)}`;
  figure.textContent = arrival.size === null ? '' : sizeWords(arrival.size);
  const looks = { arriving: 'sending', received: 'verified', failed: 'refused' } as const;
  return {
    element,
    draw: () => {
      const { state, size } = arrival;
      element.dataset['state'] = looks[state.is];
      const done = state.is === 'arriving' ? state.done : (size ?? 0);
      mark.style.setProperty('--done', size ? String(done / size) : '0');
      say(said, arrivalWords(state, size) + from);
      said.title = state.is === 'failed' ? state.message : '';
    },
  };
}

function arrivalWords(state: ArrivalState, size: number | null): string {
  switch (state.is) {
    case 'arriving':
      if (state.phase === 'verify') return 'Verifying';
      return size === null ? 'Arriving' : `Arriving ${percentWords(state.done, size)}`;
    case 'received':
      return verifiedWords(state.verified);
    case 'failed':
      return state.message;
  }
}
