import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect } from 'chai';
import { TransferError } from '../../../lib/errors';
import { parseEntryName } from '../../../lib/name';
import { StagedSnapshot } from '../../../lib/snapshot/backup/staged-snapshot';
import { ownPathOf, writeRegister } from '../../../lib/snapshot/register/register';
import { Directory } from '../../../lib/store/local/directory';

describe('a staged snapshot', () => {
  const name = parseEntryName('laptop');
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(path.join(tmpdir(), 'sendall-staged-'));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  /** What is staged by `peer`, and whether all of it is its own. */
  async function stage(peer: string, file: string): Promise<boolean> {
    const staged = await StagedSnapshot.open(root, name, peer);
    writeFileSync(path.join(staged.tree, file), peer);
    await staged.close();
    return staged.ours;
  }

  it('is of the one who began it, and of nobody else', async () => {
    expect(await stage('a', 'first')).to.equal(true);
    expect(await stage('a', 'second')).to.equal(true);
    const refused: unknown = await stage('b', 'third').catch((error: unknown) => error);
    expect(refused).to.be.instanceOf(TransferError).with.property('code', 'exists');
    expect(await stage('a', 'fourth')).to.equal(true);
  });

  it('that was brought by another one before the backup was handed over is not ours', async () => {
    await stage('a', 'first');
    const own = await Directory.open(ownPathOf(root, name));
    await writeRegister(own, { name, owner: 'b', snapshots: [] });
    await own.close();
    expect(await stage('b', 'second')).to.equal(false);
    expect(await stage('b', 'third')).to.equal(false);
  });

  it('is refused a name that something else has, and leaves no trace of itself', async () => {
    writeFileSync(path.join(root, 'laptop'), 'mine');
    const refused: unknown = await StagedSnapshot.open(root, name, 'a').catch((error: unknown) => error);
    expect(refused).to.be.instanceOf(TransferError).with.property('code', 'exists');
    expect(readdirSync(root)).to.deep.equal(['laptop']);
  });

  it('gives its name back where nothing came, and keeps it where something did', async () => {
    await (await StagedSnapshot.open(root, name, 'a')).close();
    expect(readdirSync(root)).to.deep.equal([]);
    await stage('a', 'something');
    expect(readdirSync(root).sort()).to.deep.equal(['.sendall', 'laptop']);
  });

  it('stays for the next run, and leaves nothing where nothing came', async () => {
    const staged = await StagedSnapshot.open(root, name, 'a');
    const { tree } = staged;
    expect(existsSync(tree)).to.equal(true);
    await staged.close();
    expect(existsSync(tree)).to.equal(false);
    await stage('a', 'something');
    expect(readdirSync(tree)).to.deep.equal(['something']);
  });

  it('is one at a time', async () => {
    const staged = await StagedSnapshot.open(root, name, 'a');
    const refused: unknown = await StagedSnapshot.open(root, name, 'a').catch((error: unknown) => error);
    await staged.close();
    expect(refused).to.be.instanceOf(TransferError).with.property('code', 'directory');
    expect((refused as TransferError).message).to.include('is using the backup laptop');
  });

  it('leaves the backup free where it could not be opened (fault experiment failing-calls)', async () => {
    await stage('a', 'something');
    const stager = path.join(root, '.sendall/snapshots/laptop/stager');
    rmSync(stager);
    mkdirSync(stager);
    const refused: unknown = await StagedSnapshot.open(root, name, 'a').catch((error: unknown) => error);
    expect(refused).to.be.instanceOf(TransferError).with.property('code', 'directory');
    rmSync(stager, { recursive: true });
    expect(await stage('a', 'something')).to.equal(false);
  });

  it('is in a receive directory that is there: directory', async () => {
    const refused: unknown = await StagedSnapshot.open(path.join(root, 'nothing'), name, 'a').catch(
      (error: unknown) => error,
    );
    expect(refused).to.be.instanceOf(TransferError).with.property('code', 'directory');
  });
});
