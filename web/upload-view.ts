// How the files of this page look: the sum of all above, one row for each below. It reads their state ten times a
// second.
import { byId, icon, make, nameElement, say } from './elements';
import { Rate } from './rate';
import { Rows, fileRow, type Row } from './rows';
import type { Upload, UploadState } from './upload';
import type { Sum, Uploads } from './uploads';
import { countWords, filesWords, leftWords, percentWords, rateWords, sizeWords } from './words';

const filters = ['all', 'under way', 'verified', 'refused'] as const;
type Filter = (typeof filters)[number];

export class UploadView {
  readonly #uploads: Uploads;
  readonly #section = byId('uploads', HTMLElement);
  readonly #bar = byId('uploads-bar', HTMLProgressElement);
  readonly #words = byId('uploads-words', HTMLElement);
  readonly #refused = byId('uploads-refused', HTMLElement);
  readonly #bytes = byId('uploads-bytes', HTMLElement);
  readonly #rateWords = byId('uploads-rate', HTMLElement);
  readonly #filters = byId('filters', HTMLElement);
  readonly #rows: Rows<Upload>;
  readonly #buttons = new Map<Filter, HTMLButtonElement>();
  readonly #rate = new Rate();
  #filter: Filter = 'all';
  #spoken = '';
  #spokenAt = 0;

  constructor(uploads: Uploads) {
    this.#uploads = uploads;
    const scroll = byId('uploads-scroll', HTMLElement);
    this.#rows = new Rows(scroll, byId('uploads-list', HTMLElement), (upload) => uploadRow(upload, uploads));
    for (const filter of filters) {
      const button = make('button', 'filter');
      button.type = 'button';
      button.addEventListener('click', () => {
        this.#filter = filter;
        scroll.scrollTop = 0;
        this.draw();
      });
      this.#buttons.set(filter, button);
      this.#filters.append(button);
    }
    scroll.addEventListener('scroll', () => {
      this.draw();
    });
  }

  /** The sum that it drew. */
  draw(): Sum {
    const { list } = this.#uploads;
    const sum = this.#uploads.sum();
    this.#section.hidden = list.length === 0;
    if (list.length === 0) return sum;
    this.#drawSum(sum);
    this.#rows.draw(this.#filter === 'all' ? list : list.filter(({ state }) => filterOf(state) === this.#filter));
    return sum;
  }

