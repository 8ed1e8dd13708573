/** What of the trees that the caller names does not travel. */
export interface LeavingOut {
  /**
   * Patterns, as in gitignore(5), from the top of each tree; those that begin with the path of a tree count from there,
   * see `patternsFor`.
   */
  readonly exclude?: readonly string[] | undefined;
  /** A directory with an entry of one of these names is left empty, but for that entry. */
  readonly excludeIfPresent?: readonly string[] | undefined;
  /** The same for a directory with a `CACHEDIR.TAG` that begins as https://bford.info/cachedir/ has it. */
  readonly excludeCaches?: boolean | undefined;
  /** Directories on another file system than the top of their tree are left empty. */
  readonly oneFileSystem?: boolean | undefined;
}

/** These parts of some options, and nothing else. */
export function leavingOut(options: LeavingOut): LeavingOut {
  const { exclude, excludeIfPresent, excludeCaches, oneFileSystem } = options;
  return { exclude, excludeIfPresent, excludeCaches, oneFileSystem };
}
