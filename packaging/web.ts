// The page of `--web`: makes dist/web of web/, two scripts, each whole in one file, and what is served as it is.
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { buildSync } from 'esbuild';

const root = path.join(__dirname, '..');
const source = path.join(root, 'web');

/** Makes the files of the page in `built`, a directory that is made anew. */
export function makePage(built: string): void {
  rmSync(built, { recursive: true, force: true });
  mkdirSync(built, { recursive: true });
  buildSync({
    entryPoints: { page: path.join(source, 'page.ts'), hash: path.join(source, 'hash.worker.ts') },
    outdir: built,
    tsconfig: path.join(source, 'tsconfig.json'),
    bundle: true,
    minify: true,
    // The oldest browsers in use that have what the page needs: folders in a drop, wasm in a worker, streams of a
    // fetch.
    target: ['chrome103', 'firefox100', 'safari15.4'],
    legalComments: 'inline',
    logLevel: 'warning',
  });
  buildSync({
    entryPoints: [path.join(source, 'page.css')],
    outdir: built,
    minify: true,
    target: ['chrome103', 'firefox100', 'safari15.4'],
    logLevel: 'warning',
  });
  for (const name of ['index.html', 'icon.svg']) copyFileSync(path.join(source, name), path.join(built, name));
}

if (require.main === module) makePage(path.join(root, 'dist', 'web'));
