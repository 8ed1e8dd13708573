/** What each key gets of something of which there is not enough for all, and who gives up some of it. */

/**
 * A key may hold at most three times as much as is still free. Of 64 turns, one alone gets 48, and a second one 12 of
 * the rest.
 */
const share = 3;

/** Whether one more of `most` may be taken, of which `taken` are, `own` of them by the same key. */
export function fits(taken: number, most: number, own: number): boolean {
  return taken < most && own < share * (most - taken);
}

/** Something that a key has. */
interface HeldByPeer {
  /** The id of its key. */
  readonly peer: string;
  /** How much it counts: 1 unless said otherwise. */
  readonly amount?: number;
}

/**
 * What of `waiting`, the oldest first, is given up for others: the first one of the key that has most of all that is
 * held. Undefined where that key has none that waits.
 */
export function oldestOfMost<Waiting extends HeldByPeer>(
  waiting: readonly Waiting[],
  held: readonly HeldByPeer[] = waiting,
): Waiting | undefined {
  const amounts = new Map<string, number>();
  for (const { peer, amount = 1 } of held) amounts.set(peer, (amounts.get(peer) ?? 0) + amount);
  const most = Math.max(...amounts.values());
  return waiting.find(({ peer }) => amounts.get(peer) === most);
}
