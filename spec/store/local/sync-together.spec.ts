import { expect } from 'chai';
import type { Directory } from '../../../lib/store/local/directory';
import { syncTogether } from '../../../lib/store/local/sync-together';

/** A directory of which only the syncs are watched: each ends when the test says so. */
class Watched {
  readonly syncs: { end: () => void; fail: (error: Error) => void }[] = [];

  sync(): Promise<void> {
    return new Promise((end, fail) => this.syncs.push({ end, fail }));
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('syncTogether', () => {
  const watch = (): { watched: Watched; directory: Directory } => {
    const watched = new Watched();
    return { watched, directory: watched as unknown as Directory };
  };

  it('shares one sync among all who ask while another runs, and begins it after they asked', async () => {
    const { watched, directory } = watch();
    const done: string[] = [];
    const ask = (name: string): Promise<unknown> => syncTogether(directory, undefined).then(() => done.push(name));
    const all = [ask('first'), ask('second'), ask('third')];
    await settle();
    expect(watched.syncs, 'only the first is running').to.have.lengthOf(1);
    watched.syncs[0]?.end();
    await settle();
    expect(done).to.deep.equal(['first']);
    expect(watched.syncs).to.have.lengthOf(2);
    all.push(ask('fourth'));
    await settle();
    watched.syncs[1]?.end();
    await settle();
    expect(done, 'the fourth asked when the second had begun').to.deep.equal(['first', 'second', 'third']);
    watched.syncs[2]?.end();
    await Promise.all(all);
    expect(watched.syncs).to.have.lengthOf(3);
  });

  it('fails all who share a sync that fails, and not those after them', async () => {
    const { watched, directory } = watch();
    const outcome = (): Promise<string> =>
      syncTogether(directory, undefined).then(
        () => 'durable',
        () => 'failed',
      );
    const first = outcome();
    const shared = [outcome(), outcome()];
    watched.syncs[0]?.fail(new Error('EIO'));
    await settle();
    const later = outcome();
    watched.syncs[1]?.fail(new Error('EIO'));
    await settle();
    watched.syncs[2]?.end();
    expect(await Promise.all([first, ...shared, later])).to.deep.equal(['failed', 'failed', 'failed', 'durable']);
  });

  // Found by the fault experiment write-back: ext4 lost 26 files whose directory had been synced, as it said.
  it('believes no sync of a disk that takes no changes any more', async () => {
    const { watched, directory } = watch();
    const failed = { confirm: () => Promise.reject(new Error('EROFS')) } as unknown as Directory;
    const durable = syncTogether(directory, failed).then(
      () => 'durable',
      ({ message }: Error) => message,
    );
    watched.syncs[0]?.end();
    expect(await durable).to.equal('EROFS');
  });

  it('begins at once when nothing runs, and for each directory by itself', async () => {
    const one = watch();
    const other = watch();
    const first = syncTogether(one.directory, undefined);
    const second = syncTogether(other.directory, undefined);
    expect([one.watched.syncs.length, other.watched.syncs.length]).to.deep.equal([1, 1]);
    one.watched.syncs[0]?.end();
    other.watched.syncs[0]?.end();
    await Promise.all([first, second]);
    await settle();
    void syncTogether(one.directory, undefined);
    expect(one.watched.syncs).to.have.lengthOf(2);
  });
});
