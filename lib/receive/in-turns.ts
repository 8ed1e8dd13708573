import { setImmediate as nextTurn } from 'node:timers/promises';

/** Most elements, and most ms, in one turn of the event loop. */
const mostInTurn = 100;
const longestTurn = 5;

/** Works through a list, so that others have their turn in between. */
export async function inTurns<Element extends object>(
  list: readonly Element[],
  work: (element: Element, at: number) => void,
): Promise<void> {
  let first = 0;
  let began = performance.now();
  for (let at = 0; at < list.length; at++) {
    const element = list[at];
    if (!element) continue;
    if (at - first >= mostInTurn || performance.now() - began > longestTurn) {
      await nextTurn();
      first = at;
      began = performance.now();
    }
    work(element, at);
  }
}
