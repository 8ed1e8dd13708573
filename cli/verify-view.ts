import type { DamageReason } from '../lib/index';
import { ProgressBar } from './progress-bar';
import type { Progress } from './progress-bar';
import { ProgressLines } from './progress-lines';
import type { EventView } from './run';
import type { Terminal } from './terminal';

/** What is said of something that lies among the snapshots and is none. */
export function foreignWords(path: string): string {
  if (path.includes('/')) return `${path} was not committed by this receiver: it is no snapshot, and is not read.`;
  return `${path} looks like a backup and is not registered: sendall adopt DIR reads it back, and registers what is whole.`;
}

/** What is another one than it was. */
const what: Readonly<Partial<Record<DamageReason, string>>> = {
  changed: '  (content)',
  metadata: '  (mode or time; the content is right)',
  foreign: '  (was not backed up)',
};

/** Names what is damaged, and shows how far it is. */
export class VerifyView implements EventView {
  private readonly progress: Progress;

  constructor(private readonly terminal: Terminal) {
    this.progress = terminal.drawsBars ? new ProgressBar(terminal) : new ProgressLines(terminal);
  }

  show(event: Parameters<EventView['show']>[0]): void {
    switch (event.event) {
      case 'damaged':
        this.terminal.result(
          { style: event.reason === 'foreign' ? 'yellow' : 'red', text: event.reason.padEnd(10) },
          `  ${event.snapshot}/${event.path}`,
          what[event.reason] ?? '',
        );
        return;
      case 'foreign':
        this.terminal.say(foreignWords(event.path));
        return;
      case 'repaired':
        this.terminal.result({ style: 'green', text: 'repaired  ' }, '  ', `${event.snapshot}/${event.path}`);
        return;
      case 'failed':
        if (event.file_name !== undefined) this.terminal.complain(event.message, event.hint);
        return;
      case 'skipped':
        this.terminal.say({ style: 'bold', text: event.file_name }, `  ${event.reason}`);
        return;
      case 'progress':
        this.progress.show(event);
        return;
      case 'summary':
        this.close();
        return;
      default:
    }
  }

  close(): void {
    this.progress.stop();
  }
}
