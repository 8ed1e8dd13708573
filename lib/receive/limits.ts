/**
 * Every amount of the receiver that is policy and not wire, in one place; sizes are bytes. Times are in
 * `lib/session/deadlines.ts`.
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

/** So many entries of an offer are looked up, decided and answered at once: some ms of the main thread. */
export const offeredTogether = 1024;

/** Elements of a list that is cut into several messages. PROTOCOL.md 12.3. */
export const listElements = 16384;

/** Connections of a session beside its first: each may hold a piece of a file in memory. */
export const mostConnections = 64;

/** So many peers at once may be in the middle of showing their key; so many more wait for it. */
export const mostHandshakes = 32;
export const mostBeforeHandshake = 1024;

/** Each session has threads of its own, so that whoever holds a key cannot have any number of them. */
export const mostSessions = 64;
/** So many more wait for one of them to end. */
export const mostWaiting = 128;

/** So many who have said nothing yet may stay as long as their deadline lets them. */
export const calmStrangers = 1024;

/** On the plain wire: files of one connection that may be verified and committed while the next ones arrive: a batch. */
export const plainUnfinished = 4096;
/** On the plain wire: with so many answers that the sender has not taken, nothing more is read from it. */
export const plainUnread = 4096;
