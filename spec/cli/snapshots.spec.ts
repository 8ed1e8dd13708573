import { mkdtempSync, rmSync, truncateSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { madeSnapshot } from '../snapshot/made-snapshot';
import { type Ended, eventsOf, sendall } from './sendall-process';

const [monday, tuesday] = ['2026-11-16T100000Z', '2026-11-17T100000Z'];

describe('cli: snapshots (the built command)', () => {
  let root: string;
  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'sendall-snapshots-'));
    await madeSnapshot(root, { name: 'laptop', id: monday, number: 1 }, { old: 'x'.repeat(3000), text: 'one' });
    const previous = join(root, 'laptop', monday);
    await madeSnapshot(
      root,
      { name: 'laptop', id: tuesday, number: 2 },
      { 'new/目録': '1', text: 'two', lost: { missing: 'name' } },
      { previous },
    );
    await madeSnapshot(root, { name: 'desk', id: monday, number: 1 }, { a: 'x' });
    const own = join(root, '.sendall', 'snapshots', 'laptop');
    await mkdir(own, { recursive: true, mode: 0o700 });
    await writeFile(
      join(own, `${monday}.verified`),
      JSON.stringify({ manifest: '00', verified_at: '2026-11-18T08:15:30.123Z' }),
    );
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const snapshots = (...words: string[]): Promise<Ended> => sendall(['snapshots', ...words], { cwd: root });
  const damage = (): void => truncateSync(join(root, 'laptop', monday, 'MANIFEST'), 300);

  it('lists them as a table on stdout, whose columns stand below one another', async () => {
    expect(await snapshots('.')).to.deep.equal({
      code: 0,
      stderr: '',
      stdout: [
        'SNAPSHOT                   ENTRIES     SIZE      NEW  MISSING  VERIFIED',
        `desk/${monday}          1      1 B      1 B        0  when stored`,
        `laptop/${monday}        2  2.9 KiB  2.9 KiB        0  2026-11-18T08:15Z`,
        `laptop/${tuesday}        4      4 B      4 B        1  when stored`,
        '',
      ].join('\n'),
    });
    expect((await snapshots('.', 'desk')).stdout.split('\n')).to.have.lengthOf(3);
  });

  it('lists them as events', async () => {
    const laptop = {
      event: 'snapshot',
      snapshot: `laptop/${monday}`,
      time: '2026-11-16T10:00:00.000Z',
      entries: 2,
      bytes: 3003,
      new_bytes: 3003,
      missing: 0,
    };
    const events = eventsOf(await snapshots(root, 'laptop', '--json'));
    expect(events[0]).to.deep.equal({ ...laptop, verified_at: '2026-11-18T08:15:30.123Z' });
    expect(events).to.have.lengthOf(2);
  });

  it('names a damaged manifest, lists the others, and ends with 4', async () => {
    damage();
    const { code, stdout, stderr } = await snapshots('.');
    expect(code).to.equal(4);
    expect(stdout).to.include(`laptop/${monday}  damaged: `).and.include(`laptop/${tuesday} `);
    expect(stderr).to.include('1 snapshot cannot be believed');
    const json = await snapshots('.', 'laptop', '--json');
    expect(json.code).to.equal(4);
    const [first, second, third] = eventsOf(json);
    expect(first).to.deep.equal({
      event: 'damaged',
      snapshot: `laptop/${monday}`,
      path: 'MANIFEST',
      reason: 'manifest',
    });
    expect([second?.event, third?.event]).to.deep.equal(['snapshot', 'failed']);
  });

  it('tells what differs between two, for people and as events', async () => {
    const { code, stdout, stderr } = await snapshots('.', 'laptop', '--diff', monday, 'latest');
    expect({ code, stderr }).to.deep.equal({ code: 0, stderr: '2 added, 1 removed, 1 changed\n' });
    expect(stdout).to.equal(
      [
        'added             new/',
        'added        1 B  new/目録',
        'removed  2.9 KiB  old',
        'changed      3 B  text',
        '',
      ].join('\n'),
    );
    expect(eventsOf(await snapshots('.', '--json', '--diff', `laptop/${monday}`, `laptop/${tuesday}`))).to.deep.equal([
      { event: 'added', path: 'new', type: 'directory' },
      { event: 'added', path: 'new/目録', type: 'file', bytes: 1 },
      { event: 'removed', path: 'old', type: 'file', bytes: 3000 },
      { event: 'changed', path: 'text', type: 'file', what: 'content', bytes: 3 },
    ]);
    damage();
    expect((await snapshots('.', 'laptop', '--diff', monday, 'latest')).code).to.equal(4);
  });

  it('says so where there is none, and refuses what makes no sense', async () => {
    await mkdir(join(root, 'empty'));
    expect(await snapshots('empty')).to.deep.equal({ code: 0, stdout: '', stderr: 'There is no snapshot in empty.\n' });
    const secret = 'T'.repeat(64);
    const wrong: [string[], RegExp][] = [
      [[], /Missing required argument/],
      [['gone'], /There is no directory gone here, and no peer of that name/],
      [['.', 'nobody'], /There is no backup nobody/],
      [['.', 'laptop', '--diff', monday], /--diff takes two/],
      [['.', '--diff', 'laptop/latest', 'laptop/latest', 'laptop/latest'], /--diff takes two/],
      [['.', '--diff', 'latest', 'latest'], /"latest" names no snapshot/],
      [['tcp://127.0.0.1:1'], /plain wire carries no backups/],
    ];
    const refused = async ([words, sentence]: (typeof wrong)[number]): Promise<void> => {
      const { code, stdout, stderr } = await snapshots(...words);
      expect({ code, stdout }, words.join(' ')).to.deep.equal({ code: 2, stdout: '' });
      expect(stderr).to.match(sentence).and.not.include(secret);
    };
    await Promise.all(wrong.map(refused));
    const there = await snapshots(`sendall://127.0.0.1:1/${secret}`);
    expect(there.code).to.equal(3);
    expect(there.stderr).to.not.include(secret);
  });

  it('has help whose lines fit', async () => {
    const { code, stdout } = await snapshots('--help');
    expect(code).to.equal(0);
    expect(stdout)
      .to.match(/^Usage: sendall snapshots DIR/)
      .and.match(/\n {2}\$ sendall snapshots /);
    for (const line of stdout.split('\n')) expect(line.length, line).to.be.at.most(100);
  });
});
