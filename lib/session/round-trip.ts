/** What a TLS handshake costs beside its round trip, in ms. */
const handshakeWork = 5;

/**
 * The round trip to a peer, in ms, where the handshake has ended now and `began` at that time of `performance.now()`.
 */
export function roundTripSince(began: number): number {
  return Math.max(0, performance.now() - began - handshakeWork);
}
