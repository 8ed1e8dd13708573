import type { FoundEvent, FoundInSnapshot } from '../lib/index';
import { formatSize } from './size';
import type { Terminal } from './terminal';

/** Shows what was found in snapshots, line by line as it comes, and counts it. */
export class FoundView {
  count = 0;

  /** `across`: of several snapshots, each line with the one that it is about. */
  constructor(
    private readonly terminal: Terminal,
    private readonly across: boolean,
  ) {}

  show(event: FoundEvent): void {
    const { terminal } = this;
    if (event.event === 'found') this.count++;
    if (terminal.settings.json) {
      const { printEvent } = require('./progress-json') as typeof import('./progress-json');
      if (event.event === 'found') printEvent(terminal.stdout, event);
      else {
        const { event: damaged, snapshot, path, reason } = event;
        printEvent(terminal.stdout, { event: damaged, snapshot, path, reason });
      }
    } else if (event.event === 'damaged') {
      terminal.complain(`${event.snapshot}: ${event.failure.message}`);
    } else {
      terminal.result(...(this.across ? [acrossOf(event)] : []), lineOf(event));
    }
  }
}

/** `laptop/2026-11-20T101233Z  v2  ` */
function acrossOf({ snapshot, version }: FoundInSnapshot): string {
  return `${snapshot}  ${(version === undefined ? '' : `v${String(version)}`).padEnd(3)}  `;
}

/** `-0644   1.2 MiB  2026-11-20 10:12  home/a.txt`, and where a link points. */
function lineOf({ type, path, bytes, mode, mtime, target, reason }: FoundInSnapshot): string {
  const kind = { file: '-', directory: 'd', symlink: 'l', link: 'h', missing: '!' }[type];
  const arrow = target === undefined ? '' : type === 'link' ? ` = ${target}` : ` -> ${target}`;
  return [
    `${kind}${mode === undefined ? '    ' : mode.toString(8).padStart(4, '0')}`,
    (bytes === undefined ? '' : formatSize(bytes)).padStart(9),
    mtime === undefined ? ''.padEnd(16) : momentOf(mtime),
    `${path}${type === 'directory' ? '/' : arrow}${reason === undefined ? '' : `  (could not be stored: ${reason})`}`,
  ].join('  ');
}

/** To the minute, in UTC; a time that no calendar here has as seconds since 1970. */
function momentOf(mtime: string): string {
  const date = new Date(Number(BigInt(mtime) / 1_000_000n));
  return Number.isNaN(date.getTime())
    ? `@${String(BigInt(mtime) / 1_000_000_000n)}`
    : date.toISOString().slice(0, 16).replace('T', ' ');
}
