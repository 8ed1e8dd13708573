// npm run package:executable: the command as one file that needs neither Node nor npm, dist/executable/sendall.
// Node's single executable application: the Node that runs this, with the program, its workers and addons inside.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { build, type BuildOptions } from 'esbuild';
import { makePage } from './web';

const root = path.join(__dirname, '..');
const place = path.join(root, 'dist', 'executable');
/** Modules of which it has others. */
const replaced = ['program-parts', 'bundled-program'];
/** By which Node finds out that it is one: the value that its documentation gives. */
const fuse = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2';

/** Makes it anew; where it is. */
export async function makeExecutable(): Promise<string> {
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  const addons = addonFiles();
  const page = path.join(place, 'web');
  makePage(page);
  const pageNames = readdirSync(page);
  const options = bundling(addons, pageNames);
  const workers = readdirSync(path.join(root, 'lib'), { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.worker.ts'),
  );
  const main = path.join(place, 'main.js');
  await Promise.all([
    build({ ...options, entryPoints: [path.join(root, 'cli', 'main.ts')], outfile: main }),
    ...workers.map((name) =>
      build({ ...options, entryPoints: [path.join(root, 'lib', name)], outfile: path.join(place, assetOf(name)) }),
    ),
  ]);
  // Node compiles it with a function around it, in which a first line for the shell has no place.
  writeFileSync(main, readFileSync(main, 'utf8').replace(/^#!.*\n/, ''));

  // By names in this directory: Node keeps that of the program, for stack traces.
  const assets = {
    ...addons,
    ...Object.fromEntries(pageNames.map((name) => [`web/${name}`, `web/${name}`])),
    ...Object.fromEntries(workers.map((name) => [assetOf(name), assetOf(name)])),
  };
  const blob = 'program.blob';
  const settings = { main: path.basename(main), output: blob, disableExperimentalSEAWarning: true, useCodeCache: true };
  writeFileSync(path.join(place, 'sea.json'), JSON.stringify({ ...settings, assets }));
  execFileSync(process.execPath, ['--experimental-sea-config', 'sea.json'], { cwd: place, stdio: 'pipe' });

  const executable = path.join(place, 'sendall');
  copyFileSync(process.execPath, executable);
  chmodSync(executable, 0o755);
  // An eighth of Node is names for debuggers. Where there is no strip(1), they stay.
  if (process.platform === 'linux') spawnSync('strip', ['--strip-all', executable], { stdio: 'ignore' });
  const { inject } = require('postject') as {
    inject: (file: string, name: string, content: Buffer, options: { sentinelFuse: string }) => Promise<void>;
  };
  await inject(executable, 'NODE_SEA_BLOB', readFileSync(path.join(place, blob)), { sentinelFuse: fuse });
  for (const name of readdirSync(place)) if (name !== 'sendall') rmSync(path.join(place, name), { recursive: true });
  return executable;
}

function assetOf(worker: string): string {
  return path.basename(worker).replace(/\.ts$/, '.js');
}

function bundling(addons: Readonly<Record<string, string>>, pageNames: readonly string[]): BuildOptions {
  const digests = Object.entries(addons).map(([name, file]) => [
    name,
    createHash('sha256').update(readFileSync(file)).digest('hex'),
  ]);
  return {
    bundle: true,
    platform: 'node',
    target: 'node20',
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'inline',
    logLevel: 'warning',
    alias: { 'sendall/package.json': path.join(root, 'package.json') },
    define: {
      addonDigests: JSON.stringify(Object.fromEntries(digests)),
      pageNames: JSON.stringify(pageNames),
    },
    plugins: [
      {
        name: 'parts that are inside',
        setup: (bundle) =>
          bundle.onResolve({ filter: new RegExp(`/(${replaced.join('|')})$`) }, ({ path: wanted }) => ({
            path: path.join(__dirname, 'executable', `${path.basename(wanted)}.ts`),
          })),
      },
    ],
  };
}

/** The addons of this machine's kind, as far as they are installed, by the names of their assets. */
function addonFiles(): Readonly<Record<string, string>> {
  const { platform, arch } = process;
  const libc = (process.report.getReport() as { header: { glibcVersionRuntime?: string } }).header.glibcVersionRuntime;
  const c = platform !== 'linux' ? '' : libc === undefined ? '-musl' : '-gnu';
  const kind = `${platform}-${arch}${c}`;
  const wanted = {
    'blake.node': `@napi-rs/blake-hash-${kind}/blake.${kind}.node`,
    'koffi.node': `@koromix/koffi-${platform}-${arch}/${libc === undefined ? 'musl' : platform}_${arch}/koffi.node`,
  };
  return Object.fromEntries(
    Object.entries(wanted).flatMap(([name, file]) => {
      const installed = path.join(root, 'node_modules', file);
      return statSync(installed, { throwIfNoEntry: false }) ? [[name, installed]] : [];
    }),
  );
}

if (require.main === module) {
  void makeExecutable().then((file) => console.log(`${file}  ${(statSync(file).size / 2 ** 20).toFixed(0)} MiB`));
}
