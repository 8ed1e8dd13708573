import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium as driver, type Browser } from 'playwright-core';

/** The system's Chromium; undefined where there is none. CHROMIUM names another one. */
export function chromiumPath(): string | undefined {
  const own = process.env['CHROMIUM'];
  if (own !== undefined) return own;
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  const paths = (process.env['PATH'] ?? '')
    .split(delimiter)
    .flatMap((folder) => names.map((name) => join(folder, name)));
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false; // not in this folder
    }
  });
}

/** A browser of its own, which asks nobody for anything. */
export async function launchChromium(executablePath: string): Promise<Browser> {
  const quiet = ['background-networking', 'component-update', 'sync', 'quic', 'gpu'].map((what) => `--disable-${what}`);
  return driver.launch({ executablePath, args: ['--no-sandbox', '--no-first-run', ...quiet] });
}
