/**
 * The amounts of a receiver of sessions and of the plain wire that are policy and not wire; sizes are bytes. Times are
 * in `lib/session/deadlines.ts`; what limits uploads, backups and stores stands beside them.
 */

/** After this many repairs the receiver's disk or memory is taken to be faulty. PROTOCOL.md 14.9. */
export const mostRepairs = 3;

/**
 * Window for the missing pieces of a closed file while no connection brings any, as a multiple of a connection's
 * longest silence: 5 minutes.
 */
export const pieceSilences = 10;

/** Entries of an offer that are looked up, decided and answered at once: some ms of the main thread. */
export const offeredTogether = 1024;

/**
 * Hard links that are made, and directories that are finished, at once: some ms of the main thread, and one sync of the
 * disk.
 */
export const finishedTogether = 4096;

/** Elements of a list that is cut into several messages. PROTOCOL.md 12.3. */
export const listElements = 16384;

/** Sealed connections of all sessions together, each of which has a thread. */
export const mostSealed = 32;

/**
 * Characters of names, targets, attributes and messages that all sessions together keep of what is not settled: of one
 * key that is alone three quarters, which is a million hard links with 40 characters for each name and target.
 */
export const mostHeldText = 192 * 2 ** 20;

/** Failures of one session that are kept until its end; of those that come later only their number. */
export const mostKeptFailures = 1_000;

/** Most TLS handshakes at a time, and most peers that wait for a turn. */
export const mostHandshakes = 32;
export const mostBeforeHandshake = 1024;

/** Most sessions at a time: each has threads of its own. */
export const mostSessions = 64;
/** Most sessions that wait for a turn. */
export const mostWaiting = 128;

/** Sessions whose names are kept for their next conversation, and names of all but the one that was used last. */
export const mostKeptSessions = 64;
export const mostKeptNames = 500_000;

/** Most connections without a first byte that keep their whole deadline. */
export const calmUnidentified = 1024;

/**
 * On the plain wire: files of one connection that may be verified and committed while the next ones arrive: a batch.
 */
export const plainUnfinished = 4096;
/** On the plain wire: answers not taken by the sender from which nothing more is read from it. */
export const plainUnread = 4096;
