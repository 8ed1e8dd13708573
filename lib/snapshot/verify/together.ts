/**
 * Runs `action` for each of `items`, at most `most` at once, in their order. Rejects with the first failure once all
 * that were begun have ended; nothing more is begun after it.
 */
export async function together<Item>(
  items: Iterable<Item>,
  most: number,
  action: (item: Item) => Promise<void>,
): Promise<void> {
  const waiting = items[Symbol.iterator]();
  const failures: unknown[] = [];
  const work = async (): Promise<void> => {
    try {
      for (let next = waiting.next(); next.done !== true && failures.length === 0; next = waiting.next())
        await action(next.value);
    } catch (error) {
      failures.push(error);
    }
  };
  await Promise.all(Array.from({ length: most }, work));
  if (failures.length > 0) throw failures[0];
}
