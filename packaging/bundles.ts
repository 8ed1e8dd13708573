// Makes dist/bundled: the command in one file, and each of its threads in one. Finding and reading 150 modules takes
// longer than sending a small file. To be run on what tsc has made, which is what the library consists of. Packages stay
// where npm puts them.
import { readdirSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { build, type Plugin } from 'esbuild';

const root = path.join(__dirname, '..');
const dist = path.join(root, 'dist');
const bundled = path.join(dist, 'bundled');
/** Finds what is in one place for all: the page. */
const findsPage = path.join('lib', 'threads', 'program-parts.js');

/**
 * Modules find what threads begin with beside themselves: in dist/bundled it has the places that it has in dist. So the
 * directory of each module is written into it.
 */
const ownDirectories: Plugin = {
  name: 'directories of modules',
  setup: (making) => {
    const place = path.dirname(making.initialOptions.outfile ?? '');
    making.onLoad({ filter: /\.js$/ }, async ({ path: file }) => {
      const module = path.relative(dist, file);
      const directory = path.dirname(path.join(module === findsPage ? dist : bundled, module));
      const from = JSON.stringify(path.relative(place, directory).split(path.sep).join('/'));
      const contents = await readFile(file, 'utf8');
      return { contents: contents.replaceAll(/\b__dirname\b/g, `require('node:path').join(__dirname, ${from})`) };
    });
  },
};

async function makeBundles(): Promise<void> {
  rmSync(bundled, { recursive: true, force: true });
  const modules = readdirSync(path.join(dist, 'lib'), { recursive: true, encoding: 'utf8' });
  const threads = modules.filter((name) => name.endsWith('.worker.js'));
  await Promise.all(
    [path.join('cli', 'program.js'), ...threads.map((name) => path.join('lib', name))].map((name) =>
      build({
        entryPoints: [path.join(dist, name)],
        outfile: path.join(bundled, name),
        absWorkingDir: root, // by which modules are named in it
        bundle: true,
        packages: 'external',
        platform: 'node',
        target: 'node20',
        minifyWhitespace: true,
        logLevel: 'warning',
        plugins: [ownDirectories],
      }),
    ),
  );
}

void makeBundles();
