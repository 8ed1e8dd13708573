import type { EntryName } from '../../name';
import type { GroupLanes } from './group-lanes';
import { look, type Standing, standingsOf } from './group-look';
import type { Content } from './group-read';
import { slicesOf } from './group-rows';
import { diskError } from './staged-bytes';

/** Names that one lane looks at in one go. */
const namesPerLook = 1_000;
/** So many are looked at in no time: a session of some large files needs no thread for them. */
const fewNames = 8;
/** So many files one lane reads in one go. */
const namesPerReading = 64;

/** What stands in a receive directory, whose path is `root`, when many are asked for at once. Rejects with `disk` only where a thread fails. */
export class StandingEntries {
  constructor(
    private readonly lanes: GroupLanes,
    private readonly root: string,
  ) {}

  /** What stands under these names; undefined where nothing stands, or where symbolic links would have to be followed. */
  async look(names: readonly EntryName[]): Promise<(Standing | undefined)[]> {
    if (names.length <= fewNames) return attempt(names, async () => standingsOf(look(names, this.root)));
    return attempt(names, async () => {
      const answers = await Promise.all(slicesOf(names, namesPerLook).map((slice) => this.lanes.ask({ order: 'look', names: slice })));
      return answers.flatMap(standingsOf);
    });
  }

  /** What the regular files under these names read as, from where a receipt says they were read; undefined for anything else, and for what cannot be read. */
  async read(names: readonly EntryName[]): Promise<(Content | undefined)[]> {
    return attempt(names, async () => {
      const answers = await Promise.all(slicesOf(names, namesPerReading).map((slice) => this.lanes.ask({ order: 'read standing', names: slice })));
      return answers.flatMap(({ contents }) => contents);
    });
  }
}

async function attempt<Found>([first]: readonly EntryName[], action: () => Promise<Found>): Promise<Found> {
  try {
    return await action();
  } catch (error) {
    throw diskError(error, { name: first ?? '' });
  }
}
