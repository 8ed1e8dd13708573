import { open, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect } from 'chai';
import { createReceiver, type ReceiverOptions } from '../../lib/index';
import { sending } from '../send/source-tree';
import { digestOfFile, MiB, noise, Pair, succeeded } from './pair';

describe('the same again in a session', () => {
  let pair: Pair;
  const size = 16 * MiB + 1000;
  const files = {
    large: noise(size),
    ...Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`tree/${String(at)}`, noise(100 * at, at + 1)])),
    'tree/middle': noise(300_000, 9),
  };
  const smallSum = Object.entries(files).reduce((sum, [name, { length }]) => sum + (name === 'large' ? 0 : length), 0);

  afterEach(() => pair.close());

  /** What came to the receiver for `large` and `tree`, in bytes; `options` are those of a receiver opened anew. */
  const wire = async (options?: Partial<ReceiverOptions>): Promise<number> => {
    const names = ['large', 'tree'].map((name) => pair.source.at(name));
    let target = pair.ticket;
    let reopened: Awaited<ReturnType<typeof createReceiver>> | undefined;
    if (options) {
      await pair.to.receiver.close();
      reopened = await createReceiver({ directory: pair.to.place, ...options });
      ({ ticket: target } = await reopened.listen('127.0.0.1:0'));
    }
    const { summary } = succeeded(await sending({ paths: names, target, connections: 2 }));
    await reopened?.close();
    expect(summary.files).to.equal(202);
    return summary.bytes_on_wire;
  };

  const asSent = async (): Promise<void> => {
    for (const name of Object.keys(files))
      expect(await digestOfFile(path.join(pair.to.place, name)), name).to.equal(
        await digestOfFile(pair.source.at(name)),
      );
  };

  it('moves nothing, neither at once nor for a receiver that was closed and opened in between', async () => {
    pair = await Pair.make(files);
    expect(await wire()).to.be.above(size + smallSum);
    expect(await wire()).to.equal(0);
    expect(await wire({})).to.equal(0);
    await asSent();
  });

  it('moves next to nothing where the receipts were lost, whatever the rule for what exists', async function () {
    this.timeout(60_000); // nine transfers, and as many receivers
    for (const ifExists of ['refuse', 'rename', 'replace'] as const) {
      pair = await Pair.make(files, { ifExists });
      await wire();
      await pair.to.receiver.close();
      await rm(path.join(pair.to.place, '.sendall', 'receipts'), { recursive: true });
      expect(await wire({ ifExists }), ifExists).to.be.below(1000);
      expect(await wire({ ifExists }), ifExists).to.equal(0);
      await asSent();
      expect((await readdir(pair.to.place)).sort()).to.deep.equal(['.sendall', 'large', 'tree']);
      if (ifExists !== 'replace') await pair.close();
    }
  });

  it('of which something changed in place moves that alone', async () => {
    pair = await Pair.make(files, { ifExists: 'replace' });
    await wire();
    const handle = await open(pair.source.at('large'), 'r+');
    await handle.write(noise(MiB + 10, 77), 0, MiB + 10, 5 * MiB - 5);
    await handle.close();
    await writeFile(pair.source.at('tree/7'), noise(700, 70));
    expect(await wire()).to.be.within(3 * MiB, 3 * MiB + 5000);
    await asSent();
    expect(await wire()).to.equal(0);
  });

  it('that grew, and shrank, moves what is new', async () => {
    pair = await Pair.make(files, { ifExists: 'replace' });
    await wire();
    const handle = await open(pair.source.at('large'), 'r+');
    await handle.write(noise(2 * MiB, 5), 0, 2 * MiB, size);
    expect(await wire()).to.be.within(2 * MiB, 3 * MiB + 5000);
    await asSent();
    await handle.truncate(10 * MiB + 1);
    await handle.close();
    expect(await wire()).to.be.below(MiB + 5000);
    await asSent();
  });

  it('that was only touched moves nothing', async () => {
    pair = await Pair.make(files, { ifExists: 'replace' });
    await wire();
    for (const name of ['large', 'tree/7']) await utimes(pair.source.at(name), 1_600_000_000, 1_600_000_000);
    expect(await wire()).to.be.below(2000);
    await asSent();
  });

  it('that differs is refused, skipped or renamed as the receiver decides, and the others arrive', async () => {
    for (const ifExists of ['refuse', 'skip', 'rename'] as const) {
      pair = await Pair.make({ large: noise(3 * MiB), small: 'one', same: 'same' }, { ifExists });
      succeeded(await pair.send(['large', 'small', 'same']));
      for (const name of ['large', 'small']) await rename(pair.source.at(name), pair.source.at(`${name}.old`));
      await pair.source.write('large', noise(3 * MiB, 2));
      await pair.source.write('small', 'two');
      await pair.source.write('new', 'new');
      const { failed, heard, result } = await pair.send(['large', 'small', 'same', 'new']);
      expect(failed, ifExists).to.deep.equal(ifExists === 'refuse' ? ['exists', 'exists'] : []);
      expect(heard.all('skipped').map(({ file_name: name }) => name)).to.have.members(
        ifExists === 'skip' ? ['large', 'small'] : [],
      );
      if (ifExists === 'rename')
        expect(result?.files.map(({ path: stored }) => stored)).to.have.members([
          'large (1)',
          'small (1)',
          'same',
          'new',
        ]);
      if (ifExists === 'rename') expect(await pair.to.read('small (1)')).to.deep.equal(Buffer.from('two'));
      if (ifExists === 'rename') expect(await pair.to.read('large (1)')).to.deep.equal(noise(3 * MiB, 2));
      expect((await pair.to.read('small')).toString()).to.equal('one');
      expect((await pair.to.read('new')).toString()).to.equal('new');
      if (ifExists !== 'rename') await pair.close();
    }
  });
});
