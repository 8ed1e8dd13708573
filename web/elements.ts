// Elements of the page. Whatever comes from elsewhere, names above all, becomes text and never markup.
import { nameWords } from './words';

export function byId<T extends HTMLElement>(id: string, kind: new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`no #${id}`);
  return element;
}

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  ...content: readonly (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...content);
  return element;
}

/** One of the symbols of index.html. */
export function icon(name: 'verified' | 'refused' | 'folder' | 'file'): SVGSVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Writes only what differs: what did not change is neither drawn nor read out again. */
export function say(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

const shownEnd = 10;

/** A name that keeps its end in sight where there is no room for all of it. */
export function nameElement(name: string): HTMLElement {
  const shown = nameWords(name);
  const slash = shown.lastIndexOf('/') + 1;
  const letters = [...shown.slice(slash)];
  const cut = Math.max(0, letters.length - shownEnd);
  const element = make(
    'bdi',
    'name',
    make('span', 'start', make('span', 'folder', shown.slice(0, slash)), letters.slice(0, cut).join('')),
    make('span', 'end', letters.slice(cut).join('')),
  );
  element.title = shown;
  return element;
}
