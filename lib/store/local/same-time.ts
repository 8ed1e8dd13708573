// Which time a disk may have made of the one that was set.

const microsecond = 1_000n;
const millisecond = 1_000_000n;
const coarsest = 2_000_000_000n;
const coarseStep = 10_000_000n;

/**
 * Whether a time is the one that was to be set, both in ns since 1970. Without system calls it is set to the
 * microsecond, before 1970 to the millisecond; and some disks keep whole hundredths of a second, seconds or every other
 * second only.
 */
export function isSameTime(
  found: bigint,
  wanted: bigint,
  exactness = wanted < 0n ? millisecond : microsecond,
): boolean {
  const apart = found < wanted ? wanted - found : found - wanted;
  return apart <= exactness || (apart < coarsest && found % coarseStep === 0n);
}
