import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'chai';
import { checksumLine } from '../../lib/snapshot/manifest/checksum-list';
import { encoded, madeSnapshot, registerMade } from '../snapshot/made-snapshot';
import { eventsOf, expectEvent, isEvent, sendall, SendallProcess } from './sendall-process';

const ids = ['2026-11-20T101233Z', '2026-11-21T101233Z'] as const;

describe('cli: verify (the built command)', () => {
  let root: string;
  let options: { cwd: string };
  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'sendall-verify-'));
    options = { cwd: root };
    const tree = { 'docs/a.txt': 'aaaa', b: 'b' };
    const { place } = await madeSnapshot(root, { name: 'laptop', id: ids[0], number: 1 }, tree);
    await madeSnapshot(root, { name: 'laptop', id: ids[1], number: 2 }, tree, { previous: place });
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  function harm(): void {
    const place = join(root, 'laptop', ids[0], 'docs/a.txt');
    const { atime, mtime } = statSync(place);
    const fd = openSync(place, 'r+');
    writeSync(fd, 'b', 2);
    closeSync(fd);
    utimesSync(place, atime, mtime);
  }

  it('says how much it read back from where, and ends with 0', async () => {
    const { code, stdout, stderr } = await sendall(['verify', '.'], options);
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '' });
    expect(stdout).to.match(
      /^2 files {2}5 B {2}read back (from the device|\(page cache only\)) {2}[\d.]+ s {2}no damage found\n$/,
    );
  });

  it('names what is damaged in every snapshot that shares it, escaped, and ends with 4', async () => {
    harm();
    writeFileSync(join(root, 'laptop', ids[1], 'new\u001b[2J'), '');
    const { code, stdout, stderr } = await sendall(['verify', root], options);
    expect(code).to.equal(4);
    expect(stdout.split('\n').slice(0, -2).sort()).to.deep.equal([
      `changed     laptop/${ids[0]}/docs/a.txt  (content)`,
      `changed     laptop/${ids[1]}/docs/a.txt  (content)`,
      `foreign     laptop/${ids[1]}/new\\u001b[2J  (was not backed up)`,
    ]);
    expect(stdout).to.match(/ {2}2 damaged {2}1 foreign\n$/);
    expect(stderr).to.match(
      /^sendall: 2 things are damaged in 2 snapshots, and 1 thing was not backed up\.\nhint: .+\n$/,
    );
  });

  it('prints events of the schema, of one snapshot and those that share the damage', async () => {
    harm();
    const ended = await sendall(['verify', '.', '--snapshot', `laptop/${ids[1]}`, '--json'], options);
    expect(ended.code).to.equal(4);
    const events = eventsOf(ended);
    for (const event of events) expectEvent(event);
    expect(
      events
        .filter(({ event }) => event !== 'progress')
        .map((event) => (event.event === 'damaged' ? `${event.snapshot} ${event.path} ${event.reason}` : event.event)),
    ).to.deep.equal([
      `laptop/${ids[1]} docs/a.txt changed`,
      `laptop/${ids[0]} docs/a.txt changed`,
      'summary',
      'failed',
    ]);
    expect(events.at(-1)).to.include({ event: 'failed', code: 'mismatch' });
    for (const wrong of [
      { event: 'damaged', snapshot: 'a', path: 'b', reason: 'changed' },
      { event: 'damaged', snapshot: `a/${ids[0]}`, path: 'b', reason: 'bad' },
    ])
      expect(isEvent(wrong)).to.equal(false);
  });

  it('takes a share and the name of a backup', async () => {
    expect((await sendall(['verify', '.', '--sample', '100%', '--snapshot', 'laptop'], options)).code).to.equal(0);
    expect(await sendall(['verify', '.', '--sample', '0.5%', '--quiet'], options)).to.deep.equal({
      code: 0,
      stdout: '',
      stderr: '',
    });
  });

  it('refuses what makes no sense', async () => {
    mkdirSync(join(root, 'empty'));
    const wrong: [string[], RegExp][] = [
      [['verify'], /Missing required argument/],
      [['verify', 'nowhere'], /nowhere/],
      [['verify', 'empty'], /There is no snapshot in empty\./],
      [['verify', 'tcp://127.0.0.1:8898'], /plain wire carries no backups/],
      [['verify', '.', '--source', 'x'], /--repair/],
      [['verify', '.', '--sample', '0%'], /5%/],
      [['verify', '.', '--sample', '101%'], /5%/],
      [['verify', '.', '--snapshot', 'desktop/latest'], /There is no snapshot desktop\/latest/],
      [['verify', '.', '--snapshot', 'desktop'], /There is no backup desktop/],
    ];
    for (const [words, sentence] of wrong) {
      const { code, stdout, stderr } = await sendall(words, options);
      expect({ code, stdout }, words.join(' ')).to.deep.equal({ code: 2, stdout: '' });
      expect(stderr).to.match(sentence);
    }
  });

  for (const signal of ['SIGINT', 'SIGKILL'] as const) {
    it(`goes on after ${signal}, behind what it had verified`, async () => {
      const size = 1024 ** 3; // of nothing: it takes a while to read, and no place
      const { place, manifest } = await madeSnapshot(root, { name: 'phone', id: ids[0], number: 1 }, { huge: '' });
      const hash = createHash('sha256');
      const zeros = Buffer.alloc(4 * 1024 ** 2);
      for (let at = 0; at < size; at += zeros.length) hash.update(zeros);
      const sha256 = hash.digest('hex');
      const entries = manifest.entries.map((entry) =>
        entry.type === 'file' ? { ...entry, size, digests: { sha256 } } : entry,
      );
      truncateSync(join(place, 'huge'), size);
      const { mtime } = entries[0] as { mtime: bigint };
      utimesSync(join(place, 'huge'), Number(mtime / 1_000_000_000n), Number(mtime / 1_000_000_000n));
      writeFileSync(join(place, 'MANIFEST'), encoded({ ...manifest, entries }, { bytes: size }));
      await registerMade(root, { name: 'phone', id: ids[0] });
      writeFileSync(join(place, 'SHA256SUMS'), checksumLine({ name: 'huge', digest: sha256 }));

      const first = new SendallProcess(['verify', '.', '--json'], options);
      while (
        !existsSync(join(root, '.sendall', 'snapshots', 'laptop', `${ids[1]}.verified`)) &&
        first.child.exitCode === null
      )
        await pause(5);
      first.child.kill(signal);
      const stopped = await first.ended;
      expect(stopped.code).to.equal(signal === 'SIGINT' ? 130 : null);
      if (signal === 'SIGINT') expect(eventsOf(stopped).at(-1)).to.include({ event: 'failed', code: 'interrupted' });
      const second = await sendall(['verify', '.', '--json'], options);
      expect(second.code).to.equal(0);
      expect(eventsOf(second).at(-1)).to.include({ event: 'summary', files: 1, bytes: size });
      const third = await sendall(['verify', '.', '--snapshot', 'laptop', '--json'], options);
      expect(eventsOf(third).at(-1)).to.include({ event: 'summary', files: 2 });
    });
  }
});
