// With --web-read: the files of the receive directory, folder by folder, each to be fetched.
import { Lost, Refusal, type Api, type ListedEntry } from './api';
import { byId, icon, make, nameElement, say } from './elements';
import { fileRow } from './rows';
import { nameWords, sizeWords, timeWords } from './words';

/** Milliseconds. */
const oftenest = 3000;

export class ListingView {
  readonly #api: Api;
  readonly #list = byId('listing-list', HTMLElement);
  readonly #words = byId('listing-words', HTMLElement);
  #path = '';
  #arrived = -1;
  #readAt = -oftenest;

  constructor(api: Api) {
    this.#api = api;
    byId('listing', HTMLElement).hidden = false;
    byId('listing-again', HTMLElement).addEventListener('click', () => void this.show(this.#path));
  }

  /** Reads the folder again when more files have arrived than at the last reading, and not all the time. */
  async keepUp(arrived: number): Promise<void> {
    if (arrived === this.#arrived || performance.now() - this.#readAt < oftenest) return;
    this.#arrived = arrived;
    await this.show(this.#path);
  }

  async show(path: string): Promise<void> {
    this.#path = path;
    this.#readAt = performance.now();
    try {
      const { entries, more } = await this.#api.files(path);
      this.#drawTrail();
      this.#list.replaceChildren(...entries.map((entry) => this.#row(entry)));
      const count = entries.length === 0 ? 'This folder is empty.' : '';
      say(this.#words, more ? `The first ${entries.length} are shown.` : count);
    } catch (error) {
      this.#failed(error);
    }
  }

  #drawTrail(): void {
    const names = this.#path === '' ? [] : this.#path.split('/');
    const steps = ['', ...names].map((name, index) => {
      const words = index === 0 ? 'All files' : nameWords(name);
      if (index === names.length) {
        const current = make('span', '', words);
        current.setAttribute('aria-current', 'page');
        return current;
      }
      return this.#folderButton(words, names.slice(0, index).join('/'));
    });
    byId('trail', HTMLElement).replaceChildren(...steps);
  }

  #folderButton(content: Node | string, path: string): HTMLButtonElement {
    const button = make('button', 'link', content);
    button.type = 'button';
    button.addEventListener('click', () => void this.show(path));
    return button;
  }

  #row(entry: ListedEntry): HTMLElement {
    const path = this.#path === '' ? entry.name : `${this.#path}/${entry.name}`;
    const name = nameElement(entry.name);
    if (entry.type === 'directory') {
      const { element } = fileRow(this.#folderButton(name, path), make('span', 'kind', icon('folder')));
      return element;
    }
    const { element, said } = fileRow(name, make('span', 'kind', icon('file')));
    said.textContent = `${sizeWords(entry.size)} · ${timeWords(entry.mtime)}`;
    element.append(downloadButton(this.#api, { path }, name.title, this.#words));
    return element;
  }

  #failed(error: unknown): void {
    say(this.#words, failureWords(error));
    if (!(error instanceof Refusal) && !(error instanceof Lost)) throw error;
  }
}

/** Fetches by a link that is good for one time: the token never stands in an address. */
export function downloadButton(
  api: Api,
  of: { readonly path: string } | { readonly id: string },
  name: string,
  words: HTMLElement,
): HTMLButtonElement {
  const button = make('button', 'button', 'Download');
  button.type = 'button';
  button.ariaLabel = `Download: ${name}`;
  button.addEventListener('click', () => {
    button.disabled = true;
    api
      .link(of)
      .then((href) => {
        const link = make('a', '');
        link.href = href;
        link.download = '';
        link.click();
        say(words, '');
      })
      .catch((error: unknown) => {
        say(words, failureWords(error));
      })
      .finally(() => {
        button.disabled = false;
      });
  });
  return button;
}

export function failureWords(error: unknown): string {
  if (error instanceof Refusal) return error.body.hint ? `${error.message} ${error.body.hint}` : error.message;
  return error instanceof Lost ? 'Connection lost. Try again in a moment.' : String(error);
}
