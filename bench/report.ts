import { mkdir, writeFile } from 'node:fs/promises';
import { cpus, release } from 'node:os';
import { dirname } from 'node:path';
import { median } from './contest';
import type { Amounts, Goal, Outcome } from './scenarios/settings';

const decimals = { s: 3, MiB: 0, KiB: 0, 'MB/s': 0, ratio: 2, lost: 0 } as const;

/** Lines up columns; the first is text, the others are numbers. */
function table(lines: readonly (readonly string[])[]): string {
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const pad = (cell: string, column: number): string =>
    column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0);
  return lines.map((line) => line.map(pad).join('  ').trimEnd()).join('\n');
}

const verdict = ({ value, limit }: Goal): string =>
  Number.isNaN(value) ? 'not measured' : value <= limit ? 'ok' : 'MISSED';

/** The medians of a scenario, and what it was to reach, for people. */
export function print({ scenario, rows, goals, note }: Outcome): string {
  const values = rows.map(({ name, unit, values: all, failure }) => {
    if (failure !== undefined || all.length === 0) return [name, 'failed', '', '', ''];
    return [
      name,
      ...[median(all), Math.min(...all), Math.max(...all)].map((value) => value.toFixed(decimals[unit])),
      unit,
    ];
  });
  const reached = goals.map((goal) => {
    const show = (value: number): string => (Number.isNaN(value) ? '-' : value.toFixed(decimals[goal.unit]));
    return [goal.name, show(goal.value), `<= ${show(goal.limit)}`, goal.unit, verdict(goal)];
  });
  const measured = table([['', 'median', 'min', 'max', ''], ...values]);
  const goal = table([['goal', 'measured', 'limit', '', ''], ...reached]);
  return [`\n[${scenario}]`, measured, ...(note === undefined ? [] : [note]), '', goal, ''].join('\n');
}

/** The same for programs, every value included. */
export async function save(path: string, outcomes: readonly Outcome[], amounts: Amounts): Promise<void> {
  const machine = {
    cpus: cpus().length,
    model: cpus()[0]?.model,
    system: `${process.platform} ${release()}`,
    node: process.version,
  };
  const scenarios = outcomes.map(({ scenario, rows, goals, note }) => ({
    scenario,
    note,
    rows: rows.map((row) => ({ ...row, median: row.values.length > 0 ? median(row.values) : null })),
    goals: goals.map((goal) => ({
      ...goal,
      value: Number.isNaN(goal.value) ? null : goal.value,
      verdict: verdict(goal),
    })),
  }));
  await mkdir(dirname(path), { recursive: true });
  await writeFile(
    path,
    `${JSON.stringify({ time: new Date().toISOString(), machine, ...amounts, scenarios }, null, 2)}\n`,
  );
}
