import { mkdtempSync, readdirSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseEntryName } from '../../lib/name';
import { lockBackup } from '../../lib/snapshot/backup/backup-lock';
import { madeSnapshot } from '../snapshot/made-snapshot';
import { type Ended, eventsOf, sendall } from './sendall-process';

const [monday, tuesday, wednesday] = ['2026-11-16T100000Z', '2026-11-17T100000Z', '2026-11-18T100000Z'];

describe('cli: prune (the built command)', () => {
  let root: string;
  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'sendall-prune-'));
    for (const [at, id] of [monday, tuesday, wednesday].entries())
      await madeSnapshot(root, { name: 'laptop', id, number: at + 1 }, { a: id });
    for (const [at, id] of [monday, tuesday].entries())
      await madeSnapshot(root, { name: 'desk', id, number: at + 1 }, { a: id });
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  const prune = (...words: string[]): Promise<Ended> => sendall(['prune', '.', ...words], { cwd: root });
  const standing = (name = 'laptop'): string[] => readdirSync(join(root, name)).filter((each) => each !== 'latest');
  const words = (text: string): string => text.replace(/\d+(\.\d+)? \S?i?B/g, 'SIZE');

  it('tells what a dry run would do, and does it without', async () => {
    const dry = await prune('--name', 'laptop', '--keep-last', '1', '--dry-run');
    const lines = [
      `would remove  laptop/${monday}  SIZE freed`,
      `would remove  laptop/${tuesday}  SIZE freed`,
      `would keep    laptop/${wednesday}  newest, last`,
      '',
    ];
    expect({ ...dry, stdout: words(dry.stdout), stderr: words(dry.stderr) }).to.deep.equal({
      code: 0,
      stdout: lines.join('\n'),
      stderr: '2 snapshots would be removed, SIZE freed; 1 snapshot kept\n',
    });
    expect(standing()).to.have.lengthOf(3);
    expect(readdirSync(join(root, '.sendall', 'snapshots', 'laptop'))).to.deep.equal(['register']);
    const done = await prune('--name', 'laptop', '--keep-last', '1');
    expect(done.code).to.equal(0);
    expect(words(done.stdout)).to.equal(
      lines.join('\n').replaceAll('would remove', 'removed').replace('would keep ', 'kept  '),
    );
    expect(done.stderr).to.equal(dry.stderr.replace('would be removed', 'removed'));
    expect([standing(), standing('desk')]).to.deep.equal([[wednesday], [monday, tuesday]]);
  });

  it('takes each rule from its option, and prints events', async () => {
    const rules: [string[], string[]][] = [
      [
        ['--keep-within', '1d'],
        ['newest,within', 'within', ''],
      ],
      [
        ['--keep-last', '2'],
        ['newest,last', 'last', ''],
      ],
      [
        ['--keep-daily', '2'],
        ['newest,daily', 'daily', ''],
      ],
      [
        ['--keep-weekly', '2'],
        ['newest,weekly', '', ''],
      ],
      [
        ['--keep-monthly', '2', '--keep-daily', '3'],
        ['newest,daily,monthly', 'daily', 'daily'],
      ],
      [
        ['--keep-within', '36h'],
        ['newest,within', 'within', ''],
      ],
    ];
    const judged = async ([flags, reasons]: (typeof rules)[number]): Promise<void> => {
      const ended = await prune('--name', 'laptop', '--json', '--dry-run', ...flags);
      expect(ended.stderr).to.equal('');
      const events = eventsOf(ended) as unknown as {
        event: string;
        snapshot: string;
        reasons?: string[];
        dry_run?: boolean;
      }[];
      expect(events.map((each) => each.snapshot)).to.deep.equal(
        [monday, tuesday, wednesday].map((id) => `laptop/${id}`),
      );
      expect(
        events.map((each) => (each.event === 'kept' ? each.reasons?.join() : '')).reverse(),
        flags.join(' '),
      ).to.deep.equal(reasons);
      for (const each of events) expect(each.dry_run, each.event).to.equal(each.event === 'removed' ? true : undefined);
    };
    await Promise.all(rules.map(judged));
    const removed = eventsOf(await prune('--name', 'desk', '--json', '--keep-last', '1'))[0] as unknown as Record<
      string,
      unknown
    >;
    expect({ ...removed, freed_bytes: typeof removed['freed_bytes'] }).to.deep.equal({
      event: 'removed',
      snapshot: `desk/${monday}`,
      freed_bytes: 'number',
    });
  });

  it('removes what is damaged where it is named', async () => {
    truncateSync(join(root, 'desk', monday, 'MANIFEST'), 300);
    const whole = await prune('--keep-last', '9', '--remove-damaged', `desk/${tuesday}`);
    expect([whole.code, whole.stderr]).to.deep.equal([
      2,
      `sendall: The manifest of desk/${tuesday} is not damaged: only rules remove it.\nhint: sendall verify names what is damaged.\n`,
    ]);
    const { code, stdout } = await prune('--keep-last', '9', '--name', 'desk', '--remove-damaged', `desk/${monday}`);
    expect([code, words(stdout)]).to.deep.equal([
      0,
      `removed  desk/${monday}  SIZE freed\nkept     desk/${tuesday}  newest, last\n`,
    ]);
  });

  it('prunes every backup, keeps what is damaged, and names one that is in use', async () => {
    truncateSync(join(root, 'desk', monday, 'MANIFEST'), 300);
    const lock = await lockBackup(root, parseEntryName('laptop'));
    try {
      const { code, stdout, stderr } = await prune('--keep-last', '1');
      expect(code).to.equal(8);
      expect(stdout).to.equal(`kept     desk/${monday}  damaged\nkept     desk/${tuesday}  newest, last\n`);
      expect(stderr).to.include('is using the backup laptop').and.include('Try again when it is done.');
      const json = await prune('--keep-last', '1', '--json', '--name', 'laptop');
      expect(json.code).to.equal(2);
      expect(eventsOf(json).map((each) => each.event === 'failed' && each.code)).to.deep.equal(['directory']);
      expect(standing()).to.have.lengthOf(3);
    } finally {
      await lock.release();
    }
    expect((await prune('--keep-last', '1')).code).to.equal(0);
    expect(standing()).to.deep.equal([wednesday]);
  });

  it('refuses to begin without a rule, or by one that makes no sense', async () => {
    const wrong: [string[], RegExp][] = [
      [[], /Nothing says which snapshots to keep/],
      [['--dry-run', '--name', 'laptop'], /Nothing says which snapshots to keep/],
      [['--keep-last', '0'], /a whole number from 1 on/],
      [['--keep-daily', '-1'], /a whole number from 1 on/],
      [['--keep-within', '6m'], /It looks like 36h, 30d, 8w or 1y/], // months, as some would have it
      [['--keep-within', '0d'], /It looks like 36h/],
      [['--keep-last', '1', '--name', 'nobody'], /There is no backup nobody/],
      [['--keep-last', '1', 'laptop'], /Too many arguments/],
    ];
    const refused = async ([flags, sentence]: (typeof wrong)[number]): Promise<void> => {
      const { code, stdout, stderr } = await prune(...flags);
      expect({ code, stdout }, flags.join(' ')).to.deep.equal({ code: 2, stdout: '' });
      expect(stderr).to.match(sentence);
    };
    await Promise.all(wrong.map(refused));
    const elsewhere = await sendall(['prune', `sendall://127.0.0.1:1/${'T'.repeat(64)}`, '--keep-last', '1'], {
      cwd: root,
    });
    expect(elsewhere.code).to.equal(3);
    expect(elsewhere.stderr).to.not.include('TTTT');
    expect([standing(), standing('desk')]).to.deep.equal([
      [monday, tuesday, wednesday],
      [monday, tuesday],
    ]);
  });

  it('has help whose lines fit', async () => {
    const { code, stdout } = await prune('--help');
    expect(code).to.equal(0);
    expect(stdout)
      .to.match(/^Usage: sendall prune DIR/)
      .and.match(/\n {2}\$ sendall prune /);
    for (const line of stdout.split('\n')) expect(line.length, line).to.be.at.most(100);
  });
});
