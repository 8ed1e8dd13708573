import { createHash } from 'node:crypto';
import { appendFileSync, writeFileSync } from 'node:fs';
import { open, rm, truncate, unlink, utimes, writeFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { Heard, ReceiveDirectory, temporaryDirectory } from '../receive/receive-directory';
import { bytes, sending, SourceTree } from './source-tree';

const mebibyte = 1024 * 1024;
/** In whole seconds, so that it can be put back exactly. */
const longAgo = 1_600_000_000;

describe('files on their way out', () => {
  let directory: ReceiveDirectory;
  let tree: SourceTree;

  beforeEach(async () => {
    directory = await ReceiveDirectory.open();
    tree = await SourceTree.make();
  });
  afterEach(async () => {
    await directory.close();
    await tree.remove();
  });

  const sent = (heard: Heard): string[] => heard.all('sent').map(({ file_name }) => file_name);
  const stored = async (): Promise<string[]> =>
    Object.keys(await directory.content())
      .filter((name) => !name.startsWith('.sendall'))
      .sort();

  describe('a source that is not what it was', () => {
    it('vanishes before its turn: source-unreadable, the others arrive', async () => {
      const paths = [await tree.write('a', 'a'), tree.at('gone'), await tree.write('b', 'b')];
      const { heard, failed, error } = await sending({ paths, target: directory.target });
      expect(failed).to.deep.equal(['source-unreadable']);
      expect(error?.code).to.equal('some-failed');
      expect(sent(heard)).to.deep.equal(['a', 'b']);
    });

    const changes: readonly (readonly [string, (place: string) => Promise<void>])[] = [
      ['shrinks', async (place) => truncate(place, 20 * mebibyte)],
      ['shrinks to nothing', async (place) => truncate(place, 0)],
      ['is rewritten in place', async (place) => overwrite(place, 23 * mebibyte)],
      ['is rewritten where it was sent already', async (place) => overwrite(place, 0)],
      [
        'is rewritten where it was sent already, and its mtime put back,',
        async (place) => {
          await overwrite(place, 0);
          await utimes(place, longAgo, longAgo);
        },
      ],
    ];
    for (const [how, change] of changes) {
      it(`${how} while it is sent: source-changed, nothing is stored, the next file arrives`, async () => {
        const large = await tree.write('large', bytes(24 * mebibyte));
        await utimes(large, longAgo, longAgo);
        const heard = new Heard();
        const running = sending(
          { paths: [large, await tree.write('next', 'next')], target: directory.target, limit: 40 * mebibyte },
          heard,
        );
        await heard.first('progress', ({ phase, done }) => phase === 'send' && done > 0);
        await change(large);
        const { failed, error } = await running;
        expect(failed).to.deep.equal(['source-changed']);
        expect(error?.code).to.equal('some-failed');
        expect(sent(heard)).to.deep.equal(['next']);
        expect(await stored()).to.deep.equal(['next']);
      });
    }

    it('is written again as a longer one before it is hashed: source-changed, not its beginning; one that is appended to arrives', async () => {
      const [large, log] = [await tree.write('large', bytes(mebibyte, 1)), await tree.write('log', bytes(mebibyte, 2))];
      const heard = new Heard();
      heard.also((event) => {
        if (event.event !== 'started') return;
        if (event.file_name === 'large') writeFileSync(large, bytes(2 * mebibyte, 3));
        else appendFileSync(log, 'one more line');
      });
      const { failed } = await sending({ paths: [large, log], target: directory.target }, heard);
      expect(failed).to.deep.equal(['source-changed']);
      expect(heard.all('failed')[0]?.file_name).to.equal('large');
      expect(heard.all('sent').map(({ file_name, source_grew }) => [file_name, source_grew])).to.deep.equal([
        ['log', true],
      ]);
      expect(await stored()).to.deep.equal(['log']);
      expect((await directory.read('log')).equals(bytes(mebibyte, 2))).to.equal(true);
    });

    it('is removed while it is sent: what is open is still the file, and arrives', async () => {
      const large = await tree.write('large', bytes(24 * mebibyte));
      const heard = new Heard();
      const running = sending({ paths: [large], target: directory.target, limit: 40 * mebibyte }, heard);
      await heard.first('progress', ({ phase, done }) => phase === 'send' && done > 0);
      await unlink(large);
      const { error } = await running;
      expect([undefined, 'source-changed']).to.include(error?.code);
      expect(await stored()).to.deep.equal(error ? [] : ['large']);
    });

    it('has a digest in the cache from before it changed: the new content is sent, with its own digest', async () => {
      const cache = await temporaryDirectory();
      const { XDG_CACHE_HOME } = process.env;
      process.env['XDG_CACHE_HOME'] = cache;
      try {
        const place = await tree.write('cached', bytes(2 * mebibyte, 1));
        const long = new Date(Date.now() - 100_000);
        await utimes(place, long, long);
        await sleep(2100); // the cache does not trust what changed less than two seconds ago
        await sending({ paths: [place], target: directory.target, useCache: true });
        await writeFile(place, bytes(2 * mebibyte, 2));
        await utimes(place, long, long);
        const { result } = await sending({ paths: [place], name: 'second', target: directory.target, useCache: true });
        expect(result?.files[0]?.digests.md5).to.equal(
          createHash('md5')
            .update(bytes(2 * mebibyte, 2))
            .digest('hex'),
        );
        expect((await directory.read('second')).equals(bytes(2 * mebibyte, 2))).to.equal(true);
      } finally {
        if (XDG_CACHE_HOME === undefined) delete process.env['XDG_CACHE_HOME'];
        else process.env['XDG_CACHE_HOME'] = XDG_CACHE_HOME;
        await rm(cache, { recursive: true });
      }
    });
  });

  describe('abort', () => {
    const phases: readonly (readonly [string, (heard: Heard, abort: () => void) => Promise<unknown> | void])[] = [
      ['before anything', (_heard, abort) => abort()],
      ['when a file was found', (heard) => heard.first('started')],
      ['while hashing', (heard) => heard.first('progress', ({ phase }) => phase === 'hash')],
      ['while sending', (heard) => heard.first('progress', ({ phase, done }) => phase === 'send' && done > mebibyte)],
    ];
    for (const [when, until] of phases) {
      it(`${when}: ends at once with interrupted, and leaves nothing on either side`, async () => {
        const place = tree.at('sparse');
        await writeFile(place, '');
        await truncate(place, 700 * mebibyte);
        const before = await directory.content();
        const abort = new AbortController();
        const heard = new Heard();
        const running = sending(
          {
            paths: [place, await tree.write('next', 'next')],
            target: directory.target,
            signal: abort.signal,
            limit: 100 * mebibyte,
          },
          heard,
        );
        await until(heard, () => abort.abort());
        const began = performance.now();
        abort.abort();
        const { error } = await running;
        expect(performance.now() - began).to.be.below(1000);
        expect(error?.code).to.equal('interrupted');
        expect(heard.all('failed').length).to.be.within(1, 2);
        expect(heard.events.at(-1)?.event).to.equal('summary');
        if (when === 'while sending') await directory.heard.first('failed');
        await sleep(50);
        expect(await directory.content()).to.deep.equal(before);
      }).timeout(30_000);
    }

    it('while standard input is still open', async () => {
      const abort = new AbortController();
      const input = new Readable({ read: () => undefined });
      input.push('begun');
      const running = sending({ paths: ['-'], input, target: directory.target, signal: abort.signal });
      await sleep(50);
      abort.abort();
      expect((await running).error?.code).to.equal('interrupted');
    });

    it('while it listens, and nobody has dialed', async () => {
      const abort = new AbortController();
      const heard = new Heard();
      const running = sending(
        { paths: [await tree.write('a', 'a')], listen: '127.0.0.1:0', plain: true, signal: abort.signal },
        heard,
      );
      await heard.first('listening');
      abort.abort();
      expect((await running).error?.code).to.equal('interrupted');
    });

    it('of a receiver that dialed', async () => {
      const heard = new Heard();
      await writeFile(tree.at('sparse'), '');
      await truncate(tree.at('sparse'), 50 * mebibyte);
      const running = sending(
        { paths: [tree.at('sparse')], listen: '127.0.0.1:0', plain: true, limit: 10 * mebibyte },
        heard,
      );
      const { address } = await heard.first('listening');
      const before = await directory.content();
      const abort = new AbortController();
      const received = directory.receiver.dial(address, { signal: abort.signal }).catch((error: unknown) => error);
      await directory.heard.first('progress', ({ phase, done }) => phase === 'receive' && done > 0);
      abort.abort();
      expect(await received).to.include({ code: 'interrupted' });
      expect((await running).error?.code).to.equal('stopped');
      expect(await directory.content()).to.deep.equal(before);
    });
  });
});

/** Writes other bytes into a file. */
async function overwrite(place: string, offset: number): Promise<void> {
  const file = await open(place, 'r+');
  await file.write(Buffer.alloc(100, 0xff), 0, 100, offset);
  await file.close();
}
