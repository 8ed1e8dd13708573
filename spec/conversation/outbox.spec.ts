import { expect } from 'chai';
import { converse, type Conversation, Outbox, serve } from '../../lib/index';

const text = 'x'.repeat(20_000);

async function headers(peer: Conversation): Promise<readonly object[]> {
  const all: object[] = [];
  for (let message = await peer.readMessage(0); message; message = await peer.readMessage(0)) all.push(message.header);
  return all;
}

describe('an outbox', () => {
  it('sends what was posted, in order', async () => {
    const serving = await serve(
      '127.0.0.1:0',
      async (peer) => {
        const outbox = new Outbox(peer, 100);
        for (let n = 0; n < 100; n += 1) expect(outbox.post({ n })).to.be.true;
        await outbox.close({ n: 'last' });
      },
      { once: true },
    );
    const heard = await converse(serving.address, headers);
    await serving.ended;
    // What still waited at the end is thrown away for the last one.
    expect(heard.at(-1)).to.deep.equal({ n: 'last' });
    expect(heard.slice(0, -1)).to.deep.equal(heard.slice(0, -1).map((_, n) => ({ n })));
  });

  it('refuses without waiting when a peer does not read, and gives it the last word once it does', async () => {
    let posted = 0;
    let full: () => void = () => undefined;
    const isFull = new Promise<void>((resolve) => (full = resolve));
    const serving = await serve(
      '127.0.0.1:0',
      async (peer) => {
        const outbox = new Outbox(peer, 10);
        for (; outbox.post({ n: posted, text }); posted += 1) await new Promise((resolve) => setImmediate(resolve));
        full();
        await outbox.close({ n: 'last' });
        expect(outbox.post({ n: 'after' })).to.be.false;
      },
      { once: true },
    );
    const heard = await converse(serving.address, async (peer) => {
      await isFull;
      return headers(peer);
    });
    await serving.ended;
    expect(heard.at(-1)).to.deep.equal({ n: 'last' });
    expect(heard.length).to.equal(posted - 10 + 1); // those that waited were thrown away for it
  });

  it('closes the conversation with a peer that takes nothing at all', async () => {
    let outbox: Outbox | undefined;
    const serving = await serve(
      '127.0.0.1:0',
      async (peer) => {
        outbox = new Outbox(peer, 10);
        while (outbox.post({ text })) await new Promise((resolve) => setImmediate(resolve));
        await peer.readMessage(0, { idle: true });
      },
      { once: true, patience: 200 },
    );
    await converse(serving.address, async () => {
      const error: unknown = await serving.ended.catch((reason: unknown) => reason);
      expect(error).to.include({ code: 'timeout' });
      expect(outbox?.post({})).to.be.false;
    });
  });
});
