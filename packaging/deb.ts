// npm run package:deb: dist/sendall_VERSION_ARCH.deb, made with dpkg-deb: the single executable, manual pages,
// completions, the units of systemd and a user `sendall` for them. `--executable FILE` takes one that is there,
// `--quick` packs it less. Its maintainer is who DEBFULLNAME and DEBEMAIL say, as for other packages of Debian.
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { makeExecutable } from './executable';
import { manualPages } from './reference';

const root = path.join(__dirname, '..');
const { version = '', license } = require('sendall/package.json') as Record<string, string>;
/** The first package of this version. */
const revision = `${version}-1`;
const { DEBFULLNAME: maintainerName = 'sendall', DEBEMAIL: maintainerMail = 'sendall@localhost' } = process.env;
const maintainer = `${maintainerName} <${maintainerMail}>`;
const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64', arm: 'armhf' };
const completions = {
  bash: 'usr/share/bash-completion/completions/sendall',
  zsh: 'usr/share/zsh/vendor-completions/_sendall',
  fish: 'usr/share/fish/vendor_completions.d/sendall.fish',
};

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { executable: { type: 'string' }, quick: { type: 'boolean' } } });
  const architecture = architectures[process.arch];
  if (process.platform !== 'linux' || architecture === undefined) throw new Error('Debian has no such machines.');
  const executable = values.executable ?? (await makeExecutable());
  const tree = mkdtempSync(path.join(tmpdir(), 'sendall-deb-'));
  const put = (name: string, content: string | Uint8Array, mode = 0o644): void => {
    const file = path.join(tree, name);
    mkdirSync(path.dirname(file), { recursive: true, mode: 0o755 });
    writeFileSync(file, content);
    chmodSync(file, mode);
  };
  try {
    chmodSync(tree, 0o755);
    mkdirSync(path.join(tree, 'usr', 'bin'), { recursive: true });
    copyFileSync(executable, path.join(tree, 'usr', 'bin', 'sendall'));
    chmodSync(path.join(tree, 'usr', 'bin', 'sendall'), 0o755);
    for (const [name, text] of Object.entries(manualPages()))
      put(`usr/share/man/man${name.slice(-1)}/${name}.gz`, zipped(text));
    for (const [shell, place] of Object.entries(completions))
      put(place, execFileSync(executable, ['completion', shell]));
    for (const name of readdirSync(path.join(root, 'docs', 'systemd'))) {
      const manager = name.includes('backup') ? 'user' : 'system'; // whose files are backed up runs that one
      put(`usr/lib/systemd/${manager}/${name}`, installedUnit(read('docs', 'systemd', name)));
    }
    put('usr/lib/sysusers.d/sendall.conf', 'u sendall - "Takes verified backups" /var/lib/sendall\n');
    for (const name of readdirSync(path.join(root, 'docs')).filter((each) => each.endsWith('.md')))
      put(`usr/share/doc/sendall/${name}`, read('docs', name));
    put('usr/share/doc/sendall/changelog.gz', zipped(read('CHANGELOG.md')));
    put('usr/share/doc/sendall/changelog.Debian.gz', zipped(changes()));
    put('usr/share/lintian/overrides/sendall', overrides);
    put(
      'usr/share/doc/sendall/copyright',
      `License: ${license ?? ''}\n\n${read('LICENSE')}\nIt contains Node.js, whose licenses are in its own LICENSE.\n`,
    );
    put('DEBIAN/control', control(architecture, size(tree)));
    for (const [name, script] of Object.entries(scripts)) put(`DEBIAN/${name}`, script, 0o755);
    const file = path.join(root, 'dist', `sendall_${revision}_${architecture}.deb`);
    const packing = values.quick ? ['-Zgzip', '-z1'] : ['-Zxz'];
    execFileSync('dpkg-deb', ['--root-owner-group', ...packing, '--build', tree, file], { stdio: 'pipe' });
    console.log(file);
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}

function control(architecture: string, kib: number): string {
  return `Package: sendall
Version: ${revision}
Architecture: ${architecture}
Maintainer: ${maintainer}
Installed-Size: ${String(kib)}
Depends: libc6 (>= 2.28), libstdc++6
Recommends: systemd
Section: net
Priority: optional
Description: verified file transfers and backups between machines
 Sends files and backups between machines, and says "done" only when they were
 read back from the receiver's disk, match, and will survive a power cut.
`;
}

/** In the form that Debian's own changes have; what has changed is in the changelog of the program. */
function changes(): string {
  const epoch = process.env['SOURCE_DATE_EPOCH'];
  const when = epoch === undefined ? new Date() : new Date(Number(epoch) * 1000);
  const date = when.toUTCString().replace('GMT', '+0000');
  return `sendall (${revision}) unstable; urgency=medium

  * The program as it is; what has changed in it: changelog.gz.

 -- ${maintainer}  ${date}
`;
}

/** What lintian says of it that is so on purpose. */
const overrides = `# It is the Node that made it, which is linked with its own libraries, and not as a PIE.
sendall: embedded-library *
sendall: hardening-no-pie *
# Whoever wants the service enables it by systemctl: a removal takes that back in the same way.
sendall: maintainer-script-calls-systemctl *
# Of whoever built it for one machine; DEBEMAIL says another one.
sendall: bogus-mail-host *
sendall: bogus-mail-host-in-debian-changelog *
# It is in no archive, so nobody has asked for it there.
sendall: initial-upload-closes-no-bugs *
`;

/** The service is enabled by whoever wants it: docs/backups.md. Keys are in /var/lib/sendall. */
const scripts: Readonly<Record<string, string>> = {
  postinst: `#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
if ! getent passwd sendall > /dev/null; then
  if command -v systemd-sysusers > /dev/null; then systemd-sysusers sendall.conf
  else useradd --system --user-group --home-dir /var/lib/sendall --shell /usr/sbin/nologin sendall; fi
fi
install -d -o sendall -g sendall -m 0700 /var/lib/sendall
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  deb-systemd-invoke try-restart sendall-receive.service sendall-relay.service || true # systemd has said why
fi
`,
  prerm: `#!/bin/sh
set -e
[ "$1" = remove ] && [ -d /run/systemd/system ] || exit 0
systemctl disable --now sendall-receive.service sendall-verify.timer sendall-relay.service
`,
  postrm: `#!/bin/sh
set -e
[ "$1" != purge ] || rm -rf /var/lib/sendall
[ ! -d /run/systemd/system ] || systemctl daemon-reload
`,
};

function installedUnit(text: string): string {
  return text
    .replaceAll('/usr/local/bin/sendall', '/usr/bin/sendall')
    .replace(/ \/etc\/systemd\/system\/\S+\.(?:service|timer)/, '');
}

function read(...names: readonly string[]): string {
  return readFileSync(path.join(root, ...names), 'utf8');
}

function zipped(text: string): Uint8Array {
  return gzipSync(text, { level: 9 });
}

/** In KiB. */
function size(tree: string): number {
  return Number(/^\d+/.exec(execFileSync('du', ['-sk', tree], { encoding: 'utf8' }))?.[0]);
}

void main();
