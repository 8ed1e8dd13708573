import { expect } from 'chai';
import { mkdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseEntryName } from '../../../lib/name';
import type { OfferedFile } from '../../../lib/store/session-store';
import { Directory } from '../../../lib/store/local/directory';
import { existingOf, look } from '../../../lib/store/local/existing-look';
import { contentsOf, knownAmong } from '../../../lib/store/local/known-files';
import { ReceiptIndex } from '../../../lib/store/local/receipt-index';
import { ReceiptLines } from '../../../lib/store/local/receipt-lines';
import { Receipts } from '../../../lib/store/local/receipts';
import { emptyDirectory } from './local-place';

const count = 30;
const sourceTime = 1_700_000_000_000_000_001n;
const use = { algorithm: 'blake3', peer: 'ab' } as const;
const digestOf = (at: number): string => String(at).padStart(64, '0');

describe('Files that are stored already, as their receipts say', () => {
  let place: string;
  let directory: Directory;
  let index: ReceiptIndex;
  let receipts: Receipts;
  const names = Array.from({ length: count }, (_, at) => parseEntryName(`d/file ${String(at)}`));
  const offers = names.map((name, at): OfferedFile => ({
    file: at,
    name,
    size: at + 1,
    mtime: sourceTime,
    ctime: sourceTime + BigInt(at),
  }));
  const filled = (): string => path.join(place, 'filled');

  beforeEach(async () => {
    place = await emptyDirectory();
    await mkdir(path.join(filled(), 'd'), { recursive: true });
    await mkdir(path.join(place, 'own'));
    directory = await Directory.open(path.join(place, 'own'));
    index = await ReceiptIndex.open(directory);
    receipts = new Receipts(index, filled(), 'device');
    for (const [at, name] of names.entries()) await writeFile(path.join(filled(), name), 'x'.repeat(at + 1));
    give('ab');
    await receipts.save();
  });
  afterEach(async () => {
    await directory.close();
    await rm(place, { recursive: true, force: true });
  });

  /** Receipts for all of them, as they are, to this peer. */
  function give(peer: string, digests = (at: number): Record<string, string> => ({ blake3: digestOf(at) })): void {
    const found = existingOf(look(names, filled()));
    for (const [at, offer] of offers.entries()) {
      const existing = found[at];
      if (existing) receipts.note(offer, peer, offer.name, digests(at), existing);
    }
  }
  /** By number, the digest of each that is known; as the thread and then the main thread find it out. */
  function known(asked = offers, between: () => void = () => undefined, who: typeof use | object = use): string[] {
    const question = receipts.ask(asked, { ...use, ...who });
    between();
    const existing = existingOf(look(names, filled()));
    const found = contentsOf(knownAmong(names, existing, question.asked), count);
    return receipts
      .known(asked, existing, question, found)
      .flatMap((content, at) => (content ? [`${String(at)} ${String(content.digests.blake3)}`] : []));
  }
  const all = names.map((_, at) => `${String(at)} ${digestOf(at)}`);
  const without = (...numbers: readonly number[]): string[] => all.filter((_, at) => !numbers.includes(at));

  it('are all of them where nothing has changed, and since when is said', () => {
    expect(known()).to.deep.equal(all);
    const question = receipts.ask(offers, use);
    const existing = existingOf(look(names, filled()));
    const [first] = contentsOf(knownAmong(names, existing, question.asked), count);
    expect(Math.abs(Date.now() - Date.parse(first?.verifiedAt ?? ''))).to.be.below(60_000);
  });

  it('are none that were touched here, whatever was done to them', async () => {
    const at = (number: number): string => path.join(filled(), names[number] ?? '');
    await utimes(at(1), new Date(), new Date(1_000));
    await writeFile(at(2), 'yyy');
    await writeFile(`${at(3)}.new`, 'xxxx');
    await rename(`${at(3)}.new`, at(3));
    await rm(at(4));
    await rm(at(5));
    await symlink('file 6', at(5));
    await rm(at(7));
    await mkdir(at(7));
    expect(known()).to.deep.equal(without(1, 2, 3, 4, 5, 7));
  });

  it('are none whose source was touched, or cannot be told', () => {
    const changes: Partial<OfferedFile>[] = [
      { size: 1_000 },
      { size: undefined },
      { mtime: sourceTime + 1n },
      { mtime: undefined },
      { ctime: sourceTime - 1n },
      { ctime: undefined },
    ];
    const asked = offers.map((offer, at): OfferedFile => ({ ...offer, ...changes[at] }));
    expect(known(asked)).to.deep.equal(without(0, 1, 2, 3, 4, 5));
  });

  it('are none that another peer has sent, or whose digest is of another kind, or that were not read from there', () => {
    expect(known(offers, undefined, { peer: 'cd' })).to.deep.equal([]);
    expect(known(offers, undefined, { peer: 'a' })).to.deep.equal([]);
    expect(known(offers, undefined, { algorithm: 'md5' })).to.deep.equal([]);
    receipts = new Receipts(index, filled(), 'cache');
    expect(known()).to.deep.equal([]);
  });

  it('have all digests that they were given a receipt with', async () => {
    give('ab', (at) => ({ blake3: digestOf(at), md5: 'ab'.repeat(16) }));
    await receipts.save();
    const question = receipts.ask(offers, use);
    const existing = existingOf(look(names, filled()));
    const [first] = contentsOf(knownAmong(names, existing, question.asked), count);
    expect(first?.digests).to.deep.equal({ blake3: digestOf(0), md5: 'ab'.repeat(16) });
  });

  it('are known before their receipts are in a file, and while that is written anew', async () => {
    const other = (at: number): string => digestOf(at + 1_000);
    give('ab', (at) => ({ blake3: other(at) }));
    const newer = names.map((_, at) => `${String(at)} ${other(at)}`);
    expect(known(), 'in memory only').to.deep.equal(newer);
    await receipts.save();
    expect(known(), 'saved').to.deep.equal(newer);
    const before = await stat(index.file);
    const question = receipts.ask(offers, use);
    for (let round = 0; round < 50; round++) give('ab', (at) => ({ blake3: other(at) }));
    await receipts.save();
    expect((await stat(index.file)).ino, 'another file').not.to.equal(before.ino);
    const existing = existingOf(look(names, filled()));
    const found = contentsOf(knownAmong(names, existing, question.asked), count);
    expect(receipts.known(offers, existing, question, found).map((content) => content?.digests.blake3)).to.deep.equal(
      names.map((_, at) => other(at)),
    );
  });

  it('are looked for among whole lines only: what stands behind them is still being written', async () => {
    const bytes = await readFile(index.file);
    const second = bytes.indexOf('\n') + 1;
    const lines = new ReceiptLines(index.file);
    expect(lines.at(0, second)?.equals(bytes.subarray(0, second - 1))).to.equal(true);
    expect(lines.at(second, second), 'of the window that was read').to.equal(undefined);
    expect(lines.at(second)?.length).to.equal(bytes.indexOf('\n', second) - second);
    expect(lines.at(bytes.length)).to.equal(undefined);
  });

  it('are none whose receipt is damaged, and none at all without a file', async () => {
    const bytes = await readFile(index.file);
    const second = bytes.indexOf('\n') + 1;
    for (const at of [second, second + 3, second + 20, bytes.indexOf('\n', second) - 1]) {
      const damaged = Buffer.from(bytes);
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      await writeFile(index.file, damaged);
      receipts = new Receipts(index, filled(), 'device');
      expect(known(), `byte ${String(at)}`).to.deep.equal(without(1));
    }
    expect(known(offers, () => index.forget('no such name'))).to.deep.equal(without(1));
    await rm(index.file);
    expect(known()).to.deep.equal([]);
  });
});
