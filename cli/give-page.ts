import type { Shell } from './run';
import { wrongUsage } from './usage';
import { webEvent, type WebFlags, webOptions } from './web-options';
import { library } from './library';

/** Serves a page that gives files, until it is stopped or each was fetched once. */
export async function givePage(
  paths: readonly string[],
  flags: WebFlags & { readonly once?: boolean },
  shell: Shell,
): Promise<void> {
  if (paths.length === 0 || paths.includes('-'))
    throw wrongUsage('A page gives files.', { hint: 'Name them: sendall send FILE --web' });
  const { runTransfer } = require('./run') as typeof import('./run');
  const { SenderView } = require('./view') as typeof import('./view');
  const { load } = library();
  const qr = flags.qr ? ({ qr: 'page' } as const) : {};
  const invitation = { command: 'receive --from', insecurePlain: false, ...qr } as const;
  shell.exit(
    await runTransfer(
      shell.settings(),
      (terminal) => new SenderView(terminal, invitation),
      async ({ on, signal }) => {
        const { version } = require('sendall/package.json') as { version: string };
        const page = await load
          .webSend()
          .serveDownloads({ ...webOptions(flags), paths, once: flags.once, version, on });
        const stopped = new Promise<void>((resolve) =>
          signal.addEventListener('abort', () => resolve(), { once: true }),
        );
        try {
          on(webEvent(page));
          if (!signal.aborted) await Promise.race([stopped, page.delivered]);
        } finally {
          await page.close();
        }
      },
    ),
  );
}
