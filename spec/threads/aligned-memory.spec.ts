import { expect } from 'chai';
import { constants } from 'node:fs';
import { mkdtemp, open, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { alignment, AlignedMemory, type Lease } from '../../lib/threads/aligned-memory';
import { skipTest } from '../skip-test';

describe('AlignedMemory', () => {
  it('lends as many pieces as it has, of the size that was asked for, none of them overlapping', async () => {
    const memory = new AlignedMemory(2 * alignment, 3);
    const leases = [await memory.lease(), await memory.lease(), await memory.lease()];
    for (const [at, { bytes }] of leases.entries()) bytes.fill(at + 1);
    for (const [at, { bytes }] of leases.entries()) {
      expect(bytes).to.have.lengthOf(2 * alignment);
      expect(bytes.every((byte) => byte === at + 1)).to.equal(true);
      expect(bytes.byteOffset % alignment).to.equal(0);
    }
  });

  it('makes those wait who come when nothing is left, and serves them in their order', async () => {
    const memory = new AlignedMemory(alignment, 1);
    const first = await memory.lease();
    const served: string[] = [];
    const wait = async (name: string): Promise<Lease> => {
      const lease = await memory.lease();
      served.push(name);
      return lease;
    };
    expect(memory.contended).to.equal(false);
    const second = wait('second');
    const third = wait('third');
    expect(memory.contended).to.equal(true);
    await Promise.resolve();
    expect(served).to.deep.equal([]);
    first.release();
    (await second).release();
    (await third).release();
    expect(served).to.deep.equal(['second', 'third']);
    expect(memory.contended).to.equal(false);
    expect((await memory.lease()).bytes.buffer).to.equal(first.bytes.buffer);
  });

  it('lends for ever: a thousand borrowers share four pieces', async () => {
    const memory = new AlignedMemory(alignment, 4);
    let borrowed = 0;
    const borrow = async (): Promise<void> => {
      const lease = await memory.lease();
      expect(++borrowed).to.be.at.most(4);
      await new Promise((resolve) => setImmediate(resolve));
      borrowed--;
      lease.release();
    };
    await Promise.all(Array.from({ length: 1000 }, borrow));
    expect(borrowed).to.equal(0);
  });

  it('can be shared with another thread', async () => {
    const memory = new AlignedMemory(alignment, 1, true);
    const { bytes } = await memory.lease();
    const worker = new Worker(
      'require("worker_threads").parentPort.on("message", (b) => { b[7] = 42; require("worker_threads").parentPort.postMessage(0); })',
      { eval: true },
    );
    worker.postMessage(new Uint8Array(memory.buffer));
    await new Promise((resolve) => worker.once('message', resolve));
    await worker.terminate();
    expect(bytes[7]).to.equal(42);
  });

  it('is aligned well enough for O_DIRECT, which a Buffer is not promised to be', async function () {
    const direct = (constants as { O_DIRECT?: number }).O_DIRECT;
    if (direct === undefined || (await statfs(tmpdir())).type !== 0xef53)
      skipTest(this, 'the directory for temporary files is not on ext4');
    const directory = await mkdtemp(path.join(tmpdir(), 'aligned-memory-'));
    const handle = await open(path.join(directory, 'f'), constants.O_CREAT | constants.O_RDWR | (direct ?? 0));
    try {
      const { bytes } = await new AlignedMemory(alignment, 3).lease();
      expect((await handle.write(bytes, 0, alignment, 0)).bytesWritten).to.equal(alignment);
      const misaligned = await handle.write(bytes, 1, alignment - 1, 0).catch((error: { code: string }) => error.code);
      expect(misaligned).to.equal('EINVAL');
    } finally {
      await handle.close();
      await rm(directory, { recursive: true });
    }
  });
});
