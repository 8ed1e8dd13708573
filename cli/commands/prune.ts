import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type { KeepRules, PruneEvent } from '../../lib/index';
import type { EventView, Shell, Transfer } from '../run';
import { formatCount, formatSize, parseDuration } from '../size';
import { describeObjectStore, type ObjectFlags } from '../object-options';
import { locationArgument, type SnapshotLocation, snapshotLocation } from '../snapshot-location';
import { tellingAt } from '../store-waiting';
import type { Terminal } from '../terminal';
import { wrongUsage } from '../usage';
import { library } from '../library';

/** The options of `sendall prune`, as commander names them. */
interface PruneFlags extends ObjectFlags {
  /** ms */
  readonly grace?: number;
  readonly name?: string;
  readonly keepLast?: number;
  readonly keepDaily?: number;
  readonly keepWeekly?: number;
  readonly keepMonthly?: number;
  readonly keepWithin?: number;
  readonly allowShrink?: boolean;
  readonly removeDamaged?: string;
  readonly dryRun?: boolean;
}

/** Adds `sendall prune` to the program. */
export function describePrune(program: Command, shell: Shell): void {
  const command = program
    .command('prune')
    .description(
      'Removes the snapshots that no --keep option keeps. Never the newest one of a backup; one whose manifest is damaged only where --remove-damaged names it.',
    )
    .usage('DIR|TARGET --keep-… [OPTIONS]')
    .argument('<DIR|TARGET>', locationArgument)
    .option('--name <NAME>', 'of this backup only; default: of each one')
    .option('--keep-last <N>', 'keep the newest N', parseCount)
    .option('--keep-daily <N>', 'keep the newest of each of the last N days that have a snapshot, in UTC', parseCount)
    .option('--keep-weekly <N>', 'keep the newest of each of the last N weeks, from Monday to Sunday', parseCount)
    .option('--keep-monthly <N>', 'keep the newest of each of the last N months', parseCount)
    .option(
      '--keep-within <DURATION>',
      'keep all that are not older than this before the newest: 36h, 30d, 8w, 1y',
      parseSpan,
    )
    .option('--allow-shrink', 'remove also the last snapshot that had what a source has lost since')
    .option('--remove-damaged <SNAPSHOT>', 'remove also this one, NAME/ID, whose manifest is damaged')
    .option('-n, --dry-run', 'tell what would be done, and remove nothing')
    .option(
      '--grace <DURATION>',
      'in an object store: what nothing needs any more is deleted by the first prune after this; default 1d, at least 1h',
      parseSpan,
    );
  describeObjectStore(command)
    .addHelpText(
      'after',
      `
Examples:
  $ sendall prune /srv/backups --keep-daily 14 --keep-weekly 8 --keep-monthly 12 --dry-run
  $ sendall prune /srv/backups --name laptop --keep-last 30

What one of the options keeps stays. So does the last snapshot that had the
content of a source which has become empty since, or lost most of it, until a
later one has at least half of it again ("content"), but for --allow-shrink.
In an object store a damaged manifest keeps garbage from being collected, since
nobody knows what it needs: --remove-damaged gives that snapshot up.
Files that other snapshots have as well are not touched. On another machine it
takes a key with the right admin.`,
    )
    .action(async (given: string, flags: PruneFlags) => {
      const location = await snapshotLocation(given, flags);
      if (flags.grace !== undefined && 'directory' in location)
        throw wrongUsage('--grace goes with an object store: s3://BUCKET/PREFIX, or a receiver of one.');
      const keep = rulesOf(flags);
      const { runTransfer } = require('../run') as typeof import('../run');
      shell.exit(
        await runTransfer(shell.settings(), complaints, (transfer) =>
          pruneAt(tellingAt(location, transfer), keep, flags, transfer),
        ),
      );
    });
}