  #drawSum(sum: Sum): void {
    const now = performance.now();
    this.#rate.take(now, sum.sent);
    for (const upload of this.#uploads.list) if (upload.state.is === 'sending') upload.rate.take(now, upload.sent);
    this.#bar.value = sum.bytes === 0 ? (sum.files - sum.underWay) / sum.files : sum.sent / sum.bytes;
    const refused = sum.refused > 0 ? `${countWords(sum.refused)} refused` : '';
    say(this.#words, sumWords(sum));
    say(this.#refused, refused);
    const words = [sumWords(sum), refused].filter((some) => some !== '').join(' ');
    say(this.#bytes, `${sizeWords(sum.sent)} of ${sizeWords(sum.bytes)}`);
    const perSecond = this.#rate.perSecond;
    const left = this.#rate.secondsFor(sum.bytes - sum.sent);
    const going = sum.underWay > sum.pausing && sum.sent < sum.bytes && perSecond !== null && left !== null;
    say(this.#rateWords, going ? `${rateWords(perSecond)} · ${leftWords(left)}` : '');
    this.#drawFilters(sum);
    this.#speak(words, sum.underWay === 0, now);
    document.title = sum.underWay > 0 ? `${percentWords(sum.sent, sum.bytes)} · sendall` : 'sendall';
  }

  #drawFilters(sum: Sum): void {
    const counts = { all: sum.files, 'under way': sum.underWay, verified: sum.verified, refused: sum.refused };
    this.#filters.hidden = sum.files < 8 && this.#filter === 'all';
    for (const [filter, button] of this.#buttons) {
      say(button, `${filter[0]?.toUpperCase() ?? ''}${filter.slice(1)} ${countWords(counts[filter])}`);
      button.setAttribute('aria-pressed', String(filter === this.#filter));
      button.disabled = counts[filter] === 0 && filter !== this.#filter;
    }
  }

  /** A screen reader hears how it goes every ten seconds, and the end at once. */
  #speak(words: string, over: boolean, now: number): void {
    if (words === this.#spoken || (!over && now - this.#spokenAt < 10_000)) return;
    this.#spoken = words;
    this.#spokenAt = now;
    say(byId('said', HTMLElement), words);
  }
}

function filterOf({ is }: UploadState): Filter {
  return is === 'verified' || is === 'refused' ? is : 'under way';
}

function sumWords(sum: Sum): string {
  if (sum.underWay > 0) return `${countWords(sum.verified)} of ${filesWords(sum.files)} verified.`;
  if (sum.refused > 0) return `${filesWords(sum.verified)} verified.`;
  return sum.files === 1 ? 'Verified.' : `All ${filesWords(sum.files)} verified.`;
}

function uploadRow(upload: Upload, uploads: Uploads): Row {
  const name = nameElement(upload.name);
  const { element, mark, said, figure } = fileRow(name, make('span', 'mark', icon('verified'), icon('refused')));
  figure.textContent = sizeWords(upload.size);
  const button = make('button', 'button quiet');
  button.type = 'button';
  button.addEventListener('click', () => {
    if (upload.state.is === 'refused') uploads.again(upload);
    else if (!upload.over) uploads.cancel(upload);
  });
  element.append(button);
  return {
    element,
    draw: () => {
      const { state } = upload;
      element.dataset['state'] = state.is;
      const words = stateWords(upload);
      say(said, words);
      said.title = state.is === 'verified' || state.is === 'refused' || state.is === 'pausing' ? words : '';
      mark.style.setProperty('--done', String(upload.size === 0 ? 0 : upload.sent / upload.size));
      button.hidden = upload.over && state.is !== 'refused';
      const act = state.is === 'refused' ? 'Try again' : 'Cancel';
      say(button, act);
      if (button.ariaLabel !== `${act}: ${name.title}`) button.ariaLabel = `${act}: ${name.title}`;
    },
  };
}

function stateWords(upload: Upload): string {
  const { state, size } = upload;
  switch (state.is) {
    case 'waiting':
      return 'Waiting';
    case 'hashing':
      return `A file of this name is there. Comparing: ${percentWords(state.hashing.done, size)}`;
    case 'sending': {
      const { perSecond } = upload.rate;
      const left = upload.rate.secondsFor(size - upload.sent);
      const percent = `Sending ${percentWords(upload.sent, size)}`;
      return perSecond === null || left === null
        ? percent
        : `${percent} · ${rateWords(perSecond)} · ${leftWords(left)}`;
    }
    case 'batched':
      return state.flight.sent < state.total ? 'Sending' : 'Verifying on the receiver’s disk';
    case 'verifying':
      return state.hashing && state.hashing.done < size
        ? `Hashing ${percentWords(state.hashing.done, size)}`
        : 'Verifying on the receiver’s disk';
    case 'pausing':
      return state.why;
    case 'verified':
      return verifiedWords(state.receipt.verified, state.receipt.digests.blake3);
    case 'refused':
      return state.hint ? `${state.message} ${state.hint}` : state.message;
    case 'cancelled':
      return 'Cancelled';
  }
}

export function verifiedWords(verified: 'device' | 'cache' | null, blake3?: string): string {
  const words = {
    device: 'Verified on device',
    cache: 'Verified (page cache only)',
    none: 'Stored, not read back',
  }[verified ?? 'none'];
  return blake3 ? `${words} · blake3 ${blake3}` : words;
}
