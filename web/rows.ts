// A list of which only the rows in sight exist, so that ten thousand cost as much as ten.
import { make } from './elements';

/** Pixels: --row in page.css. */
const height = 64;
/** Rows beside those in sight, so that a quick scroll finds some. */
const margin = 4;

export interface Row {
  readonly element: HTMLElement;
  draw(): void;
}

export class Rows<T> {
  readonly #scroll: HTMLElement;
  readonly #list: HTMLElement;
  readonly #rowOf: (item: T) => Row;
  readonly #rows = new Map<T, Row>();

  constructor(scroll: HTMLElement, list: HTMLElement, rowOf: (item: T) => Row) {
    this.#scroll = scroll;
    this.#list = list;
    this.#rowOf = rowOf;
  }

  draw(items: readonly T[]): void {
    this.#list.style.height = `${items.length * height}px`;
    const first = Math.max(0, Math.floor(this.#scroll.scrollTop / height) - margin);
    const last = Math.min(
      items.length,
      Math.ceil((this.#scroll.scrollTop + this.#scroll.clientHeight) / height) + margin,
    );
    const seen = new Set(items.slice(first, last));
    for (const [item, row] of this.#rows) {
      if (seen.has(item)) continue;
      row.element.remove();
      this.#rows.delete(item);
    }
    let index = first;
    for (const item of seen) {
      let row = this.#rows.get(item);
      if (!row) {
        row = this.#rowOf(item);
        this.#rows.set(item, row);
      }
      const { element } = row;
      // In the order of the list, which is that of Tab and of a screen reader.
      if (this.#list.children[index - first] !== element)
        this.#list.insertBefore(element, this.#list.children[index - first] ?? null);
      element.style.transform = `translateY(${index * height}px)`;
      element.setAttribute('aria-posinset', String(index + 1));
      element.setAttribute('aria-setsize', String(items.length));
      row.draw();
      index++;
    }
  }
}

/** What a row of a file is made of: a mark, the name over what is said of it, and a figure at the end. */
export interface FileRow {
  readonly element: HTMLElement;
  readonly mark: HTMLElement;
  readonly said: HTMLElement;
  readonly figure: HTMLElement;
}

export function fileRow(name: HTMLElement, mark: HTMLElement): FileRow {
  const said = make('span', 'said');
  const figure = make('span', 'figure');
  const element = make('li', 'row', mark, make('div', 'what', name, said), figure);
  return { element, mark, said, figure };
}
