import { expect } from 'chai';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseEntryName } from '../../lib/name';
import { StagedSnapshot } from '../../lib/snapshot/backup/staged-snapshot';
import { Catalog } from '../../lib/snapshot/manifest/catalog';
import { parseSnapshotId } from '../../lib/snapshot/manifest/snapshot-id';
import {
  newestOf,
  ownPathOf,
  prepareNext,
  readRegister,
  type RegisteredBackup,
} from '../../lib/snapshot/register/register';
import { encodeRegister, parseRegister } from '../../lib/snapshot/register/register-text';
import { Directory } from '../../lib/store/local/directory';
import { failureOf } from '../store/delivery';
import { madeSnapshot } from './made-snapshot';

const name = parseEntryName('laptop');
const [monday, tuesday] = ['2026-11-16T100000Z', '2026-11-17T100000Z'].map(parseSnapshotId) as [
  ReturnType<typeof parseSnapshotId>,
  ReturnType<typeof parseSnapshotId>,
];

describe('the register of a backup', () => {
  let root: string;
  const own = (...names: readonly string[]): string => path.join(ownPathOf(root, name), ...names);
  beforeEach(() => (root = mkdtempSync(path.join(tmpdir(), 'sendall-register-'))));
  afterEach(() => rmSync(root, { recursive: true }));

  /** What was registered before the second of two snapshots, and with it. */
  async function two(): Promise<readonly [RegisteredBackup, RegisteredBackup]> {
    await madeSnapshot(root, { name, id: monday, number: 1 }, { a: 'one' });
    const before = (await readRegister(root, name)) ?? expect.fail('nothing is registered');
    await madeSnapshot(root, { name, id: tuesday, number: 2 }, { a: 'two' });
    const after = (await readRegister(root, name)) ?? expect.fail('nothing is registered');
    return [before, after];
  }
  const latest = async (): Promise<string> => (await new Catalog(root).find('laptop/latest')).id;

  it('is read as it was written, and not at all where anything of it was changed', () => {
    const register: RegisteredBackup = {
      name,
      owner: 'local',
      snapshots: [
        { number: 3, id: monday, owner: 'local', manifest: 'ab'.repeat(32), size: 9, damaged: true },
        { number: 4, id: tuesday, owner: 'local', manifest: 'cd'.repeat(32), size: 10 },
      ],
    };
    const text = encodeRegister(register);
    expect(parseRegister(text, name)).to.deep.equal(register);
    expect(newestOf(register)?.number).to.equal(4);
    for (let at = 0; at < text.length; at++) {
      const changed = text.slice(0, at) + (text[at] === '7' ? '8' : '7') + text.slice(at + 1);
      if (changed !== text)
        expect(() => parseRegister(changed, name), changed)
          .to.throw()
          .with.property('code', 'mismatch');
    }
    expect(() => parseRegister(text, parseEntryName('other')))
      .to.throw()
      .with.property('code', 'mismatch');
  });

  it('of a commit that was killed before the rename has nothing of it: the snapshot is staged still', async () => {
    const [before, after] = await two();
    renameSync(path.join(root, name, tuesday), own('tree'));
    writeFileSync(own('register'), encodeRegister(before));
    writeFileSync(own('register.next'), encodeRegister(after));
    expect(await readRegister(root, name)).to.deep.equal(before);
    expect(await latest()).to.equal(monday);
    const staged = await StagedSnapshot.open(root, name, 'local');
    expect(staged.register).to.deep.equal(before);
    expect(readdirSync(own())).to.not.include('register.next');
    await staged.close();
  });

  it('of a commit that was killed after the rename has all of it, for who reads, and is brought to its end by who locks next', async () => {
    const [before, after] = await two();
    writeFileSync(own('register'), encodeRegister(before));
    writeFileSync(own('register.next'), encodeRegister(after));
    expect(await latest()).to.equal(tuesday);
    expect(readFileSync(own('register'), 'utf8'), 'who reads writes nothing').to.equal(encodeRegister(before));
    const staged = await StagedSnapshot.open(root, name, 'local');
    expect(staged.register).to.deep.equal(after);
    await staged.close();
    expect(readFileSync(own('register'), 'utf8')).to.equal(encodeRegister(after));
    expect(existsSync(own('register.next'))).to.equal(false);
  });

  it('is not made to believe what somebody put in the place of a snapshot that was being committed', async () => {
    const [before, after] = await two();
    writeFileSync(own('register'), encodeRegister(before));
    writeFileSync(own('register.next'), encodeRegister(after));
    writeFileSync(path.join(root, name, tuesday, 'MANIFEST'), readFileSync(path.join(root, name, monday, 'MANIFEST')));
    expect(await latest()).to.equal(monday);
  });

  it('was cut off in the middle of being written: the one before counts', async () => {
    const [before, after] = await two();
    const directory = await Directory.open(own());
    await prepareNext(directory, after);
    await directory.close();
    writeFileSync(own('register'), encodeRegister(before));
    for (const torn of ['', encodeRegister(after).slice(0, 50)]) {
      writeFileSync(own('register.next'), torn);
      expect(await readRegister(root, name), torn).to.deep.equal(before);
    }
  });

  it('is private: where others can write to it, nothing of it is believed', async () => {
    await two();
    rmSync(path.join(root, '.sendall'), { recursive: true });
    mkdirSync(path.join(root, '.sendall'));
    chmodSync(path.join(root, '.sendall'), 0o777);
    expect((await failureOf(new Catalog(root).names())).code).to.equal('directory');
  });
});
