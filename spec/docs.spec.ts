import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseHookCommand } from '../cli/hook-command';
import { parseChecksumList } from '../lib/snapshot/manifest/checksum-list';
import { parseManifest } from '../lib/snapshot/manifest/manifest';
import { sendall } from './cli/sendall-process';
import { skipTest } from './skip-test';

const root = join(__dirname, '..');
const docs = readFileSync(join(root, 'docs', 'backups.md'), 'utf8');
const units = readdirSync(join(root, 'docs', 'systemd')).sort();
const unit = (name: string): string => readFileSync(join(root, 'docs', 'systemd', name), 'utf8');

/** The words after `sendall` of every command line: in blocks of code, between backquotes, and in units. */
function commandLines(): string[][] {
  const blocks = [...docs.matchAll(/^```\w*\n(.*?)^```$/gms)].flatMap(([, block = '']) => block.split('\n'));
  const inline = [...docs.replace(/^```.*?^```$/gms, '').matchAll(/`([^`]+)`/g)].map(([, code = '']) =>
    code.replaceAll('\n', ' '),
  );
  const started = units.flatMap((name) => [...unit(name).matchAll(/^ExecStart=(.*)$/gm)].map(([, line = '']) => line));
  return [...blocks, ...inline, ...started].flatMap((line) => {
    const [, words] =
      /^(?:(?:[\d*]+ ){5})?(?:sudo (?:-u \w+ )?(?:-H )?)?(?:\/usr\/local\/bin\/)?sendall ([a-z].*)$/.exec(
        line.replace(/ +# .*$/, ''),
      ) ?? [];
    return words === undefined ? [] : [[...parseHookCommand(`sendall ${words}`).words]];
  });
}

interface Known {
  readonly takesValue: boolean;
  readonly choices: readonly string[];
}

/** The options that a help text lists. */
function optionsOf(help: string): ReadonlyMap<string, Known> {
  const listed = help
    .split('\n')
    .reduce<string[]>(
      (all, line) =>
        /^ {2}\S/.test(line) ? [...all, line] : [...all.slice(0, -1), `${all.at(-1) ?? ''} ${line.trim()}`],
      [],
    );
  return new Map(
    listed.flatMap((text): [string, Known][] => {
      const [, flag, value] = /^ {2}(?:-\w, )?(--[a-z-]+)( [<[])?/.exec(text) ?? [];
      const choices = [...(/\(choices: ([^)]*?)(?:, default|\))/.exec(text)?.[1] ?? '').matchAll(/"([^"]+)"/g)].map(
        ([, choice = '']) => choice,
      );
      return flag === undefined ? [] : [[flag, { takesValue: value !== undefined, choices }]];
    }),
  );
}

/** What is wrong with the options among `words`. */
function faultsOf(words: readonly string[], options: ReadonlyMap<string, Known>): string[] {
  return words.flatMap((word, at) => {
    if (!word.startsWith('--')) return [];
    const [flag = '', given] = word.split('=');
    const known = options.get(flag);
    if (!known) return [`there is no ${flag}`];
    const value = given ?? words[at + 1];
    if (known.takesValue && (value === undefined || value.startsWith('-'))) return [`${flag} has no value`];
    if (known.choices.length > 0 && !known.choices.includes(value ?? '')) return [`${flag} is not ${String(value)}`];
    return [];
  });
}

describe('docs/backups.md and docs/systemd', () => {
  const lines = commandLines();
  const commands = [
    ...new Set(lines.map(([command = '', sub = '']) => (command === 'peers' ? `${command} ${sub}` : command))),
  ].sort();

  it('speak of every command that backups take', () => {
    expect(commands).to.include.members([
      'backup',
      'snapshots',
      'restore',
      'verify',
      'prune',
      'authorize',
      'peers add',
      'receive',
    ]);
  });

  for (const command of commands) {
    it(`know the options of sendall ${command}`, async () => {
      const { stdout } = await sendall([...command.split(' '), '--help'], { cwd: root });
      expect(stdout.startsWith(`Usage: sendall ${command} `), `sendall ${command} --help`).to.equal(true);
      const options = optionsOf(stdout);
      expect([...options.keys()]).to.include('--json');
      const faults = lines
        .filter((words) => `${words.join(' ')} `.startsWith(`${command} `))
        .flatMap((words) => faultsOf(words, options).map((fault) => `sendall ${words.join(' ')}: ${fault}`));
      expect(faults).to.deep.equal([]);
    });
  }

  it('would be found out by the check above', () => {
    const options = optionsOf(
      'Options:\n  --rights <WHAT>    write: add; read: look\n                     (choices: "write", "read",\n                     default: "write")\n  -h, --help  x\n  --once  (default: false)',
    );
    expect(
      faultsOf(['authorize', 'x', '--rights', 'read', '--once', '--help', '--rights=write'], options),
    ).to.deep.equal([]);
    expect(faultsOf(['authorize', '--rihgts', 'x', '--rights', 'all', '--rights'], options)).to.deep.equal([
      'there is no --rihgts',
      '--rights is not all',
      '--rights has no value',
    ]);
  });

  it('lead nowhere that is not there', () => {
    const anchorsOf = (page: string): Set<string> =>
      new Set(
        [...page.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
          heading
            .toLowerCase()
            .replace(/[^\w\s-]/g, '')
            .replaceAll(' ', '-'),
        ),
      );
    for (const [, link = ''] of docs.matchAll(/\]\(([^)]+)\)/g)) {
      const [file = '', anchor] = link.split('#');
      expect(existsSync(join(root, 'docs', file)), link).to.equal(true);
      const page = file === '' ? docs : anchor === undefined ? '' : readFileSync(join(root, 'docs', file), 'utf8');
      if (anchor !== undefined) expect(anchorsOf(page).has(anchor), link).to.equal(true);
    }
    const meeting = readFileSync(join(root, 'docs', 'meeting.md'), 'utf8');
    for (const name of units)
      expect(name.includes('relay') ? meeting : docs).to.include(
        `docs/systemd/${name.replace(/(backup|verify)\.\w+$/, '$1.')}`,
      );
  });

  it('show a manifest that is one, and the checksums that belong to it', () => {
    const [, manifest = ''] = /^```\n(\{"sendall":"manifest".*?)^```$/ms.exec(docs) ?? [];
    const { head, entries } = parseManifest(Buffer.from(manifest));
    expect(new Set(entries.map(({ type }) => type))).to.deep.equal(
      new Set(['directory', 'file', 'symlink', 'link', 'missing']),
    );
    const [, sums = ''] = /^```\n([0-9a-f]{64} .*?)^```$/ms.exec(docs) ?? [];
    const digests = new Map<string, string | undefined>(
      entries.flatMap((entry) => (entry.type === 'file' ? [[entry.name, entry.digests[head.digest]] as const] : [])),
    );
    const expected = entries.flatMap((entry) =>
      entry.type === 'file' || entry.type === 'link'
        ? [{ name: entry.name, digest: digests.get(entry.type === 'link' ? entry.target : entry.name) }]
        : [],
    );
    expect(parseChecksumList(Buffer.from(sums), head.digest)).to.deep.equal(expected);
  });

  it('have units that systemd takes', function () {
    if (spawnSync('systemd-analyze', ['--version']).status !== 0) skipTest(this, 'systemd-analyze is not installed');
    const directory = mkdtempSync(join(tmpdir(), 'sendall-units-'));
    try {
      // The program need not be installed here.
      for (const name of units)
        writeFileSync(join(directory, name), unit(name).replaceAll('/usr/local/bin/sendall', process.execPath));
      for (const manager of ['--system', '--user']) {
        const files = units
          .filter((name) => name.includes('backup') === (manager === '--user'))
          .map((name) => join(directory, name));
        const { status, stdout, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', manager, ...files], {
          encoding: 'utf8',
          env: { ...process.env, XDG_RUNTIME_DIR: directory },
        });
        const said = `${stdout}${stderr}`.split('\n').filter((line) => line.includes(directory));
        expect({ status, said }, stderr).to.deep.equal({ status: 0, said: [] });
      }
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
