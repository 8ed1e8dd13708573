// Words of a command that runs for long, as a log: one line for each thing that happens, with its time, or, where
// journald takes them, which has times of its own, with the priority that it reads off the line.
import { fstatSync } from 'node:fs';
import { ignored } from '../lib/internal';

/** How grave something is, the gravest first. */
export const logLevels = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof logLevels)[number];

export interface LogSettings {
  /** The least grave that is written. */
  readonly level: LogLevel;
  readonly journal: boolean;
}

/** Of syslog(3), as sd-daemon(3) has them at the beginning of a line. */
const priorities: Readonly<Record<LogLevel, number>> = { error: 3, warn: 4, info: 6, debug: 7 };

export function isLogged(level: LogLevel, settings: LogSettings): boolean {
  return logLevels.indexOf(level) <= logLevels.indexOf(settings.level);
}

/** What a line begins with: `2026-11-29T09:11:02.123Z warn  `, or `<4>` for journald. */
export function logPrefix(level: LogLevel, { journal }: LogSettings, now = new Date()): string {
  return journal ? `<${String(priorities[level])}>` : `${now.toISOString()} ${level.padEnd(5)} `;
}

/** Whether what is written to stderr goes to journald: it says device and inode of its socket. systemd.exec(5) */
export function isJournal(env: NodeJS.ProcessEnv = process.env, descriptor = 2): boolean {
  const stream = env['JOURNAL_STREAM'];
  if (stream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(descriptor, { bigint: true });
    return stream === `${String(dev)}:${String(ino)}`;
  } catch (error) {
    ignored('stderr is closed: nobody reads it')(error);
    return false;
  }
}