async function pruneAt(
  location: SnapshotLocation,
  keep: KeepRules,
  { name, allowShrink = false, removeDamaged, dryRun = false, grace }: PruneFlags,
  { on, terminal, signal }: Transfer,
): Promise<void> {
  const { prune } = library().load.snapshots();
  const { printEvent } = require('../progress-json') as typeof import('../progress-json');
  const words = new PruneWords(terminal, dryRun);
  const tell = (event: PruneEvent): void => {
    if (event.event === 'failed') on(event);
    else if (terminal.settings.json) printEvent(terminal.stdout, event);
    else words.show(event);
  };
  try {
    await prune({
      ...location,
      keep,
      allowShrink,
      dryRun,
      signal,
      on: tell,
      ...(grace === undefined ? {} : { grace }),
      ...(name === undefined ? {} : { name }),
      ...(removeDamaged === undefined ? {} : { removeDamaged }),
    });
  } finally {
    words.sumUp();
  }
}

/** Says what becomes of each snapshot, and at the end what that comes to. */
class PruneWords {
  private readonly count = { kept: 0, removed: 0 };
  private freed = 0;
  /** In an object store, nothing is free before the grace is over. */
  private later = false;

  constructor(
    private readonly terminal: Terminal,
    private readonly dryRun: boolean,
  ) {}

  show(event: Exclude<PruneEvent, { event: 'failed' }>): void {
    if (event.event === 'collected') {
      const [deleted, condemned] = [event.deleted_bytes, event.condemned_bytes].map(formatSize);
      this.terminal.say(
        this.dryRun
          ? `${deleted} of garbage would be deleted; ${condemned} would be condemned, beside what becomes garbage now`
          : `${deleted} of garbage deleted; ${condemned} condemned, for a prune after the grace`,
      );
      return;
    }
    this.count[event.event] += 1;
    if (event.event === 'kept') {
      this.terminal.result(
        this.dryRun ? 'would keep    ' : 'kept     ',
        `${event.snapshot}  ${event.reasons.join(', ')}`,
      );
      return;
    }
    this.freed += event.freed_bytes;
    this.later = event.after_grace === true;
    this.terminal.result(
      { style: 'bold', text: this.dryRun ? 'would remove  ' : 'removed  ' },
      `${event.snapshot}  ${this.free(event.freed_bytes)}`,
    );
  }

  sumUp(): void {
    const { kept, removed } = this.count;
    if (kept + removed === 0) return;
    this.terminal.say(
      `${formatCount(removed, 'snapshot')} ${this.dryRun ? 'would be removed' : 'removed'}, ${this.free(this.freed)}; ${formatCount(kept, 'snapshot')} kept`,
    );
  }

  private free(bytes: number): string {
    return `${formatSize(bytes)} ${this.later ? 'free after the grace' : 'freed'}`;
  }
}

/** Of one backup that cannot be pruned while others can. */
function complaints(terminal: Terminal): EventView {
  return {
    show: (event) => {
      if (event.event === 'failed') terminal.complain(event.message, event.hint);
    },
  };
}

/** Throws `usage` where there is no rule. */
function rulesOf({ keepLast, keepDaily, keepWeekly, keepMonthly, keepWithin }: PruneFlags): KeepRules {
  const given = Object.entries({
    last: keepLast,
    daily: keepDaily,
    weekly: keepWeekly,
    monthly: keepMonthly,
    within: keepWithin,
  });
  const rules = given.filter(([, value]) => value !== undefined);
  if (rules.length > 0) return Object.fromEntries(rules);
  throw wrongUsage('Nothing says which snapshots to keep.', {
    hint: 'For instance --keep-last 7, or --keep-daily 14 --keep-weekly 8.',
  });
}

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new InvalidArgumentError('It must be a whole number from 1 on.');
  return Number(text);
}

/** As other spans, except for `m`: whoever means months must not lose all that is older than minutes. */
function parseSpan(text: string): number {
  const span = /m$/.test(text) ? NaN : parseDuration(text);
  if (span > 0) return span;
  throw new InvalidArgumentError('It looks like 36h, 30d, 8w or 1y.');
}
