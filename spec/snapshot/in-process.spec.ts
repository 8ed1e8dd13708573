import { chmod, readdir, readFile, rm, symlink, truncate } from 'node:fs/promises';
import { expect } from 'chai';
import { TransferError } from '../../lib/errors';
import type { LocalStore } from '../../lib/store/local/local';
import { type Destination, Destinations } from '../../lib/receive/destinations';
import { sendWithin, type SentWithin, type WithinOptions } from '../../lib/snapshot/in-process';
import type { SessionSource } from '../../lib/send/finding';
import { scanTree } from '../../lib/scan/tree-scan';
import { contentOf, Heard, temporaryDirectory } from '../receive/receive-directory';
import { SourceTree } from '../send/source-tree';
import { digestOf, digestOfFile, MiB, noise } from '../session/pair';

describe('a session within one process', () => {
  let source: SourceTree;
  let place: string;
  let destinations: Destinations;
  let heard: Heard;
  beforeEach(async () => {
    source = await SourceTree.make();
    place = await temporaryDirectory();
    destinations = await Destinations.open(place, {});
    heard = new Heard();
  });
  afterEach(async () => {
    await destinations.close();
    await rm(place, { recursive: true });
    await source.remove();
  });

  const sending = (
    from: WithinOptions['source'],
    options: Partial<WithinOptions> = {},
    destination: Destination = destinations.own,
  ): Promise<SentWithin> => {
    const rules = { peer: 'local', ifExists: 'refuse', mayCompare: true, on: () => undefined } as const;
    return sendWithin({ source: from, receiver: { destination, rules }, on: heard.on, ...options });
  };
  const failing = (sent: Promise<SentWithin>): Promise<TransferError | undefined> =>
    sent.then(
      () => undefined,
      (error: unknown) => (error instanceof TransferError ? error : undefined),
    );
  const arrived = async (name: string): Promise<Record<string, string>> => {
    const content = Object.entries(await contentOf(place)).filter(([found]) => found.startsWith(`${name}/`));
    return Object.fromEntries(content.map(([found, what]) => [found.slice(name.length + 1), what]));
  };

  it('brings a tree over, and says on both sides what arrived', async () => {
    await source.write('tree/large', noise(5 * MiB + 7));
    await source.write('tree/.hidden/small', 'small');
    await source.write('tree/left-out', 'no');
    await symlink('large', source.at('tree/link'));
    await chmod(source.at('tree/large'), 0o640);
    const { files, failures, summary, received } = await sending([source.at('tree')], {
      algorithm: 'sha256',
      leaves: { exclude: ['left-out'] },
    });
    await rm(source.at('tree/left-out'));
    expect(await arrived('tree')).to.deep.equal(await contentOf(source.at('tree')));
    expect(files.map(({ file_name: name }) => name)).to.have.members(['tree/large', 'tree/.hidden/small']);
    expect(files.find(({ file_name: name }) => name === 'tree/large')?.digests).to.deep.equal({
      sha256: digestOf(noise(5 * MiB + 7)),
    });
    expect(failures).to.deep.equal([]);
    expect(summary).to.include({ files: 2, bytes: 5 * MiB + 12 });
    expect(received.tally.files).to.equal(2);
    expect(received.lost).to.equal(undefined);
  });

  it('moves nothing that is there already', async () => {
    await source.write('large', noise(5 * MiB));
    await sending([source.at('large')]);
    const again = await sending([source.at('large')]);
    expect(again.summary).to.include({ files: 1, bytes_on_wire: 0 });
  });

  it('goes on in the same process with what an interrupted one had brought', async () => {
    const size = 64 * MiB;
    await source.write('large', noise(size));
    const stop = new AbortController();
    const on = (event: Parameters<typeof heard.on>[0]): void => {
      if (event.event === 'progress' && event.done > size / 2) stop.abort();
    };
    const interrupted = await failing(sending([source.at('large')], { signal: stop.signal, on, limit: 64 * MiB }));
    expect(interrupted?.code).to.equal('interrupted');
    const { summary } = await sending([source.at('large')]);
    expect(await digestOfFile(`${place}/large`)).to.equal(digestOf(noise(size)));
    expect(summary.bytes_on_wire).to.be.below(size * 0.75);
  });

  it('names what cannot be stored or read, and brings the rest', async () => {
    await source.write('tree/too-large', noise(2 * MiB));
    await source.write('tree/good', 'good');
    const other = await temporaryDirectory();
    const limited = await Destinations.open(other, { maxSize: MiB });
    const { failures, summary } = await sending([source.at('tree'), source.at('nothing')], {}, limited.own);
    expect(failures.map(({ code, fileName }) => [code, fileName])).to.have.deep.members([
      ['size', 'tree/too-large'],
      ['source-unreadable', 'nothing'],
    ]);
    expect(summary.files).to.equal(1);
    expect(String(await readFile(`${other}/tree/good`))).to.equal('good');
    await limited.close();
    await rm(other, { recursive: true });
  });

  it('takes what it sends from whoever finds it, under other names', async () => {
    await source.write('here', 'content');
    async function* renamed(): SessionSource {
      for await (const { items } of scanTree({ paths: [source.at('here')], name: 'there' }))
        yield items.filter((item) => !(item instanceof TransferError) && item.type === 'file') as never;
    }
    const { files } = await sending(renamed());
    expect(files.map(({ path }) => path)).to.deep.equal(['there']);
  });

  it('gives a file up that changes meanwhile, and stores nothing of it', async () => {
    await source.write('large', noise(8 * MiB));
    const { failures } = await sending([source.at('large')], {
      on: ({ event }) => void (event === 'started' && truncate(source.at('large'), MiB).catch(() => undefined)),
    });
    expect(failures.map(({ code }) => code)).to.deep.equal(['source-changed']);
    expect((await readdir(place)).filter((name) => name !== '.sendall')).to.deep.equal([]);
  });

  it('ends on both sides, with the reason, where looking for files fails in the middle', async () => {
    await source.write('large', noise(8 * MiB));
    async function* broken(): SessionSource {
      for await (const { items } of scanTree({ paths: [source.at('large')] })) yield items as never;
      throw new TransferError('mismatch', 'What follows cannot be believed.');
    }
    expect((await failing(sending(broken())))?.code).to.equal('mismatch');
    expect((await sending([source.at('large')])).summary.files).to.equal(1);
  });

  it('ends with what the receiver ends it for, at the beginning and at the end', async () => {
    await source.write('small', 'small');
    const { store, allowance } = destinations.own;
    const worn = new TransferError('disk', 'Worn out.');
    const standing = (session: LocalStore['session']): Destination => ({
      store: new Proxy(store, { get: (of, key) => (key === 'session' ? session : (Reflect.get(of, key) as unknown)) }),
      allowance,
      directory: place,
    });
    expect(
      await failing(
        sending(
          [source.at('small')],
          {},
          standing(() => Promise.reject(worn)),
        ),
      ),
    ).to.equal(worn);
    const releasing = standing(async (use) => {
      const opened = await store.session(use);
      const release = (): Promise<void> => opened.release().then(() => Promise.reject(worn));
      return new Proxy(opened, { get: (of, key) => (key === 'release' ? release : (Reflect.get(of, key) as unknown)) });
    });
    expect(await failing(sending([source.at('small')], {}, releasing))).to.equal(worn);
  });

  it('does not begin where it is interrupted already', async () => {
    await source.write('small', 'small');
    expect((await failing(sending([source.at('small')], { signal: AbortSignal.abort() })))?.code).to.equal(
      'interrupted',
    );
  });
});
