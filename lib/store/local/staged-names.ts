/** What a staged file allows in any case, so that it can be read back. */
export const ownerReads = 0o400;

/** Longer names, in bytes, would make too long a path in the staging directory. */
const longestTogether = 3_000;

/** Whether a name of `bytes` bytes is staged apart from the others. */
export function isTooLong(bytes: number): boolean {
  return bytes > longestTogether;
}

/**
 * The path of what is staged under its final name, in the tree of the group whose private directory is `stagingPath`.
 */
export function stagedTogether(stagingPath: string, name: string): string {
  return `${stagingPath}/tree/${name}`;
}

/** The path of what is staged apart from the tree, under a number of its own. */
export function stagedApart(stagingPath: string, number: number): string {
  return `${stagingPath}/apart/${String(number)}`;
}
