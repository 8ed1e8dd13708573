/**
 * The deadlines and pauses of sessions, in ms: one file for both roles, since a deadline of one side is the patience of
 * the other. Amounts are in `lib/receive/limits.ts`; `lib/net`, `lib/web`, `lib/snapshot` and the stores have deadlines
 * of their own. PROTOCOL.md, appendix A.
 */

/** On every connection of a session: ms of our own silence before a heartbeat, and of the peer's before it is gone. */
export const usualLinkDeadlines = { heartbeat: 5_000, silence: 30_000 } as const;

// Before a conversation

/** Window in ms for the TLS handshake of an accepted peer, or of one that was dialed. */
export const handshakeWithin = 10_000;
/** Window in ms for the hello of a peer that dialed us. */
export const helloWithin = 10_000;
/**
 * Window in ms for the answer to our hello: an earlier conversation of the same session is ended first, and what it
 * received is made durable.
 */
export const answerWithin = 60_000;
/** Window in ms for the opening of a sealed connection: as for any peer that has shown no key yet. */
export const openingWithin = 10_000;
/** Window in ms for dialing and the TLS handshake. */
export const usualDial = 10_000;
/** Window in ms for preparing a first file; after it the receiver is dialed all the same. */
export const dialAfter = 300;
/** Window in ms for a further connection from a peer that was asked for one. */
export const anotherWithin = 20_000;
/**
 * Window in ms for the first byte of a receiver that dialed in; one that is silent for longer speaks the plain wire.
 */
export const firstByteWithin = 1_000;

/** Window in ms for finding on this network the machine that shows a code. */
export const lanFor = 1_000;
/** Window in ms for typed hosts and this network alone, before a relay that was typed too is tried. */
export const directAlone = 250;
/** Window in ms for the answer of a typed host where a relay was typed, too. */
export const directFor = 1_500;
/** Window in ms for finding out whether the other side has the key of a code, where its last frame was lost. */
export const keyKnownWithin = 3_000;
/** Life of a code in ms. PROTOCOL.md 28.7. */
export const codeLife = 900_000;

// After a connection was lost, or not made. PROTOCOL.md 19.7.

/** Pauses in ms between attempts to dial again: the first, doubled each time up to the longest. */
export const firstPause = 200;
export const longestPause = 5_000;
/** Retry window in ms after a connection was lost. */
export const usualRetry = 300_000;
/** Retry window in ms for a receiver that closes before hello, as a crowded one does. */
export const retryBeforeHello = 60_000;
/** Retry window in ms where nothing is left to be sent, and the receiver only has to hear of the end. */
export const farewellWithin = 1_000;
/** Window in ms in which a sender that is stopped waits for the receiver to hear it. */
export const leavesWithin = 3_000;
/** Age in ms from which a further connection counts as working: it is dialed again without a pause. */
export const steadyAfter = 5_000;
/** Window in ms for what the receiver took off a connection that has ended: it says that every `takenEvery`. */
export const takenWithin = 300;
/** Interval in ms at which the receiver says which frames it took off each connection. PROTOCOL.md 16.2. */
export const takenEvery = 100;
/** Delay in ms between the start of a receiver and that of its thread for small files. */
export const warmsAfter = 200;
/** Window in ms for the return of a lost session, after which a receiver with `once` gives it up. */
export const returnWithin = 60_000;
/**
 * Window in ms for anything but heartbeats in a session: long, since a sender may wait for the program it reads from.
 */
export const usualIdleLimit = 3_600_000;

// In a crowd of peers at one receiver

/** Window in ms for a turn to do the TLS handshake. */
export const waitForHandshake = 8_000;
/**
 * Age in ms from which the oldest handshake is cut off while others wait. None is cut off sooner: else none of a crowd
 * would get through.
 */
export const handshakeCutAfter = 1_000;
/** Interval in ms at which the oldest handshake is checked for that age. */
export const handshakeLookEvery = 250;
/** Window in ms for a turn of a session: shorter than `answerWithin`, in which its sender waits for our `hello`. */
export const waitForTurn = 45_000;
/** Window in ms for the first bytes of a connection while more than `calmUnidentified` have sent nothing. */
export const crowdedFirstByteWithin = 1_000;

// How many connections a transfer gets

/** Ms over which the rate of a number of connections is measured, after ms in which they get up to speed. */
export const measuredFor = 1_000;
export const warmUp = 500;
