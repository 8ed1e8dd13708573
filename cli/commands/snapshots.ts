import type { Command } from 'commander';
import type { Difference, SnapshotDamaged, SnapshotForeign, SnapshotListed } from '../../lib/index';
import type { Audience, Shell, Transfer } from '../run';
import { formatCount, formatNumber, formatSize } from '../size';
import { foreignWords } from '../verify-view';
import { placeArgument, type SnapshotPlace, snapshotPlace } from '../snapshot-place';
import type { Cell } from '../table';
import type { Terminal } from '../terminal';
import { wrongUsage } from '../usage';

/** Reading tells of nothing on the way. */
const silence: Audience = { show: () => undefined };

/** Adds `sendall snapshots` to the program. */
export function describeSnapshots(program: Command, shell: Shell): void {
  program
    .command('snapshots')
    .description(
      'Lists the snapshots in a receive directory, here or on another machine, or tells what differs between two of them. Reads no file of a backup.',
    )
    .usage('DIR|TARGET [NAME] [OPTIONS]')
    .argument('<DIR|TARGET>', placeArgument)
    .argument('[NAME]', 'of one backup only')
    .option(
      '--diff <SNAPSHOT...>',
      'A B: what was added, removed and changed from A to B; each NAME/ID or NAME/latest, or without NAME/ where it was given',
    )
    .addHelpText(
      'after',
      `
Examples:
  $ sendall snapshots /srv/backups
  $ sendall snapshots homeserver
  $ sendall snapshots /srv/backups laptop --diff 2026-11-20T101233Z latest

SIZE is that of all files of a snapshot, NEW that of those in no earlier one.`,
    )
    .action(async (given: string, name: string | undefined, { diff }: { readonly diff?: readonly string[] }) => {
      const place = await snapshotPlace(given);
      const two = diff === undefined ? undefined : pairOf(diff, name);
      const { runTransfer } = require('../run') as typeof import('../run');
      shell.exit(
        await runTransfer(
          shell.settings(),
          () => silence,
          (transfer) => (two ? compare(place, two, transfer) : list(place, name, transfer)),
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

async function list(place: SnapshotPlace, name: string | undefined, { terminal, signal }: Transfer): Promise<void> {
  const { TransferError, load } = require('../../lib/internal') as typeof import('../../lib/internal');
  const { listSnapshots } = load.snapshots();
  const all = await listSnapshots({ ...place, signal, ...(name === undefined ? {} : { name }) });
  const listed = all.filter((each) => each.event !== 'foreign');
  const foreign = all.filter((each) => each.event === 'foreign');
  if (terminal.settings.json) for (const each of all) tell(terminal, each);
  else if (listed.length === 0)
    terminal.say(`There is no snapshot ${'directory' in place ? `in ${place.directory}` : 'there'}.`);
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
  const some = listed.some((each) => each.event === 'snapshot' && each.missing > 0);
  const rows = listed.map((each): Cell[] => {
    if (each.event === 'damaged') return [each.snapshot, `damaged: ${each.failure.message}`];
    const { snapshot, entries, bytes, new_bytes: newBytes, missing, verified_at: verified } = each;
    const numbers = [
      formatNumber(entries),
      formatSize(bytes),
      formatSize(newBytes),
      ...(some ? [formatNumber(missing)] : []),
    ];
    return [
      snapshot,
      ...numbers.map((right) => ({ right })),
      verified === null ? 'when stored' : verified.replace(/:\d\d(\.\d+)?Z$/, 'Z'),
    ];
  });
  const numbers = ['ENTRIES', 'SIZE', 'NEW', ...(some ? ['MISSING'] : [])];
  for (const line of tableLines(['SNAPSHOT', ...numbers.map((right) => ({ right })), 'VERIFIED'], rows))
    terminal.result(line);
}

async function compare(
  place: SnapshotPlace,
  [a, b]: readonly [string, string],
  { terminal, signal }: Transfer,
): Promise<void> {
  const { load } = require('../../lib/internal') as typeof import('../../lib/internal');
  const { diffSnapshots } = load.snapshots();
  const difference = await diffSnapshots({ ...place, a, b, signal });
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
  for (const line of alignedLines(rows)) terminal.result(line);
  terminal.say(
    `${formatNumber(added.length)} added, ${formatNumber(removed.length)} removed, ${formatNumber(changed.length)} changed`,
  );
}
