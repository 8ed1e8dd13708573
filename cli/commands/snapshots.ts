import type { Command } from 'commander';
import type { Difference, SnapshotDamaged, SnapshotForeign, SnapshotListed } from '../../lib/index';
import type { EventView, Shell, Transfer } from '../run';
import { formatCount, formatNumber, formatSize } from '../size';
import { foreignWords } from '../verify-view';
import { describeObjectStore, type ObjectFlags } from '../object-options';
import { locationArgument, type SnapshotLocation, snapshotLocation } from '../snapshot-location';
import { tellingAt } from '../store-waiting';
import type { Cell } from '../table';
import type { Terminal } from '../terminal';
import { wrongUsage } from '../usage';
import { library } from '../library';

/** Reading tells of nothing on the way. */
const silence: EventView = { show: () => undefined };

/** The options of `sendall snapshots`, as commander names them. */
interface SnapshotsFlags extends ObjectFlags {
  readonly diff?: readonly string[];
  readonly alone?: boolean;
}

/** Adds `sendall snapshots` to the program. */
export function describeSnapshots(program: Command, shell: Shell): void {
  const command = program
    .command('snapshots')
    .description(
      'Lists the snapshots in a receive directory, here or on another machine, or what is in one; or tells what differs between two of them. Reads no file of a backup.',
    )
    .usage('DIR|TARGET [NAME | NAME/ID [PATTERN]] [OPTIONS]')
    .argument('<DIR|TARGET>', locationArgument)
    .argument('[NAME]', 'of one backup only; NAME/ID or NAME/latest: what is in that snapshot')
    .argument('[PATTERN]', 'of that, what is called so and what is below, or matches: "photos/**/*.jpg"')
    .option('--alone', 'show what each snapshot alone holds, for which its directories are read')
    .option(
      '--diff <SNAPSHOT...>',
      'A B: what was added, removed and changed from A to B; each NAME/ID or NAME/latest, or without NAME/ where it was given',
    );
  describeObjectStore(command)
    .addHelpText(
      'after',
      `
Examples:
  $ sendall snapshots /srv/backups
  $ sendall snapshots homeserver
  $ sendall snapshots /srv/backups laptop --diff 2026-11-20T101233Z latest
  $ sendall snapshots homeserver laptop/latest home/eve/photos

SIZE is that of all files of a snapshot, NEW that of those in no earlier one, ALONE that of those
that would be free without it.`,
    )
    .action(async (given: string, name: string | undefined, pattern: string | undefined, flags: SnapshotsFlags) => {
      const { diff, alone = false } = flags;
      const location = await snapshotLocation(given, flags);
      if (alone && 'objects' in location) throw wrongUsage('--alone does not work on an object store.');
      const snapshot = diff === undefined && name?.includes('/') === true ? name : undefined;
      if (pattern !== undefined && snapshot === undefined)
        throw wrongUsage('A PATTERN is for what is in one snapshot.', {
          hint: 'sendall snapshots DIR|TARGET NAME/latest PATTERN; sendall find looks in all of them.',
        });
      const two = diff === undefined ? undefined : pairOf(diff, name);
      const { runTransfer } = require('../run') as typeof import('../run');
      shell.exit(
        await runTransfer(
          shell.settings(),
          () => silence,
          (transfer) => {
            const where = tellingAt(location, transfer);
            if (two) return compare(where, two, transfer);
            if (snapshot !== undefined) return entries(where, snapshot, pattern, transfer);
            return list(where, name, alone, transfer);
          },
        ),
      );
    });
}

/** The two snapshots to compare, each with the name of its backup. */
function pairOf(words: readonly string[], name: string | undefined): readonly [string, string] {
  const [a, b, ...more] = words.map((word) => (word.includes('/') || name === undefined ? word : `${name}/${word}`));
  if (a === undefined || b === undefined || more.length > 0)
    throw wrongUsage('--diff takes two snapshots.', { hint: 'It is sendall snapshots DIR|TARGET --diff A B.' });
  return [a, b];
}

async function entries(
  location: SnapshotLocation,
  snapshot: string,
  pattern: string | undefined,
  { terminal, signal }: Transfer,
): Promise<void> {
  const { load, TransferError } = library();
  const { FoundView } = require('../found-view') as typeof import('../found-view');
  const { listEntries } = load.snapshots();
  const view = new FoundView(terminal, false);
  const on = view.show.bind(view);
  await listEntries({ ...location, snapshot, signal, on, ...(pattern === undefined ? {} : { pattern }) });
  if (view.count === 0 && pattern !== undefined)
    throw new TransferError('usage', `Nothing in ${snapshot} is called ${pattern}.`, {
      hint: 'Paths begin at the top of the snapshot; patterns such as "photos/*.jpg" or "**/*.txt" need quotes in a shell.',
    });
}

