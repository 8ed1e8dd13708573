import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseEntryName } from '../../lib/name';
import { readRegister } from '../../lib/snapshot/register/register';
import { madeSnapshot } from '../snapshot/made-snapshot';
import { type Ended, eventsOf, expectEvent, sendall } from './sendall-process';

const [monday, tuesday, wednesday] = ['2026-11-16T100000Z', '2026-11-17T100000Z', '2026-11-18T100000Z'];

describe('cli: adopt (the built command)', function () {
  this.timeout(120_000);
  let root: string;
  const at = (...names: readonly string[]): string => join(root, ...names);
  const run = (...words: readonly string[]): Promise<Ended> => sendall([...words], { cwd: root });
  const told = (ended: Ended): Record<string, unknown>[] => {
    for (const event of eventsOf(ended)) expectEvent(event);
    return (eventsOf(ended) as unknown as Record<string, unknown>[]).filter(({ event }) => event !== 'progress');
  };
  const register = async (name = 'laptop'): Promise<string[]> =>
    ((await readRegister(root, parseEntryName(name)))?.snapshots ?? []).map(({ id }) => id);

  beforeEach(async () => {
    root = mkdtempSync(join(tmpdir(), 'sendall-adopt-'));
    const { place } = await madeSnapshot(root, { name: 'laptop', id: monday, number: 4 }, { a: 'same', 'd/b': 'one' });
    await madeSnapshot(
      root,
      { name: 'laptop', id: tuesday, number: 6 },
      { a: 'same', 'd/b': 'two' },
      { previous: place },
    );
    rmSync(at('.sendall'), { recursive: true });
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  it('reads back what lies there without a register, as on a moved disk, and from then on it is what it was', async () => {
    for (const words of [
      ['restore', '.', 'laptop/latest', 'out'],
      ['verify', '.'],
      ['prune', '.', '--name', 'laptop', '--keep-last', '1'],
      ['snapshots', '.', 'laptop'],
    ]) {
      const { code, stderr } = await run(...words);
      expect({ code, hint: stderr.includes('sendall adopt DIR') }, stderr).to.deep.equal({ code: 2, hint: true });
    }
    expect(await run('adopt', '.')).to.deep.equal({
      code: 0,
      stdout: `adopted      laptop/${monday}  3 entries  7 B\nadopted      laptop/${tuesday}  3 entries  7 B\n`,
      stderr: 'laptop: 2 snapshots, of this machine\n',
    });
    expect(await register()).to.deep.equal([monday, tuesday]);
    expect(statSync(at('.sendall')).mode & 0o777).to.equal(0o700);
    expect((await run('restore', '.', 'laptop/latest', 'out')).code).to.equal(0);
    expect(readFileSync(at('out', 'd', 'b'), 'utf8')).to.equal('two');
    writeFileSync(at('more'), 'more');
    expect((await run('backup', 'more', root, '--name', 'laptop')).code, 'the next one is made').to.equal(0);
    expect((await readRegister(root, parseEntryName('laptop')))?.snapshots.map(({ number }) => number)).to.deep.equal([
      4, 6, 7,
    ]);
    expect(told(await run('adopt', '.', '--json')), 'nothing is left to be done').to.deep.equal([
      { event: 'registered', name: 'laptop', owner: 'local', snapshots: 3 },
    ]);
  });

  it('does not register what is damaged, says what is, and with --damaged does, but nothing is linked to it', async () => {
    const { atime, mtime } = statSync(at('laptop', tuesday, 'd', 'b'));
    writeFileSync(at('laptop', tuesday, 'd', 'b'), 'owt');
    utimesSync(at('laptop', tuesday, 'd', 'b'), atime, mtime);
    await madeSnapshot(root, { name: 'desk', id: monday, number: 1 }, { x: 'x' });
    truncateSync(at('desk', monday, 'MANIFEST'), 200);
    rmSync(at('.sendall'), { recursive: true });
    const ended = await run('adopt', '.', '--json');
    expect(ended.code).to.equal(4);
    const events = told(ended);
    expect(events.map(({ event, snapshot }) => `${String(event)} ${String(snapshot)}`)).to.deep.equal([
      `not-adopted desk/${monday}`,
      `damaged laptop/${tuesday}`,
      `adopted laptop/${monday}`,
      `not-adopted laptop/${tuesday}`,
      'registered undefined',
      'foreign undefined',
      'foreign undefined',
      'failed undefined',
    ]);
    expect(await register()).to.deep.equal([monday]);
    expect((await run('adopt', '.', '--name', 'laptop', '--damaged')).code).to.equal(4);
    expect(await register()).to.deep.equal([monday, tuesday]);
    expect((await readRegister(root, parseEntryName('laptop')))?.snapshots[1]?.damaged).to.equal(true);
  });

  it('takes what is gone off the register, and all of a backup frees its name', async () => {
    await run('adopt', '.');
    rmSync(at('laptop', monday), { recursive: true });
    const verified = await run('verify', '.');
    expect(verified.code).to.equal(4);
    expect(verified.stdout).to.include(`missing     laptop/${monday}/MANIFEST`);
    expect((await run('snapshots', '.')).code).to.equal(4);
    expect(told(await run('adopt', '.', '--json'))).to.deep.equal([
      { event: 'forgotten', snapshot: `laptop/${monday}` },
      { event: 'registered', name: 'laptop', owner: 'local', snapshots: 1 },
    ]);
    expect((await run('verify', '.')).code).to.equal(0);
    rmSync(at('laptop'), { recursive: true });
    expect((await run('adopt', '.')).stdout).to.equal(`forgotten    laptop/${tuesday}  It is not there any more.\n`);
    expect(readdirSync(root)).to.deep.equal(['.sendall']);
    expect((await run('adopt', '.')).stderr).to.equal('There is no backup to register.\n');
  });

  it('keeps the owner that was known, hands a backup over where that is said, and leaves alone what came under a registered name', async () => {
    await madeSnapshot(root, { name: 'desk', id: monday, number: 1 }, { x: 'x' });
    rmSync(at('.sendall', 'snapshots', 'desk', 'register'));
    writeFileSync(at('.sendall', 'snapshots', 'desk', 'owner'), 'ticket');
    expect(
      told(await run('adopt', '.', '--json')).flatMap(({ event, name, owner }) =>
        event === 'registered' ? [`${String(name)} ${String(owner)}`] : [],
      ),
    ).to.deep.equal(['desk ticket', 'laptop local']);
    expect(existsSync(at('.sendall', 'snapshots', 'desk', 'owner'))).to.equal(false);
    await run('adopt', '.', '--name', 'desk', '--owner', 'local');
    expect((await readRegister(root, parseEntryName('desk')))?.owner).to.equal('local');
    await madeSnapshot(join(root, 'elsewhere'), { name: 'desk', id: wednesday, number: 2 ** 32 - 1 }, { x: 'x' });
    await run('restore', 'elsewhere', 'desk/latest', 'out'); // it is one there
    renameSync(at('elsewhere', 'desk', wednesday), at('desk', wednesday));
    expect(told(await run('adopt', '.', '--json')).at(-1)).to.deep.equal({
      event: 'foreign',
      path: `desk/${wednesday}`,
    });
    const numbered = await run('adopt', '.', '--name', 'desk');
    expect(numbered.code).to.equal(4);
    expect(numbered.stdout).to.include('which no backup comes to');
    expect((await run('adopt', '.', '--owner', 'nobody')).code).to.equal(2);
    expect((await run('adopt', '.', '--name', 'nothing')).code).to.equal(2);
  });

  it('has help whose lines fit', async () => {
    const { code, stdout } = await run('adopt', '--help');
    expect(code).to.equal(0);
    expect(stdout)
      .to.match(/^Usage: sendall adopt DIR/)
      .and.match(/\n {2}\$ sendall adopt /);
    for (const line of stdout.split('\n')) expect(line.length, line).to.be.at.most(100);
  });
});
