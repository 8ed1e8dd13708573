/**
 * Every limit, pause and size of the receiver that is policy and not wire, in one place. Times are ms, sizes are bytes.
 */

/**
 * A file that does not match after so many repairs has a disk or a memory under it that will not do better. PROTOCOL.md
 * 14.9.
 */
export const mostRepairs = 3;

/**
 * How many times the longest silence of a connection a closed file may lack pieces while no connection brings any: 5
 * minutes.
 */
export const pieceSilences = 10;

/** A batch is committed once it has so many entries or bytes, or its first entry has waited so long. */
export const batchEntries = 4096;
export const batchBytes = 48 * 1024 * 1024;
export const batchWaits = 1_000;

/** So many entries of an offer are looked up, decided and answered at once: some ms of the main thread. */
export const offeredTogether = 1024;

/** Elements of a list that is cut into several messages. PROTOCOL.md 12.3. */
export const listElements = 16384;

/** How often the sender is told which frames were taken off each connection. PROTOCOL.md 16.2. */
export const takenEvery = 100;

/** Connections of a session beside its first: each may hold a piece of a file in memory. */
export const mostConnections = 64;

/** Time in which an accepted peer shows its key. */
export const handshakeWithin = 10_000;
/**
 * So many peers at once may be in the middle of showing their key; so many more wait for it, for so long. One who has
 * been at it
 * for `handshakeTurn` while others wait makes room. Sooner nobody does: else none of a crowd would get through.
 */
export const mostHandshakes = 32;
export const mostBeforeHandshake = 1024;
export const waitForHandshake = 8_000;
export const handshakeTurn = 1_000;
export const handshakeLookEvery = 250;

/** Each session has threads of its own, so that whoever holds a key cannot have any number of them. */
export const mostSessions = 64;
/** So many more wait for one of them to end, for so long: less than they wait for our `hello`. */
export const mostWaiting = 128;
export const waitForTurn = 45_000;

/** Pauses between attempts to dial a sender again, and for how long it is tried. */
export const firstPause = 200;
export const longestPause = 5_000;
export const retryFor = 300_000;
/** How long a session that was lost may stay away until `once` gives it up. */
export const returnWithin = 60_000;

/** So many who have said nothing yet may stay as long as their deadline lets them. */
export const calmStrangers = 1024;
/** Beyond that they may be silent for so long: a crowd that comes at the same moment is not to lose anybody. */
export const crowdWithin = 1_000;

/** On the plain wire: files of one connection that may be verified and committed while the next ones arrive. */
export const plainUnfinished = 256;
/** On the plain wire: with so many answers that the sender has not taken, nothing more is read from it. */
export const plainUnread = 256;
