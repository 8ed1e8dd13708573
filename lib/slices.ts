/** All of a list, in slices of `length` elements; the last one may be shorter. */
export function slicesOf<Element>(list: readonly Element[], length: number): Element[][] {
  const count = Math.ceil(list.length / length);
  return Array.from({ length: count }, (_, at) => list.slice(at * length, (at + 1) * length));
}
