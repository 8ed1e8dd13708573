import { expect } from 'chai';
import { converse, serve, TransferError } from '../../lib/index';

const caught = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no failure',
    (error: unknown) => error,
  );

describe('serve and converse', () => {
  it('hold many conversations at the same time', async () => {
    let together = 0;
    let most = 0;
    const serving = await serve('127.0.0.1:0', async (peer) => {
      most = Math.max(most, (together += 1));
      await peer.receive(1);
      together -= 1;
    });
    const arrived = Array.from({ length: 20 }, () =>
      converse(serving.address, async (peer) => {
        while (most < 20) await new Promise((resolve) => setTimeout(resolve, 5));
        await peer.send(Buffer.from('x'));
      }),
    );
    await Promise.all(arrived);
    await serving.close();
    await serving.ended;
    expect(most).to.equal(20);
  });

  it('tell of a conversation that failed, and go on with the others', async () => {
    const failures: string[] = [];
    const serving = await serve('127.0.0.1:0', async (peer) => void (await peer.read(3)), {
      failed: ({ code }) => failures.push(code),
    });
    await converse(serving.address, (peer) => peer.send(Buffer.from('x')));
    await converse(serving.address, (peer) => peer.send(Buffer.from('xyz')));
    await serving.close();
    expect(failures).to.deep.equal(['connection-lost']);
  });

  it('end after one where that is wanted, with its outcome, and the address is free', async () => {
    const good = await serve('127.0.0.1:0', (peer) => peer.send(Buffer.from('hi')), { once: true });
    expect(String(await converse(good.address, (peer) => peer.readToEnd(9)))).to.equal('hi');
    await good.ended;
    const bad = await serve(good.address, async (peer) => void (await peer.read(3)), { once: true });
    await converse(bad.address, () => Promise.resolve());
    expect(await caught(bad.ended))
      .to.be.instanceOf(TransferError)
      .and.include({ code: 'connection-lost' });
  });

  it('say unexpected of a talk that throws something of its own', async () => {
    const serving = await serve('127.0.0.1:0', () => Promise.reject(new RangeError('oops')), { once: true });
    await converse(serving.address, () => Promise.resolve());
    expect(await caught(serving.ended))
      .to.be.instanceOf(TransferError)
      .and.include({ code: 'unexpected', message: 'The conversation failed: oops' });
  });

  it('say what to do about an address in use', async () => {
    const serving = await serve('127.0.0.1:0', () => Promise.resolve());
    const error = await caught(serve(serving.address, () => Promise.resolve()));
    await serving.close();
    expect(error).to.be.instanceOf(TransferError).and.include({ code: 'cannot-connect' });
    expect((error as TransferError).hint).to.match(/choose another port/);
  });

  it('are interrupted by a signal, and by closing', async () => {
    const reasons: string[] = [];
    const serving = await serve('127.0.0.1:0', async (peer) => void (await peer.receive(1)), {
      failed: ({ code }) => reasons.push(code),
    });
    const abort = new AbortController();
    const talking = caught(converse(serving.address, (peer) => peer.receive(1), { signal: abort.signal }));
    const other = caught(converse(serving.address, (peer) => peer.receiveAnswer(1)));
    setTimeout(() => abort.abort(), 50);
    expect(await talking).to.include({ code: 'interrupted' });
    await serving.close();
    expect(await other).to.include({ code: 'connection-lost' });
    expect(reasons).to.include('interrupted');
    expect(await caught(converse(serving.address, () => Promise.resolve(), { signal: abort.signal }))).to.include({
      code: 'interrupted',
    });
  });
});
