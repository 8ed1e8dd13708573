import { readdir } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { digestOf, digestOfFile, MiB, noise, Pair, succeeded } from './pair';

/** `content` in pieces of `step` bytes, `every` ms. */
async function* inPieces(content: Buffer, step: number, every: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < content.length; at += step) {
    yield content.subarray(at, at + step);
    await sleep(every);
  }
}

describe('a stream in a session', () => {
  let pair: Pair;
  beforeEach(async () => {
    pair = await Pair.make({ beside: noise(3 * MiB), small: 'small' });
  });
  afterEach(() => pair.close());

  for (const size of [0, 1, 70_000, MiB, 20 * MiB + 9]) {
    it(`of ${String(size)} bytes, which nobody knew before, arrives under its name`, async () => {
      const content = noise(size, 3);
      const { files } = succeeded(
        await pair.send(['-'], {
          input: Readable.from(inPieces(content, 300_000, 1)),
          name: 'of/mine',
          connections: 4,
          digest: 'md5',
        }),
      );
      expect(await digestOfFile(pair.to.place + '/of/mine')).to.equal(digestOf(content));
      expect(files).to.have.lengthOf(1);
      expect(files[0]).to.include({ file_name: 'of/mine', file_size: size });
      expect(files[0]?.digests).to.deep.equal({ md5: digestOf(content, 'md5') });
      expect(pair.to.heard.all('received')[0]).to.include({ file_name: 'of/mine', file_size: size });
    });
  }

  it('is called stdin without a name, and goes together with files', async () => {
    succeeded(await pair.send(['-', 'beside', 'small'], { input: Readable.from(['some ', 'text']), connections: 4 }));
    expect((await pair.to.read('stdin')).toString()).to.equal('some text');
    expect(await pair.to.read('beside')).to.deep.equal(noise(3 * MiB));
  });

  it('of zeros, and with zeros in it, arrives as it is', async () => {
    const content = Buffer.concat([noise(MiB), Buffer.alloc(5 * MiB), noise(100), Buffer.alloc(3 * MiB)]);
    const { files } = succeeded(
      await pair.send(['-'], { input: Readable.from(inPieces(content, 256 * 1024, 0)), name: 'zeros', connections: 4 }),
    );
    expect(await digestOfFile(pair.to.place + '/zeros')).to.equal(digestOf(content));
    expect(files[0]?.file_size).to.equal(content.length);
    expect(files[0]?.bytes_on_wire).to.be.below(5 * MiB);
  });

  it('keeps to the limit', async () => {
    const content = noise(6 * MiB);
    const running = pair.send(['-'], {
      input: Readable.from(inPieces(content, MiB, 0)),
      name: 'limited',
      limit: 6 * MiB,
    });
    await pair.to.heard.first('started');
    const began = performance.now();
    succeeded(await running);
    expect(performance.now() - began).to.be.within(600, 3000);
  });

  it('that lasts longer than a second is told of as it goes', async () => {
    const { heard } = await pair.send(['-'], {
      input: Readable.from(inPieces(noise(12 * MiB), MiB, 100)),
      name: 'slow',
    });
    expect(heard.all('progress').filter(({ phase }) => phase === 'send').length).to.be.above(3);
    expect(heard.all('started')).to.deep.equal([{ event: 'started', file_name: 'slow', file_size: 0 }]);
  });

  it('whose connection is lost fails with an error that says so, and the files beside it arrive', async () => {
    const relay = await pair.relay();
    const running = pair.send(['-', 'beside', 'small'], {
      relay,
      input: Readable.from(inPieces(noise(40 * MiB), MiB, 30)),
      connections: 2,
    });
    await relay.until(() => relay.there > 5 * MiB);
    relay.cutAll();
    const { error, heard } = await running;
    expect(error?.code).to.equal('some-failed');
    expect(heard.all('failed')).to.have.lengthOf(1);
    expect(heard.all('failed')[0]).to.include({ code: 'connection-lost', file_name: 'stdin' });
    expect(heard.all('failed')[0]?.message).to.match(/cannot be read a second time/);
    expect((await readdir(pair.to.place)).filter((name) => name !== '.sendall')).to.have.members(['beside', 'small']);
  });

  it('alone, whose connection is lost for good, does not wait for it', async () => {
    const relay = await pair.relay();
    const running = pair.send(['-'], { relay, input: Readable.from(inPieces(noise(40 * MiB), MiB, 30)), name: 'lost' });
    await relay.until(() => relay.there > 3 * MiB);
    await relay.fall();
    const began = performance.now();
    const { error } = await running;
    expect(error).to.include({ code: 'connection-lost', fileName: 'lost' });
    expect(performance.now() - began).to.be.below(3000);
  });

  it('that breaks, in the middle or before anyone looked at it, fails with source-unreadable, and nothing of it is stored', async () => {
    for (const middle of [true, false]) {
      const input = new Readable({ read: () => undefined });
      input.push(noise(2 * MiB));
      if (!middle) input.destroy(new Error('it broke'));
      const running = pair.send(['-', 'small'], { input });
      if (middle) void pair.to.heard.first('progress').then(() => input.destroy(new Error('it broke')));
      const { error, failed } = await running;
      expect(error?.code).to.equal('some-failed');
      expect(failed).to.deep.equal(['source-unreadable']);
    }
    expect((await readdir(pair.to.place)).filter((name) => name !== '.sendall')).to.have.members(['small']);
  });

  it('is not read any more once it is interrupted', async () => {
    const abort = new AbortController();
    const input = Readable.from(inPieces(noise(40 * MiB), MiB, 30));
    const running = pair.send(['-'], { input, name: 'interrupted', signal: abort.signal });
    await pair.to.heard.first('started');
    await sleep(200);
    const began = performance.now();
    abort.abort();
    expect((await running).error?.code).to.equal('interrupted');
    expect(performance.now() - began).to.be.below(1000);
    expect(input.destroyed).to.equal(true);
  });

  it('of words is heard by the receiver, once and as it is, and with no file at all', async () => {
    const text = 'Grüße, \u001b[31mred\u001b[0m\n';
    const { heard, error } = await pair.send([], { text });
    expect(error).to.equal(undefined);
    expect(pair.to.heard.all('text')).to.deep.equal([{ event: 'text', text }]);
    expect(heard.all('summary')[0]).to.include({ files: 0, bytes: 0 });
    succeeded(await pair.send(['small'], { text: 'and a file' }));
    expect(pair.to.heard.all('text').map((event) => event.text)).to.deep.equal([text, 'and a file']);
    expect((await pair.to.read('small')).toString()).to.equal('small');
  });
});
