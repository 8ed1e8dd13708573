import { PassThrough } from 'node:stream';
import { Terminal } from '../../cli/terminal';
import type { OutputSettings } from '../../cli/terminal';

/** A stream that remembers what was written, and says that it is a terminal if asked to. */
export class Screen extends PassThrough {
  columns: number;
  text = '';

  constructor(
    readonly isTTY: boolean,
    columns = 80,
  ) {
    super();
    this.columns = columns;
    this.on('data', (bytes: Buffer) => (this.text += bytes.toString()));
  }

  get lines(): string[] {
    return this.text.split('\n').slice(0, -1);
  }
}

export const plainly: OutputSettings = { json: false, quiet: false, verbose: false, color: true };

/** A terminal whose two streams can be read. */
export function openTerminal(settings: Partial<OutputSettings> & { tty?: boolean; env?: NodeJS.ProcessEnv } = {}): {
  terminal: Terminal;
  out: Screen;
  err: Screen;
} {
  const { tty = false, env = {}, ...output } = settings;
  const out = new Screen(tty);
  const err = new Screen(tty);
  const terminal = new Terminal(
    { ...plainly, ...output },
    out as unknown as NodeJS.WriteStream,
    err as unknown as NodeJS.WriteStream,
    env,
  );
  return { terminal, out, err };
}
