import { expect } from 'chai';
import type { EntryName } from '../../lib/name';
import { Waits } from '../../lib/progress';
import { packEntries } from '../../lib/scan/found-batch';
import type { ReadBundle } from '../../lib/send/bundle-reader';
import { Carriers } from '../../lib/send/carriers';
import { type SentEntry, SendEntries } from '../../lib/send/entries';
import { RateLimit } from '../../lib/send/rate-limit';
import { SmallFiles } from '../../lib/send/small-files';

describe('the small files of a session', () => {
  it('are known by their digests before a byte of them goes: a receipt may be here before we hear that they went', async () => {
    const digest = 'd'.repeat(32);
    const list = Buffer.from(`[[0,1,"${digest}"]]`);
    const entries = new SendEntries(
      (async function* () {
        await Promise.resolve();
        yield {
          entries: packEntries([
            {
              type: 'file',
              path: '/x',
              name: 'x' as EntryName,
              size: 1,
              sparse: false,
              mtime: 0n,
              ctime: 0n,
              mode: 0o644,
            },
          ]),
        };
      })(),
      () => undefined,
    );
    await entries.pull();
    const carriers = new Carriers(new RateLimit(Infinity), new Waits(), new AbortController().signal);
    const read: ReadBundle = {
      files: Float64Array.of(0),
      digests: digest,
      list,
      bytes: Buffer.from('1'),
      kept: [],
      failures: [],
      grew: [],
      release: () => undefined,
    };
    const small = new SmallFiles(entries, { read: () => Promise.resolve(read) }, carriers, {
      kept: () => Promise.reject(new Error('nothing is held')),
      dropped: (_, error) => Promise.reject(error),
    });
    const whileItGoes = new Promise<SentEntry | undefined>((resolve) => {
      void carriers.carry(
        {
          sealed: false,
          send: () => {
            resolve(entries.sent(0));
            return Promise.resolve(10);
          },
          finish: () => Promise.resolve(),
          close: () => undefined,
          ended: () => Promise.resolve(),
        },
        0,
      );
    });
    small.add(0, undefined);
    const running = small.run();
    expect(await whileItGoes).to.include({ digest, bytesOnWire: 1 + list.length });
    small.stop();
    carriers.close();
    await running;
  });
});
