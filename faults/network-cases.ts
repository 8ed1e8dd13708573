// What a network does to a transfer: each case is one transfer over connections of which some meet a fault at a byte
// that chance chooses.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Relay, Trap } from '../spec/session/relay';
import type { Random } from './random';

export interface NetworkCase {
  readonly name: string;
  readonly wire: 'session' | 'plain';
  /** The sender listens, and the receiver dials it. */
  readonly listening?: true;
  /** What happens to the first connections, the first one first. */
  readonly traps: readonly Trap[];
  readonly delay?: number;
  readonly words?: readonly string[];
  /**
   * `done`: it has to succeed by itself. `whole`: it may fail, but nothing that is stored may be damaged, and the next
   * attempt has to succeed.
   */
  readonly wants: 'done' | 'whole';
  /** What happens besides. */
  during?(relay: Relay): Promise<void>;
}

/** How much of what is sent crosses the relay at least, in bytes. */
export const crossing = 5 * 2 ** 20;
/**
 * TLS and the hellos are within the first bytes of a connection, in each direction. Where they are not exchanged,
 * nobody was met.
 */
const greeted = { there: 4096, back: 700 };
/** So much of what comes back is there in each session and in each plain transfer. */
const answered = { session: 4000, plain: 150 };

interface Choice {
  readonly random: Random;
  /** How long the link is away, in ms. */
  readonly away: number;
  /** How many of each kind. */
  readonly rounds: number;
}

export function networkCases({ random, away, rounds }: Choice): NetworkCase[] {
  const cases: NetworkCase[] = [];
  const there = (from: number, what: Trap['what']): Trap => ({
    direction: 'there',
    at: random.between(from, crossing / 4),
    what,
  });
  const back = (wire: 'session' | 'plain', what: Trap['what']): Trap => ({
    direction: 'back',
    at: random.between(wire === 'session' ? greeted.back : 0, answered[wire]),
    what,
  });
  for (let round = 0; round < rounds; round++) {
    for (const what of ['reset', 'end', 'flip', 'swallow', 'both', 'leave'] as const) {
      cases.push({
        name: `session, ${what} there`,
        wire: 'session',
        traps: [there(greeted.there, what), there(greeted.there, what)],
        wants: 'done',
      });
      if (what !== 'both')
        cases.push({ name: `session, ${what} back`, wire: 'session', traps: [back('session', what)], wants: 'done' });
      cases.push({
        name: `plain, ${what} there`,
        wire: 'plain',
        traps: [there(0, what)],
        wants: 'whole',
        ...(what === 'both' ? { during: cutLater } : {}),
      });
    }
    // The name and the digest stand in the first bytes, and the receiver's word for them in the first ones back.
    for (const what of ['flip', 'reset'] as const) {
      cases.push({
        name: `plain, ${what} in the header`,
        wire: 'plain',
        traps: [{ direction: 'there', at: random.between(4, 150), what }],
        wants: 'whole',
      });
      cases.push({ name: `plain, ${what} back`, wire: 'plain', traps: [back('plain', what)], wants: 'whole' });
      cases.push({
        name: `session, ${what} in the handshake`,
        wire: 'session',
        traps: [{ direction: random.oneOf(['there', 'back']), at: random.between(0, 600), what }],
        wants: 'whole',
      });
    }
    cases.push({
      name: 'plain, a flip in the name',
      wire: 'plain',
      traps: [{ direction: 'there', at: 22, what: 'flip' }],
      wants: 'whole',
    });
    for (const what of ['reset', 'swallow'] as const) {
      cases.push({
        name: `listening, ${what}`,
        wire: 'session',
        listening: true,
        traps: [{ direction: 'back', at: random.between(greeted.there, crossing / 4), what }],
        wants: 'done',
      });
    }
    cases.push(...absences(away));
    cases.push({ name: 'session, 200 ms later', wire: 'session', traps: [], delay: 200, wants: 'done' });
    cases.push({ name: 'plain, 200 ms later', wire: 'plain', traps: [], delay: 200, wants: 'done' });
  }
  return cases;
}

/**
 * The plain wire has no heartbeat, and a receiver may take as long as it likes (9.6): what ends it is what the system
 * notices.
 */
async function cutLater(relay: Relay): Promise<void> {
  // On a busy machine a sender may take longer to dial than all else.
  await relay.until(() => relay.there > 0);
  await sleep(5000);
  for (const line of relay.lines) line.cut();
}

function absences(away: number): NetworkCase[] {
  const goAway =
    (ms: number) =>
    async (relay: Relay): Promise<void> => {
      await relay.until(() => relay.there > crossing / 4);
      await relay.fall();
      await sleep(ms);
      await relay.accept();
    };
  return [
    {
      name: `session, no link for ${String(away / 1000)} s`,
      wire: 'session',
      traps: [],
      words: ['--limit', '6M'],
      wants: 'done',
      during: goAway(away),
    },
    {
      name: 'session, no link for longer than it is tried',
      wire: 'session',
      traps: [],
      words: ['--limit', '6M', '--retry-for', '1s'],
      wants: 'whole',
      during: goAway(4000),
    },
    {
      name: 'plain, no answers until it is cut',
      wire: 'plain',
      traps: [{ direction: 'back', at: 0, what: 'swallow' }],
      wants: 'whole',
      during: cutLater,
    },
  ];
}
