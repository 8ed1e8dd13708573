import { bundledProgram } from './bundled-program';
import { loadCompiled } from './compiled-code';
import { hideTickets } from './hide-tickets';
import { keepHeapSmall, optimizeLate } from './engine-settings';

/** Runs the command that `words` are, and ends the process with its exit code. */
export function start(words: readonly string[]): void {
  leaveRemovedDirectory();
  hideTickets();
  keepHeapSmall();
  optimizeLate();

  // Reading, hashing and flushing overlap in libuv's threads, and four are too few. It counts them at their first use:
  // hence before all else.
  process.env['UV_THREADPOOL_SIZE'] ??= '16';

  // Nobody reads the results or the words any more, `--help | head` for one: that is no failure. A disk that takes no
  // more is one.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', ({ code, message }: NodeJS.ErrnoException) => {
      if (code === 'EPIPE' || stream === process.stderr) return;
      process.exitCode = 1;
      process.stderr.write(`sendall: The results cannot be written: ${message}.\n`);
    });
  }

  const bundled = bundledProgram();
  const { run } =
    bundled === undefined
      ? (require('./program') as typeof import('./program'))
      : (loadCompiled(bundled, words) as typeof import('./program'));

  // Where nothing keeps the process alive before the command has ended, Node would call that a success.
  process.once('beforeExit', () => {
    process.exitCode = 1;
    process.stderr.write('sendall: It ended before it was done. This should not happen.\n');
  });

  // Leaving deliberately: an unread standard input, for one, would keep the process alive. Writes to pipes and
  // terminals are synchronous.
  void run(words).then((code) => process.exit(code));
}

/**
 * No thread can be started in a directory that was removed. From one of /proc, where nothing of anybody is and nothing
 * can be made, relative paths lead as little anywhere as before.
 */
function leaveRemovedDirectory(): void {
  try {
    process.cwd();
  } catch {
    process.stderr.write('sendall: The working directory was removed: relative paths lead nowhere.\n');
    try {
      process.chdir('/proc/self/fdinfo');
    } catch {
      // Where there is no /proc, whoever needs a working directory is told.
    }
  }
}
