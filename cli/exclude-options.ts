import type { Command } from 'commander';
import { append } from './usage';

/** What to leave out of what is sent or backed up, as commander names it. */
export interface ExcludeFlags {
  readonly exclude?: readonly string[];
  readonly excludeIfPresent?: readonly string[];
  readonly excludeCaches?: boolean;
  readonly oneFileSystem?: boolean;
}

/** What all of these options mean, for the help of a command that has them. */
export const patternHelp = `
A PATTERN of --exclude without a slash before its end matches at any depth, and never what is named
itself: photos/ is sent with --exclude photos, too. One with a slash counts from the top of each
directory that is named: 'raw/2025' for photos/. It may begin with the path of that directory, or
with its name: '/home/eve/photos/raw', 'photos/raw'. One that would leave out all of a directory
that is named is refused. *, ? and [a-z] stay within a component, ** is any number of them, a / at
the end is for directories only, and ! takes back in what an earlier one left out.
`;

/** Adds them to a command. */
export function addExcludeOptions(command: Command): Command {
  return command
    .option(
      '--exclude <PATTERN>',
      'leave out what matches; may be given several times, and .sendallignore files do the same',
      append,
    )
    .option(
      '--exclude-if-present <NAME>',
      'leave out what is in directories that have such an entry, but for that; may be given several times',
      append,
    )
    .option('--exclude-caches', 'the same for directories with a CACHEDIR.TAG that says that they are caches')
    .option('--one-file-system', 'leave out what is in directories where another file system is mounted');
}

/** What they ask the library for. */
export function excludeOptions(flags: ExcludeFlags): Required<ExcludeFlags> {
  const { exclude = [], excludeIfPresent = [], excludeCaches = false, oneFileSystem = false } = flags;
  return { exclude, excludeIfPresent, excludeCaches, oneFileSystem };
}
