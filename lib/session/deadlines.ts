/**
 * Every time that a transfer waits for something, at most or at least, in ms: one file for both roles, since a deadline
 * of one side is the patience of the other. What is only an amount stands with whom it concerns
 * (`lib/receive/limits.ts`); `lib/net` has its own for one connection. PROTOCOL.md, appendix A.
 */

/** On every connection of a session: after so much silence we say that we live, and after so much the peer is gone. */
export const usualLinkDeadlines = { heartbeat: 5_000, silence: 30_000 } as const;

// Before a conversation

/** How long an accepted peer, or one that was dialed, may take to show its key. */
export const handshakeWithin = 10_000;
/** How long who dialed us may take for its hello. */
export const helloWithin = 10_000;
/**
 * How long the answer to ours may take: an earlier conversation of the same session is ended first, and what it
 * received made durable.
 */
export const answerWithin = 60_000;
/** How long a sealed connection may take to begin: no longer than anybody who has shown nothing yet. */
export const openingWithin = 10_000;
/** How long dialing and showing the key may take. */
export const usualDial = 10_000;
/** How long a first file may take to get ready until the receiver is dialed without it. */
export const dialAfter = 300;
/** How long a peer that was asked for another connection may take. */
export const anotherWithin = 20_000;
/** Who has said nothing for so long after dialing waits for the plain wire. */
export const speaksWithin = 1_000;

/** How long whoever shows a code is looked for on this network. */
export const lanFor = 1_000;
/** How long a code is tried only at typed hosts and on this network, where a relay was typed, too. */
export const directAlone = 250;
/** How long a typed host may take to answer where a relay was typed, too. */
export const directFor = 1_500;
/** How long it may take to find out whether the other side knows the key of a code, where its last frame was lost. */
export const keyKnownWithin = 3_000;
/** How long a code is good. PROTOCOL.md 28.7. */
export const codeLife = 900_000;

// After a connection was lost, or not made. PROTOCOL.md 19.7.

/** Pauses between attempts to dial again: the first, doubled each time up to the longest. */
export const firstPause = 200;
export const longestPause = 5_000;
/** For how long it is tried. */
export const usualRetry = 300_000;
/** How long one is dialed again who is there, and hangs up before it has let us in: a receiver does so in a crowd. */
export const hangsUpFor = 60_000;
/** How long it is tried where nothing is left to be sent, so that the receiver hears of the end. */
export const farewellWithin = 1_000;
/** How long a sender that is stopped waits until the receiver has heard it. */
export const leavesWithin = 3_000;
/** Where a connection that lived no longer than that was dialed again and died again, there is a pause. */
export const longLife = 5_000;
/**
 * How long the receiver may still say what it took off a connection that has ended: it does so every `takenEvery`.
 */
export const takenWithin = 300;
/** How often the receiver says which frames it took off each connection. PROTOCOL.md 16.2. */
export const takenEvery = 100;
/** How long after it began to listen a receiver starts the thread for small files. */
export const warmsAfter = 200;
/** How long a session that was lost may stay away until a receiver with `once` gives it up. */
export const returnWithin = 60_000;
/** A session in which nothing happens but heartbeats ends: a sender that reads from a program may have to wait for it. */
export const usualIdleLimit = 3_600_000;

// In a crowd of peers at one receiver

/** How long one waits for a turn to show its key. */
export const waitForHandshake = 8_000;
/**
 * One who has been at it for so long while others wait makes room. Sooner nobody does: else none of a crowd would get
 * through.
 */
export const handshakeTurn = 1_000;
/** How often it is looked whether somebody has been at it for that long. */
export const handshakeLookEvery = 250;
/** How long a session waits for another one to end: less than its sender waits for our `hello`. */
export const waitForTurn = 45_000;
/** How long one who has said nothing may go on with that where there are too many of them. */
export const crowdWithin = 1_000;

// How many connections a transfer gets

/** Over so long the rate of a number of connections is measured; before that they get up to speed. */
export const measuredFor = 1_000;
export const warmUp = 500;
