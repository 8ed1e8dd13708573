import { expect } from 'chai';
import { appendFile, mkdir, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Directory } from '../../../lib/store/local/directory';
import { type KeptReceipt, ReceiptIndex } from '../../../lib/store/local/receipt-index';
import { codeOf } from '../delivery';
import { emptyDirectory } from './local-place';

const receipt: KeptReceipt = {
  size: 4096,
  ino: 0xffff_ffff_ffff_fff0n,
  mtimeNs: 1_763_700_000_123_456_789n,
  ctimeNs: 1_763_700_001_000_000_001n,
  sourceMtime: 1_763_700_000_123_456_789n,
  sourceCtime: 1_763_600_000_999_999_999n,
  digests: { blake3: 'ab'.repeat(32), md5: '01'.repeat(16) },
  verified: 'device',
  verifiedAt: 1_763_700_002_345,
  peer: 'ab'.repeat(16),
};

describe('The receipts that a receive directory keeps', () => {
  let place: string;
  let file: string;
  let directory: Directory;
  beforeEach(async () => {
    place = await emptyDirectory();
    file = path.join(place, 'receipts');
    directory = await Directory.open(place);
  });
  afterEach(async () => {
    await directory.close();
    await rm(place, { recursive: true, force: true });
  });

  /** Keeps these, and opens them again as another process would. */
  async function kept(receipts: readonly (readonly [string, KeptReceipt])[]): Promise<ReceiptIndex> {
    const index = await ReceiptIndex.open(directory);
    for (const [name, one] of receipts) index.remember(name, one);
    await index.close();
    return ReceiptIndex.open(directory);
  }

  const several = (count: number, ino = 0n): [string, KeptReceipt][] =>
    Array.from({ length: count }, (_, at) => [
      `tree/d${at % 200}/file-${at}.txt`,
      { ...receipt, ino: ino + BigInt(at) },
    ]);

  it('are none where there is no file, and then make none', async () => {
    const index = await ReceiptIndex.open(directory);
    expect(index.find('a')).to.equal(undefined);
    await index.close();
    expect(await codeOfMissing(file)).to.equal('ENOENT');
  });

  it('come back as they were, with every kind of name, time and digest', async () => {
    const odd: (readonly [string, KeptReceipt])[] = [
      ['a b/ünï çødé 漢字 🎈', receipt],
      ['before 1970', { ...receipt, mtimeNs: -1n, sourceMtime: -(1n << 63n), ctimeNs: (1n << 63n) - 1n }],
      ['empty', { ...receipt, size: 0, ino: 0n, sourceCtime: undefined, verified: 'cache', digests: {} }],
      ['of no key', { ...receipt, peer: undefined }],
      ['of a key with an odd id', { ...receipt, peer: 'ü x,%20' }],
      ['huge', { ...receipt, size: Number.MAX_SAFE_INTEGER, digests: { sha256: '00'.repeat(32) } }],
    ];
    const index = await kept(odd);
    for (const [name, one] of odd) expect(index.find(name), name).to.deep.equal(one);
    expect(index.find('a b')).to.equal(undefined);
    expect((await stat(file)).mode & 0o777).to.equal(0o600);
  });

  it('are found before they are saved, and the last one about a name counts', async () => {
    const index = await kept([
      ['a', receipt],
      ['b', receipt],
    ]);
    index.remember('a', { ...receipt, ino: 7n });
    expect(index.find('a')?.ino).to.equal(7n);
    index.forget('b');
    expect(index.find('b')).to.equal(undefined);
    await index.save();
    const again = await ReceiptIndex.open(directory);
    expect(again.find('a')?.ino).to.equal(7n);
    expect(again.find('b')).to.equal(undefined);
  });

  it('are appended: what was saved before is not written again', async () => {
    const index = await kept(several(100));
    const before = await readFile(file);
    index.remember('one more', receipt);
    await index.save();
    const after = await readFile(file);
    expect(after.subarray(0, before.length).equals(before)).to.equal(true);
    expect(after.length - before.length).to.be.within(100, 300);
    await index.save();
    expect((await readFile(file)).length, 'nothing new, nothing written').to.equal(after.length);
  });

  it('are ignored one by one where the file is damaged, at whatever place', async () => {
    await kept(several(3));
    const good = await readFile(file);
    const lengths = good
      .toString()
      .split('\n')
      .map((line) => line.length + 1);
    for (let at = 0; at < good.length; at += 5) {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] ?? 0) ^ 0x10;
      await writeFile(file, bad);
      const index = await ReceiptIndex.open(directory);
      const found = several(3).map(([name]) => index.find(name));
      for (const [number, one] of found.entries())
        if (one !== undefined) expect(one, `byte ${at}`).to.deep.equal(several(3)[number]?.[1]);
      const hit = at < (lengths[0] ?? 0) ? 0 : at < (lengths[0] ?? 0) + (lengths[1] ?? 0) ? 1 : 2;
      expect(found[hit], `byte ${at}`).to.equal(undefined);
      // A line feed that is damaged takes the line behind it along.
      expect(found.filter(Boolean).length, `byte ${at}`).to.be.within(1, 2);
    }
  });

  it('go on behind a line that was cut off in the middle', async () => {
    await kept(several(3));
    await truncate(file, (await stat(file)).size - 20);
    const index = await kept([['later', receipt]]);
    expect(several(3).map(([name]) => index.find(name) !== undefined)).to.deep.equal([true, true, false]);
    expect(index.find('later')).to.deep.equal(receipt);
    await appendFile(file, 'no line of ours\n\n+ \n00000000 + 1 2\n');
    expect((await ReceiptIndex.open(directory)).find('later')).to.deep.equal(receipt);
  });

  it('are written anew when more than half of the lines are stale', async () => {
    const index = await kept(several(1_500));
    const full = (await stat(file)).size;
    for (const [name] of several(1_400)) index.forget(name);
    await index.save();
    const again = await ReceiptIndex.open(directory);
    expect((await stat(file)).size).to.be.below(full / 10);
    const left = several(1_500).filter(([name]) => again.find(name) !== undefined);
    expect(left).to.deep.equal(several(1_500).slice(1_400));
    expect(left.map(([name]) => again.find(name))).to.deep.equal(left.map(([, one]) => one));
    again.remember('x', receipt);
    await again.save();
    expect((await ReceiptIndex.open(directory)).find('x')).to.deep.equal(receipt);
  });

  it('survive being remembered while they are saved', async () => {
    const index = await ReceiptIndex.open(directory);
    const saves: Promise<void>[] = [];
    for (const [name, one] of several(300)) {
      index.remember(name, one);
      saves.push(index.save());
    }
    await Promise.all(saves);
    const again = await ReceiptIndex.open(directory);
    expect(several(300).every(([name, one]) => again.find(name)?.ino === one.ino)).to.equal(true);
    expect((await readFile(file, 'utf8')).split('\n')).to.have.lengthOf(301);
  });

  it('are not read through a symbolic link, and say so where they cannot be kept', async () => {
    await symlink('/etc/hostname', file);
    expect(await codeOf(ReceiptIndex.open(directory))).to.equal('disk');
    await rm(file);
    const index = await ReceiptIndex.open(directory);
    index.remember('a', receipt);
    await mkdir(file);
    expect(await codeOf(index.save())).to.equal('disk');
    await rm(file, { recursive: true });
    await index.save();
    expect((await ReceiptIndex.open(directory)).find('a')).to.deep.equal(receipt);
  });

  it('of 100,000 files load quickly, and take less than 250 bytes each', async function () {
    this.timeout(10_000);
    await kept(several(100_000));
    expect((await stat(file)).size / 100_000).to.be.below(250);
    const began = performance.now();
    const index = await ReceiptIndex.open(directory);
    const took = performance.now() - began;
    expect(index.find('tree/d7/file-70007.txt')?.ino).to.equal(70_007n);
    expect(took, 'ms').to.be.below(2_000);
  });
});

async function codeOfMissing(place: string): Promise<string | undefined> {
  return stat(place).then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error.code,
  );
}
