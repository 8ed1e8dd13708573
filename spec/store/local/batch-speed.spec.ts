import { expect } from 'chai';
import { createHash } from 'node:crypto';
import { parseEntryName } from '../../../lib/name';
import type { EntryOutcome } from '../../../lib/store/local/batch';
import { systemCalls } from '../../../lib/threads/system-calls';
import { Grouping, someTime } from './grouping';
import { skipTest } from '../../skip-test';

const count = 20_000;
const size = 4_096;
const perBundle = 128;
const perGroup = 4_096;

describe('20,000 files of 4 KiB', function () {
  this.timeout(60_000);

  it('are stored in the time that a sync for each would take some of them, and looked at in no time', async function () {
    if (!systemCalls()) skipTest(this, 'the calls of Linux are not to be had here');
    const place = await Grouping.open();
    try {
      const bytes = Buffer.alloc(size, 'content');
      const digest = createHash('sha256').update(bytes).digest('hex');
      const files = Array.from({ length: count }, (_, file) => ({
        file,
        name: parseEntryName(`tree/d${Math.floor(file / 100)}/f${file}`),
        size,
        digest,
        mode: 0o644,
        mtime: someTime,
        ifExists: 'refuse' as const,
      }));
      const began = performance.now();
      const flushes: Promise<EntryOutcome[]>[] = [];
      for (let at = 0; at < count; at += perBundle) {
        const lease = await place.store.memory.lease();
        const bundle = files.slice(at, at + perBundle);
        for (const [index] of bundle.entries()) lease.bytes.set(bytes, index * size);
        void place.store.write(lease, bundle);
        if (place.store.open.files >= perGroup) flushes.push(place.store.flush());
      }
      flushes.push(place.store.flush());
      const outcomes = (await Promise.all(flushes)).flat();
      const stored = performance.now();
      expect(outcomes.filter(({ committed }) => committed?.outcome === 'stored')).to.have.lengthOf(count);
      expect(outcomes.map(({ file }) => file)).to.deep.equal(files.map(({ file }) => file));
      // It takes about a second where nothing else runs; 20,000 syncs take some ten.
      expect(stored - began, 'ms').to.be.below(20_000);
      const looked = await place.store.inDirectory.look(files.map(({ name }) => name));
      expect(performance.now() - stored, 'ms for looking').to.be.below(5_000);
      expect(
        looked.every(
          (standing, at) =>
            standing?.ino === outcomes[at]?.stat?.ino && standing?.ctimeNs === outcomes[at]?.stat?.ctimeNs,
        ),
      ).to.equal(true);
    } finally {
      await place.end();
    }
  });
});
