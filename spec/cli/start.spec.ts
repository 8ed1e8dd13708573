import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { expect } from 'chai';

const root = path.join(__dirname, '../..');

/** The files of this project, and packages, that the built command loads for a line. */
function loadedFor(...words: string[]): string[] {
  const program = `
    const main = ${JSON.stringify(path.join(root, 'dist/cli/main.js'))};
    process.argv = [process.argv[0], main, ...process.argv.slice(1)];
    process.stdout.write = () => true;
    process.on('exit', () => process.stderr.write(JSON.stringify(Object.keys(require('module')._cache))));
    require(main);`;
  const script = `${JSON.stringify(process.execPath)} -e "$0" -- "$@" 2>&1 >/dev/null; exit 0`;
  const out = execFileSync('sh', ['-c', script, program, ...words], {
    encoding: 'utf8',
    env: { ...process.env, XDG_CONFIG_HOME: '/nonexistent' },
  });
  return (JSON.parse(out.slice(out.lastIndexOf('["'))) as string[]).map((file) => path.relative(root, file));
}

describe('cli: what is loaded at start', () => {
  it('--version loads nothing but itself', () => {
    expect(loadedFor('--version')).to.have.members(['dist/cli/main.js', 'dist/cli/words.js', 'package.json']);
  });

  it('a command loads no other command, and nothing of the library that it does not use', () => {
    const loaded = loadedFor('send', process.execPath, 'tcp://127.0.0.1:1');
    expect(loaded).to.include.members(['dist/cli/commands/send.js', 'dist/lib/send/sender.js']);
    expect(
      loaded.filter((file) =>
        /^dist\/cli\/commands\/(?!send)|^dist\/lib\/(index|snapshot|store|receive|conversation)/.test(file),
      ),
    ).to.deep.equal([]);
  });
});