async function list(
  location: SnapshotLocation,
  name: string | undefined,
  alone: boolean,
  { terminal, signal }: Transfer,
): Promise<void> {
  const { TransferError, load } = library();
  const { listSnapshots } = load.snapshots();
  const all = await listSnapshots({ ...location, alone, signal, ...(name === undefined ? {} : { name }) });
  const listed = all.filter((each) => each.event !== 'foreign');
  const foreign = all.filter((each) => each.event === 'foreign');
  if (terminal.settings.json) for (const each of all) tell(terminal, each);
  else if (listed.length === 0)
    terminal.say(`There is no snapshot ${'directory' in location ? `in ${location.directory}` : 'there'}.`);
  else showTable(listed, terminal);
  if (!terminal.settings.json) for (const { path } of foreign) terminal.say(foreignWords(path));
  const damaged = listed.filter(({ event }) => event === 'damaged').length;
  if (damaged === 0) return;
  throw new TransferError(
    'mismatch',
    `${formatCount(damaged, 'snapshot')} cannot be believed: the manifest is damaged.`,
    { hint: 'Nothing vouches for their files. sendall verify tells about the others.' },
  );
}

function tell(terminal: Terminal, each: SnapshotListed | SnapshotDamaged | SnapshotForeign): void {
  const { printEvent } = require('../progress-json') as typeof import('../progress-json');
  if (each.event !== 'damaged') return printEvent(terminal.stdout, each);
  const { event, snapshot, path, reason } = each;
  printEvent(terminal.stdout, { event, snapshot, path, reason });
}

function showTable(listed: readonly (SnapshotListed | SnapshotDamaged)[], terminal: Terminal): void {
  const { tableLines } = require('../table') as typeof import('../table');
  const shown = (text: string): string => terminal.asResult(text);
  const some = listed.some((each) => each.event === 'snapshot' && each.missing > 0);
  const alone = listed.some((each) => each.event === 'snapshot' && each.alone_bytes !== undefined);
  const rows = listed.map((each): Cell[] => {
    if (each.event === 'damaged') return [each.snapshot, `damaged: ${each.failure.message}`];
    const {
      snapshot,
      entries,
      bytes,
      new_bytes: newBytes,
      missing,
      alone_bytes: aloneBytes = 0,
      verified_at: verified,
    } = each;
    const numbers = [
      formatNumber(entries),
      formatSize(bytes),
      formatSize(newBytes),
      ...(alone ? [formatSize(aloneBytes)] : []),
      ...(some ? [formatNumber(missing)] : []),
    ];
    return [
      snapshot,
      ...numbers.map((right) => ({ right })),
      verified === null ? 'when stored' : verified.replace(/:\d\d(\.\d+)?Z$/, 'Z'),
    ];
  });
  const numbers = ['ENTRIES', 'SIZE', 'NEW', ...(alone ? ['ALONE'] : []), ...(some ? ['MISSING'] : [])];
  for (const line of tableLines(['SNAPSHOT', ...numbers.map((right) => ({ right })), 'VERIFIED'], rows, shown))
    terminal.result(line);
}

async function compare(
  location: SnapshotLocation,
  [a, b]: readonly [string, string],
  { terminal, signal }: Transfer,
): Promise<void> {
  const { diffSnapshots } = library().load.snapshots();
  const difference = await diffSnapshots({ ...location, a, b, signal });
  if (!terminal.settings.json) return showDifference(difference, terminal);
  const { JsonLines } = require('../progress-json') as typeof import('../progress-json');
  const lines = new JsonLines(terminal.stdout);
  for (const each of difference.added) lines.show({ event: 'added', ...each });
  for (const each of difference.removed) lines.show({ event: 'removed', ...each });
  for (const each of difference.changed) lines.show({ event: 'changed', ...each });
  lines.close();
}

function showDifference({ added, removed, changed }: Difference, terminal: Terminal): void {
  const { alignedLines } = require('../table') as typeof import('../table');
  const shown = (text: string): string => terminal.asResult(text);
  const row = (
    what: string,
    { path, type, bytes }: Difference['changed'][number] | Difference['added'][number],
    more = '',
  ): Cell[] => [
    what,
    { right: bytes === undefined ? '' : formatSize(bytes) },
    `${path}${type === 'directory' ? '/' : ''}${more}`,
  ];
  const because = ({ missing }: Difference['removed'][number]): string =>
    missing === undefined ? '' : `  (could not be stored: ${missing})`;
  const rows = [
    ...added.map((each) => row('added', each)),
    ...removed.map((each) => row('removed', each, because(each))),
    ...changed.map((each) => row('changed', each, each.what === 'metadata' ? '  (mode or time only)' : '')),
  ];
  for (const line of alignedLines(rows, shown)) terminal.result(line);
  terminal.say(
    `${formatNumber(added.length)} added, ${formatNumber(removed.length)} removed, ${formatNumber(changed.length)} changed`,
  );
}
