// Files and folders that are dropped anywhere on the page, from its first moment on: a browser leaves a page for a file
// that nobody takes.
import { entriesOf, walk, type Named } from './dropped';
import { byId, say } from './elements';
import { filesWords, nameWords } from './words';

/** What becomes of a file that is dropped. */
type Taker =
  /** Nobody knows yet what is served here. */
  | { readonly is: 'not known' }
  | { readonly is: 'taking'; readonly add: (files: readonly Named[]) => void }
  /** The page gives files, and takes none. */
  | { readonly is: 'giving' };

export class Drops {
  readonly #zone = byId('drop', HTMLElement);
  readonly #title = byId('drop-title', HTMLElement);
  readonly #notice = byId('held', HTMLElement);
  readonly #idle = this.#title.textContent;
  #taker: Taker = { is: 'not known' };
  /** What was dropped before the page was connected. */
  #held: FileSystemEntry[] = [];

  constructor() {
    const over = (event: DragEvent): void => {
      if (!event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = this.#taker.is === 'giving' ? 'none' : 'copy';
      this.#zone.dataset['over'] = '';
      // What has no effect is dropped nowhere, and nobody hears of it.
      if (this.#taker.is === 'giving') this.#sayGiving();
    };
    addEventListener('dragenter', over);
    addEventListener('dragover', over);
    addEventListener('dragleave', (event) => {
      if (event.relatedTarget === null) delete this.#zone.dataset['over'];
    });
    addEventListener('drop', (event) => {
      delete this.#zone.dataset['over'];
      if (!event.dataTransfer) return;
      event.preventDefault();
      void this.#take(entriesOf(event.dataTransfer));
    });
  }

  /** From now on what is dropped goes to `add`; so does what was dropped before. */
  async takenBy(add: (files: readonly Named[]) => void): Promise<void> {
    this.#taker = { is: 'taking', add };
    this.#notice.hidden = true;
    await this.#take(this.#held.splice(0));
  }

  /** Nothing that is dropped is taken. */
  refuse(): void {
    this.#taker = { is: 'giving' };
    if (this.#held.splice(0).length > 0) this.#sayGiving();
  }

  async #take(entries: readonly FileSystemEntry[]): Promise<void> {
    if (entries.length === 0) return;
    switch (this.#taker.is) {
      case 'not known':
        this.#held.push(...entries);
        this.#notice.hidden = false;
        say(this.#notice, 'This page is not connected yet. What you have dropped is sent as soon as it is.');
        return;
      case 'giving':
        this.#sayGiving();
        return;
      case 'taking':
        await this.#add(entries, this.#taker.add);
    }
  }

  async #add(entries: readonly FileSystemEntry[], add: (files: readonly Named[]) => void): Promise<void> {
    const unread: string[] = [];
    let count = 0;
    for await (const files of walk(entries, unread)) {
      count += files.length;
      say(this.#title, `Reading folders: ${filesWords(count)}`);
      add(files);
    }
    const failed = `Could not be read: ${unread.slice(0, 3).map(nameWords).join(', ')}`;
    say(this.#title, unread.length === 0 ? this.#idle : failed);
  }

  #sayGiving(): void {
    this.#notice.hidden = false;
    say(this.#notice, 'This page gives files, and takes none.');
  }
}
