// Runs the specs (all, or those named) on the Node of this machine and on the newest one that npm brings: `npm run
// both-nodes [SPEC...]`. That one is fetched into a temporary directory; what is installed here stays as it is. Ends
// with 1 if either run failed.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';

const root = join(__dirname, '..');
/** The npm package that is nothing but the binary of Node for this system. */
const binary = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;

/** The path of the newest Node, fetched into `place`. @throws Error if npm cannot bring it. */
function fetchNewest(place: string): string {
  const words = ['install', '--prefix', place, '--no-save', '--no-audit', '--no-fund', `${binary}@latest`];
  execFileSync('npm', words, {
    cwd: place,
    stdio: ['ignore', 'ignore', 'inherit'],
    shell: process.platform === 'win32',
  });
  return join(place, 'node_modules', binary, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');
}

/** Whether all specs pass on this Node, which is also the one that they find in PATH. */
function passOn(node: string, specs: readonly string[]): boolean {
  const version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
  process.stdout.write(`\n== Node ${version}\n`);
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env['PATH'] ?? ''}` };
  return (
    spawnSync(node, ['-r', './spec/typescript.js', 'spec/run.ts', ...specs], { cwd: root, env, stdio: 'inherit' })
      .status === 0
  );
}

const place = mkdtempSync(join(tmpdir(), 'sendall-node-'));
try {
  const specs = process.argv.slice(2);
  const passed = [process.execPath, fetchNewest(place)].map((node) => passOn(node, specs));
  process.exitCode = passed.includes(false) ? 1 : 0;
} finally {
  rmSync(place, { recursive: true, force: true });
}
