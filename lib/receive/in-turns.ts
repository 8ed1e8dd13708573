import { setImmediate as nextTurn } from 'node:timers/promises';

/** Of so many elements in one go at most, and for so long, in ms: where one costs much, others have their turn sooner. */
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
