// Times as numbers of 64 bits with a sign, which is what flat arrays, receipts and the wire have room for.

const [earliest, latest] = [-(2n ** 63n), 2n ** 63n - 1n];

/** The nearest time to `time`, in ns since 1970, that 64 bits hold: 1677 to 2262. */
export function carriedTime(time: bigint): bigint {
  return time < earliest ? earliest : time > latest ? latest : time;
}
