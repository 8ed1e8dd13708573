import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { eventsOf } from './sendall-process';
import { SessionRun } from './session-run';
import { skipTest } from '../skip-test';

/** Stands before the C library: attributes called user.shut, and the names of `noname`, cannot be read. */
const shut = `
#include <errno.h>
#include <string.h>
#include <sys/types.h>
#include <sys/syscall.h>
#include <unistd.h>
ssize_t lgetxattr(const char *path, const char *name, void *value, size_t size) {
  if (strcmp(name, "user.shut") == 0) return errno = EIO, -1;
  return syscall(SYS_lgetxattr, path, name, value, size);
}
ssize_t llistxattr(const char *path, char *list, size_t size) {
  size_t length = strlen(path);
  if (length > 6 && strcmp(path + length - 6, "noname") == 0) return errno = EACCES, -1;
  return syscall(SYS_llistxattr, path, list, size);
}`;

describe('cli: extended attributes that cannot travel (the built command)', function () {
  this.timeout(60_000);
  let run: SessionRun;
  let scratch: string | undefined;
  let env: NodeJS.ProcessEnv;
  before(function () {
    try {
      // ext4 has no room for large ones, and a file system in memory has.
      scratch = mkdtempSync('/dev/shm/sendall-left-out-');
      writeFileSync(path.join(scratch, 'shut.c'), shut);
      execFileSync('cc', ['-shared', '-fPIC', '-o', path.join(scratch, 'shut.so'), path.join(scratch, 'shut.c')]);
      writeFileSync(path.join(scratch, 'probe'), '');
      execFileSync('setfattr', ['-n', 'user.probe', '-v', 'x'.repeat(60_000), path.join(scratch, 'probe')]);
    } catch (error) {
      skipTest(this, `attributes that cannot travel are not tried: ${String(error).split('\n', 1)[0] ?? ''}`);
    }
  });
  beforeEach(() => {
    run = new SessionRun();
    const source = path.join(scratch ?? tmpdir(), 'source');
    mkdirSync(source);
    env = { LD_PRELOAD: path.join(scratch ?? '', 'shut.so') };
    for (const name of ['large', 'noname', 'plain', 'shut', 'shut2']) {
      writeFileSync(path.join(source, name), name);
      if (name !== 'plain')
        execFileSync('setfattr', ['-n', 'user.a', '-v', 'kept', path.join(source, name)], { stdio: 'pipe' });
    }
    const give = (name: string, attribute: string, value: string): Buffer =>
      execFileSync('setfattr', ['-n', attribute, '-v', value, path.join(source, name)]);
    give('large', 'user.b', 'x'.repeat(60_000));
    give('shut', 'user.shut', 'x');
    give('shut2', 'user.shut', 'x');
  });
  afterEach(async () => {
    await run.end();
    rmSync(path.join(scratch ?? '', 'source'), { recursive: true, force: true });
  });
  after(() => {
    if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
  });

  /** What is told of them, without the number of the transfer: each reason once. */
  const toldOf = (ended: {
    readonly code: number | null;
    readonly stdout: string;
    readonly stderr: string;
  }): string[] =>
    eventsOf(ended)
      .flatMap((event) => (event.event === 'lost' ? [`${event.what} ${String(event.entries)}: ${event.message}`] : []))
      .sort();
  const told = [
    'xattrs 1: Extended attributes of source/large, user.b are left out: one entry has room for 64 KiB of them, in base64.',
    'xattrs 1: Extended attributes of source/noname are left out: they cannot be read by this user (EACCES).',
    'xattrs 2: Extended attributes of 2 entries (the first: source/shut, user.shut) are left out: they cannot be read (EIO).',
  ];

  it('are named once for each reason by a backup, with exit code 8, and all else is in it', async () => {
    mkdirSync(run.at('backups'), { mode: 0o755 });
    const source = path.join(scratch ?? '', 'source');
    const ended = await run.run(['backup', source, 'backups', '--name', 'b', '--json'], { env });
    expect(ended.code, ended.stderr).to.equal(8);
    expect(toldOf(ended)).to.deep.equal(told);
    const entries = readFileSync(run.at('backups', 'b', 'latest', 'MANIFEST'), 'utf8');
    const attributes = Object.fromEntries(
      entries
        .split('\n')
        .slice(1, -3)
        .map((line) => JSON.parse(line) as { readonly name: string; readonly attributes?: object })
        .map(({ name, attributes: found = {} }) => [name, Object.keys(found)]),
    );
    expect(attributes).to.deep.equal({
      source: [],
      'source/large': ['user.a'],
      'source/noname': [],
      'source/plain': [],
      'source/shut': ['user.a'],
      'source/shut2': ['user.a'],
    });
    expect((await run.run(['verify', 'backups'])).code).to.equal(0);
  });

  it('are named likewise by send --metadata, and people read each sentence once', async () => {
    const { ticket } = await run.receive(['--metadata']);
    const ended = await run.run(['send', path.join(scratch ?? '', 'source'), ticket, '--metadata'], { env });
    expect(ended.code).to.equal(8);
    for (const sentence of told) {
      const said = sentence.replace(/^.*?: /, '');
      expect(ended.stderr.split(said).length - 1, said).to.equal(1);
    }
    expect(readFileSync(run.at('in', 'source', 'shut'), 'utf8')).to.equal('shut');
  });
});
