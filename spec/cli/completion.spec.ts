import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { completionOf } from '../../cli/candidates';
import { describeProgram } from '../../cli/program';
import { skipTest } from '../skip-test';

const main = join(__dirname, '..', '..', 'dist', 'cli', 'main.js');

describe('cli: completion', () => {
  const words = (...line: readonly string[]): string[] =>
    completionOf(describeProgram(), line).candidates.map(({ word }) => word);

  it('knows commands, their options, the choices of these, and where peers, snapshots and files stand', () => {
    expect(words('')).to.include.members(['send', 'receive', 'backup', 'completion']);
    expect(words('send', '--')).to.include.members(['--check', '--limit', '--json']).and.not.include('--if-exists');
    expect(words('receive', '--if-exists', '')).to.deep.equal(['refuse', 'skip', 'rename', 'replace']);
    expect(words('peers', '')).to.deep.equal(['add', 'list', 'join', 'leave', 'remove']);
    const what = (...line: readonly string[]): unknown => {
      const { files, look } = completionOf(describeProgram(), line);
      return { files, look };
    };
    expect(what('send', 'a', '')).to.deep.equal({ files: true, look: 'peers' });
    expect(what('restore', '/srv', '')).to.deep.equal({ files: false, look: 'snapshots' });
    expect(what('--json', 'restore', '/srv', '--if-exists', 'skip', '')).to.deep.equal({
      files: false,
      look: 'snapshots',
    });
    expect(what('verify', '/srv', '--snapshot', '')).to.deep.equal({ files: false, look: 'snapshots' });
    expect(what('peers', 'remove', '')).to.deep.equal({ files: false, look: 'peers' });
    expect(what('peers', 'join', '')).to.deep.equal({ files: false, look: 'groups' });
    expect(what('peers', 'join', 'family', 'home', '')).to.deep.equal({ files: false, look: 'peers' });
    expect(what('send', 'a', '--to-all', '')).to.deep.equal({ files: false, look: 'groups' });
    expect(what('send', '--limit', '')).to.deep.equal({ files: false, look: undefined });
  });

  describe('in a shell', () => {
    const directory = mkdtempSync(join(tmpdir(), 'sendall-completion-'));
    const env = {
      ...process.env,
      PATH: `${directory}:${process.env['PATH'] ?? ''}`,
      XDG_CONFIG_HOME: join(directory, 'config'),
      XDG_STATE_HOME: join(directory, 'state'),
      XDG_CACHE_HOME: join(directory, 'cache'),
    };
    const sendall = (...line: readonly string[]): string =>
      spawnSync(process.execPath, [main, ...line], { env, cwd: directory, encoding: 'utf8', input: ticket }).stdout;
    const ticket = `sendall://127.0.0.1:1/${'0'.repeat(64)}\n`;
    before(() => {
      writeFileSync(join(directory, 'sendall'), `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`);
      chmodSync(join(directory, 'sendall'), 0o755);
      writeFileSync(join(directory, 'holiday.jpg'), 'x');
      mkdirSync(join(directory, 'keep'), { mode: 0o700 });
      sendall('peers', 'add', 'homeserver');
      sendall('backup', 'holiday.jpg', 'keep', '--name', 'box');
    });
    after(() => rmSync(directory, { recursive: true }));

    for (const shell of ['bash', 'zsh', 'fish'])
      it(`${shell} offers peers with files, and snapshots of a directory`, function () {
        if (spawnSync(shell, ['-c', 'true']).status !== 0) skipTest(this, `${shell} is not installed`);
        const offered = (...line: readonly string[]): string => offeredBy(shell, line);
        expect(offered('send', 'holiday.jpg', 'ho'))
          .to.include('homeserver')
          .and.include('holiday.jpg');
        expect(offered('restore', 'keep', 'box/l'))
          .to.include('box/latest')
          .and.not.include('homeserver');
        expect(offered('sen')).to.include('send').and.not.include('peers');
      });

    function offeredBy(shell: string, line: readonly string[]): string {
      const script = join(directory, `script.${shell}`);
      writeFileSync(script, sendall('completion', shell));
      const typed = ['sendall', ...line];
      const quoted = typed.map((word) => `'${word}'`).join(' ');
      const programs: Readonly<Record<string, string>> = {
        bash: `. ${script}; COMP_WORDS=(${quoted}); COMP_CWORD=${String(line.length)}; _sendall; printf '%s\\n' "\${COMPREPLY[@]}"`,
        zsh: `compdef() { :; }; _describe() { print -l -- $found; }; _files() { print -l -- *; }; . ${script}; words=(${quoted}); CURRENT=${String(line.length + 1)}; _sendall`,
        fish: `source ${script}; complete -C '${typed.join(' ')}'`,
      };
      const { stdout, stderr } = spawnSync(shell, ['-c', programs[shell] ?? ''], {
        env,
        cwd: directory,
        encoding: 'utf8',
      });
      expect(stderr).to.equal('');
      return stdout;
    }
  });
});
