import { expect } from 'chai';
import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { parseEntryName } from '../../../lib/name';
import { Grouping, words } from './grouping';
import { skipTest } from '../../skip-test';

/**
 * Those of the process itself: the kernel lists its own for io_uring (`iou-wrk-…`) among them, and ends them when it
 * likes.
 */
function threads(): number {
  const nameOf = (thread: string): string => {
    try {
      return readFileSync(`/proc/self/task/${thread}/comm`, 'latin1');
    } catch {
      return 'iou-'; // it has ended meanwhile
    }
  };
  return readdirSync('/proc/self/task').filter((thread) => !nameOf(thread).startsWith('iou-')).length;
}

describe('The threads of groups', function () {
  this.timeout(30_000);
  let place: Grouping;
  beforeEach(async () => {
    place = await Grouping.open();
  });
  afterEach(() => place.end());

  // Found by the fault experiment crowd-small: each of 64 sessions had three of its own, and together they had nearly a
  // gibibyte.
  it('are as many for twenty sessions as for one', async function () {
    if (process.platform !== 'linux') skipTest(this, 'it is about Linux');
    await place.put({ first: 'first' });
    const before = threads();
    const others = Array.from({ length: 20 }, () => place.another());
    const outcomes = await Promise.all(
      others.map((other, at) => other.put({ [`d${String(at)}/f`]: `content ${String(at)}` })),
    );
    expect(outcomes.map(words)).to.deep.equal(others.map((_, at) => [`stored d${String(at)}/f`]));
    for (const at of others.keys())
      expect(await readFile(place.at(`d${String(at)}`, 'f'), 'utf8')).to.equal(`content ${String(at)}`);
    // Two that write, where there was one; the one that commits is the same.
    expect(threads() - before).to.be.at.most(1);
    for (const other of others) await other.close();
  });

  it('are not one more for names that are only looked up, however many', async function () {
    if (process.platform !== 'linux') skipTest(this, 'it is about Linux');
    await place.put({ first: 'first' });
    const before = threads();
    const names = Array.from({ length: 2_000 }, (_, at) => parseEntryName(at === 0 ? 'first' : `d/${String(at)}`));
    const found = await Promise.all(Array.from({ length: 10 }, () => place.store.inDirectory.look(names)));
    expect(threads() - before).to.equal(0);
    for (const [first, ...others] of found) {
      expect(first?.kind).to.equal('file');
      expect(others.filter((other) => other !== undefined)).to.deep.equal([]);
    }
  });

  it('go on for the others when one session ends', async () => {
    const [one, other] = [place.another(), place.another()];
    const written = other.put({ 'd/f': 'content' });
    await one.put({ g: 'content' });
    await one.close();
    expect(words(await written)).to.deep.equal(['stored d/f']);
    expect(words(await other.put({ 'd/h': 'more' }))).to.deep.equal(['stored d/h']);
    await other.close();
  });
});
