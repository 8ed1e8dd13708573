// What `npm test` runs: mocha (all specs, or those named), and as the very last line how many passed, failed and were
// skipped. With `--coverage`, which `npm run coverage` adds, mocha runs under c8: that takes half as long again.
// Which specs stands here and not in .mocharc.json, since mocha would add those to the ones named on a command line.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Count } from './count-reporter';

const { transpile } = require('./typescript.js') as { transpile: (file: string) => string };
const root = join(__dirname, '..');
const countFile = join(root, 'coverage', 'count.json');

/** The counts of the run; one failure if mocha ended without leaving any, for instance because a spec does not load. */
function readCount(): Count {
  try {
    return JSON.parse(readFileSync(countFile, 'utf8')) as Count;
  } catch {
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

rmSync(join(root, 'coverage'), { recursive: true, force: true });
const asked = process.argv.slice(2);
const named = asked.filter((word) => word !== '--coverage');
const specs = named.length > 0 ? named : ['spec/**/*.spec.ts'];
const c8 = asked.length > named.length ? [require.resolve('c8/bin/c8.js'), process.execPath] : [];
const mocha = [require.resolve('mocha/bin/mocha.js'), '--reporter', join(__dirname, 'count-reporter.ts'), ...specs];
// What the specs start should find all of it compiled: a process that has the compiler in it takes three times the
// memory.
for (const file of readdirSync(join(root, 'lib'), { recursive: true, encoding: 'utf8' }))
  if (file.endsWith('.ts')) transpile(join(root, 'lib', file));
// Every Node that is started reads these certificates first, which takes longer than all of its own start: here only
// npm wants them.
const { NODE_EXTRA_CA_CERTS: certificates, ...others } = process.env;
const env = certificates === undefined ? others : { npm_config_cafile: certificates, ...others };
const { status } = spawnSync(process.execPath, [...c8, ...mocha], {
  cwd: root,
  env: { ...env, COUNT_FILE: countFile },
  stdio: 'inherit',
});

const { passed, failed, skipped } = readCount();
process.stdout.write(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`);
process.exitCode = failed > 0 ? 1 : (status ?? 1);
